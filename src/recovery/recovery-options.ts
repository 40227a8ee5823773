import * as z from 'zod';
import type { Clock } from '../base/clock.js';
import type { Sink } from '../base/emit.js';
import { clockOption, functionOption } from '../base/options.js';
import type { StorageAdapter } from '../storage/adapter.js';
import { TransactionManager } from '../transactions/transaction-manager.js';
import type { RecoveryBudget } from './budget.js';
import type { Signals } from './diagnosis.js';
import type { Failure, FailureRule } from './failure.js';
import type { RecoveryEvent } from './recovery-event.js';
import type { RecoveryOutcome } from './recovery-record.js';
import type { Rung } from './rung.js';

/** How a recovery manager is made. */
export interface RecoveryManagerOptions<Name extends string = string> {
  /** Runs recoveries. Shares a storage with all processes that may go on with them. */
  readonly transactions: TransactionManager;
  /** Where subjects and their budgets are kept: the storage of `transactions`, or one that the same processes share. */
  readonly storage: StorageAdapter;
  /** What to try, in order. See `defaultLadder`. */
  readonly ladder: readonly Rung<Name>[];
  /** What failures are known by; the first answer counts. Default `defaultRules`. Put your own in front of those. */
  readonly rules?: readonly FailureRule[];
  /** Recoveries that one subject may have. Default 3 in 72 hours. Fewer where a recovery is dear, or its loops do harm. */
  readonly budget?: RecoveryBudget;
  /** What the host sees at the moment of a failure, for its causes. Default nothing. */
  readonly signals?: () => Signals | PromiseLike<Signals>;
  /**
   * Name of the transactions' definition, and prefix of their ids. Default `recovery`. Give each manager one of its own that
   * shares `transactions`, or `storage`, with others.
   */
  readonly name?: string;
  /** Time. Default the machine's. */
  readonly clock?: Clock;
  /** Hears of recoveries. */
  readonly emit?: Sink<RecoveryEvent>;
}

/** For one recovery. */
export interface RecoverFailureOptions<Name extends string = string> {
  /** `auto` (default): the whole ladder. A name: that rung alone, whatever its severities and its `when` say. */
  readonly strategy?: 'auto' | Name;
  /**
   * How long to wait, in milliseconds, for another process that recovers the subject. Default 60,000; then `BusyError`. Longer
   * than a lease, so that one whose process died is gone on with.
   */
  readonly waitMs?: number;
}

/** Which recoveries `list` gives. */
export interface RecoveryFilter {
  readonly subject?: string;
  readonly outcome?: RecoveryOutcome;
  /** At most this many. Default all. */
  readonly limit?: number;
}

/** What a person says of a recovery that needs attention. */
export interface ResolveRecoveryOptions {
  /** What state the subject is in now. Default `recovered`. */
  readonly outcome?: 'recovered' | 'degraded';
  /** What was done, 1 to 1,000 characters: it is kept with the record. */
  readonly note: string;
}

const MAX_NAME_LENGTH = 100;
const outcome = z.enum(['recovered', 'degraded', 'needs-attention', 'suppressed']);

export const managerSchema = z.strictObject({
  transactions: z.instanceof(TransactionManager, { error: 'must be a TransactionManager' }),
  storage: z.custom<StorageAdapter>(
    (storage) => typeof storage === 'object' && storage !== null,
    'a StorageAdapter is needed',
  ),
  ladder: z.custom<readonly Rung[]>(Array.isArray, 'must be an array of rungs'),
  rules: z.array(functionOption<FailureRule>()).optional(),
  budget: z.strictObject({ attempts: z.int().min(0).optional(), perMs: z.number().positive().optional() }).optional(),
  signals: functionOption<NonNullable<RecoveryManagerOptions['signals']>>().optional(),
  name: z
    .string()
    .regex(/^[A-Za-z0-9._-]+$/, 'has characters other than A-Z a-z 0-9 . _ -')
    .max(MAX_NAME_LENGTH)
    .optional(),
  clock: clockOption.optional(),
  emit: functionOption<Sink<RecoveryEvent>>().optional(),
});
export const failureSchema: z.ZodType<Failure> = z.strictObject({
  subject: z.string(),
  error: z.unknown().optional(),
  kind: z.string().min(1).max(200).optional(),
  context: z.unknown().optional(),
}) as z.ZodType<Failure>;
export const planSchema = z.strictObject({ strategy: z.string().min(1).optional() });
export const recoverSchema = planSchema.extend({ waitMs: z.number().min(0).optional() });
export const filterSchema = z.strictObject({
  subject: z.string().optional(),
  outcome: outcome.optional(),
  limit: z.int().min(1).optional(),
});
export const resolveSchema = z.strictObject({
  outcome: z.enum(['recovered', 'degraded']).default('recovered'),
  note: z.string().min(1).max(1_000),
});

import * as z from 'zod';
import { functionOption } from '../base/options.js';
import type { AttemptFailure } from '../policies/attempt.js';
import { retrySchema } from '../policies/retry-options.js';
import type { StepContext, StepRetry } from '../transactions/transaction.js';
import { type Diagnosis, type Failure, SEVERITIES, type Severity } from './failure.js';

/** How one rung went. */
export interface RungReport {
  readonly rung: string;
  /** `ok`: it was accepted. `failed`: it ran in vain. `skipped`: it did not run. */
  readonly status: 'ok' | 'failed' | 'skipped';
  /** Why it failed or was skipped, in a line for people. */
  readonly why?: string;
  /**
   * Milliseconds it took, retries included. Left out of one that failed in a process that died later: nobody kept the time.
   */
  readonly ms?: number;
}

/** What is being recovered, as the functions of a rung see it. */
export interface RecoveryCase {
  readonly subject: string;
  /**
   * As it is recorded, so that it is the same before and after a crash: `error` is an Error of the same name, message,
   * code, stack and causes, and `instanceof` a class of the host's is false.
   */
  readonly failure: Failure;
  readonly diagnosis: Diagnosis;
  /** What was tried before. */
  readonly trail: readonly RungReport[];
}

/**
 * What a rung is told when it runs. `transaction` is the id of the recovery. `key` is the same whenever this rung of this
 * recovery runs, in any process and after any crash: pass it to whoever is called, so that what half happened does not
 * happen twice. Stop when `signal` is aborted: the rung's time is over, or the recovery was cancelled or lost.
 */
export interface RungContext extends StepContext, RecoveryCase {}

/** What `check` is told besides. */
export interface TriedRung extends RungContext {
  /** What `run` gave. */
  readonly result: unknown;
}

/** `true`, or why not in a line for people. Anything else counts as a no. */
export type CheckAnswer = boolean | string;

/** Asked before a rung runs. Only looks: it may be asked more than once, and by `plan`. The name is put before its reason. */
export type Check = ((at: RecoveryCase) => CheckAnswer | PromiseLike<CheckAnswer>) | NamedCheck;

/** A check with a name. */
export interface NamedCheck {
  readonly name: string;
  /** Looks. */
  run(at: RecoveryCase): CheckAnswer | PromiseLike<CheckAnswer>;
}

/**
 * One thing to try. It runs if the severity is within `from` and `to`, `when` agrees and every `preflight` passes; it is
 * accepted if `run` does not throw and `check` says `true`. Then nothing further is tried; else the next rung is.
 *
 * What it gave is durable before the next one runs, and a rung that has ended never runs again. One whose process died in
 * it does, with the same `key`, unless its `effect` says otherwise.
 */
export interface Rung<Name extends string = string> {
  /** Unique in its ladder, 1 to 400 characters. Recorded: a recovery that goes on after a restart knows its rungs by it. */
  readonly name: Name;
  /** The mildest severity it is for. Default `minor`. */
  readonly from?: Severity;
  /** The worst. Default `catastrophic`. */
  readonly to?: Severity;
  /** Is it for this failure? Default: yes. Only looks, like a check. */
  when?(at: RecoveryCase): boolean | PromiseLike<boolean>;
  /** Would it be in vain? Asked in this order, up to the first that is not passed. Default none. */
  readonly preflight?: readonly Check[];
  /** Tries it. What it throws fails the rung. */
  run(context: RungContext): unknown;
  /** Is the subject well again? Default: yes. Part of the rung: a crash in between runs both again. */
  check?(tried: TriedRung): CheckAnswer | PromiseLike<CheckAnswer>;
  /**
   * Milliseconds one attempt may take, preflight and check included. Default 300,000. A rung that does not stop when its
   * signal is aborted may still be at it when the next one runs.
   */
  readonly timeoutMs?: number;
  /** How it is tried again when it throws: `maxRetries`, or options as for any call. Default 0. */
  readonly retry?: StepRetry;
  /**
   * `idempotent` (default): after a crash or a timeout in the midst of it, it may run again with the same `key`. `once`: it is
   * never run again without knowing whether it happened; the recovery needs attention then.
   */
  readonly effect?: 'idempotent' | 'once';
  /** Does it only keep the subject going, with less than it had? The recovery then ends as `degraded`. Default false. */
  readonly degraded?: boolean;
}

const MAX_NAME_LENGTH = 400;

const severity = z.enum(SEVERITIES as [Severity, ...Severity[]]);
const check = z.union(
  [functionOption<Check>(), z.object({ name: z.string().min(1), run: functionOption<() => CheckAnswer>() })],
  'must be a function, or { name, run }',
);

export const rungSchema = z.strictObject({
  name: z
    .string()
    .min(1)
    .max(MAX_NAME_LENGTH)
    .refine((name) => !/\p{Surrogate}/u.test(name), 'has half a surrogate pair in it'),
  from: severity.optional(),
  to: severity.optional(),
  when: functionOption<NonNullable<Rung['when']>>().optional(),
  preflight: z.array(check).optional(),
  run: functionOption<Rung['run']>(),
  check: functionOption<NonNullable<Rung['check']>>().optional(),
  timeoutMs: retrySchema.shape.attemptTimeoutMs,
  retry: z
    .union([
      z.int().min(0),
      retrySchema.pick({ maxRetries: true, backoff: true, classify: true, retryAfter: true, budget: true }),
    ])
    .optional(),
  effect: z.enum(['idempotent', 'once']).optional(),
  degraded: z.boolean().optional(),
});

/** One attempt of a rung. What it was made of is asked when it is read: a signal costs more than most rungs. */
export class RungAttempt implements TriedRung {
  readonly subject: string;
  readonly failure: Failure;
  readonly diagnosis: Diagnosis;
  readonly trail: readonly RungReport[];
  result: unknown;
  readonly #step: StepContext;

  constructor(step: StepContext, { subject, failure, diagnosis, trail }: RecoveryCase) {
    this.#step = step;
    this.subject = subject;
    this.failure = failure;
    this.diagnosis = diagnosis;
    this.trail = trail;
  }

  get transaction(): string {
    return this.#step.transaction;
  }

  get step(): string {
    return this.#step.step;
  }

  get key(): string {
    return this.#step.key;
  }

  get fence(): number {
    return this.#step.fence;
  }

  get attempt(): number {
    return this.#step.attempt;
  }

  get operationId(): string {
    return this.#step.operationId;
  }

  get signal(): AbortSignal {
    return this.#step.signal;
  }

  get deadlineAtMs(): number | undefined {
    return this.#step.deadlineAtMs;
  }

  get previous(): AttemptFailure | undefined {
    return this.#step.previous;
  }
}

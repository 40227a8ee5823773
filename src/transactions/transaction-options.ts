import * as z from 'zod';
import type { Clock } from '../base/clock.js';
import type { Sink } from '../base/emit.js';
import { clockOption, functionOption } from '../base/options.js';
import { RetryManager } from '../policies/retry-manager.js';
import type { ValueCodec } from '../records/codec.js';
import { LeaseNode, type NodeEvent } from '../records/node.js';
import type { StorageAdapter } from '../storage/adapter.js';
import { standardSchemaOption } from './step-code.js';
import type { TransactionEvent } from './transaction-event.js';

/** How a transaction manager is made. */
export interface TransactionManagerOptions {
  /** Where journals are kept. Shared by all processes that may take transactions over from each other. */
  readonly storage: StorageAdapter;
  /** The node that holds what this manager runs. Default: one of its own. Share one where several parts hold things. */
  readonly node?: LeaseNode;
  /**
   * For a node of its own: milliseconds without a heartbeat after which others may take its transactions over. Default
   * 15,000. On one host a dead process is noticed at once.
   */
  readonly leaseMs?: number;
  /** Hears of transactions, their steps, and the node. */
  readonly emit?: Sink<TransactionEvent | NodeEvent>;
  /** Time and waiting. Default the machine's. */
  readonly clock?: Clock;
  /** Runs steps that have retries, limits or circuits; circuits are found in it by name. Default: one of its own. */
  readonly policies?: RetryManager;
  /** For classes of the host's own in inputs and results. */
  readonly codecs?: readonly ValueCodec[];
}

const waitMs = z.number().min(0).optional();

export const managerSchema = z.strictObject({
  storage: z.custom<StorageAdapter>(
    (storage) => typeof storage === 'object' && storage !== null,
    'a StorageAdapter is needed',
  ),
  node: z.instanceof(LeaseNode, { error: 'must be a LeaseNode' }).optional(),
  leaseMs: z.number().min(100).optional(),
  emit: functionOption<Sink<TransactionEvent | NodeEvent>>().optional(),
  clock: clockOption.optional(),
  policies: z.instanceof(RetryManager, { error: 'must be a RetryManager' }).optional(),
  codecs: z.array(z.custom<ValueCodec>()).optional(),
});
export const defineSchema = z.strictObject({
  onCrash: z.enum(['resume', 'rollback']).optional(),
  parse: standardSchemaOption.optional(),
  maxTakeovers: z.int().min(0).optional(),
});
export const runSchema = z.strictObject({ waitMs });
export const recoverSchema = z.strictObject({ waitMs });
export const filterSchema = z.strictObject({
  status: z.enum(['running', 'compensating', 'done', 'rolled-back', 'stuck']).optional(),
  name: z.string().optional(),
  prefix: z.string().optional(),
});
export const resolutionSchema = z.strictObject({
  do: z.enum(['retry', 'complete', 'skip', 'rollback', 'abandon']),
  step: z.string().optional(),
  result: z.unknown().optional(),
});
export const reasonSchema = z.string().min(1).max(1_000);

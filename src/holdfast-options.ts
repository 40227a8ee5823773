import type { Worker } from 'node:worker_threads';
import * as z from 'zod';
import type { Clock } from './base/clock.js';
import type { Sink } from './base/emit.js';
import { clockOption, functionOption, partOption } from './base/options.js';
import type { CheckpointEvent } from './checkpoints/checkpoint.js';
import type { CheckpointManager } from './checkpoints/checkpoint-manager.js';
import type { CheckpointManagerOptions } from './checkpoints/options.js';
import type { CircuitEvent } from './policies/circuit-event.js';
import type { CircuitRegistryOptions } from './policies/circuit-registry.js';
import type { DegradationEvent } from './policies/degradation.js';
import type { RetryEvent } from './policies/retry-event.js';
import type { RetryOptions } from './policies/retry-options.js';
import { heartOption } from './records/heart-tenure.js';
import type { NodeEvent } from './records/node.js';
import type { RecoveryEvent } from './recovery/recovery-event.js';
import type { SessionRecoveryOptions } from './recovery/session-recovery.js';
import type { SessionEvent } from './sessions/session-event.js';
import type { SessionRegistryOptions } from './sessions/session-options.js';
import type { StorageAdapter } from './storage/adapter.js';
import type { TransactionEvent } from './transactions/transaction-event.js';
import type { TransactionManagerOptions } from './transactions/transaction-options.js';

/** What cannot be kept in the audit log: that the decision was made all the same. `event` is its type. */
export interface AuditFailedEvent {
  readonly type: 'audit.failed';
  readonly event: string;
  readonly error: string;
}

/** Everything that the parts of a `Holdfast` report. */
export type HoldfastEvent =
  | AuditFailedEvent
  | DegradationEvent
  | CheckpointEvent
  | RetryEvent
  | CircuitEvent
  | TransactionEvent
  | SessionEvent
  | NodeEvent
  | RecoveryEvent;

/** Options of the parts that `createHoldfast` sets by itself, so that the parts fit together. */
export type WiredOption = 'storage' | 'emit' | 'clock' | 'node' | 'leaseMs';

/** How a `Holdfast` is made. Only `storage` is needed. */
export interface HoldfastOptions<State = unknown> {
  /** Where everything is kept. Shared by all processes that may go on with each other's work. It is not closed by `close`. */
  readonly storage: StorageAdapter;
  /**
   * Milliseconds without a heartbeat after which other processes may take over what this one holds. Default 15,000. On one
   * host a dead process is noticed at once.
   */
  readonly leaseMs?: number;
  /**
   * A worker thread that beats while the event loop is busy, its module calls `runHeart(storage)`: so that a long
   * computation does not pass for a death. Default: none. See `LeaseNodeOptions`.
   */
  readonly heart?: Worker;
  /**
   * With a `heart`: milliseconds without an answer from the event loop after which this process passes for dead. Default
   * 60,000; `leaseMs` at least.
   */
  readonly frozenAfterMs?: number;
  /** Options of the `CheckpointManager`. Default: 20 checkpoints of each session stay. */
  readonly checkpoints?: Omit<CheckpointManagerOptions<State>, WiredOption>;
  /** Options for every retried call that does not say otherwise. */
  readonly retries?: RetryOptions;
  /** Options of the `CircuitRegistry`. */
  readonly circuits?: Omit<CircuitRegistryOptions, WiredOption>;
  /** Options of the `TransactionManager`. */
  readonly transactions?: Omit<TransactionManagerOptions, WiredOption | 'policies'>;
  /** Options of the `SessionRegistry`. */
  readonly sessions?: Omit<
    SessionRegistryOptions<CheckpointManager<State>>,
    WiredOption | 'checkpoints' | 'policies' | 'steps' | 'prepare'
  >;
  /** How sessions whose process died are brought back. Default: the newest intact checkpoint. */
  readonly recovery?: SessionRecoveryOptions<State>;
  /** Signs the audit log (HMAC-SHA-256), 32 bytes at least. Without it the log finds damage, but no forgery. */
  readonly auditKey?: Uint8Array;
  /** Hears of everything, as `events` does. */
  readonly emit?: Sink<HoldfastEvent>;
  /** Time and waiting. Default the machine's. */
  readonly clock?: Clock;
}

const sharedByAll = (name: string) => [name, `is set for all parts at once, as options.${name}, not for one of them`];
const wiredHere = (name: string) => [name, 'is wired by createHoldfast, not given: leave it out'];
const part = partOption({
  ...Object.fromEntries(['storage', 'emit', 'clock', 'leaseMs'].map(sharedByAll)),
  ...Object.fromEntries(['node', 'checkpoints', 'policies', 'steps', 'prepare'].map(wiredHere)),
});
export const holdfastSchema = z.strictObject({
  storage: z.custom<StorageAdapter>(
    (storage) => typeof storage === 'object' && storage !== null,
    'a StorageAdapter is needed',
  ),
  leaseMs: z.number().min(100).optional(),
  heart: heartOption.optional(),
  frozenAfterMs: z.number().min(1).optional(),
  checkpoints: part,
  retries: part,
  circuits: part,
  transactions: part,
  sessions: part,
  recovery: part,
  auditKey: z.instanceof(Uint8Array).optional(),
  emit: functionOption<Sink<HoldfastEvent>>().optional(),
  clock: clockOption.optional(),
});

import * as z from 'zod';
import type { Clock } from '../base/clock.js';
import type { Sink } from '../base/emit.js';
import { clockOption, functionOption } from '../base/options.js';
import { RetryManager } from '../policies/retry-manager.js';
import { LeaseNode, type NodeEvent } from '../records/node.js';
import type { StorageAdapter } from '../storage/adapter.js';
import type { ProbeAnswer } from './classify.js';
import type { Session } from './session.js';
import type { SessionEvent } from './session-event.js';
import type { SessionInfo, SessionPriority } from './session-info.js';
import type { SessionSteps } from './session-steps.js';
import type { StateKeeper } from './state-keeper.js';

/** How a session registry is made. */
export interface SessionRegistryOptions<Keeper extends StateKeeper> {
  /** Where the records of sessions are kept. Shared by all processes that may take sessions over from each other. */
  readonly storage: StorageAdapter;
  /** Where their states are kept: on the same storage, so that a write and the check that it is allowed are one. */
  readonly checkpoints: Keeper;
  /** The node that holds what this registry runs. Default: one of its own. Share one where several parts hold things. */
  readonly node?: LeaseNode;
  /** For a node of its own: milliseconds without a heartbeat after which others may take its sessions. Default 15,000. */
  readonly leaseMs?: number;
  /** Hears of sessions and the node. */
  readonly emit?: Sink<SessionEvent | NodeEvent>;
  /** Time and waiting. Default the machine's. */
  readonly clock?: Clock;
  /** Sessions that have not ended at most, over all processes: give all of them the same number. Default: any number. */
  readonly maxSessions?: number;
  /**
   * Milliseconds without `touch` or a checkpoint after which a session passes for frozen. Default 600,000: a long call to
   * a model is no death. `expectQuiet` allows more where it is known.
   */
  readonly mayBeQuietMs?: number;
  /**
   * The poison guard: a session that was taken over from a dead process `max` times within `withinMs` of wall time is put
   * in quarantine at the next time. Default 3 in 72 hours.
   */
  readonly takeovers?: { readonly max?: number; readonly withinMs?: number };
  /** What the host can find out about the process of a session that is not heard of. Default: nothing. Given 2 s. */
  readonly probe?: (session: SessionInfo, signal: AbortSignal) => ProbeAnswer | Promise<ProbeAnswer>;
  /**
   * Called with every session that was taken over from a dead process before it goes to work: put its state in order, check
   * what it needs. If this throws the session is given back and the error goes to who opened it.
   */
  readonly prepare?: (session: Session<Keeper>) => void | Promise<void>;
  /** Runs `session.call`. Default: one of its own. */
  readonly policies?: RetryManager;
  /** Runs `session.step`: `TransactionManager` steps, as `createHoldfast` wires them. Without it there are no steps. */
  readonly steps?: SessionSteps;
  /** What `expire` does with sessions that have ended. */
  readonly retention?: SessionRetention;
}

/** For how long ended sessions are kept, by wall time. Their checkpoints are left alone. */
export interface SessionRetention {
  /** After this they are archived: in no list unless asked for. Default 24 hours. */
  readonly archiveAfterMs?: number;
  /** After this their record is removed. Default 7 days. */
  readonly removeAfterMs?: number;
}

/** For `open` and `run`. */
export interface OpenSessionOptions {
  /** How long to wait for whoever holds it, in milliseconds. Default 0: `BusyError` at once. */
  readonly waitMs?: number | undefined;
  /** Go on with one that has ended. Default false: `SessionEndedError`. */
  readonly reopen?: boolean | undefined;
  /** For a new session. Default `'normal'`. */
  readonly priority?: SessionPriority | undefined;
  /** For a new session. At most 64 KiB encoded. Default none. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  /** Ends the wait. */
  readonly signal?: AbortSignal | undefined;
}

/** For `recover`. */
export interface RecoverSessionOptions {
  /** As for `open`. */
  readonly waitMs?: number | undefined;
  /**
   * Take it also from a process that lives: one in which it is frozen, or that is cut off. That process is told at its next
   * checkpoint or heartbeat; what it does outside until then nobody can stop. Default false.
   */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** For `list`. */
export interface ListSessionsOptions {
  readonly status?: SessionInfo['status'] | undefined;
  readonly priority?: SessionPriority | undefined;
  /** Only ids that begin like this. */
  readonly prefix?: string | undefined;
  /** Archived ones instead of the others. Default false. */
  readonly archived?: boolean | undefined;
  /** Sessions at most. Default: all. */
  readonly limit?: number | undefined;
}

const ms = z.number().min(0);
const signal = z.instanceof(AbortSignal).optional();
const priority = z.enum(['high', 'normal', 'low']);

export const registrySchema = z.strictObject({
  storage: z.custom<StorageAdapter>(
    (storage) => typeof storage === 'object' && storage !== null,
    'a StorageAdapter is needed',
  ),
  checkpoints: z.custom<StateKeeper>(
    (keeper) => typeof (keeper as Partial<StateKeeper> | null)?.guardedBy === 'function',
    'must be a CheckpointManager',
  ),
  node: z.instanceof(LeaseNode, { error: 'must be a LeaseNode' }).optional(),
  leaseMs: z.number().min(100).optional(),
  emit: functionOption<Sink<SessionEvent | NodeEvent>>().optional(),
  clock: clockOption.optional(),
  maxSessions: z.int().min(1).optional(),
  mayBeQuietMs: ms.default(600_000),
  takeovers: z.strictObject({ max: z.int().min(0).default(3), withinMs: ms.default(72 * 3_600_000) }).prefault({}),
  probe: functionOption<(session: SessionInfo, signal: AbortSignal) => ProbeAnswer | Promise<ProbeAnswer>>().optional(),
  prepare: functionOption<(session: never) => void | Promise<void>>().optional(),
  policies: z.instanceof(RetryManager, { error: 'must be a RetryManager' }).optional(),
  steps: z.custom<SessionSteps>((steps) => typeof (steps as SessionSteps | null)?.run === 'function').optional(),
  retention: z
    .strictObject({ archiveAfterMs: ms.default(86_400_000), removeAfterMs: ms.default(7 * 86_400_000) })
    .prefault({}),
});

export const openSchema = z.strictObject({
  waitMs: ms.optional(),
  reopen: z.boolean().optional(),
  priority: priority.optional(),
  metadata: z
    .custom<Readonly<Record<string, unknown>>>(
      (given) => typeof given === 'object' && given !== null,
      'must be an object',
    )
    .optional(),
  signal,
});
export const recoverSchema = z.strictObject({ waitMs: ms.optional(), force: z.boolean().optional(), signal });
export const listSchema = z.strictObject({
  status: z.enum(['initializing', 'active', 'recovering', 'interrupted', 'completed', 'failed']).optional(),
  priority: priority.optional(),
  prefix: z.string().optional(),
  archived: z.boolean().optional(),
  limit: z.int().min(0).optional(),
});

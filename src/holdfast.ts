import { systemClock } from './base/clock.js';
import { ClosedError } from './base/errors.js';
import { asGiven, parseOptions } from './base/options.js';
import { CheckpointManager } from './checkpoints/checkpoint-manager.js';
import { type HoldfastEvent, type HoldfastOptions, holdfastSchema } from './holdfast-options.js';
import { CircuitRegistry } from './policies/circuit-registry.js';
import { Degradation } from './policies/degradation.js';
import { inWords } from './policies/in-words.js';
import { RetryManager } from './policies/retry-manager.js';
import { LeaseNode } from './records/node.js';
import { AuditLog } from './recovery/audit-log.js';
import type { RecoveryManager } from './recovery/recovery-manager.js';
import { type RescueOptions, type RescueReport, rescueSessions } from './recovery/rescue.js';
import {
  type CheckpointedSession,
  SessionRecovery,
  type SessionRecoveryReport,
  type SessionRung,
} from './recovery/session-recovery.js';
import { transactionSteps } from './recovery/transaction-steps.js';
import type { OpenSessionOptions } from './sessions/session-options.js';
import { SessionRegistry } from './sessions/session-registry.js';
import { checked } from './storage/checked.js';
import { prefixed } from './storage/prefixed.js';
import { EventBus } from './telemetry/event-bus.js';
import { TransactionManager } from './transactions/transaction-manager.js';

export type { AuditFailedEvent, HoldfastEvent, HoldfastOptions, WiredOption } from './holdfast-options.js';

/** Decisions that somebody may have to answer for, and what they rest on. */
const AUDITED: ReadonlySet<HoldfastEvent['type']> = new Set([
  'session.taken-over',
  'session.quarantined',
  'session.archived',
  'session.lost',
  'recovery.started',
  'recovery.rung',
  'recovery.finished',
  'recovery.resolved',
  'transaction.stuck',
  'transaction.resolved',
]);

const KEPT_CHECKPOINTS = { keepLast: 20 };

/** Recoveries of sessions are apart from the host's own transactions: only who holds a session can go on with its recovery. */
const RECOVERIES = 'session-recoveries/';

/**
 * All parts over one storage, sharing one heartbeat: the simplest way to begin.
 * ```ts
 * await using holdfast = createHoldfast({ storage: fileStorage('./state') });
 * await holdfast.run('research-42', async (session) => {
 *   const { state = { done: 0 } } = (await session.restore()) ?? {};
 *   …
 *   await session.checkpoint(state);
 * });
 * ```
 * Nothing is read or written before it is used.
 * @throws InvalidInputError for options that cannot be used.
 */
export function createHoldfast<State = unknown>(options: HoldfastOptions<State>): Holdfast<State> {
  return new Holdfast(options);
}

/** The parts, wired. Made by `createHoldfast`. */
export class Holdfast<State = unknown> implements AsyncDisposable {
  readonly checkpoints: CheckpointManager<State>;
  readonly circuits: CircuitRegistry;
  readonly retries: RetryManager;
  readonly transactions: TransactionManager;
  readonly sessions: SessionRegistry<CheckpointManager<State>>;
  /** Recoveries of sessions: what was diagnosed, tried, decided. */
  readonly recovery: RecoveryManager<SessionRung>;
  /** Less while something is down. It begins by itself when heartbeats fail, as `storage`, and ends with the next that comes through. */
  readonly degradation: Degradation;
  /** What all parts report. */
  readonly events = new EventBus<HoldfastEvent>();
  /** What was decided about sessions and transactions, by any process, in order. A host may append decisions of its own. */
  readonly audit: AuditLog;
  /** Entries on their way to the audit log. */
  #auditing: Promise<unknown> = Promise.resolve();
  readonly #node: LeaseNode;
  readonly #recoveries: TransactionManager;
  readonly #sessionRecovery: SessionRecovery<State>;
  #closing: Promise<void> | undefined;

  /** @throws InvalidInputError for options that cannot be used. */
  constructor(options: HoldfastOptions<State>) {
    const { leaseMs, heart, frozenAfterMs, clock = systemClock } = parseOptions(holdfastSchema, options);
    const storage = checked(options.storage);
    const emit = this.events.sink;
    if (options.emit) this.events.onAny(options.emit);
    const node = new LeaseNode({ storage, clock, leaseMs, heart, frozenAfterMs, emit });
    this.#node = node;
    this.degradation = new Degradation({ clock, emit });
    this.#degradeWithoutHeartbeat(node);
    const shared = { storage, clock, emit };
    const key = options.auditKey && { key: options.auditKey };
    this.audit = asGiven('auditKey', () => new AuditLog({ storage, clock, ...key }), 'options.key');
    this.events.onAny((event) => AUDITED.has(event.type) && this.#keep(event));
    const { retries: defaults = {} } = options;
    this.checkpoints = asGiven(
      'checkpoints',
      () => new CheckpointManager<State>({ retention: KEPT_CHECKPOINTS, ...options.checkpoints, ...shared }),
    );
    this.circuits = asGiven('circuits', () => new CircuitRegistry({ ...options.circuits, clock, emit }));
    const { circuits } = this;
    this.retries = asGiven('retries', () => new RetryManager({ circuits, defaults, clock, emit }), 'options.defaults');
    const policies = this.retries;
    this.transactions = asGiven(
      'transactions',
      () => new TransactionManager({ ...options.transactions, ...shared, node, policies }),
    );
    this.#recoveries = new TransactionManager({ storage: prefixed(storage, RECOVERIES), clock, emit, node, policies });
    const { checkpoints } = this;
    const recoveryParts = { ...shared, transactions: this.#recoveries, checkpoints };
    this.#sessionRecovery = asGiven('recovery', () => new SessionRecovery<State>(recoveryParts, options.recovery));
    this.recovery = this.#sessionRecovery.manager;
    const steps = transactionSteps(this.transactions);
    const prepare = (session: CheckpointedSession<State>) => this.#sessionRecovery.prepare(session);
    const wired = { ...shared, node, checkpoints, policies, steps, prepare };
    this.sessions = asGiven('sessions', () => new SessionRegistry({ ...options.sessions, ...wired }));
  }

  /**
   * Runs a piece of work that outlives its process: as `sessions.run`. When its process dies, the same call in another one
   * (or after a restart) goes on with it: it is brought to the best state there is first, see `recoveryOf`.
   * @throws what `work` throws; FencedError, BusyError, SessionEndedError, QuarantinedError, RecoveryFailedError; ClosedError
   * after `close`.
   */
  async run<Result>(
    id: string,
    work: (session: CheckpointedSession<State>) => Result | Promise<Result>,
    options?: OpenSessionOptions,
  ): Promise<Result> {
    this.#requireOpen();
    return this.sessions.run(id, work, options);
  }

  /**
   * Runs `work` for every session that has lost its process, some at a time. Several processes may do that at once: each
   * session goes to one of them. A dead process of another host shows at the second call, one lease later: so call it again
   * and again. What is left of dead processes goes with the call after the one that took the last of their sessions.
   * @throws ClosedError after `close`.
   */
  async rescue(work: (session: CheckpointedSession<State>) => unknown, options?: RescueOptions): Promise<RescueReport> {
    this.#requireOpen();
    return rescueSessions({ sessions: this.sessions, node: this.#node }, work, options);
  }

  /** How a session was brought back, and what was lost; `undefined` if it was not taken over from a process that died. */
  recoveryOf(session: CheckpointedSession<State>): SessionRecoveryReport | undefined {
    return this.#sessionRecovery.reportOf(session);
  }

  /**
   * Tells all work to stop and waits for it, gives sessions and transactions back, and leaves: others may go on with them at
   * once. The storage stays open. Calling it again gives the same promise.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** As `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** In the name of the one thing that the caller knows of. */
  #requireOpen(): void {
    if (this.#closing !== undefined) throw new ClosedError('The Holdfast');
  }

  #degradeWithoutHeartbeat(node: LeaseNode): void {
    let end: (() => void) | undefined;
    this.events.on('node.heartbeat-failed', () => {
      end ??= this.degradation.begin('storage');
    });
    node.onBeat(() => {
      end?.();
      end = undefined;
    });
  }

  /** Off the way of what it tells of: a store that fails must not keep a session from being recovered. */
  #keep(event: HoldfastEvent): void {
    const { type, ...data } = event;
    const kept = this.audit.append(type, data).catch((error: unknown) => {
      this.events.sink({ type: 'audit.failed', event: type, error: inWords(error) });
    });
    this.#auditing = Promise.all([this.#auditing, kept]);
  }

  /** Each part is closed whatever became of the others; the first error is thrown. */
  async #close(): Promise<void> {
    const steps = [
      () => this.sessions.close(),
      () => Promise.all([this.transactions.close(), this.#recoveries.close()]),
      () => this.retries.close(),
      () => this.checkpoints.drained(),
      () => this.#auditing,
      () => this.#node.leave(),
    ];
    const failures: unknown[] = [];
    for (const step of steps) await step().catch((error: unknown) => failures.push(error));
    this.events.clear();
    if (failures.length > 0) throw failures[0];
  }
}

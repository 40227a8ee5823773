import { type Clock, systemClock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { ClosedError, InvalidInputError } from '../base/errors.js';
import { parseOptions } from '../base/options.js';
import { RetryManager } from '../policies/retry-manager.js';
import { DEFAULT_CODEC_SETTINGS } from '../records/codec.js';
import { HeldOnNode } from '../records/held-on-node.js';
import { BusyError } from '../records/lease.js';
import { LeaseNode } from '../records/node.js';
import { ConflictError } from '../storage/adapter.js';
import { checked } from '../storage/checked.js';
import { RunningSessions } from './running-sessions.js';
import type { Session } from './session.js';
import { type Claim, SessionClaims } from './session-claims.js';
import { UnknownSessionError } from './session-errors.js';
import type { SessionEvent } from './session-event.js';
import type { InterruptedSession, SessionInfo } from './session-info.js';
import { SessionListing } from './session-listing.js';
import {
  type ListSessionsOptions,
  listSchema,
  type OpenSessionOptions,
  openSchema,
  type RecoverSessionOptions,
  recoverSchema,
  registrySchema,
  type SessionRegistryOptions,
  type SessionRetention,
} from './session-options.js';
import { hasEnded, type SessionRecord, type StoredSession, takeMetadata } from './session-record.js';
import { SessionSeats } from './session-seats.js';
import { SessionStore } from './session-store.js';
import type { StateKeeper } from './state-keeper.js';

/**
 * Sessions of many processes on one storage: who is at work on which, which have lost their process, and who may go on with
 * them. Being alive costs one small write for each third of a lease, however many sessions a process runs.
 */
export class SessionRegistry<Keeper extends StateKeeper = StateKeeper> implements AsyncDisposable {
  readonly #store: SessionStore;
  /** Leaves when this is closed; a node that was given does not. */
  readonly #ownNode: LeaseNode | undefined;
  readonly #claims: SessionClaims;
  readonly #seats: SessionSeats;
  readonly #listing: SessionListing;
  readonly #running: RunningSessions<Keeper>;
  readonly #retention: Required<SessionRetention>;
  readonly #clock: Clock;
  readonly #sink: Sink<SessionEvent> | undefined;
  readonly #stopListening: readonly (() => void)[];
  #closing: Promise<void> | undefined;

  /** @throws InvalidInputError for options that cannot be used. */
  constructor(options: SessionRegistryOptions<Keeper>) {
    const given = parseOptions(registrySchema, options);
    const { clock = systemClock, leaseMs, emit: sink, takeovers, probe, mayBeQuietMs, steps } = given;
    const store = new SessionStore(checked(given.storage), DEFAULT_CODEC_SETTINGS);
    const node = given.node ?? new LeaseNode({ storage: store.storage, clock, leaseMs, emit: sink });
    const held = new HeldOnNode(node, 'session');
    const seats = new SessionSeats({ store, node }, given.maxSessions);
    const claims = new SessionClaims({ store, node, held, seats, clock, emit: sink, takeovers, probe });
    const policies = given.policies ?? new RetryManager({ clock });
    const { checkpoints: keeper, prepare } = options;
    const parts = { store, held, claims, seats, clock, emit: sink, keeper, policies, steps, mayBeQuietMs, prepare };
    const running = new RunningSessions<Keeper>(parts);
    this.#store = store;
    this.#ownNode = given.node === undefined ? node : undefined;
    this.#claims = claims;
    this.#seats = seats;
    this.#listing = new SessionListing({ store, claims, emit: sink });
    this.#running = running;
    this.#retention = given.retention;
    this.#clock = clock;
    this.#sink = sink;
    this.#stopListening = [node.addNotes(() => running.notes()), node.onBeat(() => void running.onBeat())];
  }

  /**
   * Opens the session, gives it to `work`, and ends it: `completed` with what that returns, `failed` if it throws. One that
   * lost its process is taken over; where it goes on from is for `work` to find out with `restore`. When this process loses
   * the session `session.signal` is aborted; `work` should stop then, and is waited for.
   * @throws what `work` throws; FencedError if the session was lost; and as `open`.
   */
  async run<Result>(
    id: string,
    work: (session: Session<Keeper>) => Result | Promise<Result>,
    options?: OpenSessionOptions,
  ): Promise<Result> {
    this.#requireOpen();
    if (typeof work !== 'function') throw new InvalidInputError('work: must be a function.', 'work');
    return this.#running.run(openClaim(id, options), work);
  }

  /**
   * Makes the session this process's: begins it, or takes it over from a process that died, or was told to go on with one
   * that ended (`reopen`). End or release it in the end: as long as this process lives nobody else can go on with it.
   * @throws BusyError if a process holds it that lives, or may; SessionEndedError; QuarantinedError; LimitError if there are
   * `maxSessions`; InvalidInputError; CorruptionError if its record cannot be read: nothing was changed.
   */
  async open(id: string, options?: OpenSessionOptions): Promise<Session<Keeper>> {
    this.#requireOpen();
    return this.#running.open(openClaim(id, options));
  }

  /**
   * Takes over a session that nobody brings on. One of several processes that try gets it.
   * @throws UnknownSessionError, SessionEndedError; BusyError if it is not interrupted, or its process lives and `force` is
   * not given; else as `open`.
   */
  async recover(id: string, options?: RecoverSessionOptions): Promise<Session<Keeper>> {
    const { waitMs = 0, force = false, signal } = parseOptions(recoverSchema, options);
    this.#requireOpen();
    return this.#running.open({ id, waitMs, signal, force });
  }

  /** What is known of a session; `undefined` if there is none. @throws CorruptionError if its record cannot be read */
  async get(id: string): Promise<SessionInfo | undefined> {
    return this.#listing.get(id);
  }

  /** Sessions, in the order of their keys. A record that cannot be read is reported through `emit` and left out. */
  list(options?: ListSessionsOptions): AsyncGenerator<SessionInfo> {
    return this.#listing.list(parseOptions(listSchema, options));
  }

  /**
   * Every session that has not ended and that nobody brings on, with what says so; those in quarantine among them. A dead
   * process of another host shows as soon as this very object has seen it silent for 1.05 of its lease: so ask again. The
   * order is by priority, then by how long ago its record changed.
   */
  async interrupted(): Promise<InterruptedSession[]> {
    this.#requireOpen();
    return this.#listing.interrupted();
  }

  /**
   * Takes a session out of the lists. One that is interrupted ends by that, as failed: nobody goes on with it.
   * @throws UnknownSessionError; BusyError if a process is at work on it.
   */
  async archive(id: string): Promise<void> {
    this.#requireOpen();
    await this.#amend(id, async (stored) => {
      const nowMs = this.#clock.now();
      if (hasEnded(stored.record)) return { ...stored.record, archivedAtMs: nowMs };
      await this.#requireInterrupted(stored);
      const error = 'archived before it had ended';
      return { ...stored.record, status: 'failed', owner: null, error, endedAtMs: nowMs, archivedAtMs: nowMs };
    });
    await this.#seats.leave(id).catch(() => undefined); // The seat of one that ended is found out when none is left.
    this.#report({ type: 'session.archived', session: id });
  }

  /** Lifts the quarantine of a session, and forgets how often it was taken over. Does nothing for one that is in none. */
  async release(id: string): Promise<void> {
    this.#requireOpen();
    await this.#amend(id, async ({ record }) => {
      const { quarantined, ...rest } = record;
      return quarantined && { ...rest, takeovers: [] };
    });
  }

  /**
   * Archives and removes sessions that ended long enough ago; see `retention`. Interrupted ones never expire. Safe to call
   * at any time, by several processes: a host calls it now and then.
   */
  async expire(): Promise<{ readonly archived: number; readonly removed: number }> {
    this.#requireOpen();
    const { archiveAfterMs, removeAfterMs } = this.#retention;
    const nowMs = this.#clock.now();
    const count = { archived: 0, removed: 0 };
    for await (const stored of this.#listing.readable()) {
      const { record } = stored;
      if (record.endedAtMs === undefined) continue;
      const { id } = record;
      const endedMs = nowMs - record.endedAtMs;
      try {
        if (endedMs > removeAfterMs) {
          await this.#store.remove(stored);
          count.removed++;
          this.#report({ type: 'session.expired', session: id });
        } else if (endedMs > archiveAfterMs && record.archivedAtMs === undefined) {
          await this.#store.write({ ...record, archivedAtMs: nowMs }, stored.version);
          count.archived++;
          this.#report({ type: 'session.archived', session: id });
        }
      } catch (error) {
        if (!(error instanceof ConflictError)) throw error; // Reopened, or expired by another process, meanwhile.
      }
    }
    return count;
  }

  /**
   * Tells every session to stop, waits up to 10 s for those of `run`, and gives back what has not ended: others may go on
   * with it at once. Later calls reject with `ClosedError`; only `get` and `list` still answer. Calling it again gives the
   * same promise.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** As `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    try {
      await this.#running.close();
    } finally {
      for (const stop of this.#stopListening) stop();
      await this.#ownNode?.leave();
    }
  }

  /** Changes the record of a session, whoever changes it at the same time; `undefined`: it may stay as it is. */
  async #amend(id: string, change: (stored: StoredSession) => Promise<SessionRecord | undefined>): Promise<void> {
    for (;;) {
      const stored = await this.#store.read(id);
      if (stored === undefined) throw new UnknownSessionError(id);
      try {
        const changed = await change(stored);
        if (changed) await this.#store.write({ ...changed, updatedAtMs: this.#clock.now() }, stored.version);
        return;
      } catch (error) {
        if (!(error instanceof ConflictError)) throw error;
      }
    }
  }

  async #requireInterrupted(stored: StoredSession): Promise<void> {
    const judgement = await this.#claims.judge(stored);
    if (judgement.is === 'held') throw new BusyError(`session "${stored.record.id}"`, judgement.holder);
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) throw new ClosedError('The session registry');
  }

  #report(event: SessionEvent): void {
    emit(this.#sink, event);
  }
}

function openClaim(id: string, options: OpenSessionOptions | undefined): Omit<Claim, 'hold'> {
  const { waitMs = 0, reopen = false, priority = 'normal', signal, ...given } = parseOptions(openSchema, options);
  const metadata = takeMetadata(given.metadata ?? {}, 'options.metadata');
  return { id, waitMs, signal, reopen, create: { priority, metadata } };
}

import type { Clock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { ClosedError } from '../base/errors.js';
import { inWords } from '../policies/in-words.js';
import type { RetryManager } from '../policies/retry-manager.js';
import type { HeldOnNode } from '../records/held-on-node.js';
import { FencedError } from '../records/lease.js';
import type { NodeNote } from '../records/node.js';
import { ConflictError, OutcomeUnknownError, StorageError } from '../storage/adapter.js';
import { Session, type SessionEnding } from './session.js';
import type { Claim, Claimed, SessionClaims } from './session-claims.js';
import type { SessionEvent } from './session-event.js';
import { SessionHold } from './session-hold.js';
import { SessionPulse } from './session-pulse.js';
import type { SessionSeats } from './session-seats.js';
import type { SessionSteps } from './session-steps.js';
import type { SessionStore } from './session-store.js';
import type { StateKeeper } from './state-keeper.js';

/** When the registry is closed, what runs may have so long to see its signal and come to an end. */
const DRAIN_MS = 10_000;

/** What the sessions of a process work with. */
export interface RunningParts<Keeper extends StateKeeper> {
  readonly store: SessionStore;
  readonly held: HeldOnNode;
  readonly claims: SessionClaims;
  readonly seats: SessionSeats;
  readonly clock: Clock;
  readonly emit: Sink<SessionEvent> | undefined;
  readonly keeper: Keeper;
  readonly policies: RetryManager;
  readonly steps: SessionSteps | undefined;
  readonly mayBeQuietMs: number;
  readonly prepare: ((session: Session<Keeper>) => void | Promise<void>) | undefined;
}

interface Running<Keeper extends StateKeeper> {
  readonly session: Session<Keeper>;
  readonly hold: SessionHold;
  readonly pulse: SessionPulse;
  readonly stop: AbortController;
  /** It is being made ready, or in the work of `run`: not to be given back while that may act for it. */
  isBusy: boolean;
}

/** The sessions that are at work in this process, from the claim to the end. */
export class RunningSessions<Keeper extends StateKeeper> {
  readonly #parts: RunningParts<Keeper>;
  readonly #running = new Map<string, Running<Keeper>>();
  /** Calls of `open` and `run` that are under way. */
  readonly #calls = new Set<Promise<unknown>>();
  /** Sessions that were let go of although their record may still name this process. */
  readonly #left = new Set<string>();
  readonly #closing = new AbortController();

  constructor(parts: RunningParts<Keeper>) {
    this.#parts = parts;
  }

  /** Claims a session and makes it ready for work. */
  open(claim: Omit<Claim, 'hold'>): Promise<Session<Keeper>> {
    return this.#call(async () => {
      const running = await this.#open(claim);
      running.isBusy = false;
      return running.session;
    });
  }

  /** Opens a session, gives it to `work`, and ends it as that ends. */
  run<Result>(
    claim: Omit<Claim, 'hold'>,
    work: (session: Session<Keeper>) => Result | Promise<Result>,
  ): Promise<Result> {
    return this.#call(async () => this.#work(await this.#open(claim), work));
  }

  /** What the next heartbeat says of them. */
  notes(): NodeNote[] {
    return [...this.#running.values()].map(({ pulse, hold }) => pulse.note(hold.key));
  }

  /** After each heartbeat. What fails is tried again with the next: a storage that fails is the node's to deal with. */
  async onBeat(): Promise<void> {
    const suspects = [...this.#running.values()].filter(({ pulse }) => pulse.passedForFrozen());
    // Written anew, so that whoever judges by an older heartbeat comes too late from now on. A loss is told by the hold.
    const renewals = suspects.map(({ hold }) => hold.change((record) => record));
    await Promise.allSettled([...renewals, ...[...this.#left].map((id) => this.#giveBack(id))]);
  }

  /** Tells all to stop, waits for what runs, and gives back what has not ended. @throws what a release throws */
  async close(): Promise<void> {
    this.#closing.abort(new ClosedError('The session registry'));
    for (const { stop } of this.#running.values()) stop.abort(this.#closing.signal.reason);
    const drained = new AbortController();
    const late = this.#parts.clock.sleep(DRAIN_MS, { signal: drained.signal }).catch(() => undefined);
    await Promise.race([Promise.allSettled(this.#calls), late]);
    drained.abort();
    // What does not stop is not given back while it may still act; others find it when this process is gone.
    const idle = [...this.#running.values()].filter(({ isBusy }) => !isBusy);
    const released = await Promise.allSettled(idle.map(({ session }) => session.release()));
    for (const outcome of released) if (outcome.status === 'rejected') throw outcome.reason;
  }

  async #call<Result>(act: () => Promise<Result>): Promise<Result> {
    const call = act();
    this.#calls.add(call);
    try {
      return await call;
    } finally {
      this.#calls.delete(call);
    }
  }

  async #open(claim: Omit<Claim, 'hold'>): Promise<Running<Keeper>> {
    const { store, claims, held } = this.#parts;
    this.#requireOpen();
    const hold = new SessionHold(claim.id, store);
    try {
      const claimed = await claims.claim({ ...claim, hold, signal: this.#waitSignal(claim) });
      const running = this.#begin(hold, claimed);
      await this.#makeReady(running, claimed);
      return running;
    } catch (error) {
      held.release(claim.id, hold);
      if (error instanceof OutcomeUnknownError) this.#left.add(claim.id);
      throw error;
    }
  }

  #waitSignal({ waitMs, signal }: Pick<Claim, 'waitMs' | 'signal'>): AbortSignal | undefined {
    const closing = this.#closing.signal;
    if (waitMs === 0) return signal;
    return signal ? AbortSignal.any([signal, closing]) : closing;
  }

  #begin(hold: SessionHold, { stored, tenure, takeover }: Claimed): Running<Keeper> {
    const { policies, steps, clock, mayBeQuietMs } = this.#parts;
    hold.begin(stored, tenure);
    const keeper = this.#parts.keeper.guardedBy(hold) as Keeper;
    const stop = new AbortController();
    const pulse = new SessionPulse(clock, mayBeQuietMs);
    const end = (ending: SessionEnding) => this.#end(hold, ending);
    const parts = { hold, keeper, policies, steps, clock, pulse, takeover, signal: stop.signal, end };
    const running: Running<Keeper> = { session: new Session(parts), hold, pulse, stop, isBusy: true };
    this.#running.set(hold.id, running);
    hold.signal.addEventListener('abort', () => this.#letGo(running), { once: true });
    if (hold.signal.aborted) this.#letGo(running);
    return running;
  }

  /** Whatever has to come before the work. If it fails, the session is given back. */
  async #makeReady({ session, hold }: Running<Keeper>, { takeover }: Claimed): Promise<void> {
    const { prepare, clock } = this.#parts;
    try {
      if (takeover !== undefined) {
        if (hold.isCheckedBehind) await this.#seal(session);
        await prepare?.(session);
      }
      this.#requireOpen();
      const { fence } = await hold.change(({ unrecovered: _, ...record }) => ({
        ...record,
        status: 'active',
        updatedAtMs: clock.now(),
      }));
      this.#requireOpen();
      this.#report({ type: 'session.active', session: session.id, fence });
    } catch (error) {
      await this.#release(session, hold);
      throw error;
    }
  }

  /**
   * Where a write and its check cannot be one, a write of the process before may still be on its way. It would be the next
   * number after what that process saw: so that number is written before anything is relied on.
   */
  async #seal(session: Session<Keeper>): Promise<void> {
    for (;;) {
      const { state, degraded } = await this.#restored(session);
      if (degraded) return; // There is nothing to write anew, or it would hide that something was lost.
      try {
        const checkpoint = session.checkpoint as (state: unknown, options: object) => Promise<unknown>;
        await checkpoint(state, { operation: 'session.seal' });
        return;
      } catch (error) {
        if (!(error instanceof ConflictError)) throw error; // Else it came through just now: seal what it made.
      }
    }
  }

  async #restored({ restore }: Session<Keeper>): Promise<{ readonly state?: unknown; readonly degraded: boolean }> {
    const nothing = { degraded: true };
    try {
      return ((await (restore as () => Promise<unknown>)()) ?? nothing) as { state: unknown; degraded: boolean };
    } catch (error) {
      if (error instanceof StorageError) throw error;
      return nothing; // What cannot be read is for `prepare` and the work to deal with: they hear of it as well.
    }
  }

  async #work<Result>(
    { session, hold, stop }: Running<Keeper>,
    work: (session: Session<Keeper>) => Result | Promise<Result>,
  ): Promise<Result> {
    let result: Result;
    try {
      result = await work(session);
    } catch (error) {
      if (session.isOver) throw isFenced(hold) ? hold.signal.reason : error;
      const ending: SessionEnding = stop.signal.aborted ? { status: 'interrupted' } : { status: 'failed', error };
      await this.#end(hold, ending).catch(() => this.#release(session, hold)); // The error of the work is what is told.
      throw error;
    }
    try {
      if (!session.isOver) await session.end('completed');
    } catch (error) {
      await this.#release(session, hold); // It did not fail; that it is done could not be written.
      throw error;
    }
    if (isFenced(hold)) throw hold.signal.reason;
    return result;
  }

  async #end(hold: SessionHold, ending: SessionEnding): Promise<void> {
    const { seats, clock } = this.#parts;
    const { id } = hold;
    const { status } = ending;
    const nowMs = clock.now();
    const error = ending.status === 'failed' ? inWords(ending.error) : undefined;
    await hold.change((record) => {
      if (status === 'interrupted') return { ...record, status, owner: null, updatedAtMs: nowMs };
      const failure = error === undefined ? {} : { error };
      return { ...record, status, owner: null, updatedAtMs: nowMs, endedAtMs: nowMs, ...failure };
    });
    if (status === 'interrupted') this.#report({ type: 'session.released', session: id });
    else await seats.leave(id).catch(() => undefined); // The seat of one that ended is found out when none is left.
    if (status === 'completed') this.#report({ type: 'session.completed', session: id });
    if (error !== undefined) this.#report({ type: 'session.failed', session: id, error });
  }

  /** Gives back what cannot go on here, for a reason that is told elsewhere; if that fails, with a heartbeat. */
  async #release(session: Session<Keeper>, hold: SessionHold): Promise<void> {
    try {
      await session.release();
    } catch (error) {
      this.#left.add(hold.id);
      hold.lose(error);
    }
  }

  async #giveBack(id: string): Promise<void> {
    await this.#parts.claims.giveBack(id);
    this.#left.delete(id);
  }

  /** It is this process's no more, for whatever reason. */
  #letGo(running: Running<Keeper>): void {
    const { hold, stop } = running;
    const { reason } = hold.signal;
    stop.abort(reason);
    this.#parts.held.release(hold.id, hold);
    if (this.#running.get(hold.id) === running) this.#running.delete(hold.id);
    if (!(reason instanceof ClosedError))
      this.#report({ type: 'session.lost', session: hold.id, error: inWords(reason) });
  }

  #requireOpen(): void {
    this.#closing.signal.throwIfAborted();
  }

  #report(event: SessionEvent): void {
    emit(this.#parts.emit, event);
  }
}

function isFenced({ signal }: SessionHold): boolean {
  return signal.reason instanceof FencedError;
}

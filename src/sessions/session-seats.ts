import { CorruptionError, LimitError } from '../base/errors.js';
import { uniqueId } from '../base/unique-id.js';
import { openRecord, sealRecord } from '../records/envelope.js';
import type { LeaseNode } from '../records/node.js';
import { ConflictError, OutcomeUnknownError, type StorageAdapter, type Version } from '../storage/adapter.js';
import { hasEnded } from './session-record.js';
import type { SessionStore } from './session-store.js';

const SEATS_KEY = 'session-seats';
/** A write whose outcome is unknown is tried this often: taking or leaving a seat twice does what it does once. */
const MAX_UNKNOWN = 3;

/** A place that is taken: by whom, for which session. */
interface Seat {
  readonly session: string;
  readonly node: string;
}

/**
 * At most so many sessions that have not ended, over all processes: each takes a seat before it begins, in one record that
 * is changed by compare-and-swap. A seat is free again when its session has ended, or never began and whoever wanted to
 * begin it is gone; that is looked into when no seat is left.
 */
export class SessionSeats {
  readonly #storage: StorageAdapter;
  readonly #parts: { readonly store: SessionStore; readonly node: LeaseNode };
  readonly #maxSessions: number | undefined;
  /** Changes of this process, one behind the other: a thousand that compare and swap at once would be in each other's way. */
  #changing: Promise<unknown> = Promise.resolve();

  constructor(parts: { readonly store: SessionStore; readonly node: LeaseNode }, maxSessions: number | undefined) {
    this.#storage = parts.store.storage;
    this.#parts = parts;
    this.#maxSessions = maxSessions;
  }

  /** Takes a seat for the session; one it has already will do. @throws LimitError if all are taken */
  async take(session: string, node: string): Promise<void> {
    const allowed = this.#maxSessions;
    if (allowed === undefined) return;
    await this.#change(async (seats) => {
      const others = seats.filter((seat) => seat.session !== session);
      const taken = others.length < allowed ? others : await this.#stillTaken(others);
      if (taken.length >= allowed) {
        const message = `There are ${allowed} sessions that have not ended, as many as maxSessions allows. End some, or raise it.`;
        throw new LimitError(message, 'maxSessions', allowed);
      }
      return [...taken, { session, node }];
    });
  }

  /** Gives the seat of a session back, if it has one. @throws what the storage throws; then that is found out later */
  async leave(session: string): Promise<void> {
    if (this.#maxSessions === undefined) return;
    await this.#change(async (seats) => {
      const others = seats.filter((seat) => seat.session !== session);
      return others.length < seats.length ? others : seats;
    });
  }

  async #stillTaken(seats: readonly Seat[]): Promise<Seat[]> {
    const taken: Seat[] = [];
    for (const seat of seats) if (await this.#isTaken(seat)) taken.push(seat);
    return taken;
  }

  async #isTaken({ session, node }: Seat): Promise<boolean> {
    const stored = await this.#parts.store.read(session);
    return stored === undefined ? !(await this.#parts.node.isGone(node)) : !hasEnded(stored.record);
  }

  #change(change: (seats: readonly Seat[]) => Promise<readonly Seat[]>): Promise<void> {
    const changed = this.#changing.then(() => this.#changeNow(change));
    this.#changing = changed.catch(() => undefined); // Whoever asked for that change hears of it.
    return changed;
  }

  async #changeNow(change: (seats: readonly Seat[]) => Promise<readonly Seat[]>): Promise<void> {
    for (let unknown = 0; ; ) {
      const { seats, version } = await this.#read();
      const changed = await change(seats);
      if (changed === seats) return;
      const meta = { seats: changed };
      const { bytes } = sealRecord({ key: SEATS_KEY, id: uniqueId(), parent: null, meta }, Buffer.alloc(0));
      try {
        await this.#storage.put(SEATS_KEY, bytes, { ifVersion: version });
        return;
      } catch (error) {
        const isUnknown = error instanceof OutcomeUnknownError && ++unknown < MAX_UNKNOWN;
        if (!isUnknown && !(error instanceof ConflictError)) throw error;
      }
    }
  }

  async #read(): Promise<{ readonly seats: readonly Seat[]; readonly version: Version | null }> {
    const entry = await this.#storage.get(SEATS_KEY);
    if (entry === undefined) return { seats: [], version: null };
    if (entry.suspect) {
      const message = `"${SEATS_KEY}" may be older than what was written last: the store is damaged. Repair the store.`;
      throw new CorruptionError(message, SEATS_KEY);
    }
    return { seats: openRecord(SEATS_KEY, entry.value, isSeats).header.meta.seats, version: entry.version };
  }
}

function isSeats(meta: unknown): meta is { readonly seats: readonly Seat[] } {
  const { seats } = (meta ?? {}) as { seats?: unknown };
  return (
    Array.isArray(seats) && seats.every((seat) => typeof seat?.session === 'string' && typeof seat?.node === 'string')
  );
}

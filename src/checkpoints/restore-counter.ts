import type { Clock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { inWords } from '../policies/in-words.js';
import type { StorageAdapter } from '../storage/adapter.js';
import { addedRestores, type CountedRestores, countRestores } from './restore-statistics.js';

/** What counting restores reports. The restore itself succeeded. `error` is one line for humans. */
export type RestoreStatisticsEvent = {
  readonly type: 'checkpoint.statistics-failed';
  readonly session: string;
  readonly error: string;
};

/** What a restore counter works with. */
export interface RestoreCounterParts {
  readonly storage: StorageAdapter;
  readonly clock: Clock;
  readonly emit?: Sink<RestoreStatisticsEvent> | undefined;
}

/** A session whose restores are being counted. */
interface Counting {
  /** Those that go with the next write; `undefined` if none is planned. */
  waiting: CountedRestores | undefined;
  /** Settles, and never rejects, when all restores so far are counted. */
  counted: Promise<void>;
  /** How many are removing the session just now. */
  removals: number;
}

/**
 * Counts restores behind their answers: nobody waits for a durable write because something was read. One write at a time
 * for each session; restores that end while one is under way are one write together. What goes wrong is reported, and
 * those restores are not counted. A process that ends before they are written loses them.
 */
export class RestoreCounter {
  readonly #parts: RestoreCounterParts;
  readonly #sessions = new Map<string, Counting>();

  constructor(parts: RestoreCounterParts) {
    this.#parts = parts;
  }

  /** A restore has succeeded. Returns at once. */
  count(session: string, { sequence, degraded }: { readonly sequence: number; readonly degraded: boolean }): void {
    const counting = this.#counting(session);
    if (counting.removals > 0) return; // Its record would come back.
    const lastRestoredAtMs = this.#parts.clock.now();
    const restore = { restores: 1, degradedRestores: degraded ? 1 : 0, lastRestoredAtMs, lastSequence: sequence };
    if (counting.waiting) counting.waiting = addedRestores(counting.waiting, restore);
    else {
      counting.waiting = restore;
      this.#write(session, counting);
    }
  }

  /** Resolves when the restores of a session so far are counted, or were reported not to be. */
  async counted(session: string): Promise<void> {
    await this.#sessions.get(session)?.counted;
  }

  /** As `counted`, of all sessions. */
  async drained(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map(({ counted }) => counted));
  }

  /** Runs `remove`, which removes a session, when its restores are counted; those that end meanwhile are not. */
  async removing<Result>(session: string, remove: () => Promise<Result>): Promise<Result> {
    const counting = this.#counting(session);
    counting.removals++;
    try {
      await counting.counted;
      return await remove();
    } finally {
      counting.removals--;
      this.#forget(session, counting);
    }
  }

  #counting(session: string): Counting {
    const known = this.#sessions.get(session);
    if (known) return known;
    const counting: Counting = { waiting: undefined, counted: Promise.resolve(), removals: 0 };
    this.#sessions.set(session, counting);
    return counting;
  }

  #write(session: string, counting: Counting): void {
    const written = counting.counted.then(async () => {
      const restores = counting.waiting as CountedRestores;
      counting.waiting = undefined;
      await this.#countOrReport(session, restores);
      if (counting.counted === written) this.#forget(session, counting);
    });
    counting.counted = written;
  }

  async #countOrReport(session: string, restores: CountedRestores): Promise<void> {
    try {
      const damage = await countRestores(this.#parts.storage, session, restores);
      if (damage) this.#report(session, `The restores of "${session}" are counted anew: ${damage.message}`);
    } catch (error) {
      this.#report(session, inWords(error));
    }
  }

  #report(session: string, error: string): void {
    emit(this.#parts.emit, { type: 'checkpoint.statistics-failed', session, error });
  }

  /** Nothing is under way for it any more, unless something is. */
  #forget(session: string, { waiting, removals }: Counting): void {
    if (waiting === undefined && removals === 0) this.#sessions.delete(session);
  }
}

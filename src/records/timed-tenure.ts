import type { Clock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { inWords } from '../policies/in-words.js';
import { FencedError } from './lease.js';
import type { Moment } from './node-beat.js';
import type { NodeEvent } from './node-event.js';

/**
 * How much of its lease a holder counts on. Watchers wait for 1.05 leases, so neither outlives the other's patience as long
 * as no clock runs more than 5 % fast or slow.
 */
export const HOLDER_SHARE = 0.95;

/** The time for which a process is known to be alive. What it holds, it holds in the name of its tenure. */
export interface Tenure {
  /** Random, one for each tenure. It is what records of things that are held say as their holder. */
  readonly id: string;
  /** May this process still act in its name? Costs no I/O: ask before every act. Once false it stays false. */
  isValid(): boolean;
  /** Calls `listener` when the tenure ends: once, and at once if it ended already. Returns how to stop listening. */
  onLost(listener: (error: FencedError) => void): () => void;
}

/** Who holds a tenure, and how long it lasts without a heartbeat. */
export interface TimedGround {
  readonly clock: Clock;
  readonly leaseMs: number;
  readonly emit: Sink<NodeEvent> | undefined;
}

/** A tenure that ends when it was not confirmed in time, whoever confirms it. */
export abstract class TimedTenure implements Tenure {
  readonly #ground: TimedGround;
  readonly #listeners = new Set<(error: FencedError) => void>();
  readonly #over = new AbortController();
  #lost: FencedError | undefined;

  protected constructor(
    readonly id: string,
    ground: TimedGround,
  ) {
    this.#ground = ground;
  }

  /** When the last confirmed heartbeat was sent: others cannot have seen it, and begun to wait, before. */
  abstract confirmedAt(): Moment;

  /** Why the last heartbeat failed, if it did: what the tenure will have ended by. */
  protected abstract lastFailure(): unknown;

  /** Aborts when the tenure is over. */
  protected get over(): AbortSignal {
    return this.#over.signal;
  }

  /** Set when the tenure is over. */
  protected get lost(): FencedError | undefined {
    return this.#lost;
  }

  isValid(): boolean {
    if (this.#lost === undefined && this.#leftMs() <= 0) this.lose(this.lastFailure());
    return this.#lost === undefined;
  }

  onLost(listener: (error: FencedError) => void): () => void {
    if (this.#lost !== undefined) emit(listener, this.#lost);
    else this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Ends the tenure and tells whoever relies on it. Does nothing if it is over. */
  end(cause: unknown): void {
    if (this.#lost !== undefined) return;
    const error = new FencedError(`node ${this.id}`, cause === undefined ? undefined : { cause });
    this.#lost = error;
    this.#over.abort(error);
    for (const listener of this.#listeners) emit(listener, error);
    this.#listeners.clear();
  }

  /** Ends it against the will of whoever holds it, and reports that. */
  protected lose(cause: unknown): void {
    if (this.#lost !== undefined) return;
    this.end(cause);
    emit(this.#ground.emit, { type: 'node.lost', node: this.id, error: inWords(this.#lost) });
  }

  /** Reports that it has begun, and from now on ends it on time even if nobody asks. */
  protected join(): void {
    emit(this.#ground.emit, { type: 'node.joined', node: this.id });
    this.keep(this.#watchTime());
  }

  /** Whatever stops a loop while the tenure lasts (a clock that throws) ends the tenure: it would not be kept any more. */
  protected keep(loop: Promise<void>): void {
    loop.catch((error: unknown) => this.lose(error));
  }

  protected now(): Moment {
    const { clock } = this.#ground;
    return { monotonicMs: clock.monotonicMs(), wallMs: clock.now() };
  }

  async #watchTime(): Promise<void> {
    const { clock } = this.#ground;
    while (this.isValid()) await clock.sleep(Math.max(1, this.#leftMs()), { signal: this.over, unref: true });
  }

  /**
   * What is left of the tenure. Wall time counts, too, because the monotonic clock stands still while a machine is
   * suspended; it can only shorten what is left.
   */
  #leftMs(): number {
    const { monotonicMs, wallMs } = this.now();
    const confirmed = this.confirmedAt();
    const passedMs = Math.max(monotonicMs - confirmed.monotonicMs, wallMs - confirmed.wallMs);
    return this.#ground.leaseMs * HOLDER_SHARE - passedMs;
  }
}

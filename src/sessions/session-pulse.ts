import type { Clock } from '../base/clock.js';
import { InvalidInputError } from '../base/errors.js';
import type { NodeNote } from '../records/node.js';

/** When it was last heard of, and how long it may be quiet from then on. */
interface Sign {
  readonly atMs: number;
  readonly mayBeQuietMs: number;
}

/** Whoever watches may have a clock that is faster than this one by as much: 5 % each way. */
const WATCHER_RATE = 1.1;

/** What a session shows of its going on, to its own process at once and to others with the heartbeats of its node. */
export class SessionPulse {
  readonly #clock: Clock;
  readonly #usuallyMs: number;
  #sign: Sign;
  #progress: number | undefined;
  /** The oldest sign that others may still go by. */
  #shown: Sign;
  /** The first that went into a heartbeat since the last one that was confirmed. */
  #sent: Sign | undefined;

  /** `usuallyMs`: how long it may be quiet unless it says otherwise. */
  constructor(clock: Clock, usuallyMs: number) {
    this.#clock = clock;
    this.#usuallyMs = usuallyMs;
    this.#sign = { atMs: clock.monotonicMs(), mayBeQuietMs: usuallyMs };
    this.#shown = this.#sign;
  }

  /** It goes on, and is so far. */
  touch(progress?: number): void {
    if (progress !== undefined && !(progress >= 0 && progress <= 1)) {
      throw new InvalidInputError(`progress: must be 0 to 1, not ${progress}.`, 'progress');
    }
    this.#progress = progress ?? this.#progress;
    this.#sign = { atMs: this.#clock.monotonicMs(), mayBeQuietMs: this.#usuallyMs };
  }

  /** It goes on, and may be quiet for so long from now. */
  expectQuiet(ms: number): void {
    if (!(ms >= 0 && Number.isFinite(ms))) {
      throw new InvalidInputError(`ms: must be a time of at least 0 ms, not ${ms}.`, 'ms');
    }
    this.#sign = { atMs: this.#clock.monotonicMs(), mayBeQuietMs: ms };
  }

  get isQuiet(): boolean {
    return this.#quietMs(this.#sign) >= this.#sign.mayBeQuietMs;
  }

  /** What the next heartbeat says. */
  note(key: string): NodeNote {
    this.#sent ??= this.#sign;
    const quietMs = this.#quietMs(this.#sign);
    const { mayBeQuietMs } = this.#sign;
    return { key, quietMs, mayBeQuietMs, ...(this.#progress !== undefined && { progress: this.#progress }) };
  }

  /**
   * To be asked once after every heartbeat that was confirmed: can anybody have taken it for frozen up to now, going by the
   * heartbeats before? It may have been touched since, and be lost all the same.
   */
  passedForFrozen(): boolean {
    const { atMs, mayBeQuietMs } = this.#shown;
    this.#shown = this.#sent ?? this.#shown;
    this.#sent = undefined;
    return (this.#clock.monotonicMs() - atMs) * WATCHER_RATE >= mayBeQuietMs;
  }

  #quietMs({ atMs }: Sign): number {
    return Math.max(0, this.#clock.monotonicMs() - atMs);
  }
}

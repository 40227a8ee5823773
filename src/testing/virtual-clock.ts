import type { Clock } from '../base/clock.js';
import { InvalidInputError } from '../base/errors.js';

/** How a virtual clock begins. */
export interface VirtualClockOptions {
  /** Wall time at the start, in milliseconds since 1970. Default: the first moment of 2026, so that runs are alike. */
  readonly nowMs?: number;
}

interface Sleeper {
  readonly dueMs: number;
  readonly wake: () => void;
}

const FIRST_MOMENT_MS = Date.UTC(2026, 0, 1);

/**
 * Turns of the event loop that count as "everything has run". One turn drains promise chains of any depth; the others
 * are for code that goes through `setImmediate`, `nextTick` or a stream in between.
 */
const TURNS_TO_SETTLE = 10;

/** Taken now: a test that fakes the global timers later must not stop this clock. */
const nextTurn = setImmediate;

/**
 * A clock that stands still until it is told to move: tests of hours take milliseconds and never wait.
 *
 * Before it moves, after each sleeper it wakes, and at the end, `advance` lets ten turns of the event loop pass, so
 * promise chains of any depth run to where they wait for something else. It cannot know of work outside the event loop
 * (files, sockets, threads): await such work itself.
 */
export class VirtualClock implements Clock {
  #wallMs: number;
  #monotonicMs = 0;
  /** In the order they wake: by time, then by who came first. */
  readonly #sleepers: Sleeper[] = [];
  #advancing: Promise<void> = Promise.resolve();

  constructor(options: VirtualClockOptions = {}) {
    this.#wallMs = options.nowMs ?? FIRST_MOMENT_MS;
  }

  /** How many sleepers wait. Zero when a test ends means that nothing was left behind. */
  get pending(): number {
    return this.#sleepers.length;
  }

  /** Wall time in milliseconds since 1970: moves with `advance`, jumps with `jumpWall`. */
  now(): number {
    return this.#wallMs;
  }

  /** Milliseconds advanced since the clock was made; `jumpWall` does not touch it. */
  monotonicMs(): number {
    return this.#monotonicMs;
  }

  /** Resolves once the clock was advanced by `ms`; rejects with the signal's reason as soon as it aborts. */
  sleep(ms: number, options?: { readonly signal?: AbortSignal; readonly unref?: boolean }): Promise<void> {
    return new Promise((resolve, reject) => {
      const signal = options?.signal;
      if (signal?.aborted) return reject(signal.reason);
      if (ms <= 0) return resolve();
      const onAbort = () => {
        this.#sleepers.splice(this.#sleepers.indexOf(sleeper), 1);
        reject(signal?.reason);
      };
      const wake = () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      const sleeper: Sleeper = { dueMs: this.#monotonicMs + ms, wake };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#enqueue(sleeper);
    });
  }

  /**
   * Moves both clocks forward by `ms`, waking sleepers in order of time, each at its own moment. A woken sleeper that
   * sleeps again within the window is woken again. `advance(0)` only lets everything run that can. Calls that overlap
   * run one after the other.
   * @throws InvalidInputError unless `ms` is a finite number that is not negative.
   */
  advance(ms: number): Promise<void> {
    if (!Number.isFinite(ms) || ms < 0) {
      const message = `ms: time moves forward by a finite number of milliseconds, not by ${ms}. For wall time use jumpWall.`;
      return Promise.reject(new InvalidInputError(message, 'ms'));
    }
    this.#advancing = this.#advancing.then(() => this.#moveBy(ms));
    return this.#advancing;
  }

  /** Sets wall time forward or, if `ms` is negative, back, as NTP or an operator does. Nobody is woken. */
  jumpWall(ms: number): void {
    this.#wallMs += ms;
  }

  async #moveBy(ms: number): Promise<void> {
    const untilMs = this.#monotonicMs + ms;
    await settle();
    for (let next = this.#sleepers[0]; next !== undefined && next.dueMs <= untilMs; next = this.#sleepers[0]) {
      this.#sleepers.shift();
      this.#setMonotonic(next.dueMs);
      next.wake();
      await settle();
    }
    this.#setMonotonic(untilMs);
  }

  #setMonotonic(ms: number): void {
    this.#wallMs += ms - this.#monotonicMs;
    this.#monotonicMs = ms;
  }

  #enqueue(sleeper: Sleeper): void {
    const at = this.#sleepers.findIndex(({ dueMs }) => dueMs > sleeper.dueMs);
    this.#sleepers.splice(at === -1 ? this.#sleepers.length : at, 0, sleeper);
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < TURNS_TO_SETTLE; turn++) await new Promise<void>((resolve) => nextTurn(resolve));
}

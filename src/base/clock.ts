/**
 * Time and waiting, injected: the only way the library learns what time it is. `systemClock` is the default everywhere;
 * tests pass `VirtualClock` from `holdfast/testing` and move time by hand.
 */
export interface Clock {
  /** Wall time in milliseconds since 1970. A label for humans: it may jump, so nothing is ever decided by it. */
  now(): number;
  /** Milliseconds on a clock that never goes back; only differences mean something. */
  monotonicMs(): number;
  /**
   * Resolves after `ms` milliseconds, or rejects with the signal's reason as soon as it aborts.
   * `unref` lets the process exit while waiting.
   */
  sleep(ms: number, options?: { readonly signal?: AbortSignal; readonly unref?: boolean }): Promise<void>;
}

/** The longest wait one timer can hold; Node turns anything above into 1 ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The machine's own clock. Waits longer than 24.8 days are made of several timers. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (ms, options) =>
    new Promise((resolve, reject) => {
      const signal = options?.signal;
      if (signal?.aborted) return reject(signal.reason);
      const dueMs = performance.now() + ms;
      let timer: NodeJS.Timeout;
      const onAbort = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const wait = () => {
        const leftMs = dueMs - performance.now();
        if (leftMs <= 0) {
          signal?.removeEventListener('abort', onAbort);
          return resolve();
        }
        timer = setTimeout(wait, Math.min(leftMs, MAX_TIMER_MS));
        if (options?.unref) timer.unref();
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      wait();
    }),
};

/** The machine's clock, with a monotonic reading that means the same in every thread of the process. */
export const threadsClock: Clock = { ...systemClock, monotonicMs: () => Number(process.hrtime.bigint()) / 1e6 };

/** A wait that was started and can be called off. */
export interface Timer {
  cancel(): void;
}

/**
 * Calls `wake` once after `ms` milliseconds, unless it is cancelled. Keeps the process alive meanwhile. On the machine's
 * clock this is one bare timer: a tenth of the price of a `sleep` that is called off through a signal.
 */
export function startTimer(clock: Clock, ms: number, wake: () => void): Timer {
  return clock === systemClock && ms <= MAX_TIMER_MS ? new SystemTimer(ms, wake) : new SleepTimer(clock, ms, wake);
}

class SystemTimer implements Timer {
  readonly #timer: NodeJS.Timeout;
  constructor(ms: number, wake: () => void) {
    this.#timer = setTimeout(wake, ms);
  }
  cancel(): void {
    clearTimeout(this.#timer);
  }
}

const CANCELLED = 'cancelled';

class SleepTimer implements Timer {
  readonly #controller = new AbortController();
  constructor(clock: Clock, ms: number, wake: () => void) {
    const { signal } = this.#controller;
    clock.sleep(ms, { signal }).then(
      () => signal.aborted || wake(),
      (error: unknown) => {
        if (!signal.aborted) throw error; // Called off; anything else is a broken clock and must be seen.
      },
    );
  }
  cancel(): void {
    this.#controller.abort(CANCELLED); // Without a reason an error with a stack would be made each time.
  }
}

/** How often the coarse reading is renewed while somebody asks for it. */
const COARSE_MS = 25;
/** Taken now: timers that a test fakes for a while must not stop the reading for ever. */
const { setInterval: startTicker, clearInterval: stopTicker } = globalThis;
let coarseReadingMs = 0;
let coarseTicker: NodeJS.Timeout | undefined;
let isCoarseAsked = false;

/**
 * `clock.monotonicMs()`, up to 25 ms old (older only while the event loop is blocked), at a fortieth of the price on the
 * machine's clock. One unref'd timer for the whole process renews it, and stops when nobody asks for a while.
 */
export function coarseMonotonicMs(clock: Clock): number {
  if (clock !== systemClock) return clock.monotonicMs();
  if (coarseTicker === undefined) {
    coarseTicker = startTicker(tickCoarsely, COARSE_MS).unref();
    readCoarsely();
  }
  isCoarseAsked = true;
  return coarseReadingMs;
}

function tickCoarsely(): void {
  readCoarsely();
  if (!isCoarseAsked) {
    stopTicker(coarseTicker);
    coarseTicker = undefined;
  }
  isCoarseAsked = false;
}

/** Whole milliseconds: a fraction would be a new number on the heap for every call that keeps it. */
function readCoarsely(): void {
  coarseReadingMs = Math.floor(performance.now());
}

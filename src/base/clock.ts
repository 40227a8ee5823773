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

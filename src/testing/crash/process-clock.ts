import type { Clock } from '../../base/clock.js';

interface Sleeper {
  readonly dueMs: number;
  readonly wake: () => void;
}

/**
 * The clock of a process that can die. It stands still until `wakeNext`, which jumps to the next sleeper; once it is
 * stopped nobody wakes any more. Wall and monotonic time are the same, so that processes that follow agree about both.
 */
export class ProcessClock implements Clock {
  #nowMs: number;
  #isStopped = false;
  /** In the order they wake: by time, then by who came first. */
  #sleepers: Sleeper[] = [];

  constructor(startMs: number) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  sleep(ms: number, options?: { readonly signal?: AbortSignal }): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#isStopped) return;
      const signal = options?.signal;
      if (signal?.aborted) return reject(signal.reason);
      if (ms <= 0) return resolve();
      const onAbort = () => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        if (!this.#isStopped) reject(signal?.reason);
      };
      const wake = () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      const sleeper: Sleeper = { dueMs: this.#nowMs + ms, wake };
      signal?.addEventListener('abort', onAbort, { once: true });
      const at = this.#sleepers.findIndex(({ dueMs }) => dueMs > sleeper.dueMs);
      this.#sleepers.splice(at === -1 ? this.#sleepers.length : at, 0, sleeper);
    });
  }

  /** Moves time to the next sleeper and wakes it. False if nobody sleeps. */
  wakeNext(): boolean {
    const sleeper = this.#sleepers.shift();
    if (sleeper === undefined) return false;
    this.#nowMs = sleeper.dueMs;
    sleeper.wake();
    return true;
  }

  /** Whoever sleeps, or will, sleeps for ever. */
  stop(): void {
    this.#isStopped = true;
    this.#sleepers = [];
  }
}

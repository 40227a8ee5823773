import type { Clock } from '../../src/base/clock.js';

interface Sleeper {
  readonly dueMs: number;
  /** Tells sleepers of one moment apart: who came first wakes first. */
  readonly order: number;
  /** Gone when it was called off. It stays in the heap until its time, because taking it out costs more. */
  wake: (() => void) | undefined;
}

/**
 * A clock for simulations of hundreds of thousands of waits: time jumps from one wake-up to the next. Sleepers wake at
 * whole milliseconds, as on the machine, and everything that they set off has run before time goes on. A run is the
 * same every time. `VirtualClock` is the one for tests; it is kinder, and a hundred times slower.
 */
export class SimulatedClock implements Clock {
  #nowMs = 0;
  #order = 0;
  readonly #sleepers = new SleeperHeap();

  now(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  sleep(ms: number, options?: { readonly signal?: AbortSignal }): Promise<void> {
    return new Promise((resolve, reject) => {
      const signal = options?.signal;
      if (signal?.aborted) return reject(signal.reason);
      const dueMs = Math.ceil(this.#nowMs + Math.max(0, ms));
      const sleeper: Sleeper = { dueMs, order: this.#order++, wake: resolve };
      this.#sleepers.push(sleeper);
      if (signal === undefined) return;
      const onAbort = () => {
        sleeper.wake = undefined;
        reject(signal.reason);
      };
      sleeper.wake = () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Lets time pass until `untilMs`. Who sleeps longer sleeps on. */
  async runUntil(untilMs: number): Promise<void> {
    await allHasRun();
    for (let next = this.#sleepers.first; next !== undefined && next.dueMs <= untilMs; next = this.#sleepers.first) {
      this.#nowMs = next.dueMs;
      if (this.#wakeThoseDue()) await allHasRun();
    }
    this.#nowMs = untilMs;
  }

  /** False if all who were due had been called off. */
  #wakeThoseDue(): boolean {
    let isAnyAwake = false;
    while (this.#sleepers.first?.dueMs === this.#nowMs) {
      const { wake } = this.#sleepers.shift();
      wake?.();
      isAnyAwake ||= wake !== undefined;
    }
    return isAnyAwake;
  }
}

/** One turn of the event loop drains chains of promises of any length; nothing that is simulated goes another way. */
function allHasRun(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A binary heap, the next to wake on top. */
class SleeperHeap {
  readonly #heap: Sleeper[] = [];

  get first(): Sleeper | undefined {
    return this.#heap[0];
  }

  push(sleeper: Sleeper): void {
    const heap = this.#heap;
    let at = heap.push(sleeper) - 1;
    for (let parent = (at - 1) >> 1; at > 0 && isBefore(sleeper, this.#at(parent)); parent = (at - 1) >> 1) {
      heap[at] = this.#at(parent);
      at = parent;
    }
    heap[at] = sleeper;
  }

  /** Takes the first one out. There is one. */
  shift(): Sleeper {
    const first = this.#at(0);
    const last = this.#heap.pop() as Sleeper;
    if (last !== first) this.#sink(last);
    return first;
  }

  #sink(sleeper: Sleeper): void {
    const heap = this.#heap;
    let at = 0;
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      const other = heap[child + 1];
      if (other !== undefined && isBefore(other, this.#at(child))) child++;
      if (!isBefore(this.#at(child), sleeper)) break;
      heap[at] = this.#at(child);
      at = child;
    }
    heap[at] = sleeper;
  }

  #at(index: number): Sleeper {
    return this.#heap[index] as Sleeper;
  }
}

const isBefore = (one: Sleeper, other: Sleeper): boolean =>
  one.dueMs < other.dueMs || (one.dueMs === other.dueMs && one.order < other.order);

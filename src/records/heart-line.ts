import type { MessagePort } from 'node:worker_threads';
import type { Moment } from './node-beat.js';
import type { NodeNote } from './node-record.js';

/** What a node hands to its heart thread with each tenure. */
export interface HeartTask {
  readonly task: typeof HEART_TASK;
  /** Of the tenure. */
  readonly id: string;
  readonly leaseMs: number;
  readonly frozenAfterMs: number;
  /** Of a `SharedMoment`. */
  readonly confirmed: SharedArrayBuffer;
  /** For this tenure alone. It is over when either side closes it. */
  readonly port: MessagePort;
}

/** Whatever else a host sends to its thread is its own matter. */
const HEART_TASK = 'holdfast.keep-node';

export function heartTask(given: Omit<HeartTask, 'task'>): HeartTask {
  return { task: HEART_TASK, ...given };
}

export function isHeartTask(message: unknown): message is HeartTask {
  return typeof message === 'object' && message !== null && (message as Partial<HeartTask>).task === HEART_TASK;
}

/** What the thread says to the node. */
export type FromHeart =
  | { readonly says: 'begun' }
  | { readonly says: 'not-begun'; readonly error: string }
  /** Asks for notes. The answer shows, too, that the event loop goes round. */
  | { readonly says: 'ask' }
  | { readonly says: 'beat' }
  /** A heartbeat could not be confirmed. */
  | { readonly says: 'failed'; readonly error: string }
  | { readonly says: 'lost'; readonly error: string };

/** The answer to `ask`. */
export interface ToHeart {
  readonly notes: readonly NodeNote[];
}

/**
 * A moment that one thread sets and another reads without waiting for a message. Rounded down: what is older is safe. Before
 * it is set, and after it is cleared, it lies in 1970.
 */
export class SharedMoment {
  readonly #cells: BigInt64Array;

  constructor(readonly buffer: SharedArrayBuffer = new SharedArrayBuffer(2 * BigInt64Array.BYTES_PER_ELEMENT)) {
    this.#cells = new BigInt64Array(buffer);
  }

  set({ monotonicMs, wallMs }: Moment): void {
    Atomics.store(this.#cells, 0, BigInt(Math.floor(monotonicMs)));
    Atomics.store(this.#cells, 1, BigInt(Math.floor(wallMs)));
  }

  clear(): void {
    this.set({ monotonicMs: 0, wallMs: 0 });
  }

  get(): Moment {
    return { monotonicMs: Number(Atomics.load(this.#cells, 0)), wallMs: Number(Atomics.load(this.#cells, 1)) };
  }
}

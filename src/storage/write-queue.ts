import type { BatchOperation, Version } from './adapter.js';

/** What a write that happened is answered with. */
export interface Written {
  readonly version: Version;
  /** Was there something before? Of the key of a single `delete`; means nothing for anything else. */
  readonly existed: boolean;
}

/** One caller's write: all its operations or none. */
export interface QueuedWrite {
  readonly operations: readonly BatchOperation[];
  resolve(written: Written): void;
  reject(error: unknown): void;
}

/** How a store takes groups of writes. */
export interface GroupTarget {
  /** Writes the group and settles each write in it; whichever is left unsettled when this rejects is rejected with that. */
  writeGroup(group: readonly QueuedWrite[]): Promise<void>;
  /** Groups under way at once at most. */
  readonly groupsAtOnce: number;
  /** May a key be in a group twice? If not, no key is in two groups at once either: the later write waits. */
  readonly repeatsKeys: boolean;
}

/** Operations and bytes in a group at most, so that a small write never waits long. One larger write goes alone. */
const MAX_OPERATIONS = 256;
const MAX_BYTES = 8 * 1024 * 1024;

interface Waiting extends QueuedWrite {
  readonly signal: AbortSignal | undefined;
  readonly bytes: number;
}

/**
 * Group commit: everything that waits becomes one group, and while the store is busy with it the next one gathers, so that
 * many writers cost one round trip or one sync. Two writes of one key keep the order in which they were given.
 */
export class WriteQueue {
  readonly #target: GroupTarget;
  #waiting: Waiting[] = [];
  /** Keys of the groups under way. Stays empty where keys may repeat. */
  readonly #busyKeys = new Set<string>();
  readonly #runs = new Set<Promise<void>>();
  #runners = 0;

  constructor(target: GroupTarget) {
    this.#target = target;
  }

  /**
   * Takes the values (they are copied) and resolves when the write was acknowledged by the store. An abort that comes
   * before the write has started rejects with the signal's reason.
   */
  submit(operations: readonly BatchOperation[], signal?: AbortSignal): Promise<Written> {
    const own = operations.map(withOwnValue);
    return new Promise((resolve, reject) => {
      const bytes = own.reduce(
        (sum, operation) => sum + (operation.type === 'put' ? operation.value.byteLength : 0),
        0,
      );
      this.#waiting.push({ operations: own, signal, bytes, resolve, reject });
      if (this.#runners < this.#target.groupsAtOnce) this.#start();
    });
  }

  /** Resolves when nothing waits and nothing is under way any more. */
  async drained(): Promise<void> {
    while (this.#runs.size > 0) await Promise.all(this.#runs);
  }

  #start(): void {
    this.#runners++;
    const run = this.#run().finally(() => this.#runs.delete(run));
    this.#runs.add(run);
  }

  async #run(): Promise<void> {
    for (;;) {
      await endOfTurn(); // Whoever was answered just now writes next: let them all arrive.
      const group = this.#takeGroup();
      if (group.length === 0) {
        this.#runners--; // Now and not when the promise settles: a write that comes in between must start a new run.
        return;
      }
      const keys = this.#target.repeatsKeys ? [] : group.flatMap(({ operations }) => operations.map(({ key }) => key));
      for (const key of keys) this.#busyKeys.add(key);
      try {
        await this.#target.writeGroup(group);
      } catch (error) {
        for (const { reject } of group) reject(error); // No effect on those settled before.
      }
      for (const key of keys) this.#busyKeys.delete(key);
    }
  }

  /** The first writes that fit together, in order. Those of keys that are taken stay where they are. */
  #takeGroup(): Waiting[] {
    const { repeatsKeys } = this.#target;
    const taken = new Set(this.#busyKeys);
    const group: Waiting[] = [];
    const passedOver: Waiting[] = [];
    let operations = 0;
    let bytes = 0;
    let at = 0;
    for (; at < this.#waiting.length; at++) {
      const write = this.#waiting[at] as Waiting;
      if (write.signal?.aborted) {
        write.reject(write.signal.reason);
        continue;
      }
      const fits = operations + write.operations.length <= MAX_OPERATIONS && bytes + write.bytes <= MAX_BYTES;
      if (group.length > 0 && !fits) break;
      const isFree = repeatsKeys || write.operations.every(({ key }) => !taken.has(key));
      if (!repeatsKeys) for (const { key } of write.operations) taken.add(key);
      (isFree ? group : passedOver).push(write);
      if (!isFree) continue;
      operations += write.operations.length;
      bytes += write.bytes;
    }
    this.#waiting.splice(0, at, ...passedOver);
    return group;
  }
}

function withOwnValue(operation: BatchOperation): BatchOperation {
  return operation.type === 'put' ? { ...operation, value: Buffer.from(operation.value) } : operation;
}

/** Not a microtask: those run before the answers that arrived together have all been handed out. */
function endOfTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

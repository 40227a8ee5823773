import { type BatchOperation, OutcomeUnknownError, StorageError, type Version } from './adapter.js';
import { outrunWrites, type WriteOutcome } from './outrun-writes.js';
import { TakenKeys } from './taken-keys.js';
import { Withdrawals } from './withdrawals.js';

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
  /**
   * Writes the group and settles each write in it. Whichever is left unsettled when this rejects is rejected with that; when
   * it resolves, as one of unknown outcome.
   */
  writeGroup(group: readonly QueuedWrite[]): Promise<void>;
  /** Groups under way at once at most. */
  readonly groupsAtOnce: number;
  /**
   * May a key be in a group twice? If not, it is in one group at a time, and there in one write, or in several that only
   * check it. Later writes wait, unless what the earlier ones met shows that they fail.
   */
  readonly repeatsKeys: boolean;
}

/** Operations and bytes in a group at most, so that a small write never waits long. One larger write goes alone. */
const MAX_OPERATIONS = 256;
const MAX_BYTES = 8 * 1024 * 1024;
/** Operations that one group takes whatever else could be under way: so few cost less together. */
const MIN_SHARE = 32;

interface Waiting extends QueuedWrite {
  /** Writes are numbered as they come. */
  readonly number: number;
  readonly signal: AbortSignal | undefined;
  readonly bytes: number;
  outcome: WriteOutcome | undefined;
}

/**
 * Group commit: everything that waits becomes one group, and while the store is busy with it the next one gathers, so that
 * many writers cost one round trip or one sync. Two writes of one key keep the order in which they were given.
 */
export class WriteQueue {
  readonly #target: GroupTarget;
  #waiting: Waiting[] = [];
  #submitted = 0;
  readonly #withdrawals = new Withdrawals<Waiting>((reasons) => this.#refuse(reasons));
  /** Keys of the groups under way. Stays empty where keys may repeat. */
  readonly #busyKeys = new Set<string>();
  readonly #runs = new Set<Promise<void>>();
  #runners = 0;
  /** Groups under way. */
  #groups = 0;

  constructor(target: GroupTarget) {
    this.#target = target;
  }

  /**
   * Takes the values (they are copied) and resolves when the write was acknowledged by the store. An abort that comes
   * before the write has started rejects at once with the signal's reason.
   */
  submit(operations: readonly BatchOperation[], signal?: AbortSignal): Promise<Written> {
    const own = operations.map(withOwnValue);
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const write: Waiting = {
        number: ++this.#submitted,
        operations: own,
        signal,
        bytes: own.reduce((sum, operation) => sum + (operation.type === 'put' ? operation.value.byteLength : 0), 0),
        outcome: undefined,
        resolve(written) {
          write.outcome ??= { version: written.version };
          resolve(written);
        },
        reject(error) {
          write.outcome ??= { error };
          reject(error);
        },
      };
      this.#waiting.push(write);
      this.#withdrawals.watch(write, signal);
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
      this.#groups++;
      await (this.#target.repeatsKeys ? this.#write(group) : this.#writeAlone(group));
      this.#groups--;
    }
  }

  /** With no other group that has one of its keys. */
  async #writeAlone(group: readonly Waiting[]): Promise<void> {
    const keys = group.flatMap(({ operations }) => operations.map(({ key }) => key));
    const submitted = this.#submitted;
    for (const key of keys) this.#busyKeys.add(key);
    await this.#write(group);
    for (const key of keys) this.#busyKeys.delete(key);
    const waitedThrough = this.#waiting.filter(({ number }) => number <= submitted);
    this.#refuse(outrunWrites(group, waitedThrough));
  }

  /** Never rejects: each write of the group is answered. */
  async #write(group: readonly Waiting[]): Promise<void> {
    try {
      await this.#target.writeGroup(group);
    } catch (error) {
      for (const { reject } of group) reject(error); // No effect on those settled before.
    }
    for (const write of group) if (write.outcome === undefined) write.reject(unanswered(write));
  }

  /** The first writes that fit together, in order. Those of keys that are taken stay where they are. */
  #takeGroup(): Waiting[] {
    const { repeatsKeys } = this.#target;
    const taken = new TakenKeys(this.#busyKeys);
    const maxOperations = this.#shareOfOne();
    const group: Waiting[] = [];
    const passedOver: Waiting[] = [];
    let operations = 0;
    let bytes = 0;
    let at = 0;
    for (; at < this.#waiting.length; at++) {
      const write = this.#waiting[at] as Waiting;
      const fits = operations + write.operations.length <= maxOperations && bytes + write.bytes <= MAX_BYTES;
      if (group.length > 0 && !fits) break;
      const isFree = repeatsKeys || taken.areFreeFor(write.operations);
      if (!repeatsKeys) taken.take(write.operations);
      (isFree ? group : passedOver).push(write);
      if (!isFree) continue;
      operations += write.operations.length;
      bytes += write.bytes;
    }
    this.#waiting.splice(0, at, ...passedOver);
    for (const write of group) this.#withdrawals.forget(write, write.signal);
    return group;
  }

  /**
   * Operations for the next group at most. What waits is shared out among the groups that may be under way at once: while the
   * store is busy with one, those that were answered in another make their next writes. Not where keys are only checked:
   * writes that check the same one go together, or one group waits for the other.
   */
  #shareOfOne(): number {
    const free = this.#target.groupsAtOnce - this.#groups;
    let waiting = 0;
    for (const { operations } of this.#waiting) {
      if (operations.some(({ type }) => type === 'check')) return MAX_OPERATIONS;
      waiting += operations.length;
    }
    return Math.min(MAX_OPERATIONS, Math.max(MIN_SHARE, Math.ceil(waiting / free)));
  }

  /** They wait no longer. */
  #refuse(reasons: ReadonlyMap<Waiting, unknown>): void {
    if (reasons.size > 0) this.#waiting = this.#waiting.filter((write) => !reasons.has(write));
    for (const [write, reason] of reasons) {
      this.#withdrawals.forget(write, write.signal);
      write.reject(reason);
    }
  }
}

/** A store that took a write and forgot it must not leave its caller waiting for ever. */
function unanswered({ operations }: Waiting): OutcomeUnknownError {
  const { key } = operations[0] as BatchOperation; // `checked` takes no empty batch.
  const cause = new StorageError(
    `The store took the write of "${key}" and never answered it. Report this: it is a fault.`,
  );
  return new OutcomeUnknownError(key, { cause });
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

import { randomBytes } from 'node:crypto';
import { CorruptionError } from '../../base/errors.js';
import { ConflictError, OutcomeUnknownError } from '../adapter.js';
import { asStorageError } from './file-errors.js';
import {
  type EncodedFrame,
  encodeFrame,
  type FrameHead,
  type FrameOperation,
  MAX_SHARED_OPERATIONS,
  MAX_VALUE_PIECES,
  requireFrameSize,
} from './frame.js';
import type { Outcome } from './replay.js';
import type { Segment } from './segment.js';

/** Pieces per write: one writev(2) takes 1,024. A frame has two and its values, which are joined if they are many. */
const MAX_PIECES = 900;
/** Bytes per write, so that a small write never waits long behind others. One larger frame goes alone. */
const MAX_BYTES = 8 * 1024 * 1024;

/** What is to be written: operations with their values, or a seal. */
export interface Change {
  readonly operations: readonly FrameOperation[];
  readonly values: readonly Buffer[];
  readonly signal?: AbortSignal | undefined;
  /** The segment to be sealed. If the log has moved past it by then, there is nothing to do. */
  readonly seals?: Segment;
}

/** What the queue needs of the log it writes to. */
export interface CommitTarget {
  /** The newest segment, read to its end and not sealed. */
  writable(): Promise<Segment>;
  /** The segment could not be synced: go on in a new one that holds all of it. */
  abandon(segment: Segment, cause: unknown): Promise<void>;
  /** The store's directory, for errors. */
  readonly path: string;
  /** Called after each group, when nothing is being written. */
  afterGroup(segment: Segment): void;
  /** False: no fdatasync, acknowledged means handed to the operating system. */
  readonly isSyncing: boolean;
}

type Applied = Extract<Outcome, { is: 'applied' }>;

interface Waiting {
  readonly change: Change;
  readonly bytes: number;
  readonly resolve: (outcome: Applied) => void;
  readonly reject: (error: unknown) => void;
}

/** A frame with those whose changes it holds, in its order. */
interface Written {
  readonly group: readonly Waiting[];
  readonly frame: EncodedFrame;
}

/** What went wrong with a group: writing it, or making it durable. */
interface Failures {
  readonly failure: unknown;
  readonly syncFailure: unknown;
}

/**
 * Group commit: everything that waits becomes one write and one fdatasync, and is acknowledged together. While the disk
 * is busy with one group the next one gathers, so throughput grows with the number of callers.
 */
export class CommitQueue {
  readonly #target: CommitTarget;
  /** Random, so that two writers never mistake each other's frames for their own. */
  readonly #writer = randomBytes(6).toString('hex');
  #frames = 0;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;

  constructor(target: CommitTarget) {
    this.#target = target;
  }

  /** Resolves when the change is in the log as durably as the log promises; rejects with `ConflictError` if it lost. */
  submit(change: Change): Promise<Applied> {
    return new Promise((resolve, reject) => {
      const bytes = change.values.reduce((sum, value) => sum + value.length, 0);
      requireFrameSize(change.operations, bytes);
      this.#waiting.push({ change, bytes, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Resolves when nothing waits any more. */
  async drained(): Promise<void> {
    while (this.#running) await this.#running;
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // Everything submitted in this turn goes into one group.
    while (this.#waiting.length > 0) {
      const group = this.#takeGroup();
      try {
        const segment = await this.#target.writable();
        await segment.hold(() => this.#commit(segment, this.#startable(segment, group)));
        this.#target.afterGroup(segment);
      } catch (error) {
        for (const { reject } of group) reject(asStorageError(error, this.#target.path)); // No effect on those settled before.
      }
    }
    this.#running = undefined;
  }

  #takeGroup(): Waiting[] {
    let bytes = 0;
    let pieces = 0;
    let count = 0;
    for (const { change, bytes: changeBytes } of this.#waiting) {
      bytes += changeBytes;
      pieces += 2 + Math.min(change.values.length, MAX_VALUE_PIECES);
      if (count > 0 && (bytes > MAX_BYTES || pieces > MAX_PIECES || change.seals)) break;
      count++;
      if (change.seals) break; // By itself: whatever shared a frame with a seal would be written again.
    }
    return this.#waiting.splice(0, count);
  }

  /** Those of the group that can still win; the others get their answer without a write. */
  #startable(segment: Segment, group: readonly Waiting[]): Waiting[] {
    const touched = new Set<string>();
    return group.filter(({ change, resolve, reject }) => {
      if (change.signal?.aborted) reject(change.signal.reason);
      else if (change.seals) return change.seals === segment || settle(resolve);
      else if (segment.replay.damage.length > 0) reject(damaged(segment));
      else {
        // Versions never come back: a condition that fails now on a key nobody here is about to change fails for good.
        const lost = change.operations.find(({ k, x }) => {
          return x !== undefined && !touched.has(k) && (segment.replay.index.get(k)?.version ?? null) !== x;
        });
        for (const { k } of change.operations) touched.add(k);
        if (lost === undefined) return true;
        reject(new ConflictError(lost.k, segment.replay.index.get(lost.k)?.version));
      }
      return false;
    });
  }

  async #commit(segment: Segment, group: readonly Waiting[]): Promise<void> {
    if (group.length === 0) return;
    const written = this.#frame(segment, group);
    for (const { frame } of written) segment.replay.await(frame.head.i);
    const failure = await segment.append(written.map(({ frame }) => frame));
    if (failure === undefined) segment.torn.length = 0; // The first frame has declared them.
    const syncFailure = await this.#sync(segment);
    const requeued: Waiting[] = [];
    for (const { group, frame } of written) {
      const outcomes = segment.replay.take(frame.head.i);
      if (outcomes === 'void') requeued.push(...group);
      else for (const [at, waiting] of group.entries()) this.#settle(waiting, outcomes?.[at], { failure, syncFailure });
    }
    this.#waiting.unshift(...requeued);
  }

  #settle(
    { change, resolve, reject }: Waiting,
    outcome: Outcome | undefined,
    { failure, syncFailure }: Failures,
  ): void {
    const key = change.operations[0]?.k ?? this.#target.path;
    if (outcome === undefined) reject(this.#lost(key, failure));
    else if (outcome.is === 'conflict') reject(new ConflictError(outcome.key, outcome.currentVersion));
    else if (syncFailure !== undefined) reject(new OutcomeUnknownError(key, { cause: syncFailure }));
    else resolve(outcome);
  }

  /** A frame that is not in the file: never written as far as the system said, or gone although it was. */
  #lost(key: string, failure: unknown): Error {
    if (failure !== undefined) return asStorageError(failure, this.#target.path);
    const cause = new Error(`what was appended to the log in ${this.#target.path} is not there`);
    return new OutcomeUnknownError(key, { cause });
  }

  /** The frames of a group: in each as many changes side by side as one head may hold. */
  #frame(segment: Segment, group: readonly Waiting[]): Written[] {
    const written: Written[] = [];
    for (let at = 0, end = 0; at < group.length; at = end) {
      end = frameEnd(group, at);
      const part = group.slice(at, end);
      const head: FrameHead = {
        i: `${this.#writer}-${++this.#frames}`,
        ...(at === 0 ? { d: segment.syncedTo } : {}),
        ...(at === 0 && segment.torn.length > 0 ? { torn: [...segment.torn] } : {}),
        ...(part[0]?.change.seals ? { seal: 1 } : {}),
        o: part.map(({ change }) => change.operations),
      };
      const values = part.flatMap(({ change }) => change.values);
      written.push({ group: part, frame: encodeFrame(segment.start, head, values) });
    }
    return written;
  }

  /** Make the group durable; the error if that cannot be known, not even by moving to a new segment. */
  async #sync(segment: Segment): Promise<unknown> {
    if (!this.#target.isSyncing) return undefined;
    try {
      const upTo = segment.appliedTo;
      await segment.file.sync();
      segment.syncedTo = upTo;
      return undefined;
    } catch (cause) {
      try {
        await this.#target.abandon(segment, cause);
        return undefined; // Everything in the segment was read back and is on disk in the next one.
      } catch {
        return cause;
      }
    }
  }
}

/** Where the frame ends that begins at `from`. A change that is large enough to fill a head has one by itself. */
function frameEnd(group: readonly Waiting[], from: number): number {
  let operations = 0;
  for (let at = from; at < group.length; at++) {
    operations += group[at]?.change.operations.length ?? 0;
    if (at > from && operations > MAX_SHARED_OPERATIONS) return at;
  }
  return group.length;
}

/** There is nothing left to do for this one. */
function settle(resolve: Waiting['resolve']): false {
  resolve({ is: 'applied', version: '', existed: false });
  return false;
}

function damaged(segment: Segment): CorruptionError {
  const message = `${segment.path} is damaged where it cannot be told which keys were there. Nothing is written until repair().`;
  return new CorruptionError(message, segment.path);
}

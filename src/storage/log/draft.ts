import type { Version } from '../adapter.js';
import type { LogDirectory } from './directory.js';
import { shortWrite } from './file-errors.js';
import type { LogFile } from './file-system.js';
import { type EncodedFrame, encodeFrame, type FrameHead } from './frame.js';
import type { IndexEntry } from './replay.js';
import type { Segment } from './segment.js';

/** Bytes gathered before they are written: large enough to be cheap, small enough not to hold up the event loop. */
const CHUNK_BYTES = 1024 * 1024;

/** What became of a compaction's values. */
export interface DraftReport {
  readonly kept: number;
  /** Keys left out because their value is damaged; only a repair leaves any out. */
  readonly dropped: readonly string[];
}

/**
 * The next segment while it is built beside the one in use: first a copy of what is there while writers go on, then,
 * once the old segment is sealed, only what changed since. Dropped at any moment it leaves a draft file that the next
 * opening removes, and nothing else.
 */
export class SegmentDraft {
  readonly #directory: LogDirectory;
  readonly #source: Segment;
  readonly #path: string;
  readonly #file: LogFile;
  readonly #isRepair: boolean;
  /** What has been copied: an entry is never changed, so the same object means the same value. */
  readonly #copied = new Map<string, IndexEntry>();
  readonly #dropped = new Map<string, IndexEntry>();
  /** This draft became the next segment. */
  isPublished = false;
  #isDiscarded = false;
  #offset = 0;
  #waiting: EncodedFrame[] = [];
  #waitingBytes = 0;

  private constructor(directory: LogDirectory, source: Segment, path: string, file: LogFile, isRepair: boolean) {
    this.#directory = directory;
    this.#source = source;
    this.#path = path;
    this.#file = file;
    this.#isRepair = isRepair;
  }

  /** Begin the segment after `source`. With `isRepair` it leaves out what is damaged, and the memory of damage with it. */
  static async begin(directory: LogDirectory, source: Segment, isRepair: boolean): Promise<SegmentDraft> {
    const path = directory.draftPath();
    return new SegmentDraft(directory, source, path, await directory.fs.createLog(path), isRepair);
  }

  /** Copy everything that is in the source now. Calls `mayGoOn` after every megabyte; false from it ends the copying. */
  async copyPresent(mayGoOn: () => boolean | Promise<boolean>): Promise<boolean> {
    // The number alone: what damage there is may still grow until the seal.
    await this.#add({ i: this.#directory.storeId, segment: { number: this.#source.number + 1, damage: [] } });
    for (const [key, entry] of [...this.#source.replay.index]) {
      await this.#copy(key, entry);
      if (this.#waitingBytes >= CHUNK_BYTES) {
        await this.#write();
        if (!(await mayGoOn())) return false;
      }
    }
    await this.#write();
    await this.#file.sync();
    return true;
  }

  /** The source is sealed: add what changed since the copy, and publish. False if another process was first. */
  async publish(): Promise<boolean> {
    const { index, damage } = this.#source.replay;
    const current = [...index];
    for (const [key, entry] of current) {
      if (this.#copied.get(key) !== entry && this.#dropped.get(key) !== entry) await this.#copy(key, entry);
    }
    for (const key of this.#copied.keys()) {
      if (index.get(key) === undefined) await this.#add({ i: '-', o: [[{ k: key, del: 1 }]] });
    }
    for (const key of [...this.#dropped.keys()]) if (index.get(key) === undefined) this.#dropped.delete(key);
    const carried: readonly Version[] = this.#isRepair ? [] : damage;
    await this.#add({ i: '-', segment: { number: this.#source.number + 1, damage: carried }, ready: 1 });
    await this.#write();
    await this.#file.sync();
    this.isPublished = await this.#directory.publish(this.#path, this.#source.number + 1);
    return this.isPublished;
  }

  isFor(segment: Segment): boolean {
    return this.#source === segment;
  }

  report(): DraftReport {
    return { kept: this.#source.replay.index.size - this.#dropped.size, dropped: [...this.#dropped.keys()] };
  }

  /** Let go of the draft's own name; what was published stays. May be called twice. */
  async discard(): Promise<void> {
    if (this.#isDiscarded) return;
    this.#isDiscarded = true;
    await this.#file.close();
    await this.#directory.fs.remove(this.#path);
  }

  async #copy(key: string, entry: IndexEntry): Promise<void> {
    const { bytes, isIntact } = await this.#source.readRaw(entry);
    if (!isIntact && this.#isRepair) {
      this.#dropped.set(key, entry);
      if (this.#copied.delete(key)) await this.#add({ i: '-', o: [[{ k: key, del: 1 }]] });
      return;
    }
    const { version, length, digest, hasZeros } = entry;
    const marks = { ...(hasZeros ? { z: 1 as const } : {}), ...(isIntact ? {} : { bad: 1 as const }) };
    await this.#add({ i: '-', o: [[{ k: key, v: version, n: length, h: digest, ...marks }]] }, [bytes]);
    this.#copied.set(key, entry);
    this.#dropped.delete(key); // Written anew since it was found damaged.
  }

  /** Everything in a draft is on disk before it gets its name, so each frame can vouch for those before it. */
  async #add(head: FrameHead, values: readonly Buffer[] = []): Promise<void> {
    const frame = encodeFrame(this.#directory.start, { ...head, d: this.#offset }, values);
    this.#waiting.push(frame);
    this.#waitingBytes += frame.length;
    this.#offset += frame.length;
    if (this.#waitingBytes >= 2 * CHUNK_BYTES) await this.#write();
  }

  async #write(): Promise<void> {
    const chunks = [Buffer.concat(this.#waiting.flatMap((frame) => frame.chunks))];
    const length = this.#waitingBytes;
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (length === 0) return;
    if ((await this.#file.append(chunks)) === length) return;
    throw shortWrite(this.#path);
  }
}

import type { Version } from '../adapter.js';
import type { BuiltSegment, LogDirectory } from './directory.js';
import { shortWrite } from './file-errors.js';
import type { LogFile } from './file-system.js';
import {
  type EncodedFrame,
  encodeFrame,
  type FrameChange,
  type FrameHead,
  MAX_SHARED_OPERATIONS,
  placeAt,
} from './frame.js';
import { type IndexEntry, Replay } from './replay.js';
import type { Segment } from './segment.js';

/** Bytes gathered before they are written: large enough to be cheap, small enough not to hold up the event loop. */
const CHUNK_BYTES = 1024 * 1024;
/** Neighbouring keys whose places in the file are put in order: often they were written one after the other. */
const BATCH_KEYS = 1_024;
/** Bytes read at once, and bytes in between that are cheaper to read than to skip. */
const RUN_BYTES = 64 * 1024;
const GAP_BYTES = 4 * 1024;

type Keyed = readonly [key: string, entry: IndexEntry];

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
export class SegmentDraft implements BuiltSegment {
  /** What the draft's own frames add up to. */
  readonly replay: Replay;
  /** This draft became the next segment. */
  isPublished = false;
  readonly #directory: LogDirectory;
  readonly #source: Segment;
  readonly #path: string;
  readonly #file: LogFile;
  readonly #isRepair: boolean;
  /** Keys of the source that changed since its copy was begun. */
  readonly #changed = new Set<string>();
  readonly #dropped = new Set<string>();
  #isDiscarded = false;
  #length = 0;
  /** Changes that wait for a frame, and frames that wait to be written. */
  #changes: FrameChange[] = [];
  #values: Buffer[] = [];
  #valueBytes = 0;
  #frames: EncodedFrame[] = [];
  #frameBytes = 0;

  private constructor(directory: LogDirectory, source: Segment, path: string, file: LogFile, isRepair: boolean) {
    this.#directory = directory;
    this.#source = source;
    this.#path = path;
    this.#file = file;
    this.#isRepair = isRepair;
    this.replay = new Replay(source.number + 1);
  }

  /** Begin the segment after `source`. With `isRepair` it leaves out what is damaged, and the memory of damage with it. */
  static async begin(directory: LogDirectory, source: Segment, isRepair: boolean): Promise<SegmentDraft> {
    const path = directory.draftPath();
    return new SegmentDraft(directory, source, path, await directory.fs.createLog(path), isRepair);
  }

  /** Bytes of the segment once all is written. */
  get length(): number {
    return this.#length;
  }

  /** Copy everything that is in the source now. Calls `mayGoOn` after every megabyte; false from it ends the copying. */
  async copyPresent(mayGoOn: () => boolean | Promise<boolean>): Promise<boolean> {
    // The number alone: what damage there is may still grow until the seal.
    this.#encode({ i: this.#directory.storeId, segment: { number: this.replay.segment, damage: [] } });
    const { replay } = this.#source;
    replay.watch(this.#changed);
    for (const run of runsOf([...replay.index])) {
      await this.#copy(run);
      if (this.#frameBytes < CHUNK_BYTES) continue;
      await this.#write();
      if (!(await mayGoOn())) return false;
    }
    await this.#write();
    await this.#file.sync();
    return true;
  }

  /** The source is sealed: add what changed since the copy, and publish. False if another process was first. */
  async publish(): Promise<boolean> {
    const { index, damage } = this.#source.replay;
    const present: Keyed[] = [];
    for (const key of this.#changed) {
      const entry = index.get(key);
      if (entry) present.push([key, entry]);
      else this.#leaveOut(key);
      this.#dropped.delete(key);
    }
    for (const run of runsOf(present)) {
      await this.#copy(run);
      if (this.#frameBytes >= CHUNK_BYTES) await this.#write();
    }
    this.#encodeChanges();
    const carried: readonly Version[] = this.#isRepair ? [] : damage;
    this.#encode({ i: '-', segment: { number: this.replay.segment, damage: carried }, ready: 1 });
    await this.#write();
    await this.#file.sync();
    this.replay.durableTo = this.#length;
    this.isPublished = await this.#directory.publish(this.#path, this.replay.segment);
    return this.isPublished;
  }

  isFor(segment: Segment): boolean {
    return this.#source === segment;
  }

  report(): DraftReport {
    return { kept: this.#source.replay.index.size - this.#dropped.size, dropped: [...this.#dropped] };
  }

  /** Let go of the draft's own name; what was published stays. May be called twice. */
  async discard(): Promise<void> {
    if (this.#isDiscarded) return;
    this.#isDiscarded = true;
    this.#source.replay.unwatch(this.#changed);
    await this.#file.close();
    await this.#directory.fs.remove(this.#path);
  }

  async #copy(run: readonly Keyed[]): Promise<void> {
    const values = await this.#source.readTogether(run.map(([, entry]) => entry));
    for (const [at, { bytes, isIntact }] of values.entries()) {
      const [key, { version, length, digest, hasZeros }] = run[at] as Keyed;
      if (isIntact || !this.#isRepair) {
        const marks = { ...(hasZeros ? { z: 1 as const } : {}), ...(isIntact ? {} : { bad: 1 as const }) };
        this.#add([{ k: key, v: version, n: length, h: digest, ...marks }], bytes);
      } else {
        this.#leaveOut(key);
        this.#dropped.add(key);
      }
    }
  }

  /** A key that is not to be in the segment, although an earlier value of it may be. */
  #leaveOut(key: string): void {
    if (this.replay.index.get(key) !== undefined) this.#add([{ k: key, del: 1 }]);
  }

  #add(change: FrameChange, value: Buffer = Buffer.alloc(0)): void {
    if (this.#valueBytes + value.length > CHUNK_BYTES) this.#encodeChanges();
    this.#changes.push(change);
    this.#values.push(value);
    this.#valueBytes += value.length;
    if (this.#changes.length === MAX_SHARED_OPERATIONS) this.#encodeChanges();
  }

  #encodeChanges(): void {
    if (this.#changes.length > 0) this.#encode({ i: '-', o: this.#changes }, this.#values);
    this.#changes = [];
    this.#values = [];
    this.#valueBytes = 0;
  }

  /** Everything in a draft is on disk before it gets its name, so each frame can vouch for those before it. */
  #encode(head: FrameHead, values: readonly Buffer[] = []): void {
    const frame = encodeFrame(this.#directory.start, { ...head, d: this.#length }, values);
    this.replay.apply(placeAt(this.#length, frame));
    this.#frames.push(frame);
    this.#frameBytes += frame.length;
    this.#length += frame.length;
  }

  async #write(): Promise<void> {
    this.#encodeChanges();
    const bytes = Buffer.concat(this.#frames.flatMap((frame) => frame.chunks));
    this.#frames = [];
    this.#frameBytes = 0;
    if (bytes.length === 0 || (await this.#file.append([bytes])) === bytes.length) return;
    throw shortWrite(this.#path);
  }
}

/** The entries in runs that stand close together in the file, and are small enough to be read at once. */
function* runsOf(entries: readonly Keyed[]): Generator<readonly Keyed[]> {
  for (let at = 0; at < entries.length; at += BATCH_KEYS) {
    const batch = entries.slice(at, at + BATCH_KEYS).sort(([, a], [, b]) => a.offset - b.offset);
    let from = 0;
    for (const [place, [, entry]] of batch.entries()) {
      const first = batch[from]?.[1] ?? entry;
      const before = batch[place - 1]?.[1] ?? entry;
      const isFar = entry.offset - before.offset - before.length > GAP_BYTES;
      if (!isFar && entry.offset + entry.length - first.offset <= RUN_BYTES) continue;
      if (place > from) yield batch.slice(from, place);
      from = place;
    }
    yield batch.slice(from);
  }
}

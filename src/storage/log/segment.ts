import { sha256Base64Url } from '../../base/digest.js';
import { CorruptionError } from '../../base/errors.js';
import type { ReadOptions } from '../adapter.js';
import { shortWrite } from './file-errors.js';
import type { LogFile } from './file-system.js';
import { type EncodedFrame, type PlacedFrame, placeAt, ZERO_RUN } from './frame.js';
import type { IndexEntry, Replay } from './replay.js';
import { type Gap, scan } from './scan.js';

/** The bytes that stand where the value of an entry should, and whether they are those written. */
export interface RawValue {
  readonly bytes: Buffer;
  readonly isIntact: boolean;
}

/**
 * One file of the log while it is open: what has been read of it, and how to read and append more.
 * `appliedTo` is the offset up to which its frames are in `replay`.
 */
export class Segment {
  appliedTo = 0;
  /** Its name will be there after a power cut. */
  isNameOnDisk = false;
  /** Bytes that opening found begun and never acknowledged. */
  tornBytes = 0;
  /** An index file remembers everything up to here. */
  indexedTo = 0;
  /** Size of that file. */
  indexBytes = 0;
  /** The file is on disk up to here, as far as this process knows. */
  syncedTo = 0;
  /** Ranges found torn by a power cut that no frame declares so yet: the next write must. */
  readonly torn: (readonly [from: number, to: number])[] = [];
  /** A sync failed: what is on disk is unknown, and syncing again could claim what is not true. */
  isUnsyncable = false;
  #catchingUp: Promise<void> | undefined;
  #appending: Promise<unknown> | undefined;
  #holders = 0;
  #isRetired = false;

  constructor(
    readonly path: string,
    readonly file: LogFile,
    readonly start: Buffer,
    readonly replay: Replay,
  ) {}

  get number(): number {
    return this.replay.segment;
  }

  /**
   * Read the segment, but for what stands before `from` and is in `replay` already. Damage does not stop it: it is
   * recorded, and answered for key by key.
   */
  async readAll(from: number): Promise<void> {
    this.appliedTo = from;
    /** What no later frame has shown to be on disk yet: a power cut may have left anything in it. */
    let limbo: (PlacedFrame | Gap)[] = [];
    let unfinished: Gap | undefined;
    for await (const items of scan(this.file, this.appliedTo, this.file.size(), this.start)) {
      for (const item of items) {
        if (item.type === 'unfinished') unfinished = item.gap;
        else if (item.type === 'gap') limbo.push(item.gap);
        else {
          limbo = this.#settle(limbo, item.frame);
          limbo.push(item.frame);
        }
      }
    }
    for (const item of limbo) this.tornBytes += await this.#judge(item);
    if (unfinished) this.tornBytes += this.#judgeTail(unfinished);
    // Compaction writes a last frame before it publishes, and only what is on disk is ever known beforehand.
    if (!this.replay.isReady || this.file.size() < from) this.replay.addDamage(this.appliedTo);
    // A file that was cut behind our back goes on where it ends now: there the seal of a repair will be.
    this.appliedTo = Math.min(this.appliedTo, this.file.size());
    this.syncedTo = this.replay.durableTo;
  }

  /** Apply what any process has appended since the last look. Answers at once when there is nothing new. */
  catchUp(): Promise<void> | undefined {
    if (this.#catchingUp) return this.#catchingUp.then(() => this.catchUp());
    if (this.file.size() <= this.appliedTo) return undefined;
    // What is new is this process's own: it need not be read back once the append is done.
    if (this.#appending) return this.#appending.then(() => this.catchUp());
    this.#catchingUp = this.#applyTail().finally(() => {
      this.#catchingUp = undefined;
    });
    return this.#catchingUp;
  }

  /** Append frames with one call, and apply what has landed; resolves with the error, if not all did. */
  async append(frames: readonly EncodedFrame[]): Promise<unknown> {
    const before = this.appliedTo;
    const length = frames.reduce((sum, frame) => sum + frame.length, 0);
    this.#appending = this.#write(frames, length);
    const failure = await this.#appending;
    this.#appending = undefined;
    // Not read back if nobody else wrote in between.
    const isAlone = this.appliedTo === before && this.file.size() === before + length;
    if (failure === undefined && isAlone && this.#catchingUp === undefined) {
      for (const frame of frames) this.#apply(placeAt(this.appliedTo, frame));
    }
    await this.catchUp();
    return failure;
  }

  /** The value of an entry, proved to be what was written unless the caller does that. @throws CorruptionError if it is not. */
  async read(key: string, entry: IndexEntry, { callerProves = false }: ReadOptions = {}): Promise<Buffer> {
    const bytes = await this.hold(() => this.#readOrZeros(entry));
    if (callerProves ? !entry.isBad : isIntact(bytes, entry)) return bytes;
    throw new CorruptionError(
      `The value of "${key}" in ${this.path} is damaged: its bytes are not those written.`,
      key,
    );
  }

  readRaw(entry: IndexEntry): Promise<RawValue> {
    return this.hold(async () => {
      const bytes = await this.#readOrZeros(entry);
      return { bytes, isIntact: isIntact(bytes, entry) };
    });
  }

  /** The same for entries that stand close together, in the order of the file: one read for all that are intact. */
  readTogether(entries: readonly IndexEntry[]): Promise<RawValue[]> {
    return this.hold(async () => {
      const from = entries[0]?.offset ?? 0;
      const last = entries.at(-1);
      const bytes = await this.#readOrZeros({ offset: from, length: last ? last.offset + last.length - from : 0 });
      const values: RawValue[] = [];
      for (const entry of entries) {
        const value = bytes.subarray(entry.offset - from, entry.offset - from + entry.length);
        // A sector that cannot be read spoils the whole read: whoever looks damaged is asked by itself.
        values.push(isIntact(value, entry) ? { bytes: value, isIntact: true } : await this.readRaw(entry));
      }
      return values;
    });
  }

  /** Keep the file open while `use` runs, also if the log moves on in the meantime. */
  async hold<Result>(use: () => Promise<Result>): Promise<Result> {
    this.#holders++;
    try {
      return await use();
    } finally {
      this.#holders--;
      if (this.#isRetired && this.#holders === 0) await this.file.close();
    }
  }

  /** The log has moved on: no read may begin here. */
  get isRetired(): boolean {
    return this.#isRetired;
  }

  /** No more reads will begin; the file is closed when the last one under way has ended. */
  async retire(): Promise<void> {
    this.#isRetired = true;
    if (this.#holders === 0) await this.file.close();
  }

  /** A sector that cannot be read is damage like any other: the key it held is known, and the rest is not touched. */
  async #readOrZeros({ offset, length }: Pick<IndexEntry, 'offset' | 'length'>): Promise<Buffer> {
    try {
      const bytes = await this.file.read(offset, length);
      return bytes.length === length ? bytes : Buffer.concat([bytes], length);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EIO') return Buffer.alloc(length);
      throw error;
    }
  }

  async #write(frames: readonly EncodedFrame[], length: number): Promise<unknown> {
    try {
      const bytes = await this.file.append(frames.flatMap(({ chunks }) => chunks));
      // The operating system reports a full disk as a short write first; whole frames before the cut are still good.
      return bytes < length ? shortWrite(this.path) : undefined;
    } catch (error) {
      return error;
    }
  }

  async #applyTail(): Promise<void> {
    for await (const items of scan(this.file, this.appliedTo, this.file.size(), this.start)) {
      for (const item of items) {
        // Another process may be in the middle of this one: look again when the file has grown.
        if (item.type === 'unfinished') return;
        if (item.type === 'frame') this.#apply(item.frame);
        else this.#skip(item.gap);
      }
    }
  }

  #apply(frame: PlacedFrame): void {
    this.replay.apply(frame);
    this.appliedTo = frame.end;
  }

  #skip(gap: Gap): void {
    // A cut frame was never acknowledged; anything else was whole once.
    if (!gap.isCut) this.replay.addDamage(gap.from);
    this.appliedTo = gap.to;
  }

  /** What is left in limbo once `frame` has been heard: it may declare ranges torn, or all up to a place durable. */
  #settle(limbo: (PlacedFrame | Gap)[], { head: { torn, d = 0 } }: PlacedFrame): (PlacedFrame | Gap)[] {
    const left = torn ? limbo.filter((waiting) => !torn.some(([from]) => from === startOf(waiting))) : limbo;
    const firstLeft = left.findIndex((item) => endOf(item) > d);
    for (const item of left.splice(0, firstLeft < 0 ? left.length : firstLeft)) this.#settleDurable(item);
    return left;
  }

  #settleDurable(item: PlacedFrame | Gap): void {
    if ('head' in item) this.#apply(item);
    else this.#skip(item);
  }

  /** Decide on something that may never have reached the disk as a whole; returns its bytes if it is torn. */
  async #judge(item: PlacedFrame | Gap): Promise<number> {
    const isTorn = 'head' in item ? await this.#isFrameTorn(item) : !item.isCut && item.hasZeros;
    if (!isTorn) {
      this.#settleDurable(item);
      return 0;
    }
    this.torn.push([startOf(item), endOf(item)]);
    this.appliedTo = endOf(item);
    return endOf(item) - startOf(item);
  }

  #judgeTail(gap: Gap): number {
    const { from, to, isCut, hasZeros } = gap;
    // A cut tail may also be a write that another process is in the middle of: it stays to be looked at again.
    if (isCut) return to - from;
    if (!hasZeros) this.replay.addDamage(from);
    else this.torn.push([from, to]);
    this.appliedTo = to;
    return hasZeros ? to - from : 0;
  }

  /**
   * A value of the frame is not what was written, and zeros that were not in it say that its pages were lost. Zeros that
   * a value may have of its own prove nothing about it, and hide nothing about those beside it.
   */
  async #isFrameTorn({ head, bodyOffset, end }: PlacedFrame): Promise<boolean> {
    const bytes = await this.file.read(bodyOffset, end - bodyOffset);
    let at = 0;
    let isBad = false;
    for (const { n, h, z } of head.o?.flat() ?? []) {
      if (n === undefined) continue;
      if (sha256Base64Url(bytes.subarray(at, at + n)) !== h) {
        isBad = true;
        // The lost page may begin in the value before, or end in the one behind.
        const around = bytes.subarray(Math.max(0, at - ZERO_RUN.length + 1), at + n + ZERO_RUN.length - 1);
        if (!z && around.includes(ZERO_RUN)) return true;
      }
      at += n;
    }
    return isBad && bytes.subarray(at).includes(ZERO_RUN);
  }
}

function isIntact(bytes: Buffer, { isBad, digest }: IndexEntry): boolean {
  return !isBad && sha256Base64Url(bytes) === digest;
}

function startOf(item: PlacedFrame | Gap): number {
  return 'head' in item ? item.offset : item.from;
}

function endOf(item: PlacedFrame | Gap): number {
  return 'head' in item ? item.end : item.to;
}

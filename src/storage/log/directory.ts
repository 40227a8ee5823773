import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { sha256Hex } from '../../base/digest.js';
import { CorruptionError } from '../../base/errors.js';
import { StorageError } from '../adapter.js';
import { shortWrite } from './file-errors.js';
import type { LogFileSystem } from './file-system.js';
import { bodyStart, encodeFrame, frameStart, PREFIX_BYTES, parseHead, parsePrefix, saltOf } from './frame.js';
import { loadIndex } from './index-file.js';
import { Replay } from './replay.js';
import { Segment } from './segment.js';

const FORMAT = 'holdfast-log';
/** Version of the layout in this directory. A store from a newer one is refused, never guessed at. */
const FORMAT_VERSION = 1;
const FORMAT_FILE = 'FORMAT.json';
/** More than the first frame of a segment ever takes. */
const FIRST_FRAME_BYTES = 4_096;
const SEGMENT_NAME = /^log-(\d{8,})$/;
/** What only a store leaves behind: where one of these is, nothing is new. */
const TRACE_NAME = /^(FORMAT\.json|log-\d+|index-\d+-\d+|damaged-log-\d+)$/;
const INDEX_NAME = /^index-(\d{8,})-\d+$/;
/** Drafts are named after the process that builds them, so that others can tell when nobody does any more. */
const DRAFT_NAME = /^draft-(\d+)-(\w+)-/;

/** A segment as the process that built it knows it: what it wrote itself need not be read again. */
export interface BuiltSegment {
  readonly replay: Replay;
  readonly length: number;
}

/** The directory of a log store: its identity, its segments, its drafts. */
export class LogDirectory {
  /** What every frame of this store begins with. */
  readonly start: Buffer;

  private constructor(
    readonly path: string,
    readonly fs: LogFileSystem,
    readonly storeId: string,
  ) {
    this.start = frameStart(saltOf(storeId));
  }

  /**
   * The store in a directory that is there, made if there is none in it. Only a directory with no trace of a store is new;
   * the first segment is there before FORMAT.json is, so a FORMAT.json without segments means that segments were lost.
   */
  static async open(path: string, fs: LogFileSystem): Promise<LogDirectory> {
    let names = await fs.list(path);
    if (!names.some((name) => TRACE_NAME.test(name))) {
      await createStore(path, fs);
      names = await fs.list(path);
    }
    if (!names.includes(FORMAT_FILE)) await writeFormat(path, fs, await storeIdFromSegments(path, fs));
    const directory = new LogDirectory(path, fs, await readFormat(path, fs));
    await directory.#sweep(names);
    return directory;
  }

  /** Number of the newest segment. @throws CorruptionError if there is none. */
  async newestNumber(): Promise<number> {
    return this.#newestAmong(await this.fs.list(this.path));
  }

  /** The newest segment, open. @throws ENOENT if it was replaced and removed between looking and opening. */
  async openNewest(built?: BuiltSegment): Promise<Segment> {
    const names = await this.fs.list(this.path);
    const number = this.#newestAmong(names);
    return this.#openSegment(
      number,
      indexNames(names, number).at(-1),
      built?.replay.segment === number ? built : undefined,
    );
  }

  #newestAmong(names: readonly string[]): number {
    const newest = segmentNumbers(names).at(-1);
    if (newest === undefined) {
      throw new CorruptionError(
        `${this.path} has a ${FORMAT_FILE} but no log-* files: they were lost or moved. Put them back, or use another directory.`,
        this.path,
      );
    }
    return newest;
  }

  segmentPath(number: number): string {
    return join(this.path, segmentName(number));
  }

  /** Open a segment. What was built here and published has its name on disk already. */
  async #openSegment(number: number, index: string | undefined, built?: BuiltSegment): Promise<Segment> {
    const path = this.segmentPath(number);
    const file = await this.fs.openLog(path);
    try {
      if (file.size() === 0)
        throw new CorruptionError(
          `${path} is empty: its content was lost. Put it back from a copy, or use another directory.`,
          path,
        );
      const segment = new Segment(path, file, this.start, built?.replay ?? new Replay(number));
      segment.isNameOnDisk = built !== undefined;
      const indexed = built ? Buffer.alloc(0) : await this.#readIndex(index);
      segment.indexBytes = indexed.length;
      segment.indexedTo = loadIndex(indexed, number, segment.replay);
      await segment.readAll(built?.length ?? segment.indexedTo);
      return segment;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Make sure that the name of a segment is on disk: before anything is acknowledged into it. Reading needs no such thing. */
  async keepName(segment: Segment): Promise<void> {
    await this.fs.syncDirectory(this.path);
    segment.isNameOnDisk = true;
  }

  /** Bytes of an index file; nothing if there is none. */
  async #readIndex(name: string | undefined): Promise<Buffer> {
    if (name === undefined) return Buffer.alloc(0);
    // Whatever keeps it from being read, the log itself is there.
    return this.fs.readFile(join(this.path, name)).catch(() => Buffer.alloc(0));
  }

  /** Write an index file of a segment, and remove those it replaces; how many bytes it has. */
  async writeIndex(number: number, appliedTo: number, pieces: Iterable<Buffer>): Promise<number> {
    const older = indexNames(await this.fs.list(this.path), number);
    const name = `${indexPrefix(number)}${String(appliedTo).padStart(15, '0')}`;
    const draft = this.draftPath();
    const file = await this.fs.createLog(draft);
    let bytes = 0;
    try {
      // Not synced: what a power cut leaves of it does not match its sum, and is passed over.
      for (const piece of pieces) bytes += await file.append([piece]);
      await this.fs.link(draft, join(this.path, name));
    } finally {
      await file.close();
      await this.fs.remove(draft);
    }
    for (const one of older) if (one !== name) await this.fs.remove(join(this.path, one));
    return bytes;
  }

  /** A name for a file under construction. */
  draftPath(): string {
    return join(this.path, draftName(this.fs));
  }

  /** Publish a finished draft as segment `number`; false if that segment is there, or the log has moved past it. */
  async publish(draft: string, number: number): Promise<boolean> {
    const path = this.segmentPath(number);
    if (!(await this.#linkDraft(draft, path))) return false;
    // The name may have been free because the segment came and went while this draft was built.
    const isStale = (await this.newestNumber()) > number;
    if (isStale) await this.fs.remove(path);
    else await this.fs.syncDirectory(this.path);
    return !isStale;
  }

  /** False also if the draft was swept by a process that could not see this one (another container): build again. */
  async #linkDraft(draft: string, path: string): Promise<boolean> {
    try {
      return await this.fs.link(draft, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw error;
    }
  }

  /** Where the bytes of a damaged segment are kept, under a name that nothing ever removes. */
  damagedPath(number: number): string {
    return join(this.path, `damaged-${segmentName(number)}`);
  }

  async keepDamaged(number: number): Promise<void> {
    await this.fs.link(this.segmentPath(number), this.damagedPath(number));
  }

  /** Remove segments older than the one before `newest`: it may still be read by others. */
  async removeOld(newest: number, names?: readonly string[]): Promise<void> {
    for (const name of names ?? (await this.fs.list(this.path))) {
      const [, number] = SEGMENT_NAME.exec(name) ?? INDEX_NAME.exec(name) ?? [];
      if (number !== undefined && Number(number) < newest - 1) await this.fs.remove(join(this.path, name));
    }
  }

  /** Remove drafts that no process builds any more. A live one that is hit builds again. */
  async #sweep(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const [, pid, startedAt] = DRAFT_NAME.exec(name) ?? [];
      if (pid === undefined || startedAt === undefined) continue;
      if (!this.fs.isRunning(Number(pid), startedAt)) await this.fs.remove(join(this.path, name));
    }
    await this.removeOld(this.#newestAmong(names), names);
  }
}

function indexPrefix(number: number): string {
  return `index-${String(number).padStart(8, '0')}-`;
}

/** Index files of a segment among the names, the newest last. */
function indexNames(names: readonly string[], number: number): string[] {
  return names.filter((name) => name.startsWith(indexPrefix(number))).sort();
}

function segmentName(number: number): string {
  return `log-${String(number).padStart(8, '0')}`;
}

function draftName(fs: LogFileSystem): string {
  return `draft-${process.pid}-${fs.processStartedAt(process.pid)}-${randomBytes(6).toString('hex')}`;
}

/** Numbers of the segments among the names, ascending. */
function segmentNumbers(names: readonly string[]): number[] {
  const numbers = names.flatMap((name) => SEGMENT_NAME.exec(name)?.[1] ?? []).map(Number);
  return numbers.sort((a, b) => a - b);
}

/** First segment, then format: two processes may race, and either may die in between. */
async function createStore(path: string, fs: LogFileSystem): Promise<void> {
  const storeId = randomBytes(16).toString('hex');
  const start = frameStart(saltOf(storeId));
  const first = encodeFrame(start, { i: storeId, segment: { number: 1, damage: [] } });
  const ready = encodeFrame(start, { i: storeId, d: first.length, ready: 1 });
  await createOnce(path, fs, segmentName(1), [...first.chunks, ...ready.chunks]);
}

async function writeFormat(path: string, fs: LogFileSystem, storeId: string): Promise<void> {
  const format = { format: FORMAT, version: FORMAT_VERSION, storeId, sum: formatSum(FORMAT_VERSION, storeId) };
  await createOnce(path, fs, FORMAT_FILE, [Buffer.from(`${JSON.stringify(format)}\n`)]);
}

/** Make a file that is whole and on disk when it gets its name. Someone else's file of that name stays. */
async function createOnce(path: string, fs: LogFileSystem, name: string, chunks: readonly Uint8Array[]): Promise<void> {
  const draft = join(path, draftName(fs));
  const file = await fs.createLog(draft);
  try {
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    if ((await file.append(chunks)) !== length) throw shortWrite(draft);
    await file.sync();
    await fs.link(draft, join(path, name));
    await fs.syncDirectory(path);
  } finally {
    await file.close();
    await fs.remove(draft);
  }
}

/** The first frame of a segment names the store, proved: it is how a creation that died half-way is finished. */
async function storeIdFromSegments(path: string, fs: LogFileSystem): Promise<string> {
  for (const number of segmentNumbers(await fs.list(path))) {
    const file = await fs.openLog(join(path, segmentName(number)));
    const bytes = await file.read(0, FIRST_FRAME_BYTES);
    await file.close();
    const [, storeId = ''] = /"i":"([0-9a-f]{32})"/.exec(bytes.toString('latin1')) ?? [];
    const prefix = parsePrefix(bytes.subarray(0, PREFIX_BYTES), frameStart(saltOf(storeId)));
    if (prefix && parseHead(bytes.subarray(0, bodyStart(prefix.headLength)), prefix.headLength)?.i === storeId)
      return storeId;
  }
  const message = `${path} has log files but no ${FORMAT_FILE}, and none of them begins intact. Put ${FORMAT_FILE} back from a copy.`;
  throw new CorruptionError(message, path);
}

async function readFormat(path: string, fs: LogFileSystem): Promise<string> {
  const file = join(path, FORMAT_FILE);
  const text = (await fs.readFile(file)).toString('utf8');
  const { version, storeId, sum } = parseJson(text);
  // Before the sum: a later version may compute it in another way.
  if (typeof version === 'number' && version > FORMAT_VERSION) {
    const versions = `version ${version}; this holdfast reads up to ${FORMAT_VERSION}`;
    throw new StorageError(`${path} was written in store format ${versions}. Upgrade holdfast to open it.`);
  }
  if (typeof storeId !== 'string' || sum !== formatSum(Number(version), storeId)) {
    throw new CorruptionError(`${file} is damaged. Remove it: it is made again from the log.`, file);
  }
  return storeId;
}

function parseJson(text: string): { version?: unknown; storeId?: unknown; sum?: unknown } {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {}; // As damaged as a wrong sum, and reported as that.
  }
}

function formatSum(version: number, storeId: string): string {
  return sha256Hex(`${FORMAT} ${version} ${storeId}`);
}

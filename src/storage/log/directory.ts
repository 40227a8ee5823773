import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { sha256Hex } from '../../base/digest.js';
import { CorruptionError } from '../../base/errors.js';
import { StorageError } from '../adapter.js';
import { shortWrite } from './file-errors.js';
import type { LogFileSystem } from './file-system.js';
import { encodeFrame, frameStart, saltOf } from './frame.js';
import { Segment } from './segment.js';

const FORMAT = 'holdfast-log';
/** Version of the layout in this directory. A store from a newer one is refused, never guessed at. */
const FORMAT_VERSION = 1;
const FORMAT_FILE = 'FORMAT.json';
const SEGMENT_NAME = /^log-(\d{8,})$/;
/** Drafts are named after the process that builds them, so that others can tell when nobody does any more. */
const DRAFT_NAME = /^draft-(\d+)-([0-9a-f]{12})-/;
/** This process, told apart from an earlier one with the same process id (the usual case in a container). */
const incarnation = randomBytes(6).toString('hex');

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
   * The store in `path`, made if there is none. Only a directory with no trace of a store is new; the first segment is
   * there before FORMAT.json is, so a FORMAT.json without segments means that segments were lost.
   */
  static async open(path: string, fs: LogFileSystem): Promise<LogDirectory> {
    await fs.prepareDirectory(path);
    let names = await fs.list(path);
    if (!names.some((name) => SEGMENT_NAME.test(name)) && !names.includes(FORMAT_FILE)) {
      await createStore(path, fs);
      names = await fs.list(path);
    }
    if (!names.includes(FORMAT_FILE)) await writeFormat(path, fs, await storeIdOfFirstSegment(path, fs));
    const directory = new LogDirectory(path, fs, await readFormat(path, fs));
    await directory.#sweep(names);
    return directory;
  }

  /** Number of the newest segment. @throws CorruptionError if there is none. */
  async newestNumber(): Promise<number> {
    const numbers = segmentNumbers(await this.fs.list(this.path));
    const newest = numbers.at(-1);
    if (newest === undefined) {
      throw new CorruptionError(
        `${this.path} has a ${FORMAT_FILE} but no log-* files: they were lost or moved.`,
        this.path,
      );
    }
    return newest;
  }

  segmentPath(number: number): string {
    return join(this.path, segmentName(number));
  }

  /** Open a segment and make sure that its name is on disk before anything is acknowledged into it. */
  async openSegment(number: number): Promise<Segment> {
    const path = this.segmentPath(number);
    const file = await this.fs.openLog(path);
    try {
      if (file.size() === 0) throw new CorruptionError(`${path} is empty: its content was lost.`, path);
      await this.fs.syncDirectory(this.path);
      return await Segment.open(path, number, file, this.start);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** A name for a file under construction. */
  draftPath(): string {
    return join(this.path, draftName());
  }

  /** Publish a finished draft as segment `number`; false if that segment is there, or the log has moved past it. */
  async publish(draft: string, number: number): Promise<boolean> {
    const path = this.segmentPath(number);
    if (!(await this.fs.link(draft, path))) return false;
    // The name may have been free because the segment came and went while this draft was built.
    const isStale = (await this.newestNumber()) > number;
    if (isStale) await this.fs.remove(path);
    else await this.fs.syncDirectory(this.path);
    return !isStale;
  }

  /** Where the bytes of a damaged segment are kept, under a name that nothing ever removes. */
  damagedPath(number: number): string {
    return join(this.path, `damaged-${segmentName(number)}`);
  }

  async keepDamaged(number: number): Promise<void> {
    await this.fs.link(this.segmentPath(number), this.damagedPath(number));
  }

  /** Remove segments older than the one before `newest`: it may still be read by others. */
  async removeOld(newest: number): Promise<void> {
    for (const number of segmentNumbers(await this.fs.list(this.path))) {
      if (number < newest - 1) await this.fs.remove(this.segmentPath(number));
    }
  }

  /** Remove drafts that no process builds any more. A live one that is hit builds again. */
  async #sweep(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const [, pid, builder] = DRAFT_NAME.exec(name) ?? [];
      if (pid === undefined || builder === incarnation) continue;
      if (Number(pid) === process.pid || !this.fs.isRunning(Number(pid))) await this.fs.remove(join(this.path, name));
    }
    await this.removeOld(await this.newestNumber());
  }
}

function segmentName(number: number): string {
  return `log-${String(number).padStart(8, '0')}`;
}

function draftName(): string {
  return `draft-${process.pid}-${incarnation}-${randomBytes(6).toString('hex')}`;
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
  const draft = join(path, draftName());
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

/** The first frame's id names the store: it is how a creation that died before FORMAT.json is finished. */
async function storeIdOfFirstSegment(path: string, fs: LogFileSystem): Promise<string> {
  const [number] = segmentNumbers(await fs.list(path));
  const bytes = await fs.readFile(join(path, segmentName(number ?? 1)));
  const [, storeId] = /"i":"([0-9a-f]{32})"/.exec(bytes.toString('latin1', 0, 1024)) ?? [];
  if (storeId === undefined) {
    throw new CorruptionError(`${path} has log files but no ${FORMAT_FILE}, and they do not name their store.`, path);
  }
  return storeId;
}

async function readFormat(path: string, fs: LogFileSystem): Promise<string> {
  const file = join(path, FORMAT_FILE);
  const text = (await fs.readFile(file)).toString('utf8');
  const { version, storeId, sum } = parseJson(text);
  if (typeof version !== 'number' || typeof storeId !== 'string' || sum !== formatSum(version, storeId)) {
    throw new CorruptionError(`${file} is damaged. Remove it: it is made again from the log.`, file);
  }
  if (version > FORMAT_VERSION) {
    const versions = `version ${version}; this holdfast reads up to ${FORMAT_VERSION}`;
    throw new StorageError(`${path} was written in store format ${versions}. Upgrade holdfast to open it.`);
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

import type { LogFile, LogFileSystem } from '../../src/storage/log/file-system.js';

/** What a power cut may make of a change that was not synced. */
export const FATES = ['lost', 'whole', 'torn', 'zeroed'] as const;
export type Fate = (typeof FATES)[number];

interface Change {
  readonly what: 'write' | 'link' | 'unlink';
  readonly inode: number;
  readonly name: string;
  readonly offset: number;
  readonly bytes: Buffer;
}

/** A disk after a power cut: what its files hold. */
export type DiskImage = ReadonlyMap<string, Buffer>;

/** Pages are what a file system writes back, and loses, one by one; sectors are what a disk tears at. */
const PAGE_BYTES = 4096;
const SECTOR_BYTES = 512;
const SYNC_TURNS = 60;

class NoSuchFile extends Error {
  readonly code = 'ENOENT';
}

/**
 * A file system that knows what is not on disk yet. `fdatasync` makes one file's data durable, not its name;
 * `syncDirectory` makes names durable. Everything else may be lost, kept, torn at a sector or zero-filled, each change
 * by itself and in any combination. `beforeCall` runs before every call that changes something: there the power may go,
 * or the call may fail.
 */
export class ModelFileSystem implements LogFileSystem {
  readonly #contents = new Map<number, Buffer>();
  readonly #names = new Map<string, number>();
  #durableContents = new Map<number, Buffer>();
  #durableNames = new Map<string, number>();
  #pending: Change[] = [];
  #inodes = 0;
  beforeCall: (call: string, path: string) => void = () => {};
  /** Bytes that the next write may still take; then the disk is full. */
  roomBytes = Number.POSITIVE_INFINITY;

  constructor(image: DiskImage = new Map()) {
    for (const [name, bytes] of image) {
      const inode = ++this.#inodes;
      this.#contents.set(inode, bytes);
      this.#durableContents.set(inode, bytes);
      this.#names.set(name, inode);
      this.#durableNames.set(name, inode);
    }
  }

  /** The files as the running processes see them. */
  image(): DiskImage {
    return new Map([...this.#names].map(([name, inode]) => [name, this.#content(inode)]));
  }

  get pendingChanges(): number {
    return this.#pending.length;
  }

  /** The disk if the power goes now; `fateOf` decides over each change that was not synced. */
  powerCut(fateOf: (index: number) => Fate): DiskImage {
    const contents = new Map(this.#durableContents);
    const names = new Map(this.#durableNames);
    for (const [index, change] of this.#pending.entries()) settle(contents, names, change, fateOf(index));
    return new Map([...names].map(([name, inode]) => [name, contents.get(inode) ?? Buffer.alloc(0)]));
  }

  async prepareDirectory(): Promise<void> {}

  async networkFileSystem(): Promise<undefined> {}

  async list(directory: string): Promise<string[]> {
    return [...this.#names.keys()].map((path) => path.slice(directory.length + 1));
  }

  async readFile(path: string): Promise<Buffer> {
    return this.#content(this.#inode(path));
  }

  async openLog(path: string): Promise<LogFile> {
    return this.#open(this.#inode(path), path);
  }

  async createLog(path: string): Promise<LogFile> {
    this.beforeCall('create', path);
    const inode = ++this.#inodes;
    this.#name(path, inode);
    return this.#open(inode, path);
  }

  async link(existing: string, path: string): Promise<boolean> {
    this.beforeCall('link', path);
    if (this.#names.has(path)) return false;
    this.#name(path, this.#inode(existing));
    return true;
  }

  async remove(path: string): Promise<void> {
    this.beforeCall('remove', path);
    const inode = this.#names.get(path);
    if (inode === undefined) return;
    this.#names.delete(path);
    this.#pending.push({ what: 'unlink', inode, name: path, offset: 0, bytes: Buffer.alloc(0) });
  }

  async syncDirectory(path: string): Promise<void> {
    this.beforeCall('syncDirectory', path);
    await this.#takeLong();
    this.#settlePending((change) => change.what !== 'write');
  }

  processStartedAt(): string {
    return 'boot';
  }

  isRunning(_pid?: number, _startedAt?: string): boolean {
    return false;
  }

  #open(inode: number, path: string): LogFile {
    return {
      size: () => this.#content(inode).length,
      isLinked: () => [...this.#names.values()].includes(inode),
      read: (position, length) => Buffer.from(this.#content(inode).subarray(position, position + length)),
      append: async (chunks) => {
        this.beforeCall('append', path);
        return this.#append(inode, Buffer.concat(chunks));
      },
      sync: async () => {
        this.beforeCall('sync', path);
        await this.#takeLong();
        this.#settlePending((change) => change.what === 'write' && change.inode === inode);
      },
      close: async () => {},
    };
  }

  #append(inode: number, wanted: Buffer): number {
    const bytes = wanted.subarray(0, this.roomBytes);
    if (wanted.length > 0 && bytes.length === 0) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
    this.roomBytes -= bytes.length;
    const content = this.#content(inode);
    // A write reaches the disk page by page; pages begin at multiples in the file, not in the write.
    for (let at = 0; at < bytes.length; ) {
      const offset = content.length + at;
      const end = Math.min(bytes.length, at + PAGE_BYTES - (offset % PAGE_BYTES));
      this.#pending.push({ what: 'write', inode, name: '', offset, bytes: Buffer.from(bytes.subarray(at, end)) });
      at = end;
    }
    this.#contents.set(inode, Buffer.concat([content, bytes]));
    return bytes.length;
  }

  /** A sync takes long: others get far in the meantime, and the power may go while they do. */
  async #takeLong(): Promise<void> {
    for (let turn = 0; turn < SYNC_TURNS; turn++) await Promise.resolve();
  }

  #name(path: string, inode: number): void {
    this.#names.set(path, inode);
    this.#pending.push({ what: 'link', inode, name: path, offset: 0, bytes: Buffer.alloc(0) });
  }

  #settlePending(isSettled: (change: Change) => boolean): void {
    for (const change of this.#pending.filter(isSettled)) {
      settle(this.#durableContents, this.#durableNames, change, 'whole');
    }
    this.#pending = this.#pending.filter((change) => !isSettled(change));
  }

  #inode(path: string): number {
    const inode = this.#names.get(path);
    if (inode === undefined) throw new NoSuchFile(path);
    return inode;
  }

  #content(inode: number): Buffer {
    return this.#contents.get(inode) ?? Buffer.alloc(0);
  }
}

function settle(contents: Map<number, Buffer>, names: Map<string, number>, change: Change, fate: Fate): void {
  if (fate === 'lost') return;
  if (change.what === 'link') names.set(change.name, change.inode);
  else if (change.what === 'unlink') names.delete(change.name);
  else contents.set(change.inode, written(contents.get(change.inode), change, fate));
}

function written(before: Buffer | undefined, { offset, bytes }: Change, fate: Fate): Buffer {
  const old = before ?? Buffer.alloc(0);
  const half = Math.floor((offset + bytes.length / 2) / SECTOR_BYTES) * SECTOR_BYTES;
  const torn = bytes.subarray(0, Math.max(0, half - offset));
  const kept = fate === 'whole' ? bytes : fate === 'torn' ? torn : Buffer.alloc(bytes.length);
  const result = Buffer.alloc(Math.max(old.length, offset + kept.length));
  old.copy(result);
  kept.copy(result, offset);
  return result;
}

import { constants, fstatSync, readFileSync, readSync } from 'node:fs';
import { chmod, type FileHandle, link, mkdir, open, readdir, rm, stat, statfs } from 'node:fs/promises';
import { constants as osConstants } from 'node:os';
import { dirname } from 'node:path';

/** An open log. Reads of up to `SYNC_READ_BYTES` answer at once: the page cache is nearer than the thread pool. */
export interface LogFile {
  /** Length of the file now, as any process has made it. */
  size(): number;
  /** False once the file has no name any more: what is written to it is gone with the last process that has it open. */
  isLinked(): boolean;
  /** Bytes from `position`; fewer than `length` only at the end of the file. */
  read(position: number, length: number): Buffer | Promise<Buffer>;
  /** Appends all chunks with one call; resolves with the bytes that were written, which may be too few. */
  append(chunks: readonly Uint8Array[]): Promise<number>;
  /** Resolves when everything in the file is on disk. After a failure the file must never be synced again. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/**
 * The few things the log asks of a file system, in one place: what a test has to model to cut the power at every one
 * of them. Paths are whole; errors are Node's.
 */
export interface LogFileSystem {
  /** Makes the directory (0700) unless it is there; throws unless it is one that can be written. */
  prepareDirectory(path: string): Promise<void>;
  /** The name of the network file system that holds `path`, or `undefined` if it is local. */
  networkFileSystem(path: string): Promise<string | undefined>;
  list(directory: string): Promise<string[]>;
  readFile(path: string): Promise<Buffer>;
  /** Opens a log for reading and appending. */
  openLog(path: string): Promise<LogFile>;
  /** Creates a file that must not exist, for its owner only (0600). */
  createLog(path: string): Promise<LogFile>;
  /** Gives a file a second name; false if that name is taken. */
  link(existing: string, name: string): Promise<boolean>;
  /** Removes a file; no error if it is gone already. */
  remove(path: string): Promise<void>;
  /** Resolves when the directory's entries are on disk. */
  syncDirectory(path: string): Promise<void>;
  /** Tells a process from an earlier one with the same id (the usual case in a container); the same in all its threads. */
  processStartedAt(pid: number): string;
  /** Whether the process of this host with this id and start is running. */
  isRunning(pid: number, startedAt: string): boolean;
}

const SYNC_READ_BYTES = 64 * 1024;
const UNKNOWN_START = 'unknown';

/** File systems that other machines can write, by the magic number of statfs(2), where O_APPEND has no single order. */
const NETWORK_FILE_SYSTEMS = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x01021997, '9p'],
  [0x65735546, 'FUSE'],
  [0x00c36400, 'Ceph'],
  [0x0bd00bd0, 'Lustre'],
  [0x5346414f, 'AFS'],
  [0x6b414653, 'AFS'],
  [0x73757245, 'Coda'],
  [0x19830326, 'BeeGFS'],
  [0x01161970, 'GFS2'],
  [0x7461636f, 'OCFS2'],
  [0x47504653, 'GPFS'],
]);

/** The file system of the machine. */
export const nodeFileSystem: LogFileSystem = {
  async prepareDirectory(path) {
    if (await isDirectory(path)) return;
    if (await makeDirectory(path)) await chmod(path, 0o700); // The umask may have taken away more than it should.
    if (!(await isDirectory(path))) throw Object.assign(new Error(`ENOTDIR: ${path}`), { code: 'ENOTDIR' });
  },
  async networkFileSystem(path) {
    const { type } = await statfs(path);
    return NETWORK_FILE_SYSTEMS.get(type >>> 0);
  },
  list: (directory) => readdir(directory),
  async readFile(path) {
    const file = new NodeLogFile(await open(path, constants.O_RDONLY));
    try {
      return await file.read(0, file.size());
    } finally {
      await file.close();
    }
  },
  openLog: async (path) => new NodeLogFile(await open(path, constants.O_RDWR | constants.O_APPEND)),
  async createLog(path) {
    const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_EXCL;
    const handle = await open(path, flags, 0o600);
    try {
      await handle.chmod(0o600);
    } catch (error) {
      await handle.close();
      throw error;
    }
    return new NodeLogFile(handle);
  },
  async link(existing, name) {
    try {
      await link(existing, name);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  },
  remove: (path) => rm(path, { force: true }),
  async syncDirectory(path) {
    if (process.platform === 'win32') return; // Windows has no way to sync a directory.
    const handle = await open(path, constants.O_RDONLY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  processStartedAt(pid) {
    try {
      // Field 22 of stat(5); the name before it may hold spaces and brackets.
      return (
        readFileSync(`/proc/${pid}/stat`, 'latin1')
          .replace(/^.*\) /s, '')
          .split(' ')[19] ?? UNKNOWN_START
      );
    } catch {
      return UNKNOWN_START; // No such process, or no Linux.
    }
  },
  isRunning(pid, startedAt) {
    try {
      process.kill(pid, 0);
      return this.processStartedAt(pid) === startedAt;
    } catch (error) {
      // EPERM: it runs, but belongs to someone else.
      return (error as NodeJS.ErrnoException).errno === -osConstants.errno.EPERM;
    }
  },
};

/**
 * Makes the directory and those above it; false if it was there. Not by `recursive` of mkdir: where no directory can be made
 * that is denied as ENOENT (/proc), and Node makes the parent, which is there, and tries again, for ever.
 */
async function makeDirectory(path: string): Promise<boolean> {
  try {
    return await makeOne(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const parent = dirname(path);
  await makeDirectory(parent);
  try {
    return await makeOne(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    throw new Error(`no directory can be made in ${parent}. Give it a path on a disk.`, { cause });
  }
}

async function makeOne(path: string): Promise<boolean> {
  try {
    await mkdir(path, { mode: 0o700 });
    return true;
  } catch (error) {
    // There are file systems that refuse before they look whether it is there.
    const isThere = await stat(path).then(
      () => true,
      () => false,
    );
    if (isThere) return false;
    throw error;
  }
}

/** False also if that cannot be told: then making it says why. */
function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

class NodeLogFile implements LogFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  size(): number {
    return fstatSync(this.#handle.fd).size;
  }

  isLinked(): boolean {
    return fstatSync(this.#handle.fd).nlink > 0;
  }

  read(position: number, length: number): Buffer | Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    if (length > SYNC_READ_BYTES) return this.#readAll(buffer, position);
    return buffer.subarray(0, readSync(this.#handle.fd, buffer, 0, length, position));
  }

  async append(chunks: readonly Uint8Array[]): Promise<number> {
    return (await this.#handle.writev(chunks)).bytesWritten;
  }

  async sync(): Promise<void> {
    await this.#handle.datasync();
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** One read call may answer with less than it was asked for. */
  async #readAll(buffer: Buffer, position: number): Promise<Buffer> {
    let filled = 0;
    while (filled < buffer.length) {
      const { bytesRead } = await this.#handle.read(buffer, filled, buffer.length - filled, position + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  }
}

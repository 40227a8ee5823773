import { resolve } from 'node:path';
import * as z from 'zod';
import type { Sink } from '../../base/emit.js';
import { ClosedError, InvalidInputError } from '../../base/errors.js';
import { functionOption, parseOptions } from '../../base/options.js';
import {
  type BatchOperation,
  type DeleteOptions,
  type ListOptions,
  type ListPage,
  type ReadOptions,
  type StorageAdapter,
  type StorageCapabilities,
  StorageError,
  type StoredEntry,
  type Version,
  type WriteOptions,
} from '../adapter.js';
import { checked } from '../checked.js';
import { asStorageError } from './file-errors.js';
import { type LogFileSystem, nodeFileSystem } from './file-system.js';
import { type FrameOperation, sealPut } from './frame.js';
import { LogStore } from './log-store.js';
import type { StorageEvent, StorageRepair } from './storage-event.js';

/** How a file store is made. */
export interface FileStorageOptions {
  /**
   * What an acknowledged write survives. Default `'disk'`: losing power, by one fdatasync for all writes that wait.
   * `'process'`: only the end of the process; several times faster for single writers, and said so in `capabilities`.
   */
  readonly durability?: 'disk' | 'process';
  /**
   * When values are checked against their SHA-256. Default `'lazy'`: whenever one is read. `'open'`: all of them at
   * opening too, which reads the whole store; damage is reported through `emit`.
   */
  readonly verify?: 'lazy' | 'open';
  /** Size in bytes below which the log is never compacted. Default 8 MiB. Above it, compaction begins at half garbage. */
  readonly compactAtBytes?: number;
  /** Default false: NFS, SMB, FUSE and the like are refused. True is safe only if one process at a time uses the store. */
  readonly allowNetworkFileSystem?: boolean;
  /** Hears of torn tails, damage, failed syncs and compactions. */
  readonly emit?: Sink<StorageEvent>;
}

/** A file store: an adapter with the means to look after its files. */
export interface FileStorage extends StorageAdapter {
  readonly open: () => Promise<void>;
  readonly close: () => Promise<void>;
  readonly batch: (operations: readonly BatchOperation[]) => Promise<Version>;
  /**
   * Go on without what is damaged: keys whose value is damaged are dropped and named, `suspect` marks are lifted. The
   * damaged file is kept beside the store. Until it is called nothing damaged is overwritten. Safe to run at any time,
   * also when nothing is damaged (then it compacts); a crash half-way changes nothing.
   */
  readonly repair: () => Promise<StorageRepair>;
}

const optionsSchema = z.strictObject({
  durability: z.enum(['disk', 'process']).default('disk'),
  verify: z.enum(['lazy', 'open']).default('lazy'),
  compactAtBytes: z
    .int()
    .min(4096)
    .default(8 * 1024 * 1024),
  allowNetworkFileSystem: z.boolean().default(false),
  emit: functionOption<Sink<StorageEvent>>().optional(),
});

/** Largest value, in bytes: one frame is built in memory. */
const MAX_VALUE_BYTES = 1024 * 1024 * 1024;

/**
 * A store in a directory of the local file system: one append-only log that any number of processes of this host may
 * share, with no lock file and no dependency. The first call opens it; `open()` does so early.
 *
 * Every write is one frame under SHA-256, acknowledged after one fdatasync that it shares with all that wait. A crash at
 * any moment leaves each write whole or absent. Bytes that are not those written are never served: the key answers with
 * `CorruptionError`, and where it cannot be told which key they were, older values and all lists carry `suspect`.
 *
 * The directory is made with mode 0700, its files with 0600. Keep nothing else in it.
 *
 * @throws InvalidInputError for an unknown option or an empty path. Opening rejects with `StorageError` for a directory
 * that is a file, cannot be written, lies on a network file system or was written by a newer version.
 */
export function fileStorage(directory: string, options?: FileStorageOptions): FileStorage {
  return fileStorageOn(nodeFileSystem, directory, options);
}

/** The same over another file system: how tests cut the power. */
export function fileStorageOn(fs: LogFileSystem, directory: string, given?: FileStorageOptions): FileStorage {
  if (typeof directory !== 'string' || directory === '') {
    throw new InvalidInputError('directory: give the path of a directory of its own for the store.', 'directory');
  }
  const options = parseOptions(optionsSchema, given);
  const path = resolve(directory);
  let opening: Promise<LogStore> | undefined;
  let closing: Promise<void> | undefined;
  let isClosed = false;
  const store = (): Promise<LogStore> => {
    if (isClosed) throw new ClosedError(`The file store in ${path}`);
    opening ??= openStore(fs, path, options).catch((error) => {
      opening = undefined; // What was wrong may be put right: the next call tries again.
      throw asStorageError(error, path);
    });
    return opening;
  };
  const close = async () => {
    const log = await opening?.catch(() => undefined); // Whoever opened was told.
    await log?.close();
    isClosed = true;
  };
  const adapter = checked(new FileStorageAdapter(path, options.durability, store));
  return Object.assign(adapter, {
    open: async () => void (await store()),
    batch: adapter.batch as FileStorage['batch'],
    repair: async () => {
      const log = await store();
      return log.repair().catch((error) => {
        throw asStorageError(error, path);
      });
    },
    close: () => {
      closing ??= close();
      return closing;
    },
  });
}

async function openStore(fs: LogFileSystem, path: string, options: z.infer<typeof optionsSchema>): Promise<LogStore> {
  await fs.prepareDirectory(path);
  const network = options.allowNetworkFileSystem ? undefined : await fs.networkFileSystem(path);
  if (network !== undefined) {
    const why = 'appends of several machines have no single order there';
    const advice = 'Use a local disk, or allowNetworkFileSystem if only one process at a time opens it';
    throw new StorageError(`${path} is on a network file system (${network}): ${why}. ${advice}.`);
  }
  return LogStore.open(path, fs, {
    isSyncing: options.durability === 'disk',
    verifyAtOpen: options.verify === 'open',
    compactAtBytes: options.compactAtBytes,
    sink: options.emit,
  });
}

/** The adapter's methods over the log. */
class FileStorageAdapter implements StorageAdapter {
  readonly name: string;
  readonly capabilities: StorageCapabilities;
  readonly #store: () => Promise<LogStore>;

  constructor(path: string, durability: 'disk' | 'process', store: () => Promise<LogStore>) {
    this.name = `file store ${path}`;
    const promises = { durability, scope: 'host', atomicBatch: true, monotonicVersions: true, watch: false } as const;
    this.capabilities = { ...promises, maxValueBytes: MAX_VALUE_BYTES };
    this.#store = store;
  }

  async get(key: string, options?: ReadOptions): Promise<StoredEntry | undefined> {
    return (await this.#store()).get(key, options);
  }

  async put(key: string, value: Uint8Array, options?: WriteOptions): Promise<Version> {
    // Before anything is awaited: the caller may change its buffer.
    const { operation, bytes } = sealPut(key, value, options?.ifVersion);
    const { queue } = await this.#store();
    return (await queue.submit({ operations: [operation], values: [bytes], signal: options?.signal })).version;
  }

  async delete(key: string, options?: DeleteOptions): Promise<boolean> {
    const log = await this.#store();
    const { index, damage } = (await log.readable()).replay;
    // Nothing is there to delete: no need to write that down.
    if (options?.ifVersion === undefined && index.get(key) === undefined && damage.length === 0) return false;
    const operation: FrameOperation = { k: key, x: options?.ifVersion, del: 1 };
    return (await log.queue.submit({ operations: [operation], values: [], signal: options?.signal })).existed;
  }

  async list(prefix: string, { after, limit = 1_000, reverse }: ListOptions = {}): Promise<ListPage> {
    const { replay } = await (await this.#store()).readable();
    const { found, more } = replay.index.page(prefix, limit, after, reverse);
    const entries = found.map(([key, { version, length }]) => ({ key, version, sizeBytes: length }));
    const last = entries.at(-1);
    const doubt = replay.damage.length > 0 ? { suspect: true as const } : {};
    return { entries, ...(more && last && { next: last.key }), ...doubt };
  }

  async batch(batch: readonly BatchOperation[]): Promise<Version> {
    const values: Buffer[] = [];
    const operations = batch.map((one): FrameOperation => {
      const { type, key, ifVersion } = one;
      if (type === 'check') return { k: key, x: ifVersion };
      if (type === 'delete') return { k: key, x: ifVersion, del: 1 };
      const { operation, bytes } = sealPut(key, one.value, ifVersion);
      values.push(bytes);
      return operation;
    });
    const { queue } = await this.#store();
    return (await queue.submit({ operations, values })).version;
  }
}

import * as z from 'zod';
import { type Clock, systemClock } from '../../base/clock.js';
import { ClosedError } from '../../base/errors.js';
import { clockOption, parseOptions } from '../../base/options.js';
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
import { driverFault } from '../driver-fault.js';
import { type GroupTarget, type QueuedWrite, WriteQueue } from '../write-queue.js';
import { whenFree } from './busy-wait.js';
import { writeInOneTransaction } from './group-transaction.js';
import { type OpenDatabase, openDatabase } from './open-database.js';
import { requireDatabase, type SqliteDatabase } from './sqlite-database.js';
import { isBusy, sqliteFault } from './sqlite-fault.js';

/** How a store in SQLite is made. */
export interface SqliteStorageOptions {
  /**
   * Name of the table; a second one, with `_meta` behind the name, holds the format and the count of writes. Default
   * `'holdfast'`. Give several stores in one database a name each: 1 to 63 of A-Z a-z 0-9 _, no digit first.
   */
  readonly table?: string;
  /**
   * What an acknowledged write survives. Default `'disk'`: losing power (`synchronous=FULL`). `'process'`: only the end of
   * the process (`synchronous=NORMAL`), without a sync for each commit, and said so in `capabilities`.
   */
  readonly durability?: 'disk' | 'process';
  /**
   * How long a call waits for locks of other connections, in milliseconds. Default 10,000. Raise it if other users of the
   * database hold transactions open for longer; lower it to be told earlier.
   */
  readonly busyMs?: number;
  /** Time and waiting. Default: the machine's. */
  readonly clock?: Clock;
}

/** A store in SQLite: an adapter that always has `batch`, `open` and `close`. */
export interface SqliteStorage extends StorageAdapter {
  readonly open: () => Promise<void>;
  readonly close: () => Promise<void>;
  readonly batch: (operations: readonly BatchOperation[]) => Promise<Version>;
}

/** What needs no thought between quotes. SQLite keeps names in `sqlite_` for itself. */
const TABLE = /^(?!sqlite_)[A-Za-z_][A-Za-z0-9_]{0,62}$/i;

const optionsSchema = z.strictObject({
  table: z
    .string()
    .regex(TABLE, 'a table has 1 to 63 of A-Z a-z 0-9 _, no digit first, and does not begin with "sqlite_"')
    .default('holdfast'),
  durability: z.enum(['disk', 'process']).default('disk'),
  busyMs: z.number().min(0).default(10_000),
  clock: clockOption.default(() => systemClock),
});

type Options = z.infer<typeof optionsSchema>;

/** Largest value, in bytes. SQLite takes 1,000,000,000; a value is in memory three times while it is written. */
const MAX_VALUE_BYTES = 256 * 1024 * 1024;

/**
 * A store in a table of an SQLite database, on a handle that the host has opened with better-sqlite3, libsql or
 * `node:sqlite` (SQLite 3.37 or later). The database is a file of this host, which any number of its processes may share;
 * other tables in it are left alone. One in memory works too, and says `durability: 'none'`. The first call opens the
 * store; `open()` does so early.
 *
 * **Give it a handle of its own.** The store turns the database to WAL, sets `synchronous` and `fullfsync` of the handle,
 * switches its `busy_timeout` off (it waits without blocking the event loop instead) and runs transactions on it. The host
 * closes the handle, after `close()` of the store has waited for writes under way. Checkpoints are SQLite's own.
 *
 * All writes that wait share one transaction, and one sync. Versions count the writes of the table, in the order of their
 * commits. A crash at any moment leaves each write whole or absent; a commit that fails is taken back for good, where
 * SQLite alone would find it again after a crash, or else is an `OutcomeUnknownError`. The drivers are synchronous: a
 * commit or a read holds the event loop while it lasts, some 20 ms for each MiB of a large value.
 *
 * SQLite keeps no checksums: of 300 single bytes flipped in pages that were in use, 160 were served as if nothing had
 * happened. Everything holdfast itself stores proves itself when it is read (SHA-256 in each record); values that are put
 * here directly do not.
 *
 * @throws InvalidInputError for an unknown option or something that is no handle. Opening rejects with `StorageError` for
 * a database that is read-only, none at all, cannot keep a WAL, or whose table is of another format. A lock held by
 * another connection beyond `busyMs` is a `StorageError`; a full disk is a `NoSpaceError`; damage that SQLite notices is a
 * `CorruptionError`.
 */
export function sqliteStorage(database: SqliteDatabase, options?: SqliteStorageOptions): SqliteStorage {
  requireDatabase(database);
  const adapter = new SqliteStorageAdapter(database, parseOptions(optionsSchema, options));
  return checked(adapter) as SqliteStorage; // It has all methods that the adapter has.
}

/** What holds of every store before its database has been asked. */
const LEAST: StorageCapabilities = {
  durability: 'none',
  scope: 'process',
  atomicBatch: true,
  monotonicVersions: true,
  watch: false,
  maxValueBytes: MAX_VALUE_BYTES,
};

class SqliteStorageAdapter implements StorageAdapter, GroupTarget {
  readonly name: string;
  readonly groupsAtOnce = 1;
  readonly repeatsKeys = true;
  readonly #database: SqliteDatabase;
  readonly #options: Options;
  readonly #queue = new WriteQueue(this);
  #opening: Promise<OpenDatabase> | undefined;
  #capabilities = LEAST;
  #place: string;
  #isClosed = false;

  constructor(database: SqliteDatabase, options: Options) {
    this.name = `SQLite store "${options.table}"`;
    this.#place = this.name;
    this.#database = database;
    this.#options = options;
  }

  get capabilities(): StorageCapabilities {
    return this.#capabilities;
  }

  async open(): Promise<void> {
    this.#requireOpen();
    await this.#opened();
  }

  async get(key: string, { signal }: ReadOptions = {}): Promise<StoredEntry | undefined> {
    this.#requireOpen();
    const { table } = await this.#opened();
    return this.#whenFree(() => table.get(key), { signal, key });
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListPage> {
    this.#requireOpen();
    const { table } = await this.#opened();
    return this.#whenFree(() => table.list(prefix, options), { signal: options.signal });
  }

  async put(key: string, value: Uint8Array, { ifVersion, signal }: WriteOptions = {}): Promise<Version> {
    this.#requireOpen();
    const condition = ifVersion === undefined ? {} : { ifVersion };
    return (await this.#queue.submit([{ type: 'put', key, value, ...condition }], signal)).version;
  }

  async delete(key: string, { ifVersion, signal }: DeleteOptions = {}): Promise<boolean> {
    this.#requireOpen();
    const condition = ifVersion === undefined ? {} : { ifVersion };
    return (await this.#queue.submit([{ type: 'delete', key, ...condition }], signal)).existed;
  }

  async batch(operations: readonly BatchOperation[]): Promise<Version> {
    this.#requireOpen();
    return (await this.#queue.submit(operations)).version;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#queue.drained();
  }

  /** For the queue. */
  async writeGroup(group: readonly QueuedWrite[]): Promise<void> {
    const target = await this.#opened();
    const answers = await this.#whenFree(() => writeInOneTransaction(target, group));
    for (const answer of answers) answer();
  }

  #requireOpen(): void {
    if (this.#isClosed) throw new ClosedError(`The ${this.name}`);
  }

  #opened(): Promise<OpenDatabase> {
    this.#opening ??= this.#open().catch((error) => {
      this.#opening = undefined; // What was wrong may be put right: the next call tries again.
      throw error;
    });
    return this.#opening;
  }

  async #open(): Promise<OpenDatabase> {
    const { table, durability } = this.#options;
    const opened = await this.#whenFree(() => openDatabase(this.#database, table, durability));
    this.#place = opened.place;
    this.#capabilities = { ...LEAST, durability: opened.durability, scope: opened.scope };
    return opened;
  }

  /** Every call to the database goes through here: locks are waited for, faults are said in the library's words. */
  async #whenFree<Answer>(attempt: () => Answer, read: { signal?: AbortSignal | undefined; key?: string } = {}) {
    try {
      return await whenFree(this.#options, attempt, read.signal);
    } catch (error) {
      if (read.signal?.aborted && error === read.signal.reason) throw error;
      throw isBusy(error) ? this.#stillBusy(error) : sqliteFault(error, this.#place, read.key);
    }
  }

  #stillBusy(error: unknown): StorageError {
    const who = 'Another connection (a process, a shell, a backup) holds a lock of the database';
    const advice = 'Find who keeps a transaction open, or raise `busyMs`';
    const message = `${this.#place}: ${who} for longer than ${this.#options.busyMs} ms. ${advice}.`;
    return new StorageError(message, { cause: driverFault(error) });
  }
}

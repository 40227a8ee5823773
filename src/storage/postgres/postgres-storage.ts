import * as z from 'zod';
import { type Clock, systemClock } from '../../base/clock.js';
import { ClosedError } from '../../base/errors.js';
import { clockOption, parseOptions } from '../../base/options.js';
import type {
  BatchOperation,
  DeleteOptions,
  ListOptions,
  ListPage,
  ReadOptions,
  StorageAdapter,
  StorageCapabilities,
  StoredEntry,
  Version,
  WriteOptions,
} from '../adapter.js';
import { StorageError } from '../adapter.js';
import { answerWithin } from '../answer-within.js';
import { checked } from '../checked.js';
import { WriteQueue, type Written } from '../write-queue.js';
import { Announcer } from './announcer.js';
import { ChangeListener } from './change-listener.js';
import { Connections, failureOf } from './connections.js';
import { GroupWriter, SENDING_SHARE } from './group-writer.js';
import { isMisplaced } from './kept-plans.js';
import { listPage } from './listing.js';
import { type Durability, openTable } from './opening.js';
import { asStorageError } from './postgres-errors.js';
import { type PostgresClient, type PostgresPool, requirePool } from './postgres-pool.js';
import { Statements } from './statements.js';
import { SCHEMA_NAME, type StoreTable, storeTable, TABLE_NAME } from './table.js';
import { WriteLimit } from './write-limit.js';

/** How a Postgres store is made. */
export interface PostgresStorageOptions {
  /** Schema of the table. Default `'public'`. Made if it is missing. Letters, digits and `_`; case matters. */
  readonly schema?: string;
  /** Table of the entries. Default `'holdfast'`: one of its own for each store. Beside it a sequence `<table>_versions`. */
  readonly table?: string;
  /**
   * Make schema, table and sequence if they are missing. Default true. False where the role has no right to: opening then
   * fails on a missing table and says which statements to run.
   */
  readonly create?: boolean;
  /**
   * Milliseconds a call may take, waiting for a connection of the pool included. Default 10,000. Raise it for values of many
   * megabytes on slow lines; lower it to hear sooner that the server is gone.
   */
  readonly timeoutMs?: number;
  /**
   * Offer `watch`, and notify those who watch of every write, by LISTEN and NOTIFY. Default false. Set it in every process
   * that writes to the store, or its writes are not heard of; it costs a small statement behind each group of writes.
   */
  readonly watch?: boolean;
  /** Time and waiting. Default the machine's clock; tests pass their own. */
  readonly clock?: Clock;
}

/** A Postgres store. */
export interface PostgresStorage extends StorageAdapter {
  readonly open: () => Promise<void>;
  /** Waits for the writes under way and ends watching. The pool is the host's, and stays open. */
  readonly close: () => Promise<void>;
  readonly batch: (operations: readonly BatchOperation[]) => Promise<Version>;
}

const optionsSchema = z.strictObject({
  schema: z.string().regex(SCHEMA_NAME, 'is a name of up to 63 letters, digits and _').default('public'),
  table: z.string().regex(TABLE_NAME, 'is a name of up to 54 letters, digits and _').default('holdfast'),
  create: z.boolean().default(true),
  timeoutMs: z.int().min(100).max(3_600_000).default(10_000),
  watch: z.boolean().default(false),
  clock: clockOption.default(() => systemClock), // A default that is no function would be copied, and is not the clock then.
});

type Options = z.infer<typeof optionsSchema>;

/** Largest value, in bytes. The server ends at 1 GB, but both sides hold a value several times while it is on its way. */
const MAX_VALUE_BYTES = 256 * 1024 * 1024;

/** Tries of a read: a pool may hand out a connection that died while it lay idle. */
const MAX_READS = 3;

/**
 * A store in one table of a Postgres server (12 or later) that any number of machines may share. `pool` is a `Pool` of the
 * package `pg`, the host's own: this store takes a connection for the time of each call and never closes the pool. Give the
 * pool an `error` listener, as `pg` asks, or a connection that breaks while it lies idle ends the process.
 *
 * Writes that wait share one statement and one commit; creations whose key is there take a second one. Whether a condition
 * holds is decided by the server, with the rows locked, at any isolation level. PgBouncer may stand between and pool
 * transactions, best from 1.21 on, which knows prepared statements (an older one costs a failed statement, after which none is
 * prepared); `watch` needs a session.
 *
 * A connection that breaks in a commit tells nobody whether it happened. Each write has a mark in its version, so what became
 * of it is found out on another connection, and it is sent again where it cannot happen twice; a write that can be neither
 * proved nor repeated rejects with `OutcomeUnknownError`. A crash half-way leaves each write whole or absent.
 *
 * `capabilities.durability` is `'none'` until the server was asked, then what its settings promise: `'disk'` if fsync,
 * full_page_writes and synchronous_commit are on, `'replicated'` if synchronous standbys are named too, else `'process'`.
 *
 * @throws InvalidInputError for an unknown option or something else than a pool. Opening rejects with `StorageError` if the
 * server cannot be reached, the role lacks a right, or the table is missing, somebody else's or of a newer format.
 */
export function postgresStorage(pool: PostgresPool, options?: PostgresStorageOptions): PostgresStorage {
  const adapter = checked(new PostgresAdapter(requirePool(pool), parseOptions(optionsSchema, options)));
  return Object.assign(adapter, {
    open: adapter.open as PostgresStorage['open'],
    close: adapter.close as PostgresStorage['close'],
    batch: adapter.batch as PostgresStorage['batch'],
  });
}

/** The adapter's methods over the parts of one store. */
class PostgresAdapter implements StorageAdapter {
  readonly name: string;
  /** There only if it was asked for: `undefined` is how an adapter says that it cannot. */
  readonly watch?: NonNullable<StorageAdapter['watch']>;
  readonly #options: Options;
  readonly #table: StoreTable;
  readonly #connections: Connections;
  readonly #statements: Statements;
  readonly #queue: WriteQueue;
  readonly #announcer: Announcer | undefined;
  readonly #listener: ChangeListener | undefined;
  #opening: Promise<void> | undefined;
  #durability: Durability | undefined;
  #limit: WriteLimit | undefined;
  #isClosed = false;

  constructor(pool: PostgresPool, options: Options) {
    const { schema, table: tableName, timeoutMs } = options;
    const table = storeTable(schema, tableName);
    const connections = new Connections(pool, options.clock);
    const statements = new Statements(table, timeoutMs);
    this.name = `Postgres store ${table.shown}`;
    this.#options = options;
    this.#table = table;
    this.#connections = connections;
    this.#statements = statements;
    if (options.watch) {
      const channel = `holdfast_${table.mark}`;
      this.#announcer = new Announcer(connections, channel, timeoutMs);
      this.#listener = new ChangeListener(connections, channel, timeoutMs);
      this.watch = (prefix, onChange) => this.#watch(prefix, onChange);
    }
    const onWritten = (operations: readonly BatchOperation[]) => this.#announcer?.announce(operations);
    const writer = new GroupWriter({ connections, statements, table, timeoutMs, onWritten });
    this.#queue = new WriteQueue({
      groupsAtOnce: writer.groupsAtOnce,
      repeatsKeys: writer.repeatsKeys,
      writeGroup: async (group) => {
        await this.#opened(); // Here and not earlier: the queue takes the bytes before anything is awaited.
        await writer.writeGroup(group);
      },
    });
  }

  get capabilities(): StorageCapabilities {
    return {
      durability: this.#durability ?? 'none',
      scope: 'network',
      atomicBatch: true,
      monotonicVersions: true,
      watch: this.#options.watch,
      maxValueBytes: MAX_VALUE_BYTES,
    };
  }

  async open(): Promise<void> {
    this.#requireOpen();
    await this.#opened();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#queue.drained();
    await this.#announcer?.settled();
    await this.#listener?.close();
  }

  async get(key: string, { signal }: ReadOptions = {}): Promise<StoredEntry | undefined> {
    return this.#read(`get "${key}"`, signal, (client) => this.#statements.get(client, key));
  }

  async list(prefix: string, { signal, ...page }: ListOptions = {}): Promise<ListPage> {
    return this.#read(`list "${prefix}"`, signal, (client) => listPage(client, this.#table, { ...page, prefix }));
  }

  async put(key: string, value: Uint8Array, { ifVersion, signal }: WriteOptions = {}): Promise<Version> {
    const condition = ifVersion === undefined ? {} : { ifVersion };
    return (await this.#write([{ type: 'put', key, value, ...condition }], signal)).version;
  }

  async delete(key: string, { ifVersion, signal }: DeleteOptions = {}): Promise<boolean> {
    const condition = ifVersion === undefined ? {} : { ifVersion };
    return (await this.#write([{ type: 'delete', key, ...condition }], signal)).existed;
  }

  async batch(operations: readonly BatchOperation[]): Promise<Version> {
    return (await this.#write(operations)).version;
  }

  async #watch(prefix: string, onChange: (key: string) => void): Promise<() => Promise<void>> {
    this.#requireOpen();
    await this.#opened();
    try {
      return await (this.#listener as ChangeListener).watch(prefix, onChange);
    } catch (error) {
      throw asStorageError(failureOf(error), this.#table, 'be watched');
    }
  }

  /** Once, shared by all that come at the same time. */
  #opened(): Promise<void> {
    this.#opening ??= this.#open().catch((error) => {
      this.#opening = undefined; // What was wrong may be put right: the next call tries again.
      throw error;
    });
    return this.#opening;
  }

  async #open(): Promise<void> {
    const { create, timeoutMs } = this.#options;
    const options = { table: this.#table, create, timeoutMs: timeoutMs * SENDING_SHARE };
    this.#durability = await openTable(this.#connections, options);
  }

  #requireOpen(): void {
    if (this.#isClosed) throw new ClosedError(`The ${this.name}`);
  }

  /** Reads, again if the connection turns out to be dead: reading twice does no harm. */
  async #read<Answer>(
    act: string,
    signal: AbortSignal | undefined,
    work: (client: PostgresClient) => Promise<Answer>,
  ): Promise<Answer> {
    this.#requireOpen();
    const { clock, timeoutMs: ms } = this.#options;
    const dueMs = clock.monotonicMs() + ms;
    const reading = this.#readUntil(dueMs, act, work);
    if (signal === undefined) return reading;
    const late = () => new StorageError(`The ${this.name} gave no answer within ${ms} ms.`);
    return answerWithin({ clock, ms, signal, late }, reading);
  }

  async #readUntil<Answer>(dueMs: number, act: string, work: (client: PostgresClient) => Promise<Answer>) {
    await this.#opened();
    const { clock } = this.#options;
    for (let reads = 1; ; reads++) {
      try {
        return await this.#connections.run(Math.max(0, dueMs - clock.monotonicMs()), work);
      } catch (error) {
        const failure = failureOf(error);
        const mayPass = failure.kind === 'lost' || isMisplaced(failure.sqlState);
        if (!mayPass || reads === MAX_READS || clock.monotonicMs() >= dueMs) {
          throw asStorageError(failure, this.#table, act);
        }
      }
    }
  }

  /** One write, which does not begin any more once its caller was told that nobody knows. */
  async #write(operations: readonly BatchOperation[], signal?: AbortSignal): Promise<Written> {
    this.#requireOpen();
    if (!this.#limit?.isYoung) this.#limit = new WriteLimit(this.#options.clock, this.#options.timeoutMs);
    const limit = this.#limit;
    const withdrawn = signal === undefined ? limit.signal : AbortSignal.any([signal, limit.signal]);
    return limit.answer((operations[0] as BatchOperation).key, this.#queue.submit(operations, withdrawn));
  }
}

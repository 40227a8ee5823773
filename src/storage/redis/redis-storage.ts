import * as z from 'zod';
import { type Clock, systemClock } from '../../base/clock.js';
import { ClosedError, InvalidInputError, LimitError } from '../../base/errors.js';
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
import { checked } from '../checked.js';
import { WriteQueue } from '../write-queue.js';
import { listRange } from './list-range.js';
import { connectionOf, type IoredisClient, type RedisConnection } from './redis-connection.js';
import { LIST, layoutOf, VERSION_BYTES } from './redis-scripts.js';
import { plainly, RedisServer } from './redis-server.js';
import { type RedisPlace, RedisStore } from './redis-store.js';
import { RedisWatch } from './redis-watch.js';
import { RedisWriter } from './redis-writer.js';

/** How a store on a Redis or Valkey server is made. */
export interface RedisStorageOptions {
  /**
   * What the store's keys on the server begin with, in braces. Default `holdfast`. 1 to 128 characters of
   * `A-Z a-z 0-9 . _ : / = -`. Set it to keep several stores on one server: they never see each other.
   */
  readonly prefix?: string;
  /**
   * Milliseconds to wait for an answer of the server. Default 10,000, at least 100. A write that waits behind others waits
   * twice as long at most. Shorter: trouble shows sooner; longer: pauses of the server are sat out.
   */
  readonly timeoutMs?: number;
  /**
   * Replicas that must have a write before it is acknowledged (`WAIT`). Default 0. A write that fewer acknowledge in time
   * rejects with `OutcomeUnknownError`. A failover may still promote a replica that lacks it: what this gives is copies on
   * other machines. Not for cluster clients. Commands behind it on the same connection wait too: give the store its own.
   */
  readonly waitReplicas?: number;
  /**
   * Default false: a server that drops keys when its memory is full (`maxmemory-policy allkeys-…`) is refused. True is
   * for stores that may be lost as a whole: one that lacks a key answers with `CorruptionError`.
   */
  readonly allowEviction?: boolean;
  /** Time and waits. Default the machine's clock. */
  readonly clock?: Clock;
}

/** A store on a Redis or Valkey server. */
export interface RedisStorage extends StorageAdapter {
  readonly open: () => Promise<void>;
  readonly close: () => Promise<void>;
  readonly batch: (operations: readonly BatchOperation[]) => Promise<Version>;
  readonly watch: (prefix: string, onChange: (key: string) => void) => Promise<() => Promise<void>>;
}

const optionsSchema = z.strictObject({
  prefix: z
    .string()
    .regex(/^[A-Za-z0-9._:/=-]{1,128}$/, 'a prefix has 1 to 128 characters of A-Z a-z 0-9 . _ : / = -')
    .default('holdfast'),
  timeoutMs: z
    .number()
    .min(100)
    .max(2 ** 31 - 1)
    .default(10_000),
  waitReplicas: z.int().min(0).default(0),
  allowEviction: z.boolean().default(false),
  clock: clockOption.optional(),
});

/** Largest value, and most bytes in the values of a batch: the server does nothing else while it takes them. */
const MAX_VALUE_BYTES = 32 * 1024 * 1024;

/**
 * A store on a Redis (6 or later) or Valkey server, shared by any number of machines. Pass an ioredis client (5 or later;
 * single, Sentinel or Cluster), or a node-redis client as `fromNodeRedis(client)`. The client stays the host's: close it
 * after the store. The first call opens the store; `open()` does so early.
 *
 * **What an acknowledged write survives is a matter of the server's configuration**, and is read when the store is opened:
 * `capabilities.durability` is `'disk'` with `appendonly yes` and `appendfsync always`; `'process'` with any other
 * persistence (an end of this process; the server's last second, or everything since its last snapshot, goes with a
 * crash of the server: killed under its default configuration, Redis lost 10,000 of 10,000 acknowledged writes);
 * `'none'` without persistence or where it cannot be told; `'replicated'` with `waitReplicas`.
 *
 * Writes that wait together are one call of a script. One that is sent again after a lost connection is done once; one
 * that arrives after its writer was told `OutcomeUnknownError` is refused, also when the server's clock was set back,
 * unless the store had not been written since before and its next writer did not know the time from before either.
 * What is lost behind the store's back (`FLUSHALL`, deleted keys) is an error, not an absent key.
 *
 * The user needs `+@read +@write +@scripting +@connection +time +publish +subscribe +info`, and `+config|get` to learn
 * the durability (`+wait` for `waitReplicas`), on the keys `~{prefix}:*` and the channel `&{prefix}:*`, braces included.
 * All of a store lies on one shard of a cluster.
 *
 * @throws InvalidInputError for an unknown option or an unfit client. Opening rejects with `StorageError` for a server
 * that cannot be reached, is a replica, evicts keys, lacks rights or holds the store of a newer version, and with
 * `CorruptionError` for a store that is not whole.
 */
export function redisStorage(client: IoredisClient | RedisConnection, options?: RedisStorageOptions): RedisStorage {
  const { clock = systemClock, waitReplicas, ...place } = parseOptions(optionsSchema, options);
  const connection = connectionOf(client);
  if (waitReplicas > 0 && connection.isCluster) {
    const path = 'options.waitReplicas';
    throw new InvalidInputError(
      `${path}: a cluster client does not say which node waits; pass one of a single server.`,
      path,
    );
  }
  const server = new RedisServer(`Redis store "${place.prefix}"`, connection, clock);
  const own = new RedisAdapter(server, connection, { ...place, waitReplicas });
  return checked(own) as RedisStorage;
}

/** The adapter's methods over the server. */
class RedisAdapter implements RedisStorage {
  readonly name: string;
  readonly #server: RedisServer;
  readonly #place: RedisPlace & { readonly waitReplicas: number };
  readonly #queue: WriteQueue;
  readonly #watch: RedisWatch;
  #opening: Promise<RedisStore> | undefined;
  #opened: RedisStore | undefined;
  #closing: Promise<void> | undefined;

  constructor(server: RedisServer, connection: RedisConnection, place: RedisPlace & { readonly waitReplicas: number }) {
    this.name = server.store;
    this.#server = server;
    this.#place = place;
    this.#queue = new WriteQueue(new RedisWriter(() => this.#store(), place.waitReplicas));
    this.#watch = new RedisWatch(connection, layoutOf(place.prefix).channel);
  }

  get capabilities(): StorageCapabilities {
    const replicated = this.#place.waitReplicas > 0 && this.#opened ? 'replicated' : undefined;
    return {
      durability: replicated ?? this.#opened?.durability ?? 'none',
      scope: 'network',
      atomicBatch: true,
      monotonicVersions: true,
      watch: true,
      maxValueBytes: MAX_VALUE_BYTES,
    };
  }

  readonly open = async (): Promise<void> => {
    this.#requireOpen();
    await this.#store();
  };

  async get(key: string, { signal }: ReadOptions = {}): Promise<StoredEntry | undefined> {
    this.#requireOpen();
    const store = this.#opened ?? (await this.#store());
    const stored = await plainly(store.read(key, signal));
    if (stored === undefined) return undefined;
    const version = stored.toString('latin1', 0, VERSION_BYTES);
    return { key, value: new Uint8Array(stored.subarray(VERSION_BYTES)), version }; // A copy: the client reuses its bytes.
  }

  async put(key: string, value: Uint8Array, options: WriteOptions = {}): Promise<Version> {
    const operation = { type: 'put', key, value, ...conditionIn(options.ifVersion) } as const;
    return (await this.#write([operation], options.signal)).version;
  }

  async delete(key: string, options: DeleteOptions = {}): Promise<boolean> {
    const operation = { type: 'delete', key, ...conditionIn(options.ifVersion) } as const;
    return (await this.#write([operation], options.signal)).existed;
  }

  readonly batch = async (operations: readonly BatchOperation[]): Promise<Version> => {
    const bytes = operations.reduce((sum, one) => sum + (one.type === 'put' ? one.value.byteLength : 0), 0);
    if (bytes > MAX_VALUE_BYTES) {
      const what = `The values of this batch have ${bytes} bytes; ${this.name} takes ${MAX_VALUE_BYTES} at most`;
      throw new LimitError(`${what}. Make it smaller.`, 'maxValueBytes', MAX_VALUE_BYTES);
    }
    return (await this.#write(operations)).version;
  };

  async list(prefix: string, options: ListOptions = {}): Promise<ListPage> {
    this.#requireOpen();
    const { limit = 1_000, signal } = options;
    const store = await this.#store();
    const range = listRange(prefix, options);
    const asked = { arguments: [...range, String(limit + 1)] }; // One more, to know whether there are more.
    const [, page] = await plainly(store.ask(LIST, asked, store.patience(signal)));
    const words = page as readonly unknown[];
    const entries = Array.from({ length: Math.min(limit, words.length / 3) }, (_, at) => ({
      key: String(words[at * 3]),
      version: String(words[at * 3 + 1]),
      sizeBytes: Number(words[at * 3 + 2]),
    }));
    const last = entries.at(-1);
    return last && words.length / 3 > limit ? { entries, next: last.key } : { entries };
  }

  readonly watch = async (prefix: string, onChange: (key: string) => void): Promise<() => Promise<void>> => {
    this.#requireOpen();
    const store = await this.#store();
    this.#requireOpen();
    return this.#watch.watch(store, prefix, onChange);
  };

  readonly close = (): Promise<void> => {
    this.#closing ??= this.#queue.drained().then(() => this.#watch.close());
    return this.#closing;
  };

  /** The queue takes the bytes at once: nothing may be awaited before. */
  async #write(operations: readonly BatchOperation[], signal?: AbortSignal) {
    this.#requireOpen();
    return this.#queue.submit(operations, signal);
  }

  /** Opened by the first call; what was wrong then may be put right, so the next call tries again. */
  #store(): Promise<RedisStore> {
    this.#opening ??= plainly(RedisStore.open(this.#server, this.#place)).then(
      (store) => {
        this.#opened = store;
        return store;
      },
      (error: unknown) => {
        this.#opening = undefined;
        throw error;
      },
    );
    return this.#opening;
  }

  #requireOpen(): void {
    if (this.#closing) throw new ClosedError(this.name);
  }
}

function conditionIn<Condition>(ifVersion: Condition | undefined): { ifVersion?: Condition } {
  return ifVersion === undefined ? {} : { ifVersion };
}

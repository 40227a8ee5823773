import pg from 'pg';
import type { PostgresPool, PostgresQuery } from '../../src/storage/postgres/postgres-pool.js';
import { type PostgresStorage, type PostgresStorageOptions, postgresStorage } from '../../src/storage/postgres.js';
import type { PostgresServer } from './postgres-server.js';

/** Stores of one server, with pools of the test's own, all of them closed by `close`. */
export class PostgresScene {
  readonly server: PostgresServer;
  readonly #pools: pg.Pool[] = [];
  readonly #stores: PostgresStorage[] = [];
  #tables = 0;

  constructor(server: PostgresServer) {
    this.server = server;
  }

  /** A name no other test has. */
  nextTable(): string {
    return `test_${++this.#tables}`;
  }

  pool(config: pg.PoolConfig = {}): pg.Pool {
    const pool = new pg.Pool({ connectionString: this.server.url(), max: 5, ...config });
    pool.on('error', () => undefined); // As `pg` asks: tests break connections that lie idle.
    this.#pools.push(pool);
    return pool;
  }

  store(pool: PostgresPool = this.pool(), options: PostgresStorageOptions = {}): PostgresStorage {
    const store = postgresStorage(pool, { table: this.nextTable(), ...options });
    this.#stores.push(store);
    return store;
  }

  async close(): Promise<void> {
    await Promise.all(this.#stores.map((store) => store.close()));
    await Promise.all(this.#pools.map((pool) => pool.end()));
    this.#stores.length = 0;
    this.#pools.length = 0;
  }
}

/** The same pool; `queries` are those that were sent through it. */
export function overheard(pool: pg.Pool): { readonly pool: PostgresPool; readonly queries: PostgresQuery[] } {
  const queries: PostgresQuery[] = [];
  const clients = new WeakSet<object>();
  return {
    queries,
    pool: {
      connect(callback) {
        pool.connect((error, client) => {
          if (client && !clients.has(client)) {
            clients.add(client);
            const query: (...sent: readonly unknown[]) => unknown = client.query.bind(client);
            Object.assign(client, {
              query: (...sent: readonly unknown[]) => {
                if (sent.length === 1) queries.push(sent[0] as PostgresQuery); // What the pool itself asks has a callback.
                return query(...sent);
              },
            });
          }
          callback(error, client);
        });
      },
    },
  };
}

/** Resolves when `what` holds; fails after 10 s. */
export async function until(what: () => Promise<boolean> | boolean): Promise<void> {
  const giveUpMs = performance.now() + 10_000;
  while (!(await what())) {
    if (performance.now() > giveUpMs) throw new Error(`It never came to be: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

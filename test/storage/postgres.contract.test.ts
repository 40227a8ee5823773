import pg from 'pg';
import { afterAll, beforeAll } from 'vitest';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { postgresStorage } from '../../src/storage/postgres.js';
import { storageContract } from '../../src/testing/storage-contract.js';
import { buildPostgresProcess, type PostgresProcessModule } from '../support/postgres-process.js';
import { PostgresServer } from '../support/postgres-server.js';

let server: PostgresServer;
let program: PostgresProcessModule;
let pool: pg.Pool;
let tables = 0;

beforeAll(async () => {
  [server, program] = await Promise.all([PostgresServer.start(), buildPostgresProcess()]);
  pool = new pg.Pool({ connectionString: server.url(), max: 10 });
  pool.on('error', () => undefined); // The rules end sessions on purpose.
});

afterAll(async () => {
  await pool.end();
  await server.stop();
  await program.remove();
});

storageContract(
  'postgresStorage',
  () => {
    const options = { table: `store_${++tables}`, watch: true };
    return {
      async open(): Promise<StorageAdapter> {
        const store = postgresStorage(pool, options);
        await store.open();
        return store;
      },
      inProcess: { module: program.path, argument: JSON.stringify({ url: server.url(), options }) },
      /** All sessions but that of whoever says so: in a statement, in a commit, or idle. */
      async interrupt(): Promise<void> {
        await pool
          .query(
            'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = $1',
            ['postgres'],
          )
          .catch(() => undefined); // Another rule's interruption ended this one: as good.
      },
    };
  },
  { lacks: ['damage'] },
);

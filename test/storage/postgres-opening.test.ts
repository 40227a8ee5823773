import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isHoldfastError } from '../../src/base/errors.js';
import { type PostgresClient, type PostgresPool, postgresStorage } from '../../src/storage/postgres.js';
import { PostgresScene, until } from '../support/postgres-scene.js';
import { PostgresServer } from '../support/postgres-server.js';

const STORAGE = 'HOLDFAST_STORAGE';
const value = Buffer.from('value');

let server: PostgresServer;
let scene: PostgresScene;
let admin: pg.Pool;

beforeAll(async () => {
  server = await PostgresServer.start([]);
  scene = new PostgresScene(server);
  admin = new PostgresScene(server).pool();
});
afterEach(() => scene.close());
afterAll(async () => {
  await admin.end();
  await server.stop();
});

/** A pool whose server answers differently when it is asked about itself. */
function answering(pool: pg.Pool, answer: Readonly<Record<string, string | null>>): PostgresPool {
  return {
    connect(callback) {
      pool.connect((error, client) => {
        const query = client?.query.bind(client) as PostgresClient['query'];
        const asked: PostgresClient['query'] = async (sent) => {
          const { rows } = await query(sent);
          return { rows: sent.text.includes('server_version_num') ? [{ ...rows[0], ...answer }] : rows };
        };
        callback(error, client && Object.assign(Object.create(client), { query: asked }));
      });
    },
  };
}

/** What a call rejects with. */
async function faultOf(call: Promise<unknown>): Promise<{ code: string; message: string; text: string }> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isHoldfastError(error)) throw new Error(`It did not fail as it should: ${inspect(error)}`);
  return { code: error.code, message: error.message, text: `${inspect(error, { depth: 9 })} ${JSON.stringify(error)}` };
}

describe('a store that is not there', () => {
  test('is made by the first call, schema included', async () => {
    const store = scene.store(undefined, { schema: 'Made_1', table: 'Entries' });
    await store.put('key', value);
    const { rows } = await admin.query('SELECT key FROM "Made_1"."Entries"');
    expect(rows).toEqual([{ key: 'key' }]);
  });

  test('is made once, by whichever of 20 that open it at once', async () => {
    const options = { schema: 'raced', table: scene.nextTable() };
    const stores = Array.from({ length: 20 }, () => scene.store(scene.pool({ max: 1 }), options));
    await Promise.all(stores.map((store) => store.open()));
    await Promise.all(stores.map((store, at) => store.put(`key-${at}`, value)));
    expect((await stores[7]?.list(''))?.entries).toHaveLength(20);
  });

  test('is not made where `create` is false: the error says what to run, and then it works', async () => {
    const options = { schema: 'by_hand', table: scene.nextTable() };
    const store = scene.store(undefined, { ...options, create: false });
    const { code, message } = await faultOf(store.open());
    expect(code).toBe(STORAGE);
    await admin.query(message.slice(message.indexOf('\n') + 1));
    await store.put('key', value);
    expect((await store.get('key'))?.value).toEqual(value);
  });

  test('keeps large values as they are where the server has no quick way to compress them', async () => {
    const table = scene.nextTable();
    const store = scene.store(answering(scene.pool(), { hasLz4: null }), { table });
    await store.put('key', Buffer.alloc(100_000, 'x'));
    const { rows } = await admin.query(`SELECT pg_column_size(value) AS size FROM ${table}`);
    expect(rows).toEqual([{ size: 100_000 }]);
    expect((await store.get('key'))?.value).toHaveLength(100_000);
  });

  test('is found again by a store that may not make any', async () => {
    const table = scene.nextTable();
    await scene.store(undefined, { table }).put('key', value);
    expect(await scene.store(undefined, { table, create: false }).get('key')).toMatchObject({ key: 'key' });
  });

  test('is not made by a role without CREATE: the error names the right', async () => {
    await admin.query('CREATE ROLE visitor LOGIN');
    const store = scene.store(scene.pool({ connectionString: server.url('postgres', 'visitor') }));
    const { code, message } = await faultOf(store.open());
    expect(code).toBe(STORAGE);
    expect(message).toContain('CREATE on the schema');
  });
});

describe('opening refuses', () => {
  test('a table of somebody else, and leaves it as it is', async () => {
    const table = scene.nextTable();
    await admin.query(`CREATE TABLE ${table} (key text)`);
    const { code, message } = await faultOf(scene.store(undefined, { table }).open());
    expect(code).toBe(STORAGE);
    expect(message).toContain(`public.${table} is there and is no holdfast store`);
    expect((await admin.query(`SELECT * FROM ${table}`)).fields).toHaveLength(1);
  });

  test('a table of a newer format, naming both', async () => {
    const table = scene.nextTable();
    await scene.store(undefined, { table }).open();
    await admin.query(`COMMENT ON TABLE ${table} IS 'holdfast storage, format 2'`);
    const { message } = await faultOf(scene.store(undefined, { table }).open());
    expect(message).toContain('has format 2; this holdfast knows 1');
  });

  test('a server that is not there, and opens once it is', async () => {
    const store = scene.store();
    await server.stopImmediately();
    const { code, message } = await faultOf(store.put('key', value));
    await server.restart();
    expect(code).toBe(STORAGE);
    expect(message).toContain('Is the server there');
    await store.put('key', value);
    expect(await store.get('key')).toMatchObject({ key: 'key' });
  });

  test('a wrong password, which is nowhere in the error', async () => {
    await admin.query("CREATE ROLE locked LOGIN PASSWORD 'right-Secret'");
    const rules = join(server.folder, 'cluster', 'pg_hba.conf');
    writeFileSync(rules, `local all locked scram-sha-256\n${readFileSync(rules, 'utf8')}`);
    await admin.query('SELECT pg_reload_conf()');
    const connectionString = server.url('postgres', 'locked').replace('locked@', 'locked:wrong-Secret@');
    const pool = scene.pool({ connectionString });
    await until(() =>
      pool.query('SELECT 1').then(
        () => false,
        () => true,
      ),
    );
    const { code, message, text } = await faultOf(scene.store(pool).open());
    expect(code).toBe(STORAGE);
    expect(message).toContain('refuses the credentials');
    expect(text).not.toContain('Secret');
  });

  test('a server that is too old, before anything is made', async () => {
    const table = scene.nextTable();
    const store = scene.store(answering(scene.pool(), { server: '110022' }), { table });
    await expect(store.open()).rejects.toThrow('version 12 or later, not 110022');
    expect((await admin.query('SELECT to_regclass($1) AS made', [table])).rows).toEqual([{ made: null }]);
  });

  test('a database that does not exist, naming what to look at', async () => {
    const pool = scene.pool({ connectionString: server.url('nowhere') });
    const { message } = await faultOf(scene.store(pool).open());
    expect(message).toContain('There is no such database');
  });

  test.each([
    ['nothing', undefined, 'the method "connect" is missing'],
    ['a connection string', 'postgres://localhost', 'the method "connect" is missing'],
    ['a single client', { connect() {}, connectionParameters: {} }, 'this is a single client'],
    ['a client out of a pool', { connect() {}, release() {} }, 'this is a single client'],
  ])('%s in place of a pool', (_what, pool, reason) => {
    expect(() => postgresStorage(pool as unknown as PostgresPool)).toThrow(`pool: ${reason}. Pass a Pool`);
  });

  test.each([
    ['schema', { schema: 'a"; DROP TABLE x; --' }],
    ['schema', { schema: 's'.repeat(64) }],
    ['table', { table: '' }],
    ['table', { table: 't'.repeat(55) }],
    ['timeoutMs', { timeoutMs: 0 }],
    ['prefix', { prefix: 'a' }],
  ])('a bad %s: %o', (path, options) => {
    const pool = scene.pool();
    expect(() => postgresStorage(pool, options as object)).toThrow(`options.${path}`);
  });
});

describe('a role or session that may only read', () => {
  test('reads, and is told which rights it lacks to write', async () => {
    const table = scene.nextTable();
    const options = { table, create: false };
    await scene.store(undefined, { table }).put('key', value);
    await admin.query(`CREATE ROLE reader LOGIN; GRANT SELECT ON ${table} TO reader`);
    const store = scene.store(scene.pool({ connectionString: server.url('postgres', 'reader') }), options);
    expect(await store.get('key')).toMatchObject({ key: 'key' });
    const { code, message } = await faultOf(store.put('key', value));
    expect(code).toBe(STORAGE);
    expect(message).toContain(`GRANT SELECT, INSERT, UPDATE, DELETE ON "public"."${table}"`);
    expect(message).toContain(`GRANT USAGE ON SEQUENCE "public"."${table}_versions"`);
  });

  test('is told of a session that is read-only', async () => {
    const table = scene.nextTable();
    await scene.store(undefined, { table }).put('key', value);
    const store = scene.store(scene.pool({ options: '-c default_transaction_read_only=on' }), { table });
    expect(await store.get('key')).toMatchObject({ key: 'key' });
    const { code, message } = await faultOf(store.delete('key'));
    expect(code).toBe(STORAGE);
    expect(message).toContain('default_transaction_read_only');
  });
});

describe('durability is', () => {
  const promised = async (options?: string): Promise<string> => {
    const store = scene.store(options === undefined ? undefined : scene.pool({ options }));
    expect(store.capabilities.durability).toBe('none');
    await store.open();
    return store.capabilities.durability;
  };

  test('that of a disk with the settings a server comes with', async () => {
    expect(await promised()).toBe('disk');
  });

  test('that of the process where commits do not wait for the disk', async () => {
    expect(await promised('-c synchronous_commit=off')).toBe('process');
  });

  test.each(['fsync', 'full_page_writes'])('that of the process where %s is off', async (setting) => {
    await withSetting(setting, 'off', async () => {
      expect(await promised()).toBe('process');
    });
  });

  test('that of several machines where commits wait for a standby', async () => {
    const options = '-c synchronous_commit=local';
    const table = scene.nextTable();
    await scene.store(undefined, { table }).open();
    await withSetting('synchronous_standby_names', 'other', async () => {
      const [waiting, local] = [scene.store(undefined, { table }), scene.store(scene.pool({ options }), { table })];
      await waiting.open();
      await local.open();
      expect([waiting.capabilities.durability, local.capabilities.durability]).toEqual(['replicated', 'disk']);
    });
  });

  /** Changes a setting of the server for new sessions, and back. */
  async function withSetting(name: string, setting: string, play: () => Promise<void>): Promise<void> {
    const file = join(server.folder, 'cluster', 'postgresql.conf');
    const before = readFileSync(file, 'utf8');
    const reload = async (shown: string) => {
      await admin.query('SELECT pg_reload_conf()');
      await until(async () => (await admin.query(`SHOW ${name}`)).rows[0][name] === shown);
    };
    const was = (await admin.query(`SHOW ${name}`)).rows[0][name];
    appendFileSync(file, `\n${name} = '${setting}'\n`);
    await reload(setting);
    await play();
    writeFileSync(file, before);
    await reload(was);
  }
});

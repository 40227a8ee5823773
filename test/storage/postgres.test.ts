import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { BatchOperation, StorageAdapter, WriteOptions } from '../../src/storage/adapter.js';
import type { PostgresPool, PostgresQuery, PostgresStorage } from '../../src/storage/postgres.js';
import { overheard, PostgresScene, until } from '../support/postgres-scene.js';
import { PostgresServer } from '../support/postgres-server.js';

const CONFLICT = { code: 'HOLDFAST_CONFLICT' };
const bytes = (text: string) => Buffer.from(text);
const value = bytes('value');

let server: PostgresServer;
let scene: PostgresScene;

beforeAll(async () => {
  server = await PostgresServer.start(['fsync=off', 'deadlock_timeout=50ms']);
  scene = new PostgresScene(server);
});
afterEach(() => scene.close());
afterAll(() => server.stop());

const textAt = async (store: StorageAdapter, key: string) => {
  const entry = await store.get(key);
  return entry && Buffer.from(entry.value).toString();
};

/** Another session of the host's, in a transaction, that does something to the rows of a table. */
async function session(): Promise<pg.PoolClient> {
  const client = await scene.pool().connect();
  await client.query('BEGIN');
  return client;
}

async function end(client: pg.PoolClient, how: 'COMMIT' | 'ROLLBACK'): Promise<void> {
  await client.query(how);
  client.release();
}

/** From now on whoever writes to the table gets this error from the server. */
async function raiseOnWrites(table: string, sqlState: string): Promise<void> {
  await scene.pool().query(`
    CREATE FUNCTION raise_on_${table}() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'raised by a test' USING ERRCODE = '${sqlState}'; END $$;
    CREATE TRIGGER raising BEFORE INSERT OR UPDATE ON ${table} FOR EACH ROW EXECUTE FUNCTION raise_on_${table}()`);
}

/** Resolves when `count` sessions wait for a lock. */
async function someWait(count = 1): Promise<void> {
  const pool = scene.pool();
  const text = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
  await until(async () => (await pool.query(text)).rows.length >= count);
}

const insertOf = (table: string, key: string) => `INSERT INTO ${table} VALUES ('${key}', 'theirs', '0.theirs')`;

describe('writes that wait together', () => {
  const keys = Array.from({ length: 20 }, (_, at) => `key-${at}`);

  test.each([
    ['puts', (): WriteOptions => ({})],
    ['creations', (): WriteOptions => ({ ifVersion: null })],
    ['both', (at: number): WriteOptions => (at % 2 === 0 ? {} : { ifVersion: null })],
  ])('share one statement if they are %s, each with a version of its own', async (_what, conditionOf) => {
    const { pool, queries } = overheard(scene.pool());
    const store = scene.store(pool);
    if (conditionOf(0).ifVersion === undefined) await store.put('key-0', bytes('old'));
    await store.open();
    queries.length = 0;
    const versions = await Promise.all(keys.map((key, at) => store.put(key, bytes(key), conditionOf(at))));
    expect(queries).toHaveLength(1);
    const { entries } = await store.list('');
    expect(entries.map(({ key }) => key)).toEqual(keys.toSorted());
    expect(entries.map(({ version }) => version)).toEqual(keys.toSorted().map((key) => versions[keys.indexOf(key)]));
    expect(new Set(versions).size).toBe(20);
    for (const key of ['key-0', 'key-7', 'key-19']) expect(await textAt(store, key)).toBe(key);
  });

  test('grow in their versions, whichever statement gave them', async () => {
    const store = scene.store();
    const versions: string[] = [];
    for (let round = 0; round < 3; round++) {
      versions.push(await store.put('key', value));
      const [version] = await Promise.all([store.put('key', value), store.put('other', value)]);
      versions.push(version);
      await store.batch([
        { type: 'put', key: 'key', value },
        { type: 'put', key: 'other', value },
      ]);
      versions.push((await store.get('key'))?.version as string);
    }
    expect(versions).toEqual(versions.toSorted());
    expect(new Set(versions).size).toBe(9);
  });

  test('are created but for those that are there, which costs a second statement', async () => {
    const { pool, queries } = overheard(scene.pool());
    const store = scene.store(pool);
    const taken = ['taken', 'theirs'];
    const versions = await Promise.all(taken.map((key) => store.put(key, value)));
    queries.length = 0;
    const puts = [...keys, ...taken].map((key) => store.put(key, bytes(key), { ifVersion: null }));
    const outcomes = await Promise.allSettled(puts);
    expect(queries).toHaveLength(2);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(20);
    const conflicts = taken.map((key, at) => ({ reason: { ...CONFLICT, key, currentVersion: versions[at] } }));
    expect(outcomes.slice(20)).toMatchObject(conflicts);
    expect(await textAt(store, 'key-19')).toBe('key-19');
    expect(await textAt(store, 'taken')).toBe('value');
  });

  describe('and are created but for two', () => {
    /** Creations at once, of which two meet their keys; they share a store that `through` leads to. */
    const creations = async (table: string, through: PostgresPool) => {
      const store = scene.store(through, { table });
      await Promise.all(['taken', 'theirs'].map((key) => store.put(key, value)));
      const all = ['a', 'b', 'taken', 'theirs'];
      return () => Promise.allSettled(all.map((key) => store.put(key, bytes(key), { ifVersion: null })));
    };

    test('are told so though it cannot be found out about these', async () => {
      const table = scene.nextTable();
      const create = await creations(table, scene.pool({ options: '-c lock_timeout=100' }));
      const other = await session();
      await other.query(`SELECT FROM ${table} WHERE key = 'taken' FOR UPDATE`);
      const outcomes = await create();
      await end(other, 'COMMIT');
      const there = (await scene.store(undefined, { table }).list('')).entries;
      expect(there.map(({ key }) => key)).toEqual(['a', 'b', 'taken', 'theirs']);
      expect(outcomes).toMatchObject([
        { value: there[0]?.version },
        { value: there[1]?.version },
        { reason: { code: 'HOLDFAST_STORAGE' } },
        { reason: { code: 'HOLDFAST_STORAGE' } },
      ]);
    });

    test.each([
      ['deletes', (other: StorageAdapter, ifVersion: string) => other.delete('a', { ifVersion }), undefined],
      ['replaces', (other: StorageAdapter, ifVersion: string) => other.put('a', value, { ifVersion }), 'value'],
    ])('are not tried again with these: another process %s one meanwhile', async (_what, change, left) => {
      const table = scene.nextTable();
      const { pool, queries } = overheard(scene.pool());
      const create = await creations(table, pool);
      const other = scene.store(undefined, { table });
      await other.open();
      // The second statement waits for a lock, and is then found to collide with whoever held it.
      const colliding =
        "DO $$ BEGIN PERFORM pg_advisory_xact_lock(7); RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$";
      const holder = await session();
      await holder.query('SELECT pg_advisory_xact_lock(7)');
      const push = queries.push.bind(queries);
      queries.push = (query) => {
        const isSecond = query.text.startsWith('WITH');
        if (isSecond) Object.assign(query, { name: undefined, text: colliding, values: undefined });
        if (isSecond) queries.push = push;
        return push(query);
      };
      const creating = create();
      await until(async () => (await other.get('a')) !== undefined);
      const { version } = (await other.get('a')) as { version: string };
      await change(other, version);
      await end(holder, 'COMMIT');
      const [a, b, taken] = await creating;
      expect(a).toMatchObject({ value: version });
      expect(b).toMatchObject({ value: (await other.get('b'))?.version });
      expect(taken).toMatchObject({ reason: { ...CONFLICT, key: 'taken' } });
      expect(await textAt(other, 'a')).toBe(left);
    });
  });

  test('are puts, deletes and batches alike, each with its own answer', async () => {
    const store = scene.store();
    const [a] = await Promise.all([store.put('a', value), store.put('b', value)]);
    const answers = await Promise.all([
      store.delete('a', { ifVersion: a }),
      store.delete('absent'),
      store.put('b', bytes('new')),
      store.batch([{ type: 'put', key: 'c', value }]),
    ]);
    expect(answers).toEqual([true, false, expect.stringMatching(/^\d{16}\./), expect.stringMatching(/^\d{16}\./)]);
    expect((await store.list('')).entries.map(({ key }) => key)).toEqual(['b', 'c']);
  });
});

describe('writes of one key that come at once', () => {
  const under = (guard: BatchOperation) => (key: string) => [guard, { type: 'put', key, value }] as const;

  test.each([
    ['as it is', (ifVersion: string): BatchOperation => ({ type: 'check', key: 'guard', ifVersion })],
    ['absent', (): BatchOperation => ({ type: 'check', key: 'absent', ifVersion: null })],
  ])('share one commit if all of them need it %s, and lose together', async (_what, guardOf) => {
    const { pool, queries } = overheard(scene.pool());
    const store = scene.store(pool);
    const batch = under(guardOf(await store.put('guard', value)));
    queries.length = 0;
    const keys = Array.from({ length: 20 }, (_, at) => `key-${at}`);
    await Promise.all(keys.map((key) => store.batch(batch(key))));
    expect(queries.filter(({ text }) => text.startsWith('WITH'))).toHaveLength(1);
    await Promise.all([store.put('guard', bytes('new')), store.put('absent', bytes('new'))]);
    const outcomes = await Promise.allSettled(keys.map((key) => store.batch(batch(`late-${key}`))));
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(20);
    expect((await store.list('')).entries).toHaveLength(22);
  });

  test('cost one statement if they are swaps, of which one wins', async () => {
    const { pool, queries } = overheard(scene.pool());
    const store = scene.store(pool);
    const ifVersion = await store.put('key', value);
    queries.length = 0;
    const swaps = Array.from({ length: 20 }, () => store.put('key', value, { ifVersion }));
    const [won, ...lost] = await Promise.allSettled(swaps);
    expect(queries).toHaveLength(1);
    const currentVersion = (await store.get('key'))?.version;
    expect(won).toMatchObject({ value: currentVersion });
    for (const outcome of lost) expect(outcome).toMatchObject({ reason: { ...CONFLICT, key: 'key', currentVersion } });
  });
});

describe('a key that another session is creating', () => {
  const racing = async (write: (store: PostgresStorage) => Promise<unknown>, how: 'COMMIT' | 'ROLLBACK') => {
    const table = scene.nextTable();
    const store = scene.store(undefined, { table });
    await store.open();
    const rival = await session();
    await rival.query(insertOf(table, 'key'));
    const outcome = write(store).then(
      () => 'done',
      (error) => ({ code: error.code, key: error.key, currentVersion: error.currentVersion }),
    );
    await someWait();
    await end(rival, how);
    return { outcome: await outcome, keys: (await store.list('')).entries.map(({ key }) => key), store };
  };
  const lost = { ...CONFLICT, key: 'key', currentVersion: '0.theirs' };
  const create = (store: PostgresStorage) => store.put('key', value, { ifVersion: null });
  const createAtOnce = (store: PostgresStorage) =>
    Promise.all(['after', 'key', 'own'].map((key) => store.put(key, value, { ifVersion: null })));
  const createTwo = (store: PostgresStorage) =>
    store.batch([
      { type: 'put', key: 'key', value, ifVersion: null },
      { type: 'put', key: 'own', value },
    ]);
  const requireAbsent = (store: PostgresStorage) =>
    store.batch([
      { type: 'check', key: 'key', ifVersion: null },
      { type: 'put', key: 'own', value },
    ]);

  test.each([
    ['put', create, []],
    ['group of creations', createAtOnce, ['after', 'own']],
    ['batch', createTwo, []],
    ['check', requireAbsent, []],
  ])('makes a %s wait, and conflict once it is there', async (_what, write, others) => {
    const { outcome, keys } = await racing(write, 'COMMIT');
    expect({ outcome, keys }).toEqual({ outcome: lost, keys: ['key', ...others].toSorted() });
  });

  test.each([
    ['put', create, ['key']],
    ['group of creations', createAtOnce, ['after', 'key', 'own']],
    ['batch', createTwo, ['key', 'own']],
    ['check', requireAbsent, ['own']],
  ])('makes a %s wait, and pass if it is given up', async (_what, write, kept) => {
    const { outcome, keys } = await racing(write, 'ROLLBACK');
    expect({ outcome, keys }).toEqual({ outcome: 'done', keys: kept });
  });

  test('is overwritten by a batch that asks for nothing', async () => {
    const operations: BatchOperation[] = [
      { type: 'put', key: 'key', value },
      { type: 'put', key: 'own', value },
    ];
    const { outcome, store } = await racing((each) => each.batch(operations), 'COMMIT');
    expect([outcome, await textAt(store, 'key')]).toEqual(['done', 'value']);
  });
});

describe('keys that must be absent', () => {
  test('exclude each other: of two that each forbid what the other creates, never both pass', async () => {
    const table = scene.nextTable();
    const [one, other] = [scene.store(undefined, { table }), scene.store(undefined, { table })];
    for (let round = 0; round < 25; round++) {
      const claim = (store: PostgresStorage, own: string, foreign: string) =>
        store.batch([
          { type: 'put', key: `${round}/${own}`, value, ifVersion: null },
          { type: 'check', key: `${round}/${foreign}`, ifVersion: null },
        ]);
      await Promise.allSettled([claim(one, 'a', 'b'), claim(other, 'b', 'a')]);
      expect((await one.list(`${round}/`)).entries).toHaveLength(1);
    }
  });

  test('leave nothing behind that others could see, whether the batch passes or not', async () => {
    const store = scene.store();
    await store.put('taken', value);
    const absent: BatchOperation = { type: 'check', key: 'absent', ifVersion: null };
    await store.batch([absent]);
    const refused = store.batch([absent, { type: 'put', key: 'taken', value, ifVersion: null }]);
    await expect(refused).rejects.toMatchObject({ ...CONFLICT, key: 'taken' });
    expect((await store.list('')).entries.map(({ key }) => key)).toEqual(['taken']);
    expect(await store.get('absent')).toBeUndefined();
  });
});

describe('locks of others', () => {
  test('are waited for, and what they left behind is what counts', async () => {
    const table = scene.nextTable();
    const store = scene.store(undefined, { table });
    const ifVersion = await store.put('key', value);
    const rival = await session();
    await rival.query(`UPDATE ${table} SET version = '0.theirs' WHERE key = 'key'`);
    const batch = store.batch([
      { type: 'check', key: 'key', ifVersion },
      { type: 'put', key: 'own', value },
    ]);
    const outcome = expect(batch).rejects.toMatchObject({ ...CONFLICT, currentVersion: '0.theirs' });
    await someWait();
    await end(rival, 'COMMIT');
    await outcome;
  });

  test('that end in a deadlock cost a second try, not the write', async () => {
    const table = scene.nextTable();
    const store = scene.store(undefined, { table });
    await Promise.all([store.put('a', value), store.put('b', value)]);
    const rival = await session();
    await rival.query(`SELECT FROM ${table} WHERE key = 'b' FOR UPDATE`);
    const batch = store.batch([
      { type: 'put', key: 'a', value: bytes('mine') },
      { type: 'put', key: 'b', value: bytes('mine') },
    ]);
    await someWait();
    await rival.query(`SELECT FROM ${table} WHERE key = 'a' FOR UPDATE`);
    await end(rival, 'COMMIT');
    await batch;
    expect(await textAt(store, 'b')).toBe('mine');
  });
});

test.each(['read committed', 'repeatable read', 'serializable'])(
  'increments lose nothing where sessions are %s',
  async (isolation) => {
    const options = `-c default_transaction_isolation=${isolation.replace(' ', '\\ ')}`;
    const table = scene.nextTable();
    const stores = [scene.store(scene.pool({ options }), { table }), scene.store(scene.pool({ options }), { table })];
    const increment = async (store: PostgresStorage): Promise<void> => {
      const entry = await store.get('count');
      const count = Number(Buffer.from(entry?.value ?? '0').toString()) + 1;
      await store.put('count', bytes(String(count)), { ifVersion: entry?.version ?? null }).catch((error) => {
        if (error.code !== CONFLICT.code) throw error;
        return increment(store);
      });
    };
    await Promise.all(
      stores.map(async (store) => {
        for (let turn = 0; turn < 25; turn++) await increment(store);
      }),
    );
    expect(await textAt(stores[0] as PostgresStorage, 'count')).toBe('50');
  },
);

test('the versions of one key only grow, whoever writes it at the same time', async () => {
  const table = scene.nextTable();
  const stores = [scene.store(undefined, { table }), scene.store(undefined, { table })];
  const versions = await Promise.all(
    Array.from({ length: 60 }, (_, at) => {
      const operations: BatchOperation[] = [
        { type: 'put', key: 'key', value },
        { type: 'put', key: `own-${at}`, value },
      ];
      const store = stores[at % 2] as PostgresStorage;
      return at % 3 === 0 ? store.batch(operations) : store.put('key', value);
    }),
  );
  expect((await stores[0]?.get('key'))?.version).toBe(versions.toSorted().at(-1));
});

describe('after', () => {
  test.each([
    ['k\0', ['l']],
    ['k\u{1f600}', ['l']],
    ['k\ud800', ['l']],
    ["k' OR 1 = 1 --", ['l']],
    ['k\x7f', ['l']],
    ['', ['a', 'k', 'l']],
  ])('may be %j', async (after, found) => {
    const store = scene.store();
    await Promise.all(['a', 'k', 'l'].map((key) => store.put(key, value)));
    const forward = await store.list('', { after });
    const backward = await store.list('', { after, reverse: true });
    expect(forward.entries.map(({ key }) => key)).toEqual(found);
    expect(backward.entries.map(({ key }) => key)).toEqual(['l', 'k', 'a'].filter((key) => !found.includes(key)));
  });
});

test('with 100,000 keys no statement reads the whole table, whether the server has counted it or not', async () => {
  const table = scene.nextTable();
  const raw = scene.pool();
  const { pool, queries } = overheard(raw);
  const store = scene.store(pool, { table });
  await store.put('key', value);
  await raw.query(`ALTER TABLE ${table} SET (autovacuum_enabled = off)`);
  await raw.query(`INSERT INTO ${table} SELECT 'key/' || n, 'x', '0.' || n FROM generate_series(1, 100000) AS n`);
  queries.length = 0;
  const ifVersion = await store.put('key/7', value);
  await store.put('key/7', value, { ifVersion });
  await Promise.all([store.put('key/8', value), store.delete('key/9')]);
  await store.delete('key/10');
  await store.batch([{ type: 'check', key: 'absent', ifVersion: null }]);
  await store.get('key/8');
  for (const reverse of [false, true]) {
    await store.list('', { limit: 2, reverse });
    await store.list('', { reverse });
    await store.list('key/', { after: 'key/5', reverse });
  }
  for (const counting of ['SELECT', `ANALYZE ${table}`]) {
    await raw.query(counting);
    for (const { text, values } of queries.filter((query) => query.values !== undefined)) {
      const plan = await raw.query({ text: `EXPLAIN ${text}`, ...(values && { values }) });
      const lines = plan.rows.map((row) => row['QUERY PLAN']).join('\n');
      const wasteful = text.includes('LIMIT') ? /Sort|Bitmap|Seq Scan/ : new RegExp(`Seq Scan on ${table}`);
      expect(lines, `${counting}: ${text}`).not.toMatch(wasteful);
    }
  }
});

describe('statements that connections keep prepared', () => {
  const namesIn = (queries: readonly PostgresQuery[]) => queries.flatMap(({ name }) => name?.split('_')[1] ?? []);
  const useAll = async (store: PostgresStorage) => {
    const ifVersion = await store.put('a', value);
    await store.put('a', value, { ifVersion });
    await store.put('created', value, { ifVersion: null });
    await store.delete('created');
    await Promise.all([store.put('a', value), store.delete('b')]);
    await store.get('a');
  };

  const sized = (queries: readonly PostgresQuery[]) => queries.map(({ name }) => name?.replace(/_[0-9a-f]{16}/, ''));

  test('are all but deletes, once an answer has told the size of the table', async () => {
    const { pool, queries } = overheard(scene.pool());
    const store = scene.store(pool);
    await useAll(store);
    expect(namesIn(queries)).toEqual(['put', 'replace', 'create', 'get']);
    queries.length = 0;
    await useAll(store);
    expect(namesIn(queries)).toEqual(['put', 'replace', 'create', 'write', 'get']);
  });

  test('are planned again when the table has grown fourfold', async () => {
    const { pool, queries } = overheard(scene.pool());
    const store = scene.store(pool);
    const grow = (entries: number) =>
      Promise.all(Array.from({ length: entries }, (_, at) => store.put(`${entries}/${at}`, Buffer.alloc(3_000))));
    for (const [size, entries] of [5, 20, 80, 320].entries()) {
      await grow(entries);
      await store.get('5/0'); // Hears of it.
      queries.length = 0;
      await store.get('5/0');
      expect(sized(queries)).toEqual([`holdfast_get_${size}`]);
    }
  });

  test('are given up for one planned anew after an answer that could not tell the size', async () => {
    const { pool, queries } = overheard(scene.pool());
    const store = scene.store(pool);
    await store.put('key', value);
    await store.get('key');
    queries.length = 0;
    for (const key of ['key', 'absent', 'absent', 'key', 'key']) await store.get(key);
    expect(sized(queries)).toEqual(['holdfast_get_0', 'holdfast_get_0', undefined, undefined, 'holdfast_get_0']);
  });

  test('have plans that do not read the whole table once that is large', async () => {
    const table = scene.nextTable();
    const raw = scene.pool({ max: 1, options: '-c plan_cache_mode=force_generic_plan' });
    const { pool, queries } = overheard(scene.pool());
    const store = scene.store(pool, { table });
    await store.open();
    await raw.query(`ALTER TABLE ${table} SET (autovacuum_enabled = off)`);
    for (
      let first = 0;
      (await raw.query(`SELECT pg_relation_size('${table}') AS size`)).rows[0].size < 2 ** 20;
      first++
    ) {
      await raw.query(
        `INSERT INTO ${table} SELECT 'key/${first}/' || n, 'x', '0.' || n FROM generate_series(1, 100) AS n`,
      );
    }
    await useAll(store);
    queries.length = 0;
    await useAll(store);
    expect(namesIn(queries)).toEqual(['put', 'replace', 'create', 'write', 'get']);
    for (const counting of ['SELECT', `ANALYZE ${table}`]) {
      await raw.query(counting);
      for (const { name, text, values = [] } of queries.filter((query) => query.name !== undefined)) {
        await raw.query(`PREPARE own AS ${text}`);
        const plan = await raw.query(`EXPLAIN EXECUTE own (${values.map(() => 'NULL').join(', ')})`);
        await raw.query('DEALLOCATE own');
        expect(plan.rows.map((row) => row['QUERY PLAN']).join('\n'), name).not.toMatch(`Seq Scan on ${table}`);
      }
    }
  });
});

describe('values', () => {
  test('come back as they were, whatever form the host has chosen for bytes and text', async () => {
    const store = scene.store(scene.pool({ options: '-c bytea_output=escape' }));
    const every = Uint8Array.from({ length: 10_000 }, (_, at) => at % 256);
    await store.put('key', every);
    expect((await store.get('key'))?.value).toEqual(Buffer.from(every));
    expect((await store.list('')).entries).toMatchObject([{ key: 'key', sizeBytes: 10_000 }]);
  });

  test('are not read by parsers that the host has set for its own queries', async () => {
    const { builtins, getTypeParser, setTypeParser } = pg.types;
    const usual = getTypeParser(builtins.TEXT);
    setTypeParser(builtins.TEXT, () => 'parsed by the host');
    const store = scene.store();
    const version = await store.put('key', value);
    const entry = await store.get('key');
    setTypeParser(builtins.TEXT, usual);
    expect(entry).toEqual({ key: 'key', value, version });
  });
});

test('a full disk is NoSpaceError, and what was there is intact', async () => {
  const table = scene.nextTable();
  const store = scene.store(undefined, { table });
  await store.put('key', value);
  await raiseOnWrites(table, '53100');
  await expect(store.put('key', bytes('new'))).rejects.toMatchObject({ code: 'HOLDFAST_NO_SPACE' });
  expect(await textAt(store, 'key')).toBe('value');
});

describe('behind something that gives each statement another connection', () => {
  test.each([
    ['that knows none of its statements', async (client: pg.PoolClient) => void (await client.query('DEALLOCATE ALL'))],
    [
      'that knows all of them already',
      async (client: pg.PoolClient) => {
        Object.assign(client, { connection: Object.assign(connectionOf(client), { parsedStatements: {} }) });
      },
    ],
  ])('%s, writes go on without prepared ones', async (_what, swap) => {
    const raw = scene.pool({ max: 1 });
    const store = scene.store(raw);
    await store.put('key', bytes('1'));
    const client = await raw.connect();
    await swap(client);
    client.release();
    const ifVersion = await store.put('key', bytes('2'));
    await store.put('key', bytes('3'), { ifVersion });
    expect(await textAt(store, 'key')).toBe('3');
  });

  function connectionOf(client: pg.PoolClient): object {
    return (client as unknown as { connection: object }).connection;
  }
});

test.each([
  ['57014', 'statement_timeout'],
  ['55P03', 'lock_timeout'],
  ['40001', 'Others changed the same keys each time'],
  ['22012', 'Others created the same keys each time'],
  ['XX000', 'The server said no'],
])('an error %s of the server undoes the write, and says what to look at', async (sqlState, advice) => {
  const table = scene.nextTable();
  const store = scene.store(undefined, { table });
  const ifVersion = await store.put('key', value);
  await raiseOnWrites(table, sqlState);
  const put = store.put('key', bytes('new'), { ifVersion });
  await expect(put).rejects.toThrow(advice);
  const own: BatchOperation = { type: 'put', key: 'own', value };
  for (const check of [
    { key: 'key', ifVersion },
    { key: 'absent', ifVersion: null },
  ]) {
    await expect(store.batch([{ type: 'check', ...check }, own])).rejects.toThrow(advice);
  }
  expect((await store.list('')).entries.map(({ key }) => key)).toEqual(['key']);
});

test.each(['no version', 'quote\'"; --', 'nul\0', '\ud800', '\u{1f600}'])(
  'the version %j is none of any key',
  async (ifVersion) => {
    const store = scene.store();
    const version = await store.put('key', value);
    const refused = { ...CONFLICT, key: 'key', currentVersion: version };
    await expect(store.put('key', value, { ifVersion })).rejects.toMatchObject(refused);
    await expect(store.delete('key', { ifVersion })).rejects.toMatchObject(refused);
    await expect(store.batch([{ type: 'check', key: 'key', ifVersion }])).rejects.toMatchObject(refused);
    await expect(store.put('absent', value, { ifVersion })).rejects.toMatchObject({ currentVersion: undefined });
  },
);

test('a put under a signal that never aborts is a put, one under an aborted signal is none', async () => {
  const store = scene.store();
  await store.put('key', value, { signal: new AbortController().signal });
  const reason = new Error('the caller gave up');
  await expect(store.put('key', bytes('late'), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect(await textAt(store, 'key')).toBe('value');
});

test('a table that is dropped under the store is an error, never a missing key', async () => {
  const table = scene.nextTable();
  const store = scene.store(undefined, { table });
  await store.put('key', value);
  await scene.pool().query(`DROP TABLE ${table}`);
  await expect(store.get('key')).rejects.toMatchObject({ code: 'HOLDFAST_STORAGE' });
  await expect(store.list('')).rejects.toThrow('The table is gone');
  await expect(store.put('key', value)).rejects.toMatchObject({ code: 'HOLDFAST_STORAGE' });
});

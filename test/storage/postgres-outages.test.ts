import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type PostgresPool, type PostgresStorage, postgresStorage } from '../../src/storage/postgres.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { overheard, PostgresScene, until } from '../support/postgres-scene.js';
import { DURABLE, PostgresServer } from '../support/postgres-server.js';

const UNKNOWN = 'HOLDFAST_OUTCOME_UNKNOWN';
const STORAGE = 'HOLDFAST_STORAGE';
const bytes = (text: string) => Buffer.from(text);
const value = bytes('value');

let server: PostgresServer;
let scene: PostgresScene;

beforeAll(async () => {
  server = await PostgresServer.start(DURABLE);
  scene = new PostgresScene(server);
});
afterEach(() => scene.close());
afterAll(() => server.stop());

const codeOf = async (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'done',
    (error) => error.code ?? error,
  );

const textAt = async (store: PostgresStorage, key: string) => {
  const entry = await store.get(key);
  return entry && Buffer.from(entry.value).toString();
};

describe('a server that stands still', () => {
  const timeoutMs = 400;
  let store: PostgresStorage;
  let pool: pg.Pool;

  beforeEach(async () => {
    pool = scene.pool({ max: 3 });
    store = scene.store(pool, { timeoutMs });
    await store.put('key', bytes('before'));
  });
  afterEach(() => server.resume());

  test('costs a read its time, and no more than that', async () => {
    server.suspend();
    const startMs = performance.now();
    expect(await Promise.all([codeOf(store.get('key')), codeOf(store.list(''))])).toEqual([STORAGE, STORAGE]);
    expect(performance.now() - startMs).toBeLessThan(4 * timeoutMs);
  });

  test('leaves nobody knowing of a write, in time, and what waited behind it is not done later', async () => {
    server.suspend();
    const startMs = performance.now();
    const writes = [store.put('key', bytes('first')), store.put('key', bytes('second')), store.delete('key')];
    expect(await Promise.all(writes.map(codeOf))).toEqual([UNKNOWN, UNKNOWN, UNKNOWN]);
    expect(performance.now() - startMs).toBeLessThan(4 * timeoutMs);
    server.resume();
    await until(async () => (await codeOf(store.put('other', value))) === 'done');
    expect(['before', 'first']).toContain(await textAt(store, 'key'));
  });

  test('gets back to work once it moves, with no connection lost for good', async () => {
    server.suspend();
    await Promise.all([codeOf(store.get('key')), codeOf(store.put('key', value)), codeOf(store.list(''))]);
    server.resume();
    await until(async () => (await codeOf(store.put('key', bytes('after')))) === 'done');
    expect(await textAt(store, 'key')).toBe('after');
    await until(() => pool.totalCount === pool.idleCount && pool.waitingCount === 0);
  });

  test('rejects a read at once when its caller gives up', async () => {
    const slow = scene.store(pool, { timeoutMs: 60_000 });
    await slow.open();
    const reason = new Error('the caller gave up');
    const controller = new AbortController();
    server.suspend();
    const read = slow.get('key', { signal: controller.signal });
    controller.abort(reason);
    await expect(read).rejects.toBe(reason);
    server.resume();
  });
});

describe('a pool without a free connection', () => {
  test('is an error that names its max, and nothing was sent', async () => {
    const pool = scene.pool({ max: 1 });
    const store = scene.store(pool, { timeoutMs: 200 });
    await store.put('key', bytes('before'));
    const held = await pool.connect();
    const calls = [store.put('key', value), store.get('key')];
    expect(await Promise.all(calls.map(codeOf))).toEqual([STORAGE, STORAGE]);
    await expect(store.list('')).rejects.toThrow('is its max large enough');
    held.release();
    expect(await textAt(store, 'key')).toBe('before');
    await until(() => pool.idleCount === pool.totalCount);
  });

  test('after it was ended is an error, not a wait', async () => {
    const pool = new pg.Pool({ connectionString: server.url() });
    const store = postgresStorage(pool, { table: scene.nextTable() });
    await store.open();
    await pool.end();
    expect(await Promise.all([codeOf(store.put('key', value)), codeOf(store.get('key'))])).toEqual([STORAGE, STORAGE]);
  });
});

test('a read goes on where a connection died while it lay idle', async () => {
  const pool = scene.pool({ max: 1 });
  const store = scene.store(pool);
  await store.put('key', value);
  const client = await pool.connect();
  const { stream } = (client as unknown as { connection: { stream: { destroy(): void } } }).connection;
  client.release();
  const read = store.get('key');
  stream.destroy();
  expect(await read).toMatchObject({ key: 'key' });
});

describe.each([
  ['killed', () => server.kill()],
  ['stopped at once', () => server.stopImmediately()],
] as const)('when the server is %s in the middle of writes', (_how, stop) => {
  test('nothing that was acknowledged is lost, and nothing is there twice', async () => {
    const store = scene.store(scene.pool({ max: 10 }), { timeoutMs: 20_000 });
    await store.put('count', bytes('0'));
    const acknowledged: string[] = [];
    let isOver = false;
    const write = async (writer: number) => {
      for (let at = 0; !isOver; at++) {
        const key = `${writer}/${String(at).padStart(5, '0')}`;
        const outcome = await codeOf(store.put(key, bytes(key), { ifVersion: null }));
        if (outcome === 'done') acknowledged.push(key);
      }
    };
    const count = async (): Promise<number> => {
      let counted = 0;
      while (!isOver) {
        const entry = await store.get('count').catch(() => undefined);
        if (entry === undefined) continue;
        const next = Number(Buffer.from(entry.value).toString()) + 1;
        const outcome = await codeOf(store.put('count', bytes(String(next)), { ifVersion: entry.version }));
        if (outcome === 'done') counted++;
      }
      return counted;
    };
    const writing = Promise.all([count(), ...[0, 1, 2, 3].map(write)]);
    const someMore = async () => {
      const enough = acknowledged.length + 40;
      await until(() => acknowledged.length > enough);
    };
    try {
      for (let outages = 0; outages < 2; outages++) {
        await someMore();
        await stop();
        await server.restart();
      }
      await someMore();
    } finally {
      isOver = true;
    }
    const [counted] = await writing;
    const witness = scene.store(undefined, { table: store.name.split('.')[1] ?? '' });
    const missing: string[] = [];
    for (const key of acknowledged) if ((await textAt(witness, key)) !== key) missing.push(key);
    expect({ missing, counted }).toEqual({ missing: [], counted: Number(await textAt(witness, 'count')) });
  });
});

describe('watch', () => {
  const heardBy = async (store: PostgresStorage, prefix: string) => {
    const keys: string[] = [];
    const stop = await store.watch?.(prefix, (key) => keys.push(key));
    return { keys, stop: stop ?? (async () => undefined) };
  };

  test('is there only where it was asked for', () => {
    const store = scene.store();
    expect([store.watch, store.capabilities.watch]).toEqual([undefined, false]);
  });

  test('hears nothing of writers that were not told to notify', async () => {
    const table = scene.nextTable();
    const store = scene.store(undefined, { table, watch: true });
    const { keys } = await heardBy(store, '');
    await scene.store(undefined, { table }).put('unsaid', value);
    await store.put('said', value);
    await until(() => keys.length > 0);
    expect(keys).toEqual(['said']);
  });

  test('goes on after its connection was lost, and tells everyone to look at all they watch', async () => {
    const store = scene.store(undefined, { watch: true });
    const ear = await heardBy(store, 'runs/');
    await scene.pool().query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
    await until(() => ear.keys.includes('runs/'));
    await store.put('runs/1', value);
    await until(() => ear.keys.includes('runs/1'));
    expect(ear.keys).toEqual(['runs/', 'runs/1']);
  });

  test('gives its connection up with the last watcher, and when the store is closed', async () => {
    const pool = scene.pool();
    const store = scene.store(pool, { watch: true });
    const [one, two] = [await heardBy(store, 'a'), await heardBy(store, 'b')];
    const listening = async () =>
      (await scene.pool().query("SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")).rows.length;
    expect(await listening()).toBe(1);
    await one.stop();
    expect(await listening()).toBe(1);
    await two.stop();
    await until(async () => (await listening()) === 0);
    await heardBy(store, 'c');
    await store.close();
    await until(async () => (await listening()) === 0);
    expect(pool.totalCount).toBe(pool.idleCount);
  });

  test('a listener that throws stops neither the others nor the process', async () => {
    const warnings: Error[] = [];
    const note = (warning: Error) => warnings.push(warning);
    process.on('warning', note);
    const store = scene.store(undefined, { watch: true });
    await store.watch?.('', () => {
      throw new Error('not mine');
    });
    const ear = await heardBy(store, '');
    await store.put('key', value);
    await until(() => ear.keys.includes('key') && warnings.length > 0);
    process.off('warning', note);
    expect(warnings[0]?.message).toContain('not mine');
  });

  test('hears of as many keys as a batch has, though they fill several notifications', async () => {
    const store = scene.store(undefined, { watch: true });
    const { keys } = await heardBy(store, '');
    const long = Array.from({ length: 40 }, (_, at) => `${'k'.repeat(500)}${String(at).padStart(2, '0')}`);
    await store.batch(long.map((key) => ({ type: 'put', key, value })));
    await until(() => keys.length === long.length);
    expect(keys.toSorted()).toEqual(long);
  });

  test('tells everyone to look at all they watch when more changed than can be named', async () => {
    const store = scene.store(undefined, { watch: true });
    const { keys } = await heardBy(store, 'many/');
    const many = Array.from({ length: 5_001 }, (_, at) => `many/${at}`);
    await store.batch(many.map((key) => ({ type: 'put', key, value })));
    await until(() => keys.length > 0);
    expect(keys).toEqual(['many/']);
  });

  test('that cannot begin is an error, and can be tried again', async () => {
    const store = scene.store(undefined, { watch: true });
    await store.open();
    await server.stopImmediately();
    const outcome = await codeOf(heardBy(store, ''));
    await server.restart();
    expect(outcome).toBe(STORAGE);
    const ear = await heardBy(store, '');
    await store.put('key', value);
    await until(() => ear.keys.includes('key'));
  });

  test('notices a connection that went silent, and makes another', async () => {
    const clock = new VirtualClock();
    const store = scene.store(undefined, { watch: true, clock });
    const ear = await heardBy(store, 'runs/');
    server.suspend();
    await clock.advance(30_000); // It asks whether anybody is there.
    await clock.advance(10_000); // Nobody answers.
    server.resume();
    await until(async () => {
      await clock.advance(500);
      return ear.keys.includes('runs/');
    });
  });

  test('asks a silent connection now and then, and stays on one that answers', async () => {
    const clock = new VirtualClock();
    const { pool, queries } = overheard(scene.pool());
    const store = scene.store(pool, { watch: true, clock, timeoutMs: 3_600_000 });
    const ear = await heardBy(store, '');
    await until(async () => {
      await clock.advance(30_000);
      return queries.filter(({ text }) => text === 'SELECT 1').length === 3;
    });
    expect(ear.keys).toEqual([]);
  });

  test('can be ended while it is still beginning', async () => {
    const store = scene.store(undefined, { watch: true });
    await store.open();
    const beginning = heardBy(store, '');
    await store.close();
    await (await beginning).stop();
  });

  test('notifications that could not be sent are sent again; closing does not wait for them for ever', async () => {
    const pool = scene.pool();
    let connections = 0;
    let failures = 2;
    const failing: PostgresPool = {
      connect: (callback) => {
        // The first opens the store, the second writes.
        if (++connections > 2 && failures-- > 0) callback(new Error('no connection'), undefined);
        else pool.connect(callback);
      },
    };
    const table = scene.nextTable();
    const { keys } = await heardBy(scene.store(undefined, { table, watch: true }), '');
    const store = scene.store(failing, { table, watch: true, timeoutMs: 200 });
    await store.put('late', value);
    await until(() => keys.includes('late'));
    failures = Number.POSITIVE_INFINITY;
    connections = 1;
    await store.put('never', value);
    await store.close();
    expect(keys).toEqual(['late']);
  });

  test('of a closed store is ClosedError', async () => {
    const store = scene.store(undefined, { watch: true });
    await store.close();
    await expect(heardBy(store, '')).rejects.toMatchObject({ code: 'HOLDFAST_CLOSED' });
    await expect(store.open()).rejects.toMatchObject({ code: 'HOLDFAST_CLOSED' });
  });
});

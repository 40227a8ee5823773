import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { isHoldfastError } from '../../src/base/errors.js';
import type { BatchOperation } from '../../src/storage/adapter.js';
import { type PostgresStorage, postgresStorage } from '../../src/storage/postgres.js';
import { type Accident, PostgresProxy } from '../support/postgres-proxy.js';
import { PostgresServer } from '../support/postgres-server.js';

const UNKNOWN = { code: 'HOLDFAST_OUTCOME_UNKNOWN' };
const TIMES = Array.from({ length: 20 }, (_, at) => at);

let server: PostgresServer;
let proxy: PostgresProxy;
let sound: pg.Pool;
let shaky: pg.Pool;
let tables = 0;
let table = '';
/** Through the proxy. */
let store: PostgresStorage;
/** Beside it. */
let witness: PostgresStorage;

const bytes = (text: string) => Buffer.from(text);
const textOf = async (key: string) => {
  const entry = await witness.get(key);
  return entry && Buffer.from(entry.value).toString();
};

function quietPool(url: string, max = 5): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, max });
  pool.on('error', () => undefined); // As its documentation asks: connections break here.
  return pool;
}

beforeAll(async () => {
  server = await PostgresServer.start(['fsync=on', 'deadlock_timeout=50ms']);
  proxy = await PostgresProxy.before(server.socket);
  sound = quietPool(server.url());
  shaky = quietPool(proxy.url());
});
afterAll(async () => {
  await shaky.end();
  await sound.end();
  await proxy.close();
  await server.stop();
});
beforeEach(async () => {
  table = `faults_${++tables}`;
  store = postgresStorage(shaky, { table });
  witness = postgresStorage(sound, { table });
  await store.open();
  await witness.open();
});
afterEach(async () => {
  await store.close();
  await witness.close();
});

/** The code of the error, or what the call resolved to. */
async function outcomeOf(call: Promise<unknown>): Promise<unknown> {
  return call.catch((error: unknown) => (isHoldfastError(error) ? error.code : error));
}

/** Does `act` twenty times, each time with the accident at the message that has its key in it. */
async function throughAccidents(accident: Accident, act: (key: string, at: number) => Promise<unknown>) {
  const outcomes: unknown[] = [];
  for (const at of TIMES) {
    const key = `key-${String(at).padStart(2, '0')}`;
    proxy.arm(accident, key);
    const before = proxy.accidents;
    outcomes.push(await outcomeOf(act(key, at)));
    expect(proxy.accidents).toBe(before + 1);
  }
  return outcomes;
}

describe.each([
  ['the line is cut before the commit', 'before'],
  ['the line is cut after the commit', 'after'],
  ['the session is ended after the commit, with an error that says so', 'dying'],
] as const)('when %s, 20 times', (_what, accident) => {
  test('a creation happens once and answers with the version it has', async () => {
    const versions = await throughAccidents(accident, (key) => store.put(key, bytes(key), { ifVersion: null }));
    const { entries } = await witness.list('');
    expect(entries.map(({ version }) => version)).toEqual(versions);
  });

  test('increments of one counter are neither lost nor doubled', async () => {
    await witness.put('count', bytes('0'));
    for (const at of TIMES) {
      const entry = await store.get('count');
      proxy.arm(accident, 'count');
      const next = Number(Buffer.from(entry?.value ?? '').toString()) + 1;
      await store.put('count', bytes(String(next)), { ifVersion: entry?.version ?? null });
      expect(await textOf('count')).toBe(String(at + 1));
    }
  });

  test('a batch happens once and whole, also if a key of it must be absent', async () => {
    const versions = await throughAccidents(accident, (key) =>
      store.batch([
        { type: 'check', key: 'absent', ifVersion: null },
        { type: 'put', key, value: bytes(key), ifVersion: null },
        { type: 'put', key: `${key}-more`, value: bytes(key) },
      ]),
    );
    const { entries } = await witness.list('');
    expect(entries.map(({ version }) => version)).toEqual(versions.flatMap((version) => [version, version]));
  });

  test('a batch of several round trips happens once and whole, wherever it is cut', async () => {
    for (const [at, marker] of ['BEGIN', 'unnest', 'COMMIT'].entries()) {
      const key = `key-${at}`;
      proxy.arm(accident, marker);
      const version = await store.batch([
        { type: 'check', key: 'absent', ifVersion: null },
        { type: 'put', key, value: bytes(key), ifVersion: null },
      ]);
      expect(await witness.get(key)).toEqual({ key, value: bytes(key), version });
    }
    expect((await witness.list('')).entries).toHaveLength(3);
  });

  test('each of 30 writes that share a statement happens once', async () => {
    const keys = Array.from({ length: 30 }, (_, at) => `key-${String(at).padStart(2, '0')}`);
    proxy.arm(accident, 'key-17');
    const versions = await Promise.all(keys.map((key) => store.put(key, bytes(key), { ifVersion: null })));
    const { entries } = await witness.list('');
    expect(entries.map(({ version }) => version)).toEqual(versions);
  });
});

describe('a write without a condition', () => {
  test('that was cut off before the commit is unknown, and is not done', async () => {
    const outcomes = await throughAccidents('before', (key) => store.put(key, bytes(key)));
    expect(new Set(outcomes)).toEqual(new Set([UNKNOWN.code]));
    expect(await witness.list('')).toEqual({ entries: [] });
  });

  test('that was cut off after the commit is found by its mark', async () => {
    const versions = await throughAccidents('after', (key) => store.put(key, bytes(key)));
    const { entries } = await witness.list('');
    expect(entries.map(({ version }) => version)).toEqual(versions);
  });
});

describe('a delete', () => {
  test('of a version, cut off before the commit, is done by a second try', async () => {
    const versions = await Promise.all(
      TIMES.map((at) => witness.put(`key-${String(at).padStart(2, '0')}`, bytes('x'))),
    );
    const outcomes = await throughAccidents('before', (key, at) =>
      store.delete(key, { ifVersion: versions[at] as string }),
    );
    expect(new Set(outcomes)).toEqual(new Set([true]));
    expect(await witness.list('')).toEqual({ entries: [] });
  });

  test('of a version, cut off after the commit, is unknown: it leaves no trace', async () => {
    const ifVersion = await witness.put('key', bytes('x'));
    proxy.arm('after', 'key');
    await expect(store.delete('key', { ifVersion })).rejects.toMatchObject({ ...UNKNOWN, key: 'key' });
    expect(await witness.get('key')).toBeUndefined();
  });

  test('without a condition is unknown', async () => {
    proxy.arm('before', 'key');
    await expect(store.delete('key')).rejects.toMatchObject(UNKNOWN);
  });
});

describe('a statement that arrives late', () => {
  test('changes nothing once the same write was done on another connection', async () => {
    const ifVersion = await witness.put('key', bytes('old'));
    proxy.arm('late', 'key');
    const version = await store.put('key', bytes('new'), { ifVersion });
    proxy.deliver();
    await settledServer();
    expect(await witness.get('key')).toEqual({ key: 'key', value: bytes('new'), version });
  });

  test('does not bring back a state that others have gone on from', async () => {
    const ifVersion = await witness.put('key', bytes('old'));
    proxy.arm('late', 'key');
    const version = await store.put('key', bytes('new'), { ifVersion });
    await witness.put('key', bytes('newer'), { ifVersion: version });
    proxy.deliver();
    await settledServer();
    expect(await textOf('key')).toBe('newer');
  });

  test('and comes just before it is sent again is found to have happened', async () => {
    const ifVersion = await witness.put('key', bytes('old'));
    const arrives = async () => {
      proxy.deliver();
      await settledServer();
    };
    // Of its connections one opens, one sends, one looks, and the next one sends again.
    const pool = beforeConnecting(shaky, [undefined, undefined, arrives]);
    const late = postgresStorage(pool, { table });
    await late.open();
    proxy.arm('late', 'key');
    const version = await late.put('key', bytes('new'), { ifVersion });
    expect(await witness.get('key')).toEqual({ key: 'key', value: bytes('new'), version });
  });
});

/** Resolves when no statement is under way in the server. */
async function settledServer(): Promise<void> {
  for (let looks = 0; looks < 500; looks++) {
    const { rows } = await sound.query(
      "SELECT FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
    );
    if (rows.length === 0) return;
  }
  throw new Error('The server does not come to rest.');
}

describe('what nobody can know', () => {
  test('is no conflict: a write that was overwritten since may have happened', async () => {
    const ifVersion = await witness.put('key', bytes('old'));
    const meddling = postgresStorage(beforeConnecting(shaky, [undefined, () => witness.put('key', bytes('other'))]), {
      table,
      timeoutMs: 5_000,
    });
    await meddling.open(); // The first connection.
    proxy.arm('after', 'key');
    await expect(afterConnecting(meddling, ifVersion)).rejects.toMatchObject(UNKNOWN);
    expect(await textOf('key')).toBe('other');
  });

  test('is a conflict where the batch only checks: nothing can have happened', async () => {
    const ifVersion = await witness.put('key', bytes('old'));
    const version = await witness.put('key', bytes('newer'));
    proxy.arm('before', 'key');
    const check: BatchOperation = { type: 'check', key: 'key', ifVersion };
    await expect(store.batch([check])).rejects.toMatchObject({ code: 'HOLDFAST_CONFLICT', currentVersion: version });
  });
});

function afterConnecting(storage: PostgresStorage, ifVersion: string): Promise<string> {
  return storage.put('key', bytes('mine'), { ifVersion });
}

/** A pool that does something of the test's own before its connections: `undefined` for nothing. */
function beforeConnecting(pool: pg.Pool, acts: readonly ((() => Promise<unknown>) | undefined)[]) {
  let connections = -1; // The one that opens.
  return {
    connect(callback: Parameters<pg.Pool['connect']>[0]): void {
      const act = acts[connections++];
      void Promise.resolve(act?.()).then(() => pool.connect(callback));
    },
  };
}

import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import Database from 'libsql';
import pg from 'pg';
import { ConflictError, fileStorage, memoryStorage } from '../dist/index.js';
import { postgresStorage } from '../dist/storage/postgres.js';
import { redisStorage } from '../dist/storage/redis.js';
import { sqliteStorage } from '../dist/storage/sqlite.js';
import { interleave, microseconds, milliseconds, perSecond, throughput, times } from './measure.mjs';
import { startPostgres } from './postgres.mjs';
import { startRedis } from './redis.mjs';

const LISTED = 1_000;

/**
 * Every contender: the store, and `rawPut(key, value)`, the same write through the bare client: same server or disk, same
 * settings of durability, one table row or key. `raw` says what that is. What it lacks is what the store is for: versions,
 * conditions, an order of keys, and knowing after a lost answer whether the write happened.
 */
const contenders = {
  async memory(use) {
    const entries = new Map();
    await use({ store: memoryStorage(), raw: 'Map.set', rawPut: async (key, value) => void entries.set(key, value) });
  },
  async file(use) {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-bench-file-'));
    const log = await open(join(folder, 'raw'), 'a');
    const store = fileStorage(join(folder, 'store'), { compactAtBytes: 256 * 1024 * 1024 });
    const rawPut = async (_, value) => {
      await log.write(value);
      await log.datasync();
    };
    await use({ store, raw: 'append and fdatasync', rawPut });
    await log.close();
    await rm(folder, { recursive: true });
  },
  async sqlite(use) {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-bench-sqlite-'));
    const database = new Database(join(folder, 'store.db'));
    const bare = new Database(join(folder, 'raw.db'));
    bare.pragma('journal_mode=WAL');
    bare.pragma('synchronous=FULL');
    bare.exec('CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB)');
    const put = bare.prepare('INSERT INTO t VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v');
    await use({
      store: sqliteStorage(database),
      raw: 'upsert, synchronous=FULL',
      rawPut: async (key, value) => put.run(key, value),
    });
    database.close();
    bare.close();
    await rm(folder, { recursive: true });
  },
  'redis, synced': (use) => withRedis({ isDurable: true }, use),
  'redis, in memory': (use) => withRedis({ isDurable: false }, use),
  async postgres(use) {
    const server = await startPostgres();
    const pool = new pg.Pool({ connectionString: server.url(), max: 10 });
    await pool.query('CREATE TABLE raw (k text PRIMARY KEY, v bytea)');
    const text = 'INSERT INTO raw VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v';
    const rawPut = (key, value) => pool.query({ name: 'raw', text, values: [key, value] });
    await use({ store: postgresStorage(pool), raw: 'prepared upsert, pool of 10', rawPut });
    await pool.end();
    await server.stop();
  },
};

async function withRedis(settings, use) {
  const server = await startRedis(settings);
  const client = new Redis(server.socket);
  const rawPut = (key, value) => client.set(`raw/${key}`, value);
  await use({ store: redisStorage(client), raw: 'SET', rawPut });
  await client.quit();
  await server.stop();
}

let made = 0;

/**
 * 2 KB, never the same twice: SQLite leaves a row as it is that would get the bytes it has, and syncs nothing. So the bare
 * client once showed 150,000 "durable" puts a second, of which the disk saw none.
 */
function freshValue() {
  const value = Buffer.alloc(2048, 'v');
  value.writeUInt32LE(++made);
  return value;
}

/** What is demanded of a store: one put beside the bare client's, and 64 at once beside 64 of those. */
const gates = {
  sqlite: { one: 0.7 },
  'redis, synced': { one: 0.7 },
  'redis, in memory': { one: 0.7 },
  postgres: { one: 0.7, many: 3 },
};

async function storeRows(name, { store, raw, rawPut }) {
  await store.open?.();
  for (let at = 0; at < LISTED; at++) await store.put(`list/${String(at).padStart(4, '0')}`, Buffer.from('x'));
  await store.put('counter', Buffer.from('0'));
  const rate = await interleave({
    one: () => throughput(1, (_, n) => store.put(`one/${n % 64}`, freshValue())),
    rawOne: () => throughput(1, (_, n) => rawPut(`one/${n % 64}`, freshValue())),
    many: () => throughput(64, (caller) => store.put(`many/${caller}`, freshValue())),
    rawMany: () => throughput(64, (caller) => rawPut(`many/${caller}`, freshValue())),
    get: () => throughput(1, (_, n) => store.get(`one/${n % 64}`), 200),
    list: () => milliseconds(() => store.list('list/', { limit: LISTED })),
    swaps: () => swapsPerSecond(store),
  });
  await store.close?.();
  const { one, many } = gates[name] ?? {};
  const row = (what, measured, gate, met) => ({ what: `${name}: ${what}`, measured, gate, met });
  const [oneRatio, manyRatio] = [rate.one / rate.rawOne, rate.many / rate.rawMany];
  return [
    row(
      'put of 2 KB, one at a time',
      `${perSecond(rate.one)}; ${raw} ${perSecond(rate.rawOne)}; ${times(oneRatio)}`,
      one && `>= ${one} x the bare client`,
      one && oneRatio >= one,
    ),
    row(
      'put of 2 KB, 64 at once',
      `${perSecond(rate.many)}; ${raw} ${perSecond(rate.rawMany)}; ${times(manyRatio)}`,
      many && `>= ${many} x the bare client`,
      many && manyRatio >= many,
    ),
    row('get of 2 KB, list of 1,000 keys', `${microseconds(1_000 / rate.get)}; ${microseconds(rate.list)}`),
    row('compare-and-swap on one key by 32 at once', `${perSecond(rate.swaps)} that won`),
  ];
}

/** Increments of one counter by 32 callers that read, add and swap, and begin again when they were outrun. */
async function swapsPerSecond(store) {
  let won = 0;
  const start = performance.now();
  await throughput(32, async () => {
    const entry = await store.get('counter');
    try {
      await store.put('counter', Buffer.from(String(Number(entry.value.toString()) + 1)), { ifVersion: entry.version });
      won++;
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
    }
  });
  return won / ((performance.now() - start) / 1_000);
}

export async function rows() {
  const all = [];
  for (const [name, contender] of Object.entries(contenders)) {
    await contender(async (contestant) => {
      all.push(...(await storeRows(name, contestant)));
    });
  }
  return all;
}

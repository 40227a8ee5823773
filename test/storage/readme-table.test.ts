import { Redis } from 'ioredis';
import Database from 'libsql';
import pg from 'pg';
import { afterAll, expect, test } from 'vitest';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { postgresStorage } from '../../src/storage/postgres.js';
import { redisStorage } from '../../src/storage/redis.js';
import { sqliteStorage } from '../../src/storage/sqlite.js';
import { readPackageFile } from '../support/program.js';

const MIB = 1024 * 1024;
const database = new Database(':memory:');
const redis = new Redis({ lazyConnect: true });
afterAll(() => {
  database.close();
  redis.disconnect();
});

/** None of them is opened: what they say of themselves before they know a server is what the table is about. */
const stores: Readonly<Record<string, StorageAdapter>> = {
  'memoryStorage()': memoryStorage(),
  'fileStorage(directory)': fileStorage('never-opened'),
  'sqliteStorage(database)': sqliteStorage(database),
  'postgresStorage(pool)': postgresStorage(new pg.Pool()),
  'redisStorage(client)': redisStorage(redis),
};

const rows = [...readPackageFile('README.md').matchAll(/^\| `(\w+Storage\(\w*\))` \|(.+)\|$/gm)];

test('the table of stores in the README has every store, once', () => {
  expect(rows.map(([, name]) => name)).toEqual(Object.keys(stores));
});

test.each(
  rows.map(([, name, cells]) => [name as string, (cells as string).split('|').map((cell) => cell.trim())] as const),
)('%s is as the README says', (name, [, , shared, batches, watch, largest]) => {
  const { capabilities } = stores[name] as StorageAdapter;
  const scopes = { 'one process': 'process', 'a host': 'host', 'a network': 'network' };
  const sizes = { any: undefined, '1 GiB': 1024 * MIB, '256 MiB': 256 * MIB, '32 MiB': 32 * MIB };
  expect(capabilities).toMatchObject({
    // SQLite in memory is its process's alone; in a file it is its host's.
    scope: name.startsWith('sqlite') ? expect.any(String) : scopes[shared as keyof typeof scopes],
    atomicBatch: batches === 'yes',
    watch: watch === 'yes',
  });
  expect(capabilities.maxValueBytes).toBe(sizes[largest as keyof typeof sizes]);
});

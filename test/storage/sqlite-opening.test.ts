import { describe, expect, test } from 'vitest';
import { CorruptionError, InvalidInputError } from '../../src/base/errors.js';
import { StorageError } from '../../src/storage/adapter.js';
import { type SqliteDatabase, type SqliteStorage, sqliteStorage } from '../../src/storage/sqlite.js';
import { faulty, inSqliteFolder, type SqliteFolder, type SqliteHandle } from '../support/sqlite-folder.js';

const value = Buffer.from('value');

/** A test in a folder of its own. */
const scene = (play: (scene: SqliteFolder) => Promise<void>) => () => inSqliteFolder(play);

const pragma = (handle: SqliteHandle, name: string): unknown =>
  (handle.prepare(`PRAGMA ${name}`).get() as Record<string, unknown>)[name === 'busy_timeout' ? 'timeout' : name];

/** Never asked for anything: options are read first. */
const UNASKED: SqliteDatabase = { exec: () => {}, prepare: () => expect.unreachable() };

const keysOf = async (storage: SqliteStorage, after?: string, reverse = false): Promise<string> =>
  (await storage.list('', after === undefined ? { reverse } : { after, reverse })).entries
    .map(({ key }) => key)
    .join(' ');

describe('what is given', () => {
  test.each([
    ['nothing', undefined, 'no method "exec"'],
    ['a path', 'store.db', 'no method "exec"'],
    ['a client without prepare', { exec: () => {} }, 'no method "prepare"'],
  ])('%s instead of a handle is refused, saying what fits', (_, database, why) => {
    const make = () => sqliteStorage(database as unknown as SqliteDatabase);
    expect(make).toThrow(InvalidInputError);
    expect(make).toThrow(why);
    expect(make).toThrow('better-sqlite3');
  });

  test.each([
    ['promises', async () => ({})],
    ['callbacks', () => ({ get: () => ({}) })],
    ['rows as arrays', () => ({ get: () => [0, 'main', ''] })],
    ['nothing', () => ({ get: () => undefined })],
  ])('a driver that answers with %s is refused at the first call', async (_, prepare) => {
    const opening = sqliteStorage({ exec: () => {}, prepare } as unknown as SqliteDatabase).open();
    await expect(opening).rejects.toThrow(InvalidInputError);
    await expect(opening).rejects.toMatchObject({ path: 'database', message: expect.stringContaining('at once') });
  });

  test.each(['', '1a', 'a b', 'a"b', 'sqlite_a', 'SQLite_a', 'ä', 'a'.repeat(64)])(
    'the table name "%s" is refused',
    (table) => {
      expect(() => sqliteStorage(UNASKED, { table })).toThrow(InvalidInputError);
    },
  );

  test.each(['_', 'a1', 'select', 'a'.repeat(63)])('the table name "%s" works', async (table) => {
    await inSqliteFolder(async ({ handle }) => {
      const storage = sqliteStorage(handle(':memory:'), { table });
      await storage.put('key', value);
      expect(storage.name).toBe(`SQLite store "${table}"`);
      await expect(storage.get('key')).resolves.toMatchObject({ key: 'key' });
    });
  });

  test('an option that does not exist is refused', () => {
    expect(() => sqliteStorage(UNASKED, { timeout: 1 } as object)).toThrow('options.timeout');
  });
});

describe('what the store promises', () => {
  test(
    'is the least before the database was asked, then what it found',
    scene(async ({ handle }) => {
      const storage = sqliteStorage(handle());
      expect(storage.capabilities).toMatchObject({ durability: 'none', scope: 'process' });
      await storage.get('key');
      expect(storage.capabilities).toMatchObject({ durability: 'disk', scope: 'host' });
    }),
  );

  test(
    'is kept by a WAL, a sync for each commit, and no waiting inside SQLite',
    scene(async ({ handle }) => {
      const own = handle();
      own.exec('PRAGMA synchronous = OFF; PRAGMA busy_timeout = 9000');
      await sqliteStorage(own).open();
      const found = ['journal_mode', 'synchronous', 'busy_timeout', 'fullfsync'].map((name) => pragma(own, name));
      expect(found).toEqual(['wal', 2, 0, 1]);
    }),
  );

  test(
    'is less without the sync: the end of the process only',
    scene(async ({ handle }) => {
      const own = handle();
      const storage = sqliteStorage(own, { durability: 'process' });
      await storage.open();
      expect(pragma(own, 'synchronous')).toBe(1);
      expect(storage.capabilities.durability).toBe('process');
    }),
  );

  test(
    'is nothing in memory',
    scene(async ({ handle }) => {
      const storage = sqliteStorage(handle(':memory:'));
      await storage.open();
      expect(storage.capabilities).toMatchObject({ durability: 'none', scope: 'process' });
    }),
  );

  test.each([
    ['journal_mode', 'delete', 'needs WAL'],
    ['synchronous', 1, 'was not taken'],
  ])('is refused where SQLite keeps another %s', async (name, kept, why) => {
    await inSqliteFolder(async ({ handle }) => {
      const row = (found: unknown) =>
        (found as object | undefined) && name in (found as object) ? { [name]: kept } : found;
      const opening = sqliteStorage(faulty(handle(), { row })).open();
      await expect(opening).rejects.toThrow(StorageError);
      await expect(opening).rejects.toThrow(why);
    });
  });
});

describe('the tables', () => {
  test(
    'of two stores in one database have nothing to do with each other',
    scene(async ({ handle }) => {
      const [one, other] = [sqliteStorage(handle()), sqliteStorage(handle(), { table: 'other' })];
      await one.put('key', value);
      await expect(other.get('key')).resolves.toBeUndefined();
      await other.put('key', value);
      await one.delete('key');
      await expect(keysOf(other)).resolves.toBe('key');
    }),
  );

  test(
    'are found again under a name in other letters, as SQLite has it',
    scene(async ({ handle }) => {
      await sqliteStorage(handle(), { table: 'Store' }).put('key', value);
      await expect(keysOf(sqliteStorage(handle(), { table: 'sTORE' }))).resolves.toBe('key');
    }),
  );

  test(
    'are made once by stores that open at the same moment',
    scene(async ({ handle }) => {
      const stores = Array.from({ length: 6 }, () => sqliteStorage(handle()));
      await Promise.all(stores.map((storage, at) => storage.put(`key-${at}`, value)));
      await expect(keysOf(stores[0] as SqliteStorage)).resolves.toBe('key-0 key-1 key-2 key-3 key-4 key-5');
    }),
  );

  test(
    'are not made twice if another process makes them between look and lock',
    scene(async ({ handle }) => {
      const template = handle('template.db');
      await sqliteStorage(template).open();
      const made = template.prepare("SELECT sql FROM sqlite_master WHERE type = 'table'").all() as { sql: string }[];
      const rival = handle();
      const exec = (sql: string, real: () => unknown) => {
        if (sql === 'BEGIN IMMEDIATE' && made.length > 0) {
          for (const table of made.splice(0)) rival.exec(table.sql);
          rival.exec('INSERT INTO holdfast_meta VALUES (1, 41)');
        }
        return real();
      };
      await expect(sqliteStorage(faulty(handle(), { exec })).put('key', value)).resolves.toMatch(/^0+42$/);
    }),
  );

  test.each([
    [
      'of a newer format are refused, naming both formats',
      'UPDATE holdfast_meta SET format = 2',
      'format 2; this holdfast reads format 1',
    ],
    ['without the table of entries are refused', 'DROP TABLE holdfast', 'only "holdfast_meta" is there'],
    ['without the table of the format are refused', 'DROP TABLE holdfast_meta', 'only "holdfast" is there'],
    [
      'that somebody else made are refused',
      'DROP TABLE holdfast_meta; CREATE TABLE holdfast_meta (x)',
      'no such column',
    ],
  ])('%s', async (_, change, why) => {
    await inSqliteFolder(async ({ handle, path }) => {
      await sqliteStorage(handle()).put('key', value);
      const other = handle();
      other.exec(change);
      const opening = sqliteStorage(handle()).open();
      await expect(opening).rejects.toThrow(StorageError);
      await expect(opening).rejects.toThrow(why);
      await expect(opening).rejects.toThrow(path);
    });
  });

  test(
    'are not made where a view has the name, and the handle is left out of any transaction',
    scene(async ({ handle }) => {
      const own = handle();
      own.exec('CREATE VIEW holdfast AS SELECT 1');
      const opening = sqliteStorage(own).open();
      await expect(opening).rejects.toThrow(StorageError);
      await expect(opening).rejects.toThrow('view');
      expect(own.inTransaction).toBe(false);
    }),
  );

  test.each(['DELETE FROM holdfast_meta', 'INSERT INTO holdfast_meta VALUES (1, 0)'])(
    'are damaged after %s: the count does not begin anew',
    async (change) => {
      await inSqliteFolder(async ({ handle }) => {
        await sqliteStorage(handle()).put('key', value);
        handle().exec(change);
        await expect(sqliteStorage(handle()).open()).rejects.toThrow(CorruptionError);
      });
    },
  );

  test(
    'that lose the count while open take no more writes',
    scene(async ({ handle }) => {
      const storage = sqliteStorage(handle());
      await storage.put('key', value);
      handle().exec('DELETE FROM holdfast_meta');
      await expect(storage.put('key', value)).rejects.toThrow(CorruptionError);
      await expect(keysOf(storage)).resolves.toBe('key');
    }),
  );
});

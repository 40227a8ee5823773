import { describe, expect, test } from 'vitest';
import { ClosedError } from '../../src/base/errors.js';
import { ConflictError } from '../../src/storage/adapter.js';
import { type SqliteDatabase, type SqliteStorage, sqliteStorage } from '../../src/storage/sqlite.js';
import { faulty, inSqliteFolder, type SqliteFolder } from '../support/sqlite-folder.js';

const value = Buffer.from('value');

/** A test in a folder of its own. */
const scene = (play: (scene: SqliteFolder) => Promise<void>) => () => inSqliteFolder(play);

/** Never asked for anything: options are read first. */
const UNASKED: SqliteDatabase = { exec: () => {}, prepare: () => expect.unreachable() };

const keysOf = async (storage: SqliteStorage, after?: string, reverse = false): Promise<string> =>
  (await storage.list('', after === undefined ? { reverse } : { after, reverse })).entries
    .map(({ key }) => key)
    .join(' ');

describe('what is written', () => {
  test(
    'is in one transaction for all who wait, and a conflict costs the others nothing',
    scene(async ({ handle }) => {
      const said: string[] = [];
      const exec = (sql: string, real: () => unknown) => {
        said.push(sql);
        return real();
      };
      const storage = sqliteStorage(faulty(handle(), { exec }));
      const stale = await storage.put('b', value);
      const current = await storage.put('b', value);
      said.length = 0;
      const outcomes = await Promise.allSettled([
        storage.put('a', value),
        storage.put('b', value, { ifVersion: stale }),
        storage.batch([
          { type: 'put', key: 'c', value },
          { type: 'check', key: 'b', ifVersion: null },
        ]),
        storage.put('d', value, { ifVersion: null }),
      ]);
      expect(said).toEqual(['BEGIN IMMEDIATE', 'COMMIT']);
      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
      expect(outcomes[2]).toMatchObject({ reason: { key: 'b', currentVersion: current } });
      await expect(keysOf(storage)).resolves.toBe('a b d');
    }),
  );

  test(
    'later in a group is judged by what was written earlier in it',
    scene(async ({ handle }) => {
      const storage = sqliteStorage(handle());
      const outcomes = await Promise.allSettled([
        storage.put('key', value, { ifVersion: null }),
        storage.put('key', value, { ifVersion: null }),
        storage.delete('key'),
        storage.put('key', value, { ifVersion: null }),
      ]);
      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
      expect(outcomes[1]).toMatchObject({ reason: expect.any(ConflictError) });
    }),
  );

  test(
    'is nothing, not even a count, when every write of the group conflicts',
    scene(async ({ handle }) => {
      const own = handle();
      const storage = sqliteStorage(own);
      await storage.put('key', value);
      await expect(storage.put('key', value, { ifVersion: null })).rejects.toThrow(ConflictError);
      expect(own.prepare('SELECT last_write FROM holdfast_meta').get()).toMatchObject({ last_write: 1 });
      expect(own.inTransaction).toBe(false);
    }),
  );

  test(
    'counts on where everything was deleted, in 16 digits',
    scene(async ({ handle }) => {
      const storage = sqliteStorage(handle());
      await expect(storage.put('key', value)).resolves.toBe('0000000000000001');
      await storage.delete('key');
      await expect(sqliteStorage(handle()).put('key', value)).resolves.toBe('0000000000000003');
    }),
  );

  test(
    'may be empty, also where the driver hands over nothing for an empty array',
    scene(async ({ handle }) => {
      // As node:sqlite does for an array over an empty ArrayBuffer.
      const run = (parameters: readonly unknown[], real: (...parameters: unknown[]) => unknown) =>
        real(...parameters.map((given) => (given instanceof Uint8Array && given.byteLength === 0 ? null : given)));
      const storage = sqliteStorage(faulty(handle(), { run }));
      await storage.put('key', new Uint8Array(new ArrayBuffer(0)));
      await expect(storage.get('key')).resolves.toMatchObject({ value: { byteLength: 0 } });
    }),
  );

  test(
    'reads the same where the handle answers BigInt',
    scene(async ({ handle }) => {
      const own = handle();
      own.defaultSafeIntegers(true);
      const storage = sqliteStorage(own);
      const version = await storage.put('key', value);
      await expect(storage.get('key')).resolves.toEqual({ key: 'key', value, version });
      await expect(storage.list('')).resolves.toEqual({ entries: [{ key: 'key', version, sizeBytes: 5 }] });
      await expect(storage.put('key', value, { ifVersion: version })).resolves.toBe('0000000000000002');
    }),
  );
});

describe('a listing behind a text that is no key', () => {
  test.each(['UTF-8', 'UTF-16le'])('goes on in byte order of UTF-8 in a database of %s', async (encoding) => {
    await inSqliteFolder(async ({ handle }) => {
      const own = handle();
      own.exec(`PRAGMA encoding = '${encoding}'`);
      const storage = sqliteStorage(own);
      for (const key of ['-', 'a', 'a/b', 'ab', 'b']) await storage.put(key, value);
      const behind = await Promise.all(
        ['a\0', 'a\0é', 'a/\ud800', 'aé', 'a~', 'a\n', '\u0100', ''].map((after) => keysOf(storage, after)),
      );
      expect(behind).toEqual(['a/b ab b', 'a/b ab b', 'ab b', 'b', 'b', 'a/b ab b', '', '- a a/b ab b']);
      const before = await Promise.all(
        ['a\0', 'a/\ud800', 'aé', '\u0100', ''].map((after) => keysOf(storage, after, true)),
      );
      expect(before).toEqual(['a -', 'a/b a -', 'ab a/b a -', 'b ab a/b a -', '']);
    });
  });
});

describe('close', () => {
  test(
    'waits for the writes, refuses later calls, and leaves the handle to its host',
    scene(async ({ handle }) => {
      const own = handle();
      const storage = sqliteStorage(own);
      const written = storage.put('key', value);
      await storage.close();
      await written;
      for (const call of [
        () => storage.get('key'),
        () => storage.put('key', value),
        () => storage.delete('key'),
        () => storage.list(''),
        () => storage.batch([{ type: 'put', key: 'key', value }]),
        () => storage.open(),
      ]) {
        await expect(call()).rejects.toThrow(ClosedError);
      }
      expect(own.prepare('SELECT count(*) AS keys FROM holdfast').get()).toMatchObject({ keys: 1 });
    }),
  );

  test(
    'of a store that was never used opens nothing',
    scene(async () => {
      await expect(sqliteStorage(UNASKED).close()).resolves.toBeUndefined();
    }),
  );
});

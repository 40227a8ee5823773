import { mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/base/errors.js';
import { NoSpaceError, OutcomeUnknownError, StorageError } from '../../src/storage/adapter.js';
import { type SqliteStorage, sqliteStorage } from '../../src/storage/sqlite.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { rejectionOf } from '../support/deferred.js';
import { faulty, inSqliteFolder, type SqliteFolder, sqliteError } from '../support/sqlite-folder.js';

const value = Buffer.from('value');
const LARGE = Buffer.alloc(64 * 1024);

/** A test in a folder of its own. */
const scene = (play: (scene: SqliteFolder) => Promise<void>) => () => inSqliteFolder(play);

const textAt = async (storage: SqliteStorage, key: string): Promise<string | undefined> => {
  const entry = await storage.get(key);
  return entry && Buffer.from(entry.value).toString();
};

describe('a lock of another connection', () => {
  test(
    'is waited for without blocking, then the write goes on',
    scene(async ({ handle }) => {
      const clock = new VirtualClock();
      const [other, storage] = [handle(), sqliteStorage(handle(), { clock })];
      await storage.open();
      other.exec('BEGIN EXCLUSIVE');
      const put = storage.put('key', value);
      await clock.advance(5_000);
      expect(clock.pending).toBe(1);
      other.exec('ROLLBACK');
      await clock.advance(20);
      await expect(put).resolves.toBe('0000000000000001');
      expect(clock.pending).toBe(0);
    }),
  );

  test(
    'that stays is an error within `busyMs` that names the setting, and the next write works',
    scene(async ({ handle, path }) => {
      const clock = new VirtualClock();
      const [other, storage] = [handle(), sqliteStorage(handle(), { clock, busyMs: 300 })];
      await storage.open();
      other.exec('BEGIN IMMEDIATE');
      const failure = rejectionOf(storage.put('key', value));
      await clock.advance(299);
      expect(clock.pending).toBe(1);
      await clock.advance(1);
      expect(await failure).toBeInstanceOf(StorageError);
      expect(await failure).toMatchObject({ message: expect.stringMatching(/holds a lock .*300 ms.*`busyMs`/s) });
      expect(await failure).toMatchObject({ message: expect.stringContaining(path), cause: { code: 'SQLITE_BUSY' } });
      other.exec('ROLLBACK');
      await expect(storage.put('key', value)).resolves.toBe('0000000000000001');
    }),
  );

  test(
    'with `busyMs` 0 is an error at once',
    scene(async ({ handle }) => {
      const [other, storage] = [handle(), sqliteStorage(handle(), { clock: new VirtualClock(), busyMs: 0 })];
      await storage.open();
      other.exec('BEGIN IMMEDIATE');
      await expect(storage.put('key', value)).rejects.toThrow('`busyMs`');
    }),
  );

  test(
    'holds up readers only where it locks them out, until they give up',
    scene(async ({ handle }) => {
      const clock = new VirtualClock();
      const [other, storage] = [handle(), sqliteStorage(handle(), { clock })];
      await storage.put('key', value);
      other.exec('BEGIN EXCLUSIVE');
      await expect(textAt(storage, 'key')).resolves.toBe('value');
      other.exec('ROLLBACK');
      const row = () => {
        throw sqliteError('SQLITE_BUSY_RECOVERY');
      };
      const reading = rejectionOf(sqliteStorage(faulty(handle(), { row }), { clock }).get('key'));
      await clock.advance(9_999);
      expect(clock.pending).toBe(1);
      await clock.advance(1);
      expect(await reading).toBeInstanceOf(StorageError);
    }),
  );

  test(
    'does not keep a reader that gives up',
    scene(async ({ handle }) => {
      const clock = new VirtualClock();
      let isLocked = false;
      const row = (found: unknown) => {
        if (isLocked) throw sqliteError('SQLITE_BUSY');
        return found;
      };
      const storage = sqliteStorage(faulty(handle(), { row }), { clock });
      await storage.open();
      isLocked = true;
      const controller = new AbortController();
      const { signal } = controller;
      const answers = Promise.allSettled([storage.get('key', { signal }), storage.get('other')]);
      await clock.advance(100);
      expect(clock.pending).toBe(2);
      controller.abort('enough');
      await clock.advance(0);
      expect(clock.pending).toBe(1);
      isLocked = false;
      await clock.advance(20);
      expect(await answers).toMatchObject([{ reason: 'enough' }, { value: undefined }]);
    }),
  );

  test(
    'is waited for while the store opens, also as node:sqlite reports it',
    scene(async ({ handle }) => {
      const clock = new VirtualClock();
      let attempts = 0;
      const exec = (sql: string, real: () => unknown) => {
        if (sql === 'BEGIN IMMEDIATE' && ++attempts < 4) {
          throw Object.assign(new Error('database is locked'), { code: 'ERR_SQLITE_ERROR', errcode: 5 + 256 });
        }
        return real();
      };
      const storage = sqliteStorage(faulty(handle(), { exec }), { clock });
      const opening = storage.open();
      await clock.advance(1 + 2 + 4);
      await opening;
      expect(attempts).toBe(4);
    }),
  );
});

describe('a handle that the host uses too', () => {
  test(
    'in a transaction of its own is refused and the transaction left alone',
    scene(async ({ handle }) => {
      const own = handle();
      own.exec('CREATE TABLE host (x)');
      const storage = sqliteStorage(own);
      await storage.put('key', value);
      own.exec('BEGIN; INSERT INTO host VALUES (1)');
      await expect(storage.put('key', value)).rejects.toThrow('a handle of its own');
      expect(own.inTransaction).toBe(true);
      own.exec('COMMIT');
      await expect(storage.put('key', value)).resolves.toBe('0000000000000002');
      expect(own.prepare('SELECT x FROM host').all()).toMatchObject([{ x: 1 }]);
    }),
  );

  test(
    'in a transaction of its own cannot be opened, and can be once that has ended',
    scene(async ({ handle }) => {
      const own = handle();
      own.exec('BEGIN');
      const storage = sqliteStorage(own);
      const opening = storage.open();
      await expect(opening).rejects.toThrow(StorageError);
      await expect(opening).rejects.toThrow('a handle of its own');
      own.exec('ROLLBACK');
      await expect(storage.put('key', value)).resolves.toBe('0000000000000001');
    }),
  );

  test(
    'and closes fails what comes later, saying what to give',
    scene(async ({ handle }) => {
      const own = handle();
      const storage = sqliteStorage(own);
      await storage.put('key', value);
      own.close();
      await expect(storage.put('key', value)).rejects.toThrow(StorageError);
      await expect(storage.put('key', value)).rejects.toThrow('open handle of its own');
    }),
  );
});

test.each([
  [Object.assign(new Error('bad parameter'), { errcode: 21 }), 'bad parameter (SQLITE_21). Give the store'],
  [Object.assign(new Error('not authorized'), { errcode: 23 }), 'not authorized (SQLITE_AUTH). The authorizer'],
  [new TypeError('The database connection is busy'), 'is busy. Give the store'],
  ['text', 'text. Give the store'],
  [undefined, 'undefined. Give the store'],
])('whatever a driver throws is said with what to do: %s', async (thrown, message) => {
  await inSqliteFolder(async ({ handle }) => {
    let isBroken = false;
    const row = (found: unknown) => {
      if (isBroken) throw thrown;
      return found;
    };
    const storage = sqliteStorage(faulty(handle(), { row }));
    await storage.open();
    isBroken = true;
    const reading = storage.get('key');
    await expect(reading).rejects.toThrow(StorageError);
    await expect(reading).rejects.toThrow(message);
  });
});

describe('a database that cannot be written', () => {
  test(
    'is read, and says what must be writable',
    scene(async ({ handle }) => {
      const own = handle();
      await sqliteStorage(handle()).put('key', value);
      const storage = sqliteStorage(own);
      await storage.open();
      own.exec('PRAGMA query_only = ON');
      await expect(textAt(storage, 'key')).resolves.toBe('value');
      await expect(storage.put('key', value)).rejects.toThrow(StorageError);
      await expect(storage.put('key', value)).rejects.toThrow('(SQLITE_READONLY). The database is read-only');
      own.exec('PRAGMA query_only = OFF');
      await expect(storage.put('key', value)).resolves.toBe('0000000000000002');
    }),
  );

  test(
    'because a folder is in the way says so, and works once it is put right',
    scene(async ({ handle, path }) => {
      handle().exec('CREATE TABLE host (x)');
      await mkdir(`${path}-wal`);
      const storage = sqliteStorage(handle());
      await expect(storage.open()).rejects.toThrow(/\(SQLITE_CANTOPEN.*folder/);
      await rm(`${path}-wal`, { recursive: true });
      await expect(storage.put('key', value)).resolves.toBe('0000000000000001');
    }),
  );

  test(
    'because it is full loses nothing and works again with space',
    scene(async ({ handle }) => {
      const own = handle();
      const storage = sqliteStorage(own);
      await storage.put('key', value);
      own.exec('PRAGMA max_page_count = 12');
      const outcomes = await Promise.allSettled([storage.put('key', LARGE), storage.put('other', value)]);
      expect(outcomes).toMatchObject([{ reason: expect.any(NoSpaceError) }, { reason: expect.any(NoSpaceError) }]);
      await expect(textAt(storage, 'key')).resolves.toBe('value');
      own.exec('PRAGMA max_page_count = 1000');
      await expect(storage.put('key', LARGE, { ifVersion: '0000000000000001' })).resolves.toMatch(/2$/);
    }),
  );
});

describe('the file', () => {
  test.each([
    ['deleted', 'is gone', (path: string) => rm(path)],
    ['replaced', 'was replaced', (path: string) => rename(path, `${path}.old`).then(() => writeFile(path, ''))],
  ])('%s under the open store takes no write that nobody could find', async (_, why, act) => {
    await inSqliteFolder(async ({ handle, path }) => {
      const own = handle();
      const storage = sqliteStorage(own);
      await storage.put('key', value);
      await act(path);
      await expect(storage.put('key', value)).rejects.toThrow(StorageError);
      await expect(storage.put('key', value)).rejects.toThrow(why);
      expect(own.inTransaction).toBe(false);
    });
  });

  test(
    'deleted before the store opens is not made again by it',
    scene(async ({ handle, folder, path }) => {
      const own = handle();
      await sqliteStorage(own).put('key', value);
      await rm(path);
      await expect(sqliteStorage(own).open()).rejects.toThrow('is gone');
      await expect(readdir(folder)).resolves.not.toContain('store.db');
    }),
  );

  test(
    'whose folder may not be looked into any more is still written',
    scene(async ({ handle }) => {
      const storage = sqliteStorage(faulty(handle(), { row: unreachable }));
      await expect(storage.put('key', value)).resolves.toBe('0000000000000001');
    }),
  );

  test(
    'that is no database is refused and left alone',
    scene(async ({ handle, path }) => {
      await writeFile(path, 'mine '.repeat(1_000));
      const opening = sqliteStorage(handle()).open();
      await expect(opening).rejects.toThrow(StorageError);
      await expect(opening).rejects.toThrow('(SQLITE_NOTADB). This file is no SQLite database');
      expect((await stat(path)).size).toBe(5_000);
    }),
  );

  test(
    'with damaged pages is a CorruptionError, for reads of the key, writes and listings',
    scene(async ({ handle, path }) => {
      const storage = sqliteStorage(handle());
      for (let at = 0; at < 200; at++) await storage.put(`key-${at}`, Buffer.alloc(500));
      handle().exec('PRAGMA wal_checkpoint(TRUNCATE)');
      await overwritePages(path);
      const later = sqliteStorage(handle());
      const failure = await rejectionOf(later.get('key-7'));
      expect(failure).toBeInstanceOf(CorruptionError);
      expect(failure).toMatchObject({ key: 'key-7', message: expect.stringContaining('.recover') });
      await expect(later.put('key-7', value)).rejects.toThrow(CorruptionError);
      await expect(later.list('')).rejects.toThrow(CorruptionError);
    }),
  );
});

/** A path through a file, which cannot be asked who it is. */
function unreachable(row: unknown): unknown {
  const { file } = (row ?? {}) as { file?: string };
  return file === undefined ? row : { file: `${file}\0` };
}

/** Fills every page but the first four, which hold the schema, the roots and the count, with what no page holds. */
async function overwritePages(path: string): Promise<void> {
  const { size } = await stat(path);
  const file = await open(path, 'r+');
  await file.write(Buffer.alloc(size - 4 * 4096, 0xff), 0, size - 4 * 4096, 4 * 4096);
  await file.close();
}

describe('a commit that fails', () => {
  /** A store whose COMMITs go through `commit` once it is armed. */
  async function withCommits({ handle }: SqliteFolder, commit: (count: number, real: () => unknown) => unknown) {
    let isArmed = false;
    let commits = 0;
    const exec = (sql: string, real: () => unknown) => (isArmed && sql === 'COMMIT' ? commit(++commits, real) : real());
    const own = handle();
    const clock = new VirtualClock();
    const storage = sqliteStorage(faulty(own, { exec }), { clock });
    const version = await storage.put('key', value);
    isArmed = true;
    return { storage, own, version, clock };
  }

  test(
    'is a plain failure once another commit has taken its place: nothing was written',
    scene(async (folder) => {
      const { storage, own, version } = await withCommits(folder, (count, real) => {
        if (count === 1) throw sqliteError('SQLITE_IOERR_FSYNC', 'disk I/O error');
        return real();
      });
      const outcomes = await Promise.allSettled([storage.put('key', LARGE), storage.put('new', value)]);
      expect(outcomes).toMatchObject([{ reason: expect.any(StorageError) }, { reason: expect.any(StorageError) }]);
      expect(outcomes).toMatchObject([{ reason: { message: expect.stringContaining('SQLITE_IOERR_FSYNC') } }, {}]);
      expect(own.prepare('SELECT last_write FROM holdfast_meta').get()).toMatchObject({ last_write: 2 });
      await expect(storage.put('key', value, { ifVersion: version })).resolves.toBe('0000000000000003');
    }),
  );

  test(
    'but may have happened is an unknown outcome, for each write by its own key',
    scene(async (folder) => {
      const { storage } = await withCommits(folder, (count, real) => {
        real();
        if (count === 1) throw sqliteError('SQLITE_IOERR_FSYNC');
      });
      const outcomes = await Promise.allSettled([storage.put('a', value), storage.put('b', value)]);
      expect(outcomes).toMatchObject([{ reason: { key: 'a' } }, { reason: { key: 'b' } }]);
      expect(outcomes[0]).toMatchObject({ reason: expect.any(OutcomeUnknownError) });
    }),
  );

  test(
    'and whose place cannot be taken is an unknown outcome; the store goes on afterwards',
    scene(async (folder) => {
      const { storage, own } = await withCommits(folder, (count, real) => {
        if (count <= 2) throw sqliteError('SQLITE_IOERR_FSYNC');
        return real();
      });
      const failure = await rejectionOf(storage.put('key', LARGE));
      expect(failure).toBeInstanceOf(OutcomeUnknownError);
      expect(failure).toMatchObject({ cause: { code: 'SQLITE_IOERR_FSYNC' } });
      expect(own.inTransaction).toBe(false);
      await expect(storage.put('key', value)).resolves.toBe('0000000000000002');
    }),
  );

  test(
    'because the disk is full is a NoSpaceError without another try',
    scene(async (folder) => {
      const commits: number[] = [];
      const { storage } = await withCommits(folder, (count) => {
        commits.push(count);
        throw sqliteError('SQLITE_IOERR_SHMSIZE');
      });
      await expect(storage.put('key', LARGE)).rejects.toThrow(NoSpaceError);
      expect(commits).toEqual([1]);
      await expect(textAt(storage, 'key')).resolves.toBe('value');
    }),
  );

  test(
    'because of a lock is made again, and written once',
    scene(async (folder) => {
      const { storage, version, clock } = await withCommits(folder, (count, real) => {
        if (count === 1) throw sqliteError('SQLITE_BUSY');
        return real();
      });
      const put = storage.put('key', LARGE, { ifVersion: version });
      await clock.advance(1);
      await expect(put).resolves.toBe('0000000000000002');
    }),
  );
});

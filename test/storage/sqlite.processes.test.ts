import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sqliteStorage } from '../../src/storage/sqlite.js';
import { startStoreProcess } from '../../src/testing/contract/store-process.js';
import { inSqliteFolder, type SqliteFolder } from '../support/sqlite-folder.js';
import { type BundledModule, bundledSqliteStore, storeModule } from '../support/sqlite-process.js';

/** What a process of its own does to a database, told by the name of the act. Each line it prints is a fact. */
const ACTS = `
const said = (error) => (error.code + ': ' + error.message).replaceAll('\\n', ' ');
const say = (...words) => console.log(...words);

const acts = {
  /** Writes ever larger values until one is refused, then shows that the store still holds the last one and works. */
  async fill(path) {
    const storage = sqliteStorage(new Database(path));
    let last;
    try {
      for (let kib = 64; ; kib *= 2) {
        await storage.put('key', Buffer.alloc(kib * 1024, 1));
        last = kib;
      }
    } catch (error) {
      say(said(error));
    }
    say('kept', (await storage.get('key'))?.value.byteLength === last * 1024);
    await storage.delete('key');
    await storage.put('key', Buffer.alloc(1024));
    say('works');
  },
  /** Writes until a write fails, and dies at once. */
  async die(path) {
    const storage = sqliteStorage(new Database(path));
    for (let turn = 0; ; turn++) {
      await storage.put('key', Buffer.from('turn ' + turn)).then(() => say('wrote', turn), (error) => {
        say(said(error));
        process.kill(process.pid, 'SIGKILL');
      });
    }
  },
  /** Opens the store where there is hardly any room. */
  async begin(path) {
    await sqliteStorage(new Database(path)).put('key', Buffer.alloc(16)).catch((error) => say(said(error)));
  },
  /** Reads and writes as a user who may not write. */
  async read(path) {
    process.setegid(65534);
    process.seteuid(65534);
    const storage = sqliteStorage(new Database(path));
    await storage.get('key').then((entry) => say('read', Buffer.from(entry.value).toString()), (error) => say(said(error)));
    await storage.put('key', Buffer.alloc(1)).catch((error) => say(said(error)));
  },
  /** Holds the lock of all writers until it is told to let go. */
  async hold(path) {
    const database = new Database(path);
    database.exec('BEGIN EXCLUSIVE');
    say('held');
    process.stdin.once('data', () => {
      database.exec('ROLLBACK');
      process.exit();
    });
  },
};
const [, , act, path] = process.argv;
if (act in acts) await acts[act](path);
`;

let store: BundledModule;
let program: BundledModule;
beforeAll(async () => {
  [store, program] = await Promise.all([bundledSqliteStore(), bundledSqliteStore(ACTS)]);
});
afterAll(async () => {
  await Promise.all([store.remove(), program.remove()]);
});

const scene = (play: (scene: SqliteFolder) => Promise<void>) => () => inSqliteFolder(play);

/** The lines of a process that was started by this shell text, in which "$@" is node with its program. */
function linesOf(shell: string, act: string, path: string): string[] {
  const command = ['-c', shell, 'sh', process.execPath, program.path, act, path];
  const { stdout, stderr } = spawnSync('sh', command, { encoding: 'utf8', timeout: 20_000 });
  return [...stdout.split('\n'), ...stderr.split('\n')].filter(Boolean);
}

describe('a process that holds the lock of all writers', () => {
  test(
    'holds up a write until it lets go',
    scene(async ({ handle, path }) => {
      const storage = sqliteStorage(handle());
      await storage.open();
      const other = spawn(process.execPath, [program.path, 'hold', path], { stdio: ['pipe', 'pipe', 'inherit'] });
      await once(other.stdout, 'data');
      let isWritten = false;
      const put = storage.put('key', Buffer.from('value')).then(() => {
        isWritten = true;
      });
      for (let turn = 0; turn < 100; turn++) await setImmediate();
      expect(isWritten).toBe(false);
      other.stdin.write('let go\n');
      await put;
      await expect(storage.get('key')).resolves.toMatchObject({ version: '0000000000000001' });
      await once(other, 'close');
    }),
  );

  test(
    'is named as the cause where it never lets go, and lets go when it is killed',
    scene(async ({ handle, path }) => {
      const storage = sqliteStorage(handle(), { busyMs: 100 });
      await storage.open();
      const other = spawn(process.execPath, [program.path, 'hold', path], { stdio: ['pipe', 'pipe', 'inherit'] });
      await once(other.stdout, 'data');
      await expect(storage.put('key', Buffer.from('value'))).rejects.toThrow(/holds a lock.*100 ms.*`busyMs`/);
      other.kill('SIGKILL');
      await once(other, 'close');
      await expect(storage.put('key', Buffer.from('value'))).resolves.toBe('0000000000000001');
    }),
  );
});

test(
  'what three processes count by compare-and-swap is counted once each, while one is killed on the way',
  scene(async ({ handle, path }) => {
    const storage = sqliteStorage(handle());
    const processes = await Promise.all([1, 2, 3].map(() => startStoreProcess(storeModule(store, path))));
    const [victim] = processes;
    let acknowledged = 0;
    const count = async (at: number): Promise<void> => {
      const { store: counter } = processes[at] as (typeof processes)[number];
      for (let turn = 0; turn < 40; turn++) {
        if (at === 0 && turn === 20) await victim?.kill();
        for (;;) {
          const entry = await counter.get('counter');
          const next = Buffer.from(String(Number(Buffer.from(entry?.value ?? '0').toString()) + 1));
          const outcome = await counter
            .put('counter', next, { ifVersion: entry?.version ?? null })
            .catch((error) => error);
          if (outcome?.code === 'HOLDFAST_CONFLICT') continue;
          if (typeof outcome !== 'string') throw outcome;
          acknowledged++;
          break;
        }
      }
    };
    const outcomes = await Promise.allSettled([0, 1, 2].map(count));
    await Promise.all(processes.map((one) => one.end()));
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
    expect(acknowledged).toBe(100);
    const total = Number(Buffer.from((await storage.get('counter'))?.value ?? '').toString());
    expect(total).toBe(100);
  }),
);

test(
  'after kill -9 in the middle of its writes every acknowledged write of a process is there',
  scene(async ({ handle, path }) => {
    const writer = await startStoreProcess(storeModule(store, path));
    const acknowledged: string[] = [];
    const write = async (lane: number): Promise<never> => {
      for (let turn = 0; ; turn++) {
        await writer.store.put(`${lane}-${turn}`, Buffer.alloc(2_000, lane));
        acknowledged.push(`${lane}-${turn}`);
      }
    };
    const settled = Promise.allSettled(Array.from({ length: 8 }, (_, lane) => write(lane)));
    while (acknowledged.length < 200) await setImmediate();
    await writer.kill();
    expect((await settled).every(({ status }) => status === 'rejected')).toBe(true);
    const storage = sqliteStorage(handle());
    const { entries } = await storage.list('', { limit: 10_000 });
    const kept = new Set(entries.map(({ key }) => key));
    expect(acknowledged.filter((key) => !kept.has(key))).toEqual([]);
    expect(entries.every(({ sizeBytes }) => sizeBytes === 2_000)).toBe(true);
    await expect(storage.put('key', Buffer.alloc(1))).resolves.toMatch(/^\d{16}$/);
  }),
);

describe('where the disk ends', () => {
  const canMount =
    spawnSync('unshare', ['--mount', '--map-root-user', 'mount', '-t', 'tmpfs', 'x', '/mnt']).status === 0;
  const onTmpfs = (size: string) =>
    `unshare --mount --map-root-user sh -c 'mount -t tmpfs -o size=${size} x "$(dirname "$4")" && exec "$@"' sh "$@"`;

  test.runIf(canMount)(
    'a write that finds no room is a NoSpaceError, what was there is kept, and with room it works again',
    scene(async ({ path }) => {
      expect(linesOf(onTmpfs('1m'), 'fill', path)).toEqual([
        expect.stringMatching(/^HOLDFAST_NO_SPACE: No space left in table "holdfast" of .*store\.db/),
        'kept true',
        'works',
      ]);
    }),
  );

  test.runIf(canMount)(
    'a store that finds no room to begin is a NoSpaceError',
    scene(async ({ path }) => {
      expect(linesOf(onTmpfs('20k'), 'begin', path)).toEqual([expect.stringMatching(/^HOLDFAST_NO_SPACE: /)]);
    }),
  );

  test(
    'a file that may not grow fails the write for certain, what was there is kept, and smaller writes work',
    scene(async ({ path }) => {
      const limited = `trap '' XFSZ; ulimit -f 2000; exec "$@"`;
      expect(linesOf(limited, 'fill', path)).toEqual([
        expect.stringMatching(
          /^HOLDFAST_STORAGE: .*\(SQLITE_IOERR_WRITE\)\. Look at the disk and at limits on file sizes/,
        ),
        'kept true',
        'works',
      ]);
    }),
  );
});

/** The twelfth fsync of the process fails, as that of a failing disk does: some commit's. */
const FAILING_SYNC = 'exec strace -f -qq -o /dev/null -e inject=fsync,fdatasync:error=EIO:when=12 "$@"';
const canFailSync = spawnSync('sh', ['-c', FAILING_SYNC.replace('"$@"', 'true')]).status === 0;

test.runIf(canFailSync)(
  'a write whose sync failed, which SQLite would find again after a crash, does not come back after kill -9',
  scene(async ({ handle, path }) => {
    const lines = linesOf(FAILING_SYNC, 'die', path);
    const [failure, last] = [lines.pop(), lines.at(-1)];
    expect(failure).toMatch(/^HOLDFAST_STORAGE: .*\(SQLITE_IOERR_FSYNC\)/);
    const entry = await sqliteStorage(handle()).get('key');
    expect(Buffer.from(entry?.value ?? '').toString()).toBe(last?.replace('wrote', 'turn'));
  }),
);

test.runIf(process.getuid?.() === 0)(
  'a user who may read the database but not write it reads it, and is told what must be writable',
  scene(async ({ handle, folder, path }) => {
    const own = handle();
    await sqliteStorage(own).put('key', Buffer.from('value'));
    await chmod(folder, 0o755);
    expect(linesOf('exec "$@"', 'read', path)).toEqual([
      'read value',
      expect.stringMatching(/^HOLDFAST_STORAGE: .*\(SQLITE_READONLY\)\. .*must be able to write/),
    ]);
  }),
);

test.runIf(process.getuid?.() === 0)(
  'a user who may not write the folder cannot open a database that keeps no WAL yet',
  scene(async ({ folder, handle }) => {
    const other = join(folder, 'other');
    await mkdir(other);
    handle('other/store.db').exec('CREATE TABLE host (x)');
    await chmod(folder, 0o755);
    await chmod(other, 0o555);
    expect(linesOf('exec "$@"', 'read', join(other, 'store.db'))).toEqual([
      expect.stringMatching(/^HOLDFAST_STORAGE: .*must be able to write/),
      expect.stringMatching(/^HOLDFAST_STORAGE: .*must be able to write/),
    ]);
  }),
);

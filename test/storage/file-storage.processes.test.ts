import { createHash } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/base/errors.js';
import { ConflictError, StorageError } from '../../src/storage/adapter.js';
import { type FileStorage, fileStorage, fileStorageOn } from '../../src/storage/log/file-storage.js';
import { nodeFileSystem } from '../../src/storage/log/file-system.js';
import { drafts } from '../faults/drafts.js';
import { type Child, inScene, type Scene } from '../faults/scene.js';

const LOG = 'log-00000001';
const FORMAT = 'FORMAT.json';
const value = Buffer.from('value');

/** A test in a folder of its own, with the means to start processes. */
const scene = (play: (scene: Scene) => Promise<void>) => () => inScene(play);

/** Makes a store that holds `value` under "key" and closes it. */
async function makeStore(folder: string): Promise<void> {
  const storage = fileStorage(folder);
  await storage.put('key', value);
  await storage.close();
}

/** What "key" holds, in a store opened for that and closed again. */
async function readKey(storage: FileStorage): Promise<string | undefined> {
  const entry = await storage.get('key');
  await storage.close();
  return entry && Buffer.from(entry.value).toString();
}

const openingOf = (folder: string): Promise<void> => fileStorage(folder).open();
/** Files but those of the index, which may be there or not. */
const filesIn = async (folder: string): Promise<string[]> =>
  (await readdir(folder)).filter((name) => !name.startsWith('index-')).sort();
const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o777).toString(8);

/** A FORMAT.json as a holdfast of that format version would write it over the present one. */
async function writeFormatVersion(folder: string, version: number): Promise<void> {
  const format = JSON.parse(await readFile(join(folder, FORMAT), 'utf8'));
  const sum = createHash('sha256').update(`${format.format} ${version} ${format.storeId}`).digest('hex');
  await writeFile(join(folder, FORMAT), JSON.stringify({ ...format, version, sum }));
}

/** The lines of a child that ended by itself and well; else how it ended. */
async function linesOf(child: Child): Promise<readonly string[]> {
  const { code, errorText } = await child.ended;
  return code === 0 && errorText === '' ? child.lines : [`ended with ${code}: ${errorText}`];
}

describe('opening refuses', () => {
  test(
    'a path that is a file, and leaves the file alone',
    scene(async ({ folder }) => {
      const path = join(folder, 'file');
      await writeFile(path, 'mine');
      await expect(openingOf(path)).rejects.toThrow(StorageError);
      await expect(readFile(path, 'utf8')).resolves.toBe('mine');
    }),
  );

  test(
    'a path below a file, saying that it is no directory',
    scene(async ({ folder }) => {
      await writeFile(join(folder, 'file'), 'mine');
      const opening = openingOf(join(folder, 'file', 'store'));
      await expect(opening).rejects.toThrow(StorageError);
      await expect(opening).rejects.toThrow('not a directory');
    }),
  );

  test(
    'a directory that this user may not write, saying whose mode to change',
    scene(async ({ folder, start }) => {
      await chmod(folder, 0o555);
      const lines = await linesOf(start('awkward-process.mjs', folder, 'nobody'));
      expect(lines).toEqual([expect.stringMatching(/^HOLDFAST_STORAGE: .*mode of the directory\. \(EACCES\)$/)]);
    }),
  );

  test(
    'a store of another user, and leaves it as it is',
    scene(async ({ folder, start }) => {
      const path = join(folder, 'store');
      await makeStore(path);
      await chmod(folder, 0o755);
      if (process.getuid?.() !== 0) await chmod(path, 0o500);
      const lines = await linesOf(start('awkward-process.mjs', path, 'nobody'));
      await chmod(path, 0o700);
      expect(lines).toEqual([expect.stringMatching(/^HOLDFAST_STORAGE: .*\(EACCES\)$/)]);
      await expect(readKey(fileStorage(path))).resolves.toBe('value');
    }),
  );

  test(
    'a store of a newer format, naming both versions',
    scene(async ({ folder }) => {
      await makeStore(folder);
      await writeFormatVersion(folder, 2);
      const opening = openingOf(folder);
      await expect(opening).rejects.toThrow(StorageError);
      await expect(opening).rejects.toThrow('version 2; this holdfast reads up to 1');
    }),
  );

  test.each([
    ['text', 'not JSON'],
    ['JSON that is no object', 'null'],
    ['nothing', ''],
    [
      'another store id',
      '{"format":"holdfast-log","version":1,"storeId":"00000000000000000000000000000000","sum":"0"}',
    ],
  ])('a FORMAT.json that holds %s, and opens again once it is removed', async (_, text) => {
    await inScene(async ({ folder }) => {
      await makeStore(folder);
      await writeFile(join(folder, FORMAT), text);
      await expect(openingOf(folder)).rejects.toThrow(CorruptionError);
      await rm(join(folder, FORMAT));
      await expect(readKey(fileStorage(folder))).resolves.toBe('value');
    });
  });

  test(
    'a store whose log files are gone: it does not begin anew',
    scene(async ({ folder }) => {
      await makeStore(folder);
      await rm(join(folder, LOG));
      const left = await filesIn(folder);
      await expect(openingOf(folder)).rejects.toThrow(CorruptionError);
      await expect(filesIn(folder)).resolves.toEqual(left);
      for (const name of [FORMAT, ...left]) await rm(join(folder, name), { force: true });
      await writeFile(join(folder, 'index-00000001-000000000000000'), 'what is left of a store');
      await expect(openingOf(folder)).rejects.toThrow(CorruptionError);
    }),
  );

  test.each([
    ['beside its FORMAT.json', []],
    ['without its FORMAT.json', [FORMAT]],
  ])('a log that was emptied to 0 bytes, %s', async (_, gone) => {
    await inScene(async ({ folder }) => {
      await makeStore(folder);
      await truncate(join(folder, LOG), 0);
      for (const name of gone) await rm(join(folder, name));
      const left = await filesIn(folder);
      await expect(openingOf(folder)).rejects.toThrow(CorruptionError);
      await expect(filesIn(folder)).resolves.toEqual(left);
    });
  });

  test(
    'a network file system by name, and nothing is written there',
    scene(async ({ folder }) => {
      const opening = fileStorageOn({ ...nodeFileSystem, networkFileSystem: async () => 'NFS' }, folder).open();
      await expect(opening).rejects.toThrow(StorageError);
      await expect(opening).rejects.toThrow('network file system (NFS)');
      await expect(filesIn(folder)).resolves.toEqual([]);
    }),
  );
});

describe('opening accepts', () => {
  test(
    'a network file system that its host allows',
    scene(async ({ folder }) => {
      const network = { ...nodeFileSystem, networkFileSystem: async () => 'NFS' };
      const storage = fileStorageOn(network, folder, { allowNetworkFileSystem: true });
      await storage.put('key', value);
      await expect(readKey(storage)).resolves.toBe('value');
    }),
  );

  test(
    'a store without FORMAT.json, which is written again as it was',
    scene(async ({ folder }) => {
      await makeStore(folder);
      const format = await readFile(join(folder, FORMAT), 'utf8');
      await rm(join(folder, FORMAT));
      await expect(readKey(fileStorage(folder))).resolves.toBe('value');
      await expect(readFile(join(folder, FORMAT), 'utf8')).resolves.toBe(format);
    }),
  );

  test(
    'what was refused before, by the same object, once it is put right',
    scene(async ({ folder }) => {
      const path = join(folder, 'store');
      await writeFile(path, 'in the way');
      const storage = fileStorage(path);
      await expect(storage.open()).rejects.toThrow(StorageError);
      await rm(path);
      await storage.put('key', value);
      await expect(readKey(storage)).resolves.toBe('value');
    }),
  );

  test(
    'a directory that is there and empty, and leaves its mode as the host chose it',
    scene(async ({ folder }) => {
      const path = join(folder, 'store');
      await mkdir(path);
      await chmod(path, 0o750);
      await makeStore(path);
      await expect(modeOf(path)).resolves.toBe('750');
    }),
  );
});

test.each(['000', '022', '077', '777'])(
  'under umask %s only the owner may enter the store and read its files',
  async (mask) => {
    await inScene(async ({ folder, start }) => {
      const path = join(folder, 'store');
      const lines = await linesOf(start('awkward-process.mjs', path, 'mask', mask));
      const modes = [await modeOf(path), await modeOf(join(path, FORMAT)), await modeOf(join(path, LOG))];
      expect({ lines, modes }).toEqual({ lines: ['works'], modes: ['700', '600', '600'] });
    });
  },
);

describe('two open stores of one process on one directory', () => {
  test(
    'each sees what the other wrote',
    scene(async ({ folder }) => {
      const one = fileStorage(folder);
      const other = fileStorage(folder);
      await one.put('key', value);
      await expect(other.get('key')).resolves.toMatchObject({ key: 'key' });
      await one.close();
      await expect(readKey(other)).resolves.toBe('value');
    }),
  );

  test(
    'only one of them wins a key that both create',
    scene(async ({ folder }) => {
      const stores = [fileStorage(folder), fileStorage(folder)];
      const outcomes = await Promise.allSettled(stores.map((store) => store.put('key', value, { ifVersion: null })));
      await Promise.all(stores.map((store) => store.close()));
      expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
      expect(outcomes.find(({ status }) => status === 'rejected')).toMatchObject({ reason: expect.any(ConflictError) });
    }),
  );

  test(
    'both go on when the other compacts',
    scene(async ({ folder }) => {
      const stores = [fileStorage(folder, { compactAtBytes: 4096 }), fileStorage(folder, { compactAtBytes: 4096 })];
      for (let round = 0; round < 40; round++)
        await Promise.all(stores.map((store, at) => store.put(`key-${at}`, Buffer.alloc(900, round))));
      const found = await Promise.all(stores.flatMap((store) => [store.get('key-0'), store.get('key-1')]));
      await Promise.all(stores.map((store) => store.close()));
      expect(found.map((entry) => entry?.value[0])).toEqual([39, 39, 39, 39]);
      await expect(filesIn(folder)).resolves.not.toContain(LOG);
    }),
  );

  test(
    'neither leaves a draft when the other was first to compact',
    scene(async ({ folder }) => {
      const stores = [fileStorage(folder, { compactAtBytes: 4096 }), fileStorage(folder, { compactAtBytes: 4096 })];
      for (let round = 0; round < 100; round++)
        await Promise.all(stores.map((store, at) => store.put(`key-${at}`, Buffer.alloc(900, round))));
      await Promise.all(stores.map((store) => store.close()));
      await expect(drafts(folder)).resolves.toEqual([]);
    }),
  );
});

describe('a process that may open no more files', () => {
  test(
    'is told so when it opens a store, and may open it once it has closed some',
    scene(async ({ folder, startWith }) => {
      const limited = ['sh', '-c', 'ulimit -n 512 && exec "$@"', 'sh', process.execPath];
      const lines = await linesOf(startWith(limited, 'awkward-process.mjs', folder, 'no-files-to-open'));
      expect(lines).toEqual([expect.stringMatching(/^HOLDFAST_STORAGE: .*ulimit -n\)\. \(EMFILE\)$/), 'works']);
    }),
  );

  test(
    'goes on writing to an open store that cannot be compacted, until it can',
    scene(async ({ folder, startWith }) => {
      const limited = ['sh', '-c', 'ulimit -n 512 && exec "$@"', 'sh', process.execPath];
      const lines = await linesOf(startWith(limited, 'awkward-process.mjs', folder, 'no-files-to-compact'));
      expect(lines).toEqual(expect.arrayContaining(['storage.compaction-failed', 'works']));
      await expect(readKey(fileStorage(folder))).resolves.toBe('value');
    }),
  );
});

import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { StorageError } from '../../../src/storage/adapter.js';
import { fileStorage } from '../../../src/storage/log/file-storage.js';
import { nodeFileSystem } from '../../../src/storage/log/file-system.js';
import { rejectionOf } from '../../support/deferred.js';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-fs-'));
});

afterEach(() => rm(folder, { recursive: true }));

test('a directory is made for its owner only, and a file in its place is refused', async () => {
  const path = join(folder, 'a/b');
  await nodeFileSystem.prepareDirectory(path);
  await nodeFileSystem.prepareDirectory(path);
  expect((await stat(path)).mode & 0o777).toBe(0o700);
  await writeFile(join(folder, 'file'), '');
  await expect(nodeFileSystem.prepareDirectory(join(folder, 'file'))).rejects.toMatchObject({ code: /EEXIST|ENOTDIR/ });
});

test('directories above are made too, by several at once, and one made before keeps its mode', async () => {
  const paths = ['a/b/c/d', 'a/b/c/e', 'a/b/c'].map((path) => join(folder, path));
  await Promise.all(paths.map((path) => nodeFileSystem.prepareDirectory(path)));
  for (const path of paths) expect((await stat(path)).mode & 0o777).toBe(0o700);
  await chmod(join(folder, 'a'), 0o750);
  await nodeFileSystem.prepareDirectory(join(folder, 'a'));
  expect((await stat(join(folder, 'a'))).mode & 0o777).toBe(0o750);
});

test('a store where no directory can be made says so, and does not try for ever', async () => {
  for (const path of ['/proc/holdfast', '/proc/self/holdfast/store']) {
    const error = await rejectionOf(fileStorage(path).open());
    expect(error).toBeInstanceOf(StorageError);
    expect((error as Error).message).toMatch(/The file store in \/proc\/.*: no directory can be made in \/proc/);
  }
});

test('a log is created once, appended to, read in parts of any size, and linked once', async () => {
  const path = join(folder, 'log');
  const file = await nodeFileSystem.createLog(path);
  await expect(nodeFileSystem.createLog(path)).rejects.toMatchObject({ code: 'EEXIST' });
  const large = Buffer.alloc(300_000, 'x');
  expect(await file.append([Buffer.from('head'), large])).toBe(300_004);
  await file.sync();
  expect(file.size()).toBe(300_004);
  expect((await file.read(0, 4)).toString()).toBe('head');
  expect((await file.read(4, 400_000)).equals(large)).toBe(true);
  expect((await file.read(300_004, 10)).length).toBe(0);
  await file.close();
  expect(await nodeFileSystem.link(path, join(folder, 'name'))).toBe(true);
  expect(await nodeFileSystem.link(path, join(folder, 'name'))).toBe(false);
  await expect(nodeFileSystem.link(join(folder, 'none'), join(folder, 'other'))).rejects.toMatchObject({
    code: 'ENOENT',
  });
  await nodeFileSystem.remove(path);
  await nodeFileSystem.remove(path);
  await nodeFileSystem.syncDirectory(folder);
  expect(await nodeFileSystem.list(folder)).toEqual(['name']);
});

test('running processes are told from those that are gone', () => {
  const startedAt = nodeFileSystem.processStartedAt(process.pid);
  expect(startedAt).toMatch(/^\d+$/);
  expect(nodeFileSystem.isRunning(process.pid, startedAt)).toBe(true);
  expect(nodeFileSystem.isRunning(process.pid, '1')).toBe(false);
  expect(nodeFileSystem.isRunning(2 ** 22 + 1, startedAt)).toBe(false);
  expect(nodeFileSystem.processStartedAt(2 ** 22 + 1)).toBe('unknown');
});

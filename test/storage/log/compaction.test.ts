import { expect, test } from 'vitest';
import { ModelFileSystem } from '../../support/model-file-system.js';
import { modelStore, ROOT, textOf, withBadSector } from '../../support/model-store.js';

const text = (value: string) => Buffer.from(value);

test('a sector that cannot be read costs its own key when neighbours are copied together', async () => {
  const { fs, storage } = modelStore();
  await Promise.all(['one', 'two', 'three'].map((key) => storage.put(key, text(`value of ${key}`))));
  await storage.close();
  const again = modelStore(withBadSector(fs, 'value of two')).storage;
  await again.put('four', text('value of four'));
  expect(await again.repair()).toMatchObject({ kept: 3, dropped: ['two'], unknownPlaces: 0 });
  expect(await Promise.all(['one', 'three', 'four'].map((key) => textOf(again, key)))).toEqual([
    'value of one',
    'value of three',
    'value of four',
  ]);
});

test('the process that compacted and one that reads the file know the same', async () => {
  const { fs, storage } = modelStore();
  const keys = Array.from({ length: 100 }, (_, n) => `key/${n}`);
  await Promise.all(keys.map((key) => storage.put(key, text(`first of ${key}`))));
  await storage.batch(keys.slice(0, 50).map((key) => ({ type: 'put', key, value: text(`second of ${key}`) })));
  const repairing = storage.repair();
  await Promise.all([
    ...keys.slice(40, 60).map((key) => storage.put(key, text(`third of ${key}`))),
    ...keys.slice(60, 70).map((key) => storage.delete(key)),
  ]);
  await repairing;
  expect([...fs.image().keys()]).toContain(`${ROOT}/log-00000002`);
  const reader = modelStore(new ModelFileSystem(fs.image())).storage;
  expect(await storage.list('')).toEqual(await reader.list(''));
  expect((await storage.list('')).entries).toHaveLength(90);
  for (const key of keys) expect(await storage.get(key)).toEqual(await reader.get(key));
  expect([await textOf(storage, 'key/0'), await textOf(storage, 'key/45')]).toEqual([
    'second of key/0',
    'third of key/45',
  ]);
});

test('a key that was deleted or written while the copy was made is as it was last, also in the file', async () => {
  const { fs, storage } = modelStore();
  await storage.put('deleted', text('1'));
  await storage.put('written', text('1'));
  await storage.put('twice', text('1'));
  let copies = 0;
  const changes: Promise<unknown>[] = [];
  fs.beforeCall = (call, path) => {
    if (call !== 'append' || !path.includes('draft') || copies++ > 0) return;
    changes.push(storage.delete('deleted'), storage.put('written', text('2')), storage.put('new', text('2')));
    changes.push(storage.delete('twice').then(() => storage.put('twice', text('2'))));
  };
  await storage.repair();
  await Promise.all(changes);
  expect(changes).toHaveLength(4);
  for (const store of [storage, modelStore(new ModelFileSystem(fs.image())).storage]) {
    expect(await store.get('deleted')).toBeUndefined();
    expect(await Promise.all(['written', 'twice', 'new'].map((key) => textOf(store, key)))).toEqual(['2', '2', '2']);
  }
});

test('the process that compacted does not read its own work back', async () => {
  const { fs, storage } = modelStore();
  await storage.put('key', text('1'));
  const openLog = fs.openLog.bind(fs);
  const reads: number[] = [];
  fs.openLog = async (path) => {
    const file = await openLog(path);
    const read = (position: number, length: number) => {
      reads.push(position);
      return file.read(position, length);
    };
    return { ...file, read };
  };
  await storage.repair();
  expect(reads).toEqual([]);
  expect(await textOf(storage, 'key')).toBe('1');
});

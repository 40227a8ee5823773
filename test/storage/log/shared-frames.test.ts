import { expect, test } from 'vitest';
import { ConflictError } from '../../../src/storage/adapter.js';
import { ModelFileSystem } from '../../support/model-file-system.js';
import { edited, modelStore, ROOT, textOf } from '../../support/model-store.js';

const text = (value: string) => Buffer.from(value);

/** How often the beginning of a frame stands in the log. */
function frames(fs: ModelFileSystem): number {
  return (fs.image().get(`${ROOT}/log-00000001`) as Buffer).toString('latin1').split('HFL1').length - 1;
}

test('writes submitted together share a frame, 32 at most, and each gets a version that sorts after the one before', async () => {
  const { fs, storage } = modelStore();
  await storage.open();
  const before = frames(fs);
  const versions = await Promise.all(Array.from({ length: 70 }, (_, n) => storage.put(`key/${n}`, text(`${n}`))));
  expect(frames(fs) - before).toBe(3);
  expect(new Set(versions).size).toBe(70);
  expect([...versions].sort()).toEqual(versions);
  expect((await storage.put('later', text('x'))) > (versions.at(-1) as string)).toBe(true);
  const again = modelStore(new ModelFileSystem(fs.image())).storage;
  expect(await again.get('key/69')).toMatchObject({ value: text('69'), version: versions[69] });
});

test('a batch that fills a frame shares it with nobody, however many wait', async () => {
  const { fs, storage } = modelStore();
  await storage.open();
  const before = frames(fs);
  const batch = (name: string) =>
    storage.batch(Array.from({ length: 40 }, (_, n) => ({ type: 'put', key: `${name}/${n}`, value: text(`${n}`) })));
  await Promise.all([storage.put('first', text('1')), batch('a'), batch('b'), storage.put('last', text('1'))]);
  expect(frames(fs) - before).toBe(4);
  const again = modelStore(new ModelFileSystem(fs.image())).storage;
  expect((await again.list('')).entries).toHaveLength(82);
});

test('a change that loses in a shared frame takes neither its neighbours nor their values with it', async () => {
  const { fs, storage } = modelStore();
  await storage.open();
  const before = frames(fs);
  const outcomes = await Promise.allSettled([
    storage.put('a', text('first'), { ifVersion: null }),
    storage.put('a', text('loses, and is longer than the others'), { ifVersion: null }),
    storage.batch([
      { type: 'put', key: 'b', value: text('of a batch that loses') },
      { type: 'check', key: 'a', ifVersion: null },
    ]),
    storage.put('c', text('behind them')),
  ]);
  expect(frames(fs) - before).toBe(1);
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
  expect(outcomes[1]).toMatchObject({ reason: expect.any(ConflictError) });
  for (const store of [storage, modelStore(new ModelFileSystem(fs.image())).storage]) {
    expect([await textOf(store, 'a'), await textOf(store, 'c')]).toEqual(['first', 'behind them']);
    expect(await store.get('b')).toBeUndefined();
  }
});

test('a change of a shared frame is decided by those before it in the frame', async () => {
  const { storage } = modelStore();
  const [version, removed, again] = await Promise.all([
    storage.put('key', text('1'), { ifVersion: null }),
    storage.batch([{ type: 'delete', key: 'key' }]),
    storage.put('key', text('2'), { ifVersion: null }),
  ]);
  expect([version, removed, again].sort()).toEqual([version, removed, again]);
  expect(await storage.get('key')).toMatchObject({ value: text('2'), version: again });
});

test('a damaged value costs its own key and none of those that were written in the same frame', async () => {
  const { fs, storage } = modelStore();
  await Promise.all(['one', 'two', 'three'].map((key) => storage.put(key, text(`value of ${key}`))));
  await storage.close();
  const image = edited(fs.image(), 'log-00000001', (bytes) => {
    bytes.write('X', bytes.indexOf('value of two'));
    return bytes;
  });
  const { storage: again } = modelStore(new ModelFileSystem(image));
  expect([await textOf(again, 'one'), await textOf(again, 'three')]).toEqual(['value of one', 'value of three']);
  await expect(again.get('two')).rejects.toThrow(/damaged/);
});

test('a frame that was torn by a power cut is void with all of its changes', async () => {
  const { fs, storage } = modelStore();
  await storage.put('one', text('old'));
  await Promise.all(['one', 'two', 'three'].map((key) => storage.put(key, text(`${key} `.repeat(20)))));
  const image = edited(fs.image(), 'log-00000001', (bytes) => bytes.fill(0, bytes.lastIndexOf('two '), bytes.length));
  const again = modelStore(new ModelFileSystem(image));
  expect(await textOf(again.storage, 'one')).toBe('old');
  expect((await again.storage.list('')).entries.map(({ key }) => key)).toEqual(['one']);
  expect(again.events).toMatchObject([{ type: 'storage.torn' }]);
});

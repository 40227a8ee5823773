import { expect } from 'vitest';
import type { BatchOperation, Version } from '../../storage/adapter.js';
import { bytes, conflict, keysOf, listAll, NEVER_A_VERSION, textAt } from './entries.js';
import { type BatchingStore, batchRule, type ContractRule } from './rule.js';

/** Operations that would succeed, on keys that `standing` has set up. */
const SOUND: readonly BatchOperation[] = [
  { type: 'put', key: 'new', value: bytes('new'), ifVersion: null },
  { type: 'put', key: 'kept', value: bytes('overwritten') },
  { type: 'delete', key: 'doomed' },
];

/** Sets up three keys; the version is that of `kept2`, which no sound operation touches. */
async function standing(store: BatchingStore): Promise<Version> {
  await store.put('kept', bytes('kept'));
  await store.put('doomed', bytes('doomed'));
  return store.put('kept2', bytes('kept2'));
}

/** Every kind of condition on `kept2` that does not hold. */
function failing(): readonly BatchOperation[] {
  return [
    { type: 'put', key: 'kept2', value: bytes('lost'), ifVersion: null },
    { type: 'put', key: 'kept2', value: bytes('lost'), ifVersion: NEVER_A_VERSION },
    { type: 'delete', key: 'kept2', ifVersion: NEVER_A_VERSION },
    { type: 'check', key: 'kept2', ifVersion: NEVER_A_VERSION },
    { type: 'check', key: 'kept2', ifVersion: null },
  ];
}

/** One batch for each failing condition in each position among sound operations. */
function doomedBatches(): readonly (readonly BatchOperation[])[] {
  const positions = [...SOUND.keys(), SOUND.length];
  return failing().flatMap((operation) => positions.map((at) => SOUND.toSpliced(at, 0, operation)));
}

const wholeRules: readonly ContractRule[] = [
  batchRule('a batch does all its puts and deletes', async (store) => {
    await standing(store);
    await store.batch(SOUND);
    expect(await keysOf(store, '')).toEqual(['kept', 'kept2', 'new']);
    expect(await textAt(store, 'kept')).toBe('overwritten');
    expect(await textAt(store, 'new')).toBe('new');
  }),
  batchRule('a batch with a failing condition, of any kind in any position, does nothing', async (store) => {
    const version = await standing(store);
    const before = await listAll(store, '');
    for (const operations of doomedBatches()) {
      await expect(store.batch(operations)).rejects.toMatchObject(conflict('kept2', version));
      expect(await listAll(store, '')).toEqual(before);
    }
    expect(await textAt(store, 'kept')).toBe('kept');
  }),
  batchRule('the conflict names the first key whose condition fails', async (store) => {
    const version = await store.put('b', bytes('b'));
    const operations: BatchOperation[] = [
      { type: 'put', key: 'a', value: bytes('a'), ifVersion: null },
      { type: 'check', key: 'b', ifVersion: null },
      { type: 'delete', key: 'c', ifVersion: NEVER_A_VERSION },
    ];
    await expect(store.batch(operations)).rejects.toMatchObject(conflict('b', version));
    await expect(store.batch(operations.toReversed())).rejects.toMatchObject(conflict('c', undefined));
  }),
  batchRule('a batch of a hundred operations is done whole', async (store) => {
    const keys = Array.from({ length: 100 }, (_, at) => `key-${String(at).padStart(3, '0')}`);
    await store.batch(keys.map((key) => ({ type: 'put', key, value: bytes(key) })));
    expect(await keysOf(store, '')).toEqual(keys);
  }),
  batchRule('a batch can move a value from one key to another', async (store) => {
    const version = await store.put('from', bytes('value'));
    await store.batch([
      { type: 'delete', key: 'from', ifVersion: version },
      { type: 'put', key: 'to', value: bytes('value'), ifVersion: null },
    ]);
    expect(await keysOf(store, '')).toEqual(['to']);
  }),
];

const versionRules: readonly ContractRule[] = [
  batchRule('all puts of a batch have the version it returns', async (store) => {
    const version = await store.batch([
      { type: 'put', key: 'a', value: bytes('a') },
      { type: 'put', key: 'b', value: bytes('b'), ifVersion: null },
    ]);
    expect((await store.get('a'))?.version).toBe(version);
    expect((await store.get('b'))?.version).toBe(version);
    expect((await listAll(store, '')).map((entry) => entry.version)).toEqual([version, version]);
  }),
  batchRule('the version of a batch serves as the condition of the next write', async (store) => {
    const version = await store.batch([{ type: 'put', key: 'key', value: bytes('1') }]);
    await store.put('key', bytes('2'), { ifVersion: version });
    await expect(store.put('key', bytes('3'), { ifVersion: version })).rejects.toMatchObject({ key: 'key' });
    expect(await textAt(store, 'key')).toBe('2');
  }),
  batchRule('a batch has a version no other write has', async (store) => {
    const put = (): BatchOperation => ({ type: 'put', key: 'key', value: bytes('same') });
    const versions = [
      await store.put('key', bytes('same')),
      await store.batch([put()]),
      await store.batch([put()]),
      await store.put('key', bytes('same')),
    ];
    expect(new Set(versions).size).toBe(4);
  }),
  batchRule('a batch takes the bytes before it returns its promise', async (store) => {
    const buffer = bytes('before');
    const batch = store.batch([{ type: 'put', key: 'key', value: buffer }]);
    buffer.fill(0);
    await batch;
    expect(await textAt(store, 'key')).toBe('before');
  }),
];

const conditionRules: readonly ContractRule[] = [
  batchRule('a check that holds lets the batch pass and changes nothing itself', async (store) => {
    const lease = await store.put('lease', bytes('mine'));
    await store.batch([
      { type: 'check', key: 'lease', ifVersion: lease },
      { type: 'check', key: 'absent', ifVersion: null },
      { type: 'put', key: 'state', value: bytes('saved') },
    ]);
    expect((await store.get('lease'))?.version).toBe(lease);
    expect(await keysOf(store, '')).toEqual(['lease', 'state']);
  }),
  batchRule('a check fails once the key was written, deleted or created', async (store) => {
    const lease = await store.put('lease', bytes('mine'));
    const taken = await store.put('lease', bytes('theirs'));
    const save: BatchOperation = { type: 'put', key: 'state', value: bytes('late') };
    const fenced = () => store.batch([save, { type: 'check', key: 'lease', ifVersion: lease }]);
    await expect(fenced()).rejects.toMatchObject(conflict('lease', taken));
    await store.delete('lease');
    await expect(fenced()).rejects.toMatchObject(conflict('lease', undefined));
    expect(await store.get('state')).toBeUndefined();
  }),
  batchRule('a batch of checks only passes if they hold and conflicts if they do not', async (store) => {
    const version = await store.put('key', bytes('value'));
    await store.batch([{ type: 'check', key: 'key', ifVersion: version }]);
    const refused = store.batch([{ type: 'check', key: 'key', ifVersion: null }]);
    await expect(refused).rejects.toMatchObject(conflict('key', version));
    expect((await store.get('key'))?.version).toBe(version);
  }),
  batchRule('a batch may delete an absent key, unless it names a version', async (store) => {
    await store.batch([
      { type: 'delete', key: 'absent' },
      { type: 'put', key: 'key', value: bytes('value') },
    ]);
    expect(await keysOf(store, '')).toEqual(['key']);
    const refused = store.batch([{ type: 'delete', key: 'absent', ifVersion: NEVER_A_VERSION }]);
    await expect(refused).rejects.toMatchObject(conflict('absent', undefined));
  }),
];

/** All or nothing, as one write. */
export const batchRules: readonly ContractRule[] = [...wholeRules, ...versionRules, ...conditionRules];

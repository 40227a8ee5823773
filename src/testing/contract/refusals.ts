import { expect } from 'vitest';
import type { StorageAdapter } from '../../storage/adapter.js';
import { checked } from '../../storage/checked.js';
import { bytes, keysOf } from './entries.js';
import { type BatchingStore, batchRule, type ContractRule } from './rule.js';

const INVALID = { code: 'HOLDFAST_INVALID_INPUT' };

/** Too short, too long, of other characters, or no string at all. */
const BAD_KEYS: readonly unknown[] = [
  '',
  'k'.repeat(513),
  '../x é',
  'nul\0',
  'line\n',
  'back\\slash',
  'colon:',
  'lone \ud800 surrogate',
  '鍵',
  42,
  null,
  undefined,
  ['key'],
  { key: 'key' },
];

/** Not bytes, though some look it. */
const BAD_VALUES: readonly unknown[] = ['text', 42, null, undefined, [1, 2], new ArrayBuffer(2), new Uint16Array(2)];

const BAD_PUT_OPTIONS: readonly unknown[] = [
  { ifversion: null },
  { ifVersion: '' },
  { ifVersion: 1 },
  { signal: {} },
  { ttlMs: 1 },
];

const BAD_LIST_OPTIONS: readonly unknown[] = [
  { limit: 0 },
  { limit: -1 },
  { limit: 1.5 },
  { limit: '10' },
  { after: 5 },
  { reverse: 'yes' },
  { prefix: 'a' },
];

const put = (key: string, value: Uint8Array = bytes('value')) => ({ type: 'put', key, value }) as const;

/** Batches that must be refused whole, though they begin with an operation that is fine. */
const BAD_BATCHES: readonly (readonly unknown[])[] = [
  [],
  [put('a'), put('a')],
  [put('a'), { type: 'delete', key: 'a' }],
  [put('a'), put('../x é')],
  [put('a'), put('b', 'text' as unknown as Uint8Array)],
  [put('a'), { type: 'check', key: 'b' }],
  [put('a'), { type: 'increment', key: 'b' }],
  [put('a'), { ...put('b'), ifversion: null }],
  [put('a'), { ...put('b'), ifVersion: 1 }],
  [put('a'), { type: 'delete', key: 'b', ifVersion: '' }],
  [put('a'), { type: 'check', key: 'b', ifVersion: 1 }],
  [put('a'), null],
];

/** The same store, but it takes no more than `maxValueBytes`. */
function limited(store: StorageAdapter, maxValueBytes: number): StorageAdapter {
  return checked({ ...store, capabilities: { ...store.capabilities, maxValueBytes } });
}

/** Input that nobody can keep is refused before it reaches the adapter, and leaves nothing behind. */
export const refusalRules: readonly ContractRule[] = [
  {
    name: 'a key that is not a storage key is refused by every method and leaves nothing behind',
    async run({ store }) {
      for (const bad of BAD_KEYS as readonly string[]) {
        await expect(store.get(bad), `get ${bad}`).rejects.toMatchObject(INVALID);
        await expect(store.put(bad, bytes('value')), `put ${bad}`).rejects.toMatchObject(INVALID);
        await expect(store.delete(bad), `delete ${bad}`).rejects.toMatchObject(INVALID);
      }
      expect(await keysOf(store, '')).toEqual([]);
    },
  },
  {
    name: 'a prefix that no key can have is refused',
    async run({ store }) {
      const refused = BAD_KEYS.filter((bad) => bad !== '') as readonly string[];
      for (const bad of refused) await expect(store.list(bad), `list ${bad}`).rejects.toMatchObject(INVALID);
    },
  },
  {
    name: 'a value that is not a Uint8Array is refused and leaves nothing behind',
    async run({ store }) {
      for (const bad of BAD_VALUES) {
        await expect(store.put('key', bad as Uint8Array)).rejects.toMatchObject(INVALID);
      }
      expect(await keysOf(store, '')).toEqual([]);
    },
  },
  {
    name: 'an unknown or impossible option is refused and leaves nothing behind',
    async run({ store }) {
      for (const bad of BAD_PUT_OPTIONS) {
        await expect(store.put('key', bytes('value'), bad as object)).rejects.toMatchObject(INVALID);
        await expect(store.delete('key', bad as object)).rejects.toMatchObject(INVALID);
      }
      for (const bad of BAD_LIST_OPTIONS) await expect(store.list('', bad as object)).rejects.toMatchObject(INVALID);
      expect(await keysOf(store, '')).toEqual([]);
    },
  },
  {
    name: 'a value above maxValueBytes is refused and leaves nothing behind; one of that size is kept',
    async run({ store }) {
      const small = limited(store, 16);
      await expect(small.put('key', new Uint8Array(17))).rejects.toMatchObject({ code: 'HOLDFAST_LIMIT', allowed: 16 });
      expect(await keysOf(store, '')).toEqual([]);
      await small.put('key', new Uint8Array(16));
      expect((await store.get('key'))?.value.byteLength).toBe(16);
    },
  },
  batchRule('a batch with one operation that is refused leaves nothing behind', async (store) => {
    for (const bad of BAD_BATCHES) {
      await expect(store.batch(bad as []), JSON.stringify(bad)).rejects.toMatchObject(INVALID);
    }
    const large = [put('a'), put('b', new Uint8Array(17))];
    const refused = (limited(store, 16) as BatchingStore).batch(large);
    await expect(refused).rejects.toMatchObject({ code: 'HOLDFAST_LIMIT' });
    expect(await keysOf(store, '')).toEqual([]);
  }),
];

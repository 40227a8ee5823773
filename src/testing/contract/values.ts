import { expect } from 'vitest';
import { bytes, text, textAt } from './entries.js';
import type { ContractRule } from './rule.js';

const ONE_MIB = 1024 * 1024;

/** Bytes that no encoding, compression or repetition turns into themselves by luck. */
function unevenBytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => (at * 31 + (at >>> 8) * 17) & 0xff);
}

/** What is put is what is got, and neither side can reach into the other's bytes. */
export const valueRules: readonly ContractRule[] = [
  {
    name: 'get of an absent key is undefined',
    async run({ store }) {
      expect(await store.get('absent')).toBeUndefined();
    },
  },
  {
    name: 'get returns the key, the bytes and the version that put returned',
    async run({ store }) {
      const version = await store.put('key', bytes('value'));
      const entry = await store.get('key');
      expect({ ...entry, value: text(entry?.value) }).toEqual({ key: 'key', value: 'value', version });
    },
  },
  {
    name: 'an empty value is kept, and is not an absent key',
    async run({ store }) {
      await store.put('empty', new Uint8Array());
      expect((await store.get('empty'))?.value.byteLength).toBe(0);
      expect((await store.list('empty')).entries).toMatchObject([{ key: 'empty', sizeBytes: 0 }]);
    },
  },
  {
    name: 'all 256 byte values are kept',
    async run({ store }) {
      const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
      await store.put('bytes', all);
      expect(Array.from((await store.get('bytes'))?.value ?? [])).toEqual(Array.from(all));
    },
  },
  {
    name: 'a value of 1 MiB, or the largest the store takes, is kept',
    async run({ store }) {
      const large = unevenBytes(Math.min(ONE_MIB, store.capabilities.maxValueBytes ?? ONE_MIB));
      await store.put('large', large);
      const kept = (await store.get('large'))?.value ?? new Uint8Array();
      expect(kept.byteLength).toBe(large.byteLength);
      expect(Buffer.compare(kept, large)).toBe(0);
    },
  },
  {
    name: 'a put replaces the whole value, also by a shorter one',
    async run({ store }) {
      await store.put('key', bytes('a long value'));
      await store.put('key', bytes('short'));
      expect(await textAt(store, 'key')).toBe('short');
    },
  },
  {
    name: 'put takes the bytes before it returns its promise',
    async run({ store }) {
      const buffer = bytes('before');
      const put = store.put('key', buffer);
      buffer.fill(0);
      await put;
      buffer.fill(1);
      expect(await textAt(store, 'key')).toBe('before');
    },
  },
  {
    name: 'what get returned may be changed without changing what is stored',
    async run({ store }) {
      await store.put('key', bytes('stored'));
      (await store.get('key'))?.value.fill(0);
      expect(await textAt(store, 'key')).toBe('stored');
    },
  },
  {
    name: 'a write does not change what an earlier get returned',
    async run({ store }) {
      await store.put('key', bytes('old'));
      const entry = await store.get('key');
      await store.put('key', bytes('new'));
      expect(text(entry?.value)).toBe('old');
    },
  },
  {
    name: 'a Buffer that is a view of a larger one is stored without its neighbours',
    async run({ store }) {
      const view = Buffer.from('<<inside>>').subarray(2, 8);
      await store.put('view', view);
      expect(await textAt(store, 'view')).toBe('inside');
      expect((await store.list('view')).entries).toMatchObject([{ sizeBytes: 6 }]);
    },
  },
];

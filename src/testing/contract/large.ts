import { expect } from 'vitest';
import type { StorageAdapter } from '../../storage/adapter.js';
import { keysOf, listAll } from './entries.js';
import type { ContractRule } from './rule.js';

const LARGE_BYTES = 8 * 1024 * 1024;
const MIDDLING_BYTES = 64 * 1024;
const MANY = 300;

/** Bytes that differ at every place and for every `mark`, and that no encoding leaves as they are by luck. */
function bytesOf(mark: number, sizeBytes: number): Uint8Array {
  const value = new Uint8Array(sizeBytes);
  let state = (mark + 1) * 2_654_435_761;
  for (let at = 0; at < sizeBytes; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    value[at] = state >>> 24;
  }
  return value;
}

function sizeWithin(store: StorageAdapter, sizeBytes: number): number {
  return Math.min(sizeBytes, store.capabilities.maxValueBytes ?? sizeBytes);
}

/** Values larger than one packet, page or statement, and many of them at once. */
export const largeRules: readonly ContractRule[] = [
  {
    name: 'a value of 8 MiB, or the largest the store takes, is kept, replaced and removed',
    async run({ store, another }) {
      const sizeBytes = sizeWithin(store, LARGE_BYTES);
      const [first, second] = [bytesOf(1, sizeBytes), bytesOf(2, sizeBytes)];
      const ifVersion = await store.put('large', first, { ifVersion: null });
      expect(Buffer.compare((await store.get('large'))?.value ?? new Uint8Array(), first)).toBe(0);
      const version = await store.put('large', second, { ifVersion });
      expect(Buffer.compare((await (await another()).get('large'))?.value ?? new Uint8Array(), second)).toBe(0);
      expect(await listAll(store, '')).toEqual([{ key: 'large', version, sizeBytes }]);
      expect(await store.delete('large', { ifVersion: version })).toBe(true);
      expect(await store.get('large')).toBeUndefined();
    },
  },
  {
    name: '300 values of 64 KiB written at once are each kept, under their own key',
    async run({ store }) {
      const sizeBytes = sizeWithin(store, MIDDLING_BYTES);
      const keys = Array.from({ length: MANY }, (_, at) => `value-${String(at).padStart(3, '0')}`);
      await Promise.all(keys.map((key, at) => store.put(key, bytesOf(at, sizeBytes))));
      const found = await Promise.all(keys.map((key) => store.get(key)));
      const wrong = keys.filter((_, at) => {
        return Buffer.compare(found[at]?.value ?? new Uint8Array(), bytesOf(at, sizeBytes)) !== 0;
      });
      expect(wrong).toEqual([]);
      expect(await keysOf(store, '')).toEqual(keys);
    },
  },
];

import { expect } from 'vitest';
import type { StorageAdapter, Version } from '../../storage/adapter.js';
import { bytes, conflict, textAt } from './entries.js';
import type { BatchingStore, ContractRule } from './rule.js';

/** Enough to pass from two to three digits, where numbers written as text stop sorting like numbers. */
const MANY = 120;

async function versionsOf(store: StorageAdapter, keyOf: (write: number) => string): Promise<readonly Version[]> {
  const versions: Version[] = [];
  for (let write = 0; write < MANY; write++) versions.push(await store.put(keyOf(write), bytes('same')));
  return versions;
}

/** A version names one write, for ever. */
export const versionRules: readonly ContractRule[] = [
  {
    name: 'a put of the same bytes still gets a version of its own',
    async run({ store }) {
      const versions = await versionsOf(store, () => 'key');
      expect(new Set(versions).size).toBe(MANY);
    },
  },
  {
    name: 'writes to different keys never share a version',
    async run({ store }) {
      const versions = await versionsOf(store, (write) => `key-${write % 7}`);
      expect(new Set(versions).size).toBe(MANY);
    },
  },
  {
    name: 'a key that was deleted and created again with the same bytes has a version it never had',
    async run({ store }) {
      const versions = new Set<Version>();
      for (let round = 0; round < 5; round++) {
        versions.add(await store.put('key', bytes('same')));
        await store.delete('key');
      }
      expect(versions.size).toBe(5);
    },
  },
  {
    name: 'a version from before a delete does not match the key created after it',
    async run({ store }) {
      const stale = await store.put('key', bytes('same'));
      await store.delete('key');
      const current = await store.put('key', bytes('same'), { ifVersion: null });
      await expect(store.put('key', bytes('stale'), { ifVersion: stale })).rejects.toMatchObject(
        conflict('key', current),
      );
      expect(await textAt(store, 'key')).toBe('same');
    },
  },
  {
    name: 'a version stays the same until the key is written again',
    async run({ store }) {
      const version = await store.put('key', bytes('value'));
      await store.put('other', bytes('value'));
      await store.get('key');
      await store.list('');
      expect((await store.get('key'))?.version).toBe(version);
    },
  },
  {
    name: 'later writes have versions that sort after earlier ones, across keys',
    needs: ['monotonicVersions'],
    async run({ store }) {
      const versions = await versionsOf(store, (write) => `key-${write % 3}`);
      expect(versions.toSorted()).toEqual(versions);
    },
  },
  {
    name: 'versions go on rising over a delete',
    needs: ['monotonicVersions'],
    async run({ store }) {
      const before = await store.put('key', bytes('before'));
      await store.delete('key');
      const after = await store.put('key', bytes('after'));
      expect([after, before].toSorted()).toEqual([before, after]);
    },
  },
  {
    name: 'the version of a batch sorts between those of the writes around it',
    needs: ['monotonicVersions', 'atomicBatch'],
    async run({ store }) {
      const before = await store.put('before', bytes('1'));
      const batch = await (store as BatchingStore).batch([{ type: 'put', key: 'batch', value: bytes('2') }]);
      const after = await store.put('after', bytes('3'));
      expect([after, batch, before].toSorted()).toEqual([before, batch, after]);
    },
  },
];

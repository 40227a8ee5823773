import { expect } from 'vitest';
import type { Version } from '../../storage/adapter.js';
import { bytes, conflict, keysOf, listAll, putAll, textAt } from './entries.js';
import type { ContractRule } from './rule.js';

const togetherRules: readonly ContractRule[] = [
  {
    name: 'two instances see each other’s writes and deletes as soon as these are acknowledged',
    async run({ store, another }) {
      const other = await another();
      for (const [writer, reader, value] of [
        [store, other, '1'],
        [other, store, '2'],
        [store, other, '3'],
      ] as const) {
        const version = await writer.put('key', bytes(value));
        expect(await textAt(reader, 'key')).toBe(value);
        expect(await listAll(reader, 'key')).toEqual([{ key: 'key', version, sizeBytes: 1 }]);
      }
      await store.delete('key');
      expect(await other.get('key')).toBeUndefined();
      expect(await keysOf(other, '')).toEqual([]);
    },
  },
  {
    name: 'a condition is judged by the newest write of any instance',
    async run({ store, another }) {
      const other = await another();
      const first = await store.put('key', bytes('1'));
      await textAt(other, 'key');
      const second = await other.put('key', bytes('2'), { ifVersion: first });
      await expect(store.put('key', bytes('late'), { ifVersion: first })).rejects.toMatchObject(
        conflict('key', second),
      );
      await expect(store.put('key', bytes('late'), { ifVersion: null })).rejects.toMatchObject(conflict('key', second));
      expect(await store.delete('key', { ifVersion: second })).toBe(true);
      await expect(other.put('key', bytes('late'), { ifVersion: second })).rejects.toMatchObject(
        conflict('key', undefined),
      );
    },
  },
  {
    name: 'writes of two instances never share a version',
    async run({ store, another }) {
      const other = await another();
      const writers = Array.from({ length: 40 }, (_, at) => (at % 2 === 0 ? store : other));
      const versions = await Promise.all(writers.map((writer, at) => writer.put(`key-${at % 3}`, bytes('same'))));
      expect(new Set(versions).size).toBe(writers.length);
    },
  },
  {
    name: 'versions rise across two instances that write in turn',
    needs: ['monotonicVersions'],
    async run({ store, another }) {
      const other = await another();
      const versions: Version[] = [];
      for (let turn = 0; turn < 30; turn++)
        versions.push(await (turn % 2 === 0 ? store : other).put('key', bytes('same')));
      expect(versions.toSorted()).toEqual(versions);
    },
  },
];

const laterRules: readonly ContractRule[] = [
  {
    name: 'an instance opened later sees everything',
    needs: ['reopen'],
    async run({ store, another }) {
      const [version] = await putAll(store, ['a', 'b', 'c']);
      await store.delete('b');
      const later = await another();
      expect(await keysOf(later, '')).toEqual(['a', 'c']);
      expect((await later.get('a'))?.version).toBe(version);
    },
  },
  {
    name: 'closing one instance leaves the other working',
    needs: ['reopen', 'close'],
    async run({ store, another }) {
      const other = await another();
      await putAll(store, ['a']);
      await putAll(other, ['b']);
      await store.close?.();
      await putAll(other, ['c']);
      expect(await keysOf(other, '')).toEqual(['a', 'b', 'c']);
    },
  },
  {
    name: 'after close and a new open every key, value and version is as it was',
    needs: ['reopen', 'durability'],
    async run({ store, another }) {
      await putAll(store, ['a', 'b', 'c']);
      await store.put('a', bytes('replaced'));
      await store.delete('b');
      const before = await listAll(store, '');
      await store.close?.();
      const later = await another();
      expect(await listAll(later, '')).toEqual(before);
      expect(await textAt(later, 'a')).toBe('replaced');
      expect(await later.get('b')).toBeUndefined();
    },
  },
  {
    name: 'after close and a new open conditions hold as before and versions do not come back',
    needs: ['reopen', 'durability'],
    async run({ store, another }) {
      const first = await store.put('key', bytes('1'));
      const second = await store.put('key', bytes('2'));
      const deleted = await store.put('gone', bytes('gone'));
      await store.delete('gone');
      await store.close?.();
      const later = await another();
      await expect(later.put('key', bytes('late'), { ifVersion: first })).rejects.toMatchObject(
        conflict('key', second),
      );
      const third = await later.put('key', bytes('3'), { ifVersion: second });
      const again = await later.put('gone', bytes('gone'), { ifVersion: null });
      expect(new Set([first, second, deleted, third, again]).size).toBe(5);
    },
  },
  {
    name: 'versions go on rising after close and a new open',
    needs: ['reopen', 'durability', 'monotonicVersions'],
    async run({ store, another }) {
      await store.put('other', bytes('1'));
      const before = await store.put('key', bytes('1'));
      await store.delete('key');
      await store.close?.();
      const after = await (await another()).put('key', bytes('2'));
      expect([after, before].toSorted()).toEqual([before, after]);
    },
  },
];

/** Several instances over the same entries, at the same time and one after the other. */
export const sharingRules: readonly ContractRule[] = [...togetherRules, ...laterRules];

import { expect } from 'vitest';
import type { StorageAdapter } from '../../storage/adapter.js';
import { bytes, keysOf, listAll, putAll } from './entries.js';
import type { ContractRule } from './rule.js';

/** In byte order of UTF-8: `-` `.` `/` digits `=` upper case `_` lower case. */
const SORTED = [
  '-',
  '.',
  '/',
  '0',
  '10',
  '9',
  '=',
  'A',
  'Z',
  '_',
  'a',
  'a-',
  'a.b',
  'a/b',
  'a0',
  'a=',
  'aA',
  'a_',
  'aa',
  'b',
];

const LIMITS = [1, 2, 3, SORTED.length - 1, SORTED.length, SORTED.length + 1];

/** Not in order, and not in reverse order either. */
function shuffled(keys: readonly string[]): readonly string[] {
  return keys.map((_, at) => keys[(at * 7) % keys.length] as string);
}

async function pagedKeys(store: StorageAdapter, isReverse: boolean): Promise<readonly (readonly string[])[]> {
  return Promise.all(LIMITS.map((limit) => keysOf(store, '', { limit, reverse: isReverse })));
}

/** Keys in order, a page at a time, as they are now. */
export const listingRules: readonly ContractRule[] = [
  {
    name: 'list is in byte order, whatever the order of the writes',
    async run({ store }) {
      for (const key of shuffled(SORTED)) await store.put(key, bytes(key));
      expect(await keysOf(store, '')).toEqual(SORTED);
    },
  },
  {
    name: 'a reverse list is in descending byte order',
    async run({ store }) {
      for (const key of shuffled(SORTED)) await store.put(key, bytes(key));
      expect(await keysOf(store, '', { reverse: true })).toEqual(SORTED.toReversed());
    },
  },
  {
    name: 'a prefix lists the keys that begin with it, one equal to it included, and no others',
    async run({ store }) {
      await putAll(store, ['ru', 'run', 'run/1', 'run/2', 'runs', 'rum', 'rv', 'Run', 'a/run']);
      expect(await keysOf(store, 'run')).toEqual(['run', 'run/1', 'run/2', 'runs']);
      expect(await keysOf(store, 'run', { reverse: true })).toEqual(['runs', 'run/2', 'run/1', 'run']);
      expect(await keysOf(store, 'run/')).toEqual(['run/1', 'run/2']);
    },
  },
  {
    name: 'a prefix is not a pattern: `_`, `.` and upper case match themselves only',
    async run({ store }) {
      await putAll(store, ['a.1', 'a_1', 'ab1', 'A_1', 'ax1']);
      expect(await keysOf(store, 'a_')).toEqual(['a_1']);
      expect(await keysOf(store, 'a.')).toEqual(['a.1']);
      expect(await keysOf(store, 'A')).toEqual(['A_1']);
    },
  },
  {
    name: 'a prefix that no key has lists nothing and has no next page',
    async run({ store }) {
      await putAll(store, ['a', 'c']);
      expect(await store.list('b')).toEqual({ entries: [] });
      expect(await store.list('b', { reverse: true })).toEqual({ entries: [] });
    },
  },
  {
    name: 'an empty store lists nothing and has no next page',
    async run({ store }) {
      expect(await store.list('')).toEqual({ entries: [] });
    },
  },
  {
    name: 'paging forward visits each key once, in order, whatever the limit',
    async run({ store }) {
      await putAll(store, SORTED);
      expect(await pagedKeys(store, false)).toEqual(LIMITS.map(() => SORTED));
    },
  },
  {
    name: 'paging backward visits each key once, in order, whatever the limit',
    async run({ store }) {
      await putAll(store, SORTED);
      expect(await pagedKeys(store, true)).toEqual(LIMITS.map(() => SORTED.toReversed()));
    },
  },
  {
    name: 'paging stays within the prefix, in both directions',
    async run({ store }) {
      await putAll(store, ['a', 'b/1', 'b/2', 'b/3', 'c']);
      expect(await keysOf(store, 'b/', { limit: 1 })).toEqual(['b/1', 'b/2', 'b/3']);
      expect(await keysOf(store, 'b/', { limit: 1, reverse: true })).toEqual(['b/3', 'b/2', 'b/1']);
    },
  },
  {
    name: 'a page has as many entries as asked for, not more, and says when more follow',
    async run({ store }) {
      await putAll(store, ['a', 'b', 'c']);
      const page = await store.list('', { limit: 2 });
      expect(page.entries.map(({ key }) => key)).toEqual(['a', 'b']);
      expect(page.next).toBeDefined();
    },
  },
  {
    name: 'the last page has no next',
    async run({ store }) {
      await putAll(store, ['a', 'b', 'c']);
      expect((await store.list('', { limit: 4 })).next).toBeUndefined();
      expect((await store.list('', { after: 'b', limit: 2 })).next).toBeUndefined();
      expect((await store.list('', { after: 'b', limit: 2, reverse: true })).next).toBeUndefined();
    },
  },
  {
    name: 'without a limit a page has at most 1,000 entries and the rest follows',
    async run({ store }) {
      const keys = Array.from({ length: 1_005 }, (_, at) => `key-${String(at).padStart(4, '0')}`);
      await putAll(store, keys);
      expect((await store.list('')).entries.length).toBeLessThanOrEqual(1_000);
      expect(await keysOf(store, '')).toEqual(keys);
    },
  },
  {
    name: 'after starts behind a key, and the key need not exist',
    async run({ store }) {
      await putAll(store, ['k1', 'k2', 'k4']);
      expect(await keysOf(store, 'k', { after: 'k2' })).toEqual(['k4']);
      expect(await keysOf(store, 'k', { after: 'k3' })).toEqual(['k4']);
      expect(await keysOf(store, 'k', { after: 'k2', reverse: true })).toEqual(['k1']);
      expect(await keysOf(store, 'k', { after: 'k3', reverse: true })).toEqual(['k2', 'k1']);
    },
  },
  {
    name: 'after may lie outside the prefix',
    async run({ store }) {
      await putAll(store, ['a', 'k1', 'k2', 'z']);
      expect(await keysOf(store, 'k', { after: 'a' })).toEqual(['k1', 'k2']);
      expect(await keysOf(store, 'k', { after: 'z' })).toEqual([]);
      expect(await keysOf(store, 'k', { after: 'z', reverse: true })).toEqual(['k2', 'k1']);
      expect(await keysOf(store, 'k', { after: 'a', reverse: true })).toEqual([]);
    },
  },
  {
    name: 'a key deleted between two pages makes the listing skip no other',
    async run({ store }) {
      await putAll(store, ['a', 'b', 'c', 'd']);
      const { next = '' } = await store.list('', { limit: 2 });
      await store.delete('b');
      expect(await keysOf(store, '', { after: next })).toEqual(['c', 'd']);
    },
  },
  {
    name: 'version and sizeBytes are those that get shows',
    async run({ store }) {
      await store.put('one', bytes('1'));
      await store.put('three', bytes('333'));
      await store.put('one', bytes('eleven'));
      const [one, three] = await Promise.all([store.get('one'), store.get('three')]);
      expect(await listAll(store, '')).toEqual([
        { key: 'one', version: one?.version, sizeBytes: 6 },
        { key: 'three', version: three?.version, sizeBytes: 3 },
      ]);
    },
  },
  {
    name: 'list shows a write as soon as it is acknowledged',
    async run({ store }) {
      const first = await store.put('key', bytes('1'));
      expect(await listAll(store, '')).toEqual([{ key: 'key', version: first, sizeBytes: 1 }]);
      const second = await store.put('key', bytes('22'));
      expect(await listAll(store, '')).toEqual([{ key: 'key', version: second, sizeBytes: 2 }]);
    },
  },
  {
    name: 'list does not show a deleted key',
    async run({ store }) {
      await putAll(store, ['a', 'b', 'c']);
      await store.delete('b');
      expect(await keysOf(store, '')).toEqual(['a', 'c']);
    },
  },
];

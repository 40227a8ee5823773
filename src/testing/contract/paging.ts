import { expect } from 'vitest';
import { systemClock } from '../../base/clock.js';
import type { BatchOperation, ListOptions, StorageAdapter } from '../../storage/adapter.js';
import { type SeededRandom, seededRandom } from '../seeded-random.js';
import { bytes, keysOf, putAll } from './entries.js';
import type { ContractRule } from './rule.js';

/** Neighbours in every way: one the beginning of another, every mark beside every other, folded and plain. Shuffled below. */
const NEIGHBOURS = ['a', 'a-', 'a-/', 'a.', 'a./', 'a/', 'a//', 'a//b', 'a/b', 'a/b/c', 'a0', 'a=', 'aA', 'a_', 'a__'];
const CROWD = [
  ...NEIGHBOURS,
  ...NEIGHBOURS.map((key) => `${key}b`),
  ...NEIGHBOURS.map((key) => key.toUpperCase()),
  ...NEIGHBOURS.map((key) => `_${key}`),
  ...['-', '.', '/', '//', '9', '10', '=', '_', 'b', 'z', 'Z', '/a', '-a', '=a', '.a'],
].filter((key, at, keys) => keys.indexOf(key) === at);

const PREFIXES = ['', 'a', 'a/', 'a//', 'a_', 'a-', '_', 'A', '/', 'zz'];
/** Some are keys, some lie between keys, before all of a prefix, behind all of it, or are the prefix. */
const AFTERS = [undefined, 'a', 'a-/', 'a/a', 'a//', 'a^', 'a_', 'B', '', '~', ' ', 'zzz', 'A/'];
const LIMITS = [undefined, 1, 4];

/** Keys of a listing as sorting and filtering of all keys gives them. Keys are ASCII: string order is byte order. */
function expectedKeys(keys: readonly string[], prefix: string, options: ListOptions): readonly string[] {
  const { after, reverse = false } = options;
  const inOrder = keys.filter((key) => key.startsWith(prefix)).sort((one, other) => (one < other ? -1 : 1));
  if (reverse) inOrder.reverse();
  return inOrder.filter((key) => after === undefined || (reverse ? key < after : key > after));
}

/** Every combination of where a listing may begin and which way it goes. */
const LISTINGS = PREFIXES.flatMap((prefix) =>
  AFTERS.flatMap((after) =>
    LIMITS.flatMap((limit) =>
      [false, true].map((reverse) => ({
        prefix,
        options: { reverse, ...(after === undefined ? {} : { after }), ...(limit === undefined ? {} : { limit }) },
      })),
    ),
  ),
);

function shuffled(keys: readonly string[], random: SeededRandom): readonly string[] {
  return keys
    .map((key) => ({ key, place: random() }))
    .sort((one, other) => one.place - other.place)
    .map(({ key }) => key);
}

const STANDING = Array.from({ length: 40 }, (_, at) => `key/${String(at * 2).padStart(3, '0')}`);

/** Puts and deletes keys between those that stand, in front of them and behind them. */
async function disturb(store: StorageAdapter, random: SeededRandom): Promise<void> {
  const keys = Array.from({ length: 4 }, () => `key/${String(random.integer(45) * 2 + 1).padStart(3, '0')}`);
  await Promise.all(keys.map((key) => (random.chance(0.5) ? store.put(key, bytes('passing')) : store.delete(key))));
}

/** Pages of so many entries through all keys, with keys that come and go between two pages. */
async function disturbedPages(store: StorageAdapter, options: ListOptions, random: SeededRandom) {
  const keys: string[] = [];
  let after: string | undefined;
  for (let page = 0; page <= 100; page++) {
    const listed = await store.list('key/', after === undefined ? options : { ...options, after });
    keys.push(...listed.entries.map(({ key }) => key));
    if (listed.next === undefined) return keys;
    after = listed.next;
    await disturb(store, random);
  }
  throw new Error('The listing did not end within 100 pages.');
}

/** A rule about paging in one direction while keys come and go. */
function disturbedRule(direction: 'forward' | 'backward'): ContractRule {
  const reverse = direction === 'backward';
  return {
    name: `paging ${direction} while keys come and go shows each key that stands throughout once, in order`,
    async run({ store }) {
      const random = seededRandom(`paging ${direction}`);
      await putAll(store, STANDING);
      for (const limit of [1, 2, 3, 7, STANDING.length - 1, STANDING.length, STANDING.length + 1]) {
        const seen = await disturbedPages(store, { limit, reverse }, random);
        expect(seen, `limit ${limit}`).toEqual(expectedKeys(seen, 'key/', { reverse }));
        expect(new Set(seen).size, `limit ${limit}`).toBe(seen.length);
        const standing = seen.filter((key) => STANDING.includes(key));
        expect(standing, `limit ${limit}`).toEqual(reverse ? STANDING.toReversed() : STANDING);
      }
    },
  };
}

const MANY = 10_000;
const FEWEST = 2_000;
/** On a slow store there are fewer keys: no more are begun after so long. */
const FILLS_FOR_MS = 3_000;
const AT_ONCE = 500;

/** Up to 10,000 keys in order, written at once or by batches. */
async function fill(store: StorageAdapter): Promise<readonly string[]> {
  const keys: string[] = [];
  const startedAtMs = systemClock.monotonicMs();
  const isTime = () => systemClock.monotonicMs() - startedAtMs < FILLS_FOR_MS;
  while (keys.length < MANY && (keys.length < FEWEST || isTime())) {
    const more = Array.from({ length: AT_ONCE }, (_, at) => `many/${String(keys.length + at).padStart(5, '0')}`);
    const puts = more.map((key): BatchOperation => ({ type: 'put', key, value: bytes(key) }));
    await (store.batch ? store.batch(puts) : putAll(store, more));
    keys.push(...more);
  }
  return keys;
}

/** Listings over keys that are awkward, that change, or that are many. */
export const pagingRules: readonly ContractRule[] = [
  {
    name: 'whatever the prefix, after, limit and direction, list gives what sorting all keys by bytes gives',
    async run({ store }) {
      await putAll(store, shuffled(CROWD, seededRandom('a crowd of keys')));
      for (const { prefix, options } of LISTINGS) {
        const where = `list(${JSON.stringify(prefix)}, ${JSON.stringify(options)})`;
        const { entries, next } = await store.list(prefix, options);
        const expected = expectedKeys(CROWD, prefix, options);
        const page = expected.slice(0, options.limit);
        expect([where, ...entries.map(({ key }) => key)]).toEqual([where, ...page]);
        expect([where, next !== undefined]).toEqual([where, expected.length > page.length]);
      }
    },
  },
  disturbedRule('forward'),
  disturbedRule('backward'),
  {
    name: '10,000 keys are listed whole and in order, by pages, backward, by prefix and from the middle',
    async run({ store }) {
      const keys = await fill(store);
      await putAll(store, ['many', 'many0', 'manx/00000']);
      const middle = keys[keys.length / 2 - 1] as string;
      const prefix = middle.slice(0, -2);
      expect(await keysOf(store, 'many/')).toEqual(keys);
      expect(await keysOf(store, 'many/', { limit: 10_000, reverse: true })).toEqual(keys.toReversed());
      expect(await keysOf(store, prefix)).toEqual(keys.filter((key) => key.startsWith(prefix)));
      expect(await keysOf(store, 'many/', { after: middle })).toEqual(keys.slice(keys.length / 2));
    },
  },
];

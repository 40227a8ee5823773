import { describe, expect, test } from 'vitest';
import { ConflictError, type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { interruptionRules } from '../../src/testing/contract/interruptions.js';
import { watchRules } from '../../src/testing/contract/watch.js';
import type { StorageFactory } from '../../src/testing/storage-contract.js';
import { altered, damagedUnderTest, tryNamed, turn, watchedUnderTest, wiredUnderTest } from './broken-stores.js';

/** How long a broken store is waited for here, instead of half a minute. */
const SOON_MS = 300;
const impatientRules = [...watchRules(SOON_MS), ...interruptionRules(SOON_MS)];

/** What is wrong with a store, the rule that finds it, and that store. */
type Bite = readonly [fault: string, rule: string, factory: StorageFactory];

async function expectBroken(rule: string, factory: StorageFactory): Promise<void> {
  await expect(tryNamed(rule, factory, impatientRules)).rejects.not.toThrow(/was not tried/);
}

/** A store whose pages are numbered instead of continued behind a key. */
function countedPages(): StorageAdapter {
  return altered((honest) => ({
    async list(prefix, { after, limit = 1_000, reverse = false } = {}) {
      const all = (await honest.list(prefix, { reverse })).entries;
      const from = Number(after?.slice('row-'.length) ?? 0);
      const entries = all.slice(from, from + limit);
      return from + limit < all.length ? { entries, next: `row-${from + limit}` } : { entries };
    },
  }));
}

const injections: readonly Bite[] = [
  [
    'takes the key "null" for no key',
    'a key that would mean something in a query, a pattern or a path is a key like any other, or refused',
    () => altered((honest) => ({ get: async (key) => (key === 'null' ? undefined : honest.get(key)) })),
  ],
  [
    'reads a prefix as SQL reads LIKE',
    'a prefix that would mean something in a query or a pattern matches its own characters only, or is refused',
    () =>
      altered((honest) => ({
        async list(prefix, options) {
          const pattern = new RegExp(`^${prefix.replaceAll('.', '\\.').replaceAll('_', '.')}`);
          const { entries } = await honest.list('', options);
          return { entries: entries.filter(({ key }) => pattern.test(key)) };
        },
      })),
  ],
  [
    'cannot send a NUL',
    'after may be any string, whatever it would mean in a query, a protocol or an encoding',
    () =>
      altered((honest) => ({
        async list(prefix, options) {
          if (options?.after?.includes('\0')) throw new Error('invalid byte sequence for encoding "UTF8": 0x00');
          return honest.list(prefix, options);
        },
      })),
  ],
  [
    'takes versions for numbers',
    'ifVersion may be any string: what no write got conflicts, whatever it would mean in a query',
    () =>
      altered((honest) => ({
        async delete(key, options) {
          if (Number.isNaN(Number(options?.ifVersion))) throw new Error('invalid input syntax for type bigint');
          return honest.delete(key, options);
        },
      })),
  ],
  [
    'takes the versions in a batch for numbers',
    'the conditions of a batch may be any string, whatever it would mean in a query',
    () =>
      altered((honest) => ({
        async batch(operations) {
          const isNumeric = ({ ifVersion = '0' }: { ifVersion?: unknown }) => !Number.isNaN(Number(ifVersion));
          if (!operations.every(isNumeric)) throw new Error('invalid input syntax for type bigint');
          return honest.batch?.(operations) ?? 'none';
        },
      })),
  ],
];

const listings: readonly Bite[] = [
  [
    'says that more follows behind a page that is full',
    'whatever the prefix, after, limit and direction, list gives what sorting all keys by bytes gives',
    () =>
      altered((honest) => ({
        async list(prefix, options) {
          const page = await honest.list(prefix, options);
          const last = page.entries.at(-1);
          return last && page.entries.length === options?.limit ? { ...page, next: last.key } : page;
        },
      })),
  ],
  [
    'sorts in the order of a language',
    'whatever the prefix, after, limit and direction, list gives what sorting all keys by bytes gives',
    () =>
      altered((honest) => ({
        async list(prefix, { after, limit = 1_000, reverse = false } = {}) {
          const sorted = [...(await honest.list(prefix)).entries].sort((a, b) => a.key.localeCompare(b.key));
          const ordered = reverse ? sorted.reverse() : sorted;
          const rest = ordered.filter(({ key }) => !after || (reverse ? key < after : key > after));
          const entries = rest.slice(0, limit);
          return rest.length > limit ? { entries, next: entries.at(-1)?.key ?? '' } : { entries };
        },
      })),
  ],
  [
    'turns pages by counting',
    'paging forward while keys come and go shows each key that stands throughout once, in order',
    countedPages,
  ],
  [
    'turns pages by counting, backward too',
    'paging backward while keys come and go shows each key that stands throughout once, in order',
    countedPages,
  ],
  [
    'ends a listing after 1,500 keys',
    '10,000 keys are listed whole and in order, by pages, backward, by prefix and from the middle',
    () => {
      let shown = 0;
      return altered((honest) => ({
        async list(prefix, options) {
          if (options?.after === undefined) shown = 0;
          const page = await honest.list(prefix, options);
          shown += page.entries.length;
          return shown > 1_500 ? { entries: page.entries } : page;
        },
      }));
    },
  ],
];

const sizes: readonly Bite[] = [
  [
    'cuts a value at 4 MiB',
    'a value of 8 MiB, or the largest the store takes, is kept, replaced and removed',
    () =>
      altered((honest) => ({ put: (key, value, options) => honest.put(key, value.subarray(0, 4_194_304), options) })),
  ],
  [
    'lets writers share a buffer',
    '300 values of 64 KiB written at once are each kept, under their own key',
    () => {
      const buffer = new Uint8Array(64 * 1024);
      return altered((honest) => ({
        async put(key, value, options) {
          buffer.set(value);
          await turn();
          return honest.put(key, buffer.subarray(0, value.byteLength), options);
        },
      }));
    },
  ],
];

const aborts: readonly Bite[] = [
  [
    'writes and then says that it was aborted',
    'of 1,000 writes aborted at random moments each happened and resolved, or rejected with the reason and did not',
    () =>
      altered((honest) => ({
        async put(key, value, options) {
          const version = await honest.put(key, value, { ifVersion: null });
          await turn();
          options?.signal?.throwIfAborted();
          return version;
        },
      })),
  ],
  [
    'says that it deleted what it was told to leave',
    'of 1,000 writes aborted at random moments each happened and resolved, or rejected with the reason and did not',
    () =>
      altered((honest) => ({
        async delete(key, options) {
          await turn();
          return options?.signal?.aborted ? true : honest.delete(key);
        },
      })),
  ],
  [
    'shows an empty store to whom gave up',
    'reads aborted at random moments show what is there or reject with the reason, and writes go on behind them',
    () =>
      altered((honest) => ({
        async list(prefix, options) {
          await turn();
          return options?.signal?.aborted ? { entries: [] } : honest.list(prefix);
        },
      })),
  ],
];

const hints: readonly Bite[] = [
  [
    'hints at creations only',
    'watch hints at a key that another instance created or replaced',
    () => {
      const known = new Set<string>();
      return watchedUnderTest((parts) => ({
        hintedAt: (operations) => parts.hintedAt(operations).filter((key) => !known.has(key) && known.add(key)),
      }));
    },
  ],
  [
    'hints at puts only',
    'watch hints at a key that another instance deleted',
    () => watchedUnderTest(() => ({ hintedAt: (all) => all.flatMap(({ type, key }) => (type === 'put' ? key : [])) })),
  ],
  [
    'hints at the first key of a batch only',
    'watch hints at each key that a batch of another instance put or deleted',
    () => watchedUnderTest((parts) => ({ hintedAt: (operations) => parts.hintedAt(operations).slice(0, 1) })),
  ],
  [
    'reads the prefix it watches as a pattern',
    'watch does not hint at keys outside its prefix, which is no pattern',
    () =>
      watchedUnderTest(() => ({
        isUnder: (key, prefix) => new RegExp(`^${prefix.replaceAll('_', '.')}`).test(key),
      })),
  ],
  [
    'hints on after stop',
    'after stop has resolved a listener hears nothing, and others go on hearing',
    () => watchedUnderTest(() => ({ stop: () => {} })),
  ],
  [
    'stops all listeners when one is stopped',
    'after stop has resolved a listener hears nothing, and others go on hearing',
    () => watchedUnderTest(({ watchers }) => ({ stop: () => watchers.clear() })),
  ],
  [
    'fails a write because its listener failed',
    'a listener that throws harms neither the writes nor the other listeners',
    () => watchedUnderTest(() => ({ tell: (watcher, key) => watcher.onChange(key) })),
  ],
  [
    'hints on after close',
    'an instance that is closed hints at nothing any more',
    () => watchedUnderTest(() => ({ closeOf: () => {} })),
  ],
];

const REFUSED = 'a damaged value is refused by get, and the values of other keys are as they were';
const NOT_ABSENT = 'a damaged key is not absent: list shows it, is suspect or refuses, and nothing creates it anew';

const damage: readonly Bite[] = [
  ['serves damaged bytes', REFUSED, () => damagedUnderTest((honest) => ({ get: honest.get }))],
  [
    'takes what it cannot read for absent',
    REFUSED,
    () =>
      damagedUnderTest((honest, damaged) => ({
        get: async (key) => (damaged.has(key) ? undefined : honest.get(key)),
      })),
  ],
  [
    'refuses everything once something is damaged',
    REFUSED,
    () =>
      damagedUnderTest((honest, damaged) => ({
        async get(key) {
          if (damaged.size > 0) throw new StorageError('Something is damaged.');
          return honest.get(key);
        },
      })),
  ],
  [
    'leaves damaged keys out of its lists',
    NOT_ABSENT,
    () =>
      damagedUnderTest((honest, damaged) => ({
        async list(prefix, options) {
          const page = await honest.list(prefix, options);
          return { ...page, entries: page.entries.filter(({ key }) => !damaged.has(key)) };
        },
      })),
  ],
  [
    'creates a damaged key anew',
    NOT_ABSENT,
    () =>
      damagedUnderTest((honest, damaged) => ({
        put: (key, value, options) => honest.put(key, value, damaged.has(key) ? undefined : options),
      })),
  ],
];

const THROUGH = 'through 200 interruptions each write settles in time and happened exactly as its writer was told';
const READ = 'an interrupted read is an error: never a missing key, never a part of a listing';

const interruptions: readonly Bite[] = [
  [
    'says that nothing happened when it cannot know',
    THROUGH,
    () => wiredUnderTest({ lostAnswer: () => Promise.reject(new StorageError('The connection was lost.')) }),
  ],
  [
    'repeats a write and takes its own first try for a conflict',
    THROUGH,
    () => wiredUnderTest({ lostAnswer: (_key, again) => again() }),
  ],
  ['acknowledges what it never sent', THROUGH, () => wiredUnderTest({ lostRequest: async () => 'a version' })],
  [
    'repeats a write without its condition',
    THROUGH,
    () =>
      wiredUnderTest({
        async lostAnswer(_key, again) {
          for (let turns = 0; turns < 5; turns++) await turn();
          return again(true);
        },
      }),
  ],
  ['does one half of a batch', THROUGH, () => wiredUnderTest({ batch: halfOf() })],
  ['never answers', THROUGH, () => wiredUnderTest({ lostAnswer: () => new Promise(() => {}) })],
  [
    'has to be opened anew',
    THROUGH,
    () => {
      let isBroken = false;
      return wiredUnderTest({
        isCutSince(moment) {
          isBroken ||= moment < 1_000 && moment > 0;
          return isBroken;
        },
      });
    },
  ],
  [
    'answers with an error that no store has',
    THROUGH,
    () =>
      wiredUnderTest({
        lostRequest: (key) =>
          Promise.reject(Object.assign(new ConflictError(key, undefined), { code: 'HOLDFAST_LIMIT' })),
      }),
  ],
  ['takes a lost answer for an absent key', READ, () => wiredUnderTest({ lostRead: async () => undefined })],
  [
    'shows the part of a listing that it has',
    READ,
    () =>
      wiredUnderTest({
        lostRead: (what) => (what === 'list' ? { entries: [] } : Promise.reject(new StorageError('lost'))),
      }),
  ],
];

/** Now and then a batch whose second half is forgotten. */
function halfOf() {
  let batches = 0;
  return async (far: StorageAdapter, operations: Parameters<NonNullable<StorageAdapter['batch']>>[0]) =>
    far.batch?.(++batches % 20 === 0 ? operations.slice(0, 1) : operations);
}

describe('the contract is broken by a store that', () => {
  test.each([...injections, ...listings, ...sizes, ...aborts, ...hints, ...damage, ...interruptions])(
    '%s',
    (_fault, rule, factory) => expectBroken(rule, factory),
  );
});

import { describe, expect, test } from 'vitest';
import { type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import type { RuledStore } from '../../src/testing/contract/rule.js';
import {
  type StorageFactory,
  type StorageUnderTest,
  storageContract,
  storageContractRules,
  tryRule,
} from '../../src/testing/storage-contract.js';
import { altered, damagedUnderTest, tryNamed, turn, watchedUnderTest, wiredUnderTest } from './broken-stores.js';
import { oneByOneBatchStore, type PlainParts, plainStore } from './plain-store.js';

/** A plain store with some parts replaced. */
const broken = (change: (parts: PlainParts) => Partial<PlainParts>) => () => plainStore(change);

/** A store whose instances see only what was written before they were opened. */
function forgetfulUnderTest() {
  return { open: () => memoryStorage() };
}

/** Instances that share a store, but answer reads from their own memory of it. */
function cachingUnderTest() {
  const shared = memoryStorage();
  return {
    open(): StorageAdapter {
      const cache = new Map<string, ReturnType<StorageAdapter['get']>>();
      const get: StorageAdapter['get'] = (key) => {
        const known = cache.get(key) ?? shared.get(key);
        cache.set(key, known);
        return known;
      };
      const put: StorageAdapter['put'] = (key, value, options) => {
        cache.delete(key);
        return shared.put(key, value, options);
      };
      const { close, ...withoutClose } = shared;
      return { ...withoutClose, get, put };
    },
    destroy: async () => shared.close?.(),
  };
}

const HOOKS = ['processes', 'damage', 'interrupt'] as const;

// What hosts have to write is the four methods: these must do, with and without the rest.
storageContract('four methods over a Map', () => plainStore(), {
  lacks: ['atomicBatch', 'monotonicVersions', 'watch', 'durability', 'reopen', 'close', ...HOOKS],
});
storageContract('memory, watched', () => watchedUnderTest(), { lacks: ['durability', ...HOOKS] });
storageContract('memory, at the end of a wire', () => wiredUnderTest(), {
  lacks: ['watch', 'durability', 'close', 'processes', 'damage'],
});
storageContract('memory, damaged', () => damagedUnderTest(), {
  lacks: ['watch', 'durability', 'reopen', 'processes', 'interrupt'],
});
storageContract(
  'memory, through instances',
  () => {
    const shared = memoryStorage();
    const { close, ...withoutClose } = shared;
    return { open: () => withoutClose, destroy: async () => shared.close?.() };
  },
  { lacks: ['watch', 'durability', 'close', ...HOOKS] },
);

describe('the contract is broken by a store that', () => {
  test.each<[fault: string, rule: string, factory: StorageFactory]>([
    [
      'ignores ifVersion null',
      'put with ifVersion null over a present key conflicts and writes nothing',
      broken((parts) => ({ requireVersion: (key, ifVersion) => parts.requireVersion(key, ifVersion ?? undefined) })),
    ],
    [
      'takes a version on an absent key for "create it"',
      'put with a version on an absent key conflicts and creates nothing',
      broken((parts) => ({
        requireVersion: (key, ifVersion) => void (parts.entries.has(key) && parts.requireVersion(key, ifVersion)),
      })),
    ],
    [
      'compares versions as numbers',
      'a version is compared as a whole string, not as a number or a beginning',
      broken((parts) => {
        let writes = 0;
        return {
          nextVersion: () => String(++writes),
          requireVersion: (key, ifVersion) =>
            parts.requireVersion(key, typeof ifVersion === 'string' ? String(Number.parseFloat(ifVersion)) : ifVersion),
        };
      }),
    ],
    [
      'conflicts without saying the current version',
      'the version a conflict carries serves for the next attempt',
      () =>
        altered((honest) => ({
          put: (...call) => honest.put(...call).catch((cause) => Promise.reject(new StorageError('busy', { cause }))),
        })),
    ],
    [
      'writes before it checks',
      'put with an old version conflicts and writes nothing',
      () =>
        altered((honest) => ({
          async put(key, value, options) {
            const version = await honest.put(key, value);
            return options?.ifVersion ? honest.put(key, value, options) : version;
          },
        })),
    ],
    [
      'makes versions of contents',
      'a put of the same bytes still gets a version of its own',
      broken(() => ({ nextVersion: (_key, value) => `hash-${Buffer.from(value).toString('hex')}` })),
    ],
    [
      'begins to count again after a delete',
      'a version from before a delete does not match the key created after it',
      broken(({ entries }) => ({
        nextVersion: (key) => `${key}-${Number(entries.get(key)?.version.split('-').at(-1) ?? 0) + 1}`,
      })),
    ],
    [
      'counts versions per key',
      'writes to different keys never share a version',
      broken(({ entries }) => ({ nextVersion: (key) => String(Number(entries.get(key)?.version ?? 0) + 1) })),
    ],
    [
      'writes rising versions without padding',
      'later writes have versions that sort after earlier ones, across keys',
      () => ({ ...plainStore(), capabilities: { ...plainStore().capabilities, monotonicVersions: true } }),
    ],
    [
      'keeps the caller’s buffer',
      'put takes the bytes before it returns its promise',
      broken(() => ({ copyIn: (value) => value })),
    ],
    [
      'copies the bytes too late',
      'put takes the bytes before it returns its promise',
      () => altered((honest) => ({ put: async (...call) => turn().then(() => honest.put(...call)) })),
    ],
    [
      'hands out its own bytes',
      'what get returned may be changed without changing what is stored',
      broken(() => ({ copyOut: (value) => value })),
    ],
    [
      'stores the memory behind a view',
      'a Buffer that is a view of a larger one is stored without its neighbours',
      broken(() => ({ copyIn: ({ buffer }) => new Uint8Array(buffer) })),
    ],
    [
      'keeps values as text',
      'all 256 byte values are kept',
      broken(() => ({ copyIn: (value) => Buffer.from(Buffer.from(value).toString('utf8')) })),
    ],
    [
      'takes an empty value for none',
      'an empty value is kept, and is not an absent key',
      () =>
        altered((honest) => ({
          get: async (key) => honest.get(key).then((entry) => (entry?.value.length ? entry : undefined)),
        })),
    ],
    [
      'lists in order of arrival',
      'list is in byte order, whatever the order of the writes',
      broken(({ entries }) => ({ keysOf: (prefix) => [...entries.keys()].filter((key) => key.startsWith(prefix)) })),
    ],
    [
      'lists in the order of a language',
      'list is in byte order, whatever the order of the writes',
      broken((parts) => ({ keysOf: (prefix) => parts.keysOf(prefix).sort((a, b) => a.localeCompare(b)) })),
    ],
    [
      'reads a prefix as a pattern',
      'a prefix is not a pattern: `_`, `.` and upper case match themselves only',
      broken((parts) => ({
        keysOf: (prefix) => parts.keysOf('').filter((key) => new RegExp(`^${prefix.replaceAll('_', '.')}`).test(key)),
      })),
    ],
    [
      'misses the last page',
      'paging forward visits each key once, in order, whatever the limit',
      () =>
        altered((honest) => ({
          async list(prefix, options) {
            const page = await honest.list(prefix, options);
            const more = page.next && (await honest.list(prefix, { ...options, after: page.next })).next;
            return more ? page : { entries: page.entries };
          },
        })),
    ],
    [
      'shows the key of after again',
      'after starts behind a key, and the key need not exist',
      () =>
        altered((honest) => ({
          async list(prefix, options) {
            const all = (await honest.list(prefix)).entries;
            return { entries: all.filter(({ key }) => options?.after === undefined || key >= options.after) };
          },
        })),
    ],
    [
      'turns pages by counting',
      'a key deleted between two pages makes the listing skip no other',
      () =>
        altered((honest) => ({
          async list(prefix, { after, limit = 1_000 } = {}) {
            const all = (await honest.list(prefix)).entries;
            const from = Number(after?.slice('row-'.length) ?? 0);
            const entries = all.slice(from, from + limit);
            return from + limit < all.length ? { entries, next: `row-${from + limit}` } : { entries };
          },
        })),
    ],
    [
      'turns pages in a circle',
      'paging forward visits each key once, in order, whatever the limit',
      () => altered((honest) => ({ list: async (prefix) => ({ ...(await honest.list(prefix)), next: '' }) })),
    ],
    [
      'lists late',
      'list shows a write as soon as it is acknowledged',
      () =>
        altered((honest) => {
          let shown = honest.list('');
          const list: StorageAdapter['list'] = (prefix, options) => {
            const late = shown;
            shown = honest.list(prefix, options);
            return late;
          };
          return { list };
        }),
    ],
    [
      'deletes whatever the version',
      'delete with an old version conflicts and removes nothing',
      () => altered((honest) => ({ delete: (key) => honest.delete(key) })),
    ],
    [
      'says of every delete that the key was there',
      'delete removes the key and says whether it was there',
      () => altered((honest) => ({ delete: async (...call) => (await honest.delete(...call)) || true })),
    ],
    [
      'does a batch one by one',
      'a batch with a failing condition, of any kind in any position, does nothing',
      oneByOneBatchStore,
    ],
    [
      'forgets the checks of a batch',
      'a check fails once the key was written, deleted or created',
      () =>
        altered((honest) => ({
          batch: async (operations) => honest.batch?.(operations.filter(({ type }) => type !== 'check')) ?? 'none',
        })),
    ],
    [
      'checks, waits and then writes',
      'of many that replace one version at once, exactly one wins and the others conflict',
      () =>
        altered((honest) => ({
          async put(key, value, options) {
            const current = (await honest.get(key))?.version;
            if (options?.ifVersion === undefined || options.ifVersion !== current)
              return honest.put(key, value, options);
            await turn();
            return honest.put(key, value);
          },
        })),
    ],
    [
      'checks, waits and then creates',
      'of many that create one key at once, exactly one wins and the others conflict',
      () =>
        altered((honest) => ({
          async put(key, value, options) {
            if (options?.ifVersion !== null || (await honest.get(key))) return honest.put(key, value, options);
            await turn();
            return honest.put(key, value);
          },
        })),
    ],
    [
      'loses updates',
      'increments by compare-and-swap from two instances lose nothing',
      () => altered((honest) => ({ put: (key, value) => honest.put(key, value) })),
    ],
    ['keeps each instance to itself', 'an instance opened later sees everything', forgetfulUnderTest],
    [
      'reads from a cache of its own',
      'two instances see each other’s writes and deletes as soon as these are acknowledged',
      cachingUnderTest,
    ],
    [
      'writes although the caller has given up, and says so',
      'a put aborted under way either writes and returns its version, or rejects with the reason and writes nothing',
      () =>
        altered((honest) => ({
          async put(key, value, options) {
            const version = await honest.put(key, value);
            options?.signal?.throwIfAborted();
            return version;
          },
        })),
    ],
    [
      'works on after close',
      'after close every method rejects with ClosedError',
      () => altered(() => ({ close: async () => undefined })),
    ],
    [
      'cannot be closed twice',
      'close may be called twice, also at the same time',
      () => {
        let isClosed = false;
        const close = async () => {
          if (isClosed) throw new StorageError('closed already');
          isClosed = true;
        };
        return altered(() => ({ close }));
      },
    ],
    [
      'claims a batch it does not have',
      'capabilities are complete and the optional methods are there as they say',
      () => ({ ...plainStore(), capabilities: { ...plainStore().capabilities, atomicBatch: true } }),
    ],
  ])('%s', async (_fault, rule, factory) => {
    await expect(tryNamed(rule, factory)).rejects.toThrow();
  });
});

describe('trying a rule', () => {
  test('closes every instance and destroys the store, also when the rule fails', async () => {
    const calls: string[] = [];
    const open = () => altered((honest) => ({ put: honest.get as never, close: async () => void calls.push('close') }));
    const factory = () => ({ open, destroy: async () => void calls.push('destroy') });
    await expect(tryNamed('an instance opened later sees everything', factory)).rejects.toThrow();
    expect(calls).toEqual(['close', 'destroy']);
  });

  test('says which need the store does not meet, and does not try the rule', async () => {
    const rule = { name: 'never tried', needs: ['reopen'] as const, run: () => Promise.reject(new Error('tried')) };
    await expect(tryRule(rule, memoryStorage)).resolves.toBe('reopen');
  });

  test.each(['processes', 'damage', 'interrupt'] as const)(
    'without the hook a rule that needs %s is not tried',
    async (need) => {
      const rule = { name: 'never tried', needs: [need], run: () => Promise.reject(new Error('tried')) };
      await expect(tryRule(rule, () => ({ open: memoryStorage }))).resolves.toBe(need);
    },
  );

  test('hooks and processes reach the rule; a process that cannot start fails it, and the others are ended', async () => {
    const calls: string[] = [];
    const module = `data:text/javascript,${encodeURIComponent(`export default () => { throw new Error('not here'); }`)}`;
    const factory = (): StorageUnderTest => ({
      open: memoryStorage,
      inProcess: { module },
      damage: async (key) => void calls.push(`damage ${key}`),
      interrupt: async () => void calls.push('interrupt'),
    });
    const run = async ({ inProcess, damage, interrupt }: RuledStore) => {
      await damage('key');
      await interrupt();
      await inProcess();
    };
    await expect(tryRule({ name: 'tried', run }, factory)).rejects.toThrow('not here');
    expect(calls).toEqual(['damage key', 'interrupt']);
  });

  test('a damaged store may refuse to list, or say that keys may be missing', async () => {
    const rule = 'a damaged key is not absent: list shows it, is suspect or refuses, and nothing creates it anew';
    const refusing = () =>
      damagedUnderTest((honest, damaged) => ({
        async list(prefix, options) {
          if (damaged.size > 0) throw new StorageError('Some keys cannot be told.');
          return honest.list(prefix, options);
        },
      }));
    await expect(tryNamed(rule, refusing)).resolves.toBeUndefined();
    const suspecting = () =>
      damagedUnderTest((honest, damaged) => ({
        async list(prefix, options) {
          const page = await honest.list(prefix, options);
          const entries = page.entries.filter(({ key }) => !damaged.has(key));
          return damaged.size > 0 ? { ...page, entries, suspect: true } : page;
        },
      }));
    await expect(tryNamed(rule, suspecting)).resolves.toBeUndefined();
  });

  test('what a store promises is asked once it is open, and no store is opened for a rule that need not know', async () => {
    const learning = () => {
      let durability: 'none' | 'disk' = 'none';
      const memory = memoryStorage();
      return {
        ...memory,
        get capabilities() {
          return { ...memory.capabilities, durability };
        },
        open: async () => {
          durability = 'disk';
        },
      };
    };
    const promised: string[] = [];
    const run = async ({ store }: RuledStore) => void promised.push(store.capabilities.durability);
    expect(await tryRule({ name: 'asks', needs: ['durability'], run }, learning)).toBeUndefined();
    expect(await tryRule({ name: 'does not', run }, learning)).toBeUndefined();
    expect(promised).toEqual(['disk', 'none']);
  });

  test('every rule has a name of its own', () => {
    const names = storageContractRules.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});

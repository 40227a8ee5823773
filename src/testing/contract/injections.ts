import { expect } from 'vitest';
import type { StorageAdapter } from '../../storage/adapter.js';
import { memoryStorage } from '../../storage/memory.js';
import { bytes, keysOf, putAll, text } from './entries.js';
import type { ContractRule } from './rule.js';

/** Strings that mean something to SQL, Lua, patterns, paths, formats, protocols or encodings. */
const INJECTIONS: readonly string[] = [
  `'; DROP TABLE holdfast; --`,
  `' OR '1'='1`,
  `" OR ""="`,
  `1) OR (1=1`,
  `') UNION SELECT key, value FROM holdfast --`,
  `\\'; DELETE FROM holdfast; --`,
  `$1`,
  `:key`,
  `@key`,
  `?`,
  `%`,
  `a%`,
  `_`,
  `a_`,
  `a*`,
  `[a-z]`,
  `a.*`,
  `(a+)+$`,
  `^a|.*`,
  `\${key}`,
  `{{key}}`,
  `%s%n%x`,
  `]] redis.call('FLUSHALL') --[[`,
  `a\r\nFLUSHALL\r\n`,
  `../../etc/passwd`,
  `..\\..\\boot.ini`,
  `a\0b`,
  `\ud800`,
  `\u{10ffff}`,
  `a\u0301`,
  `ﬁ`,
  `__proto__`,
  `constructor`,
  `-1`,
  `1e309`,
  `99999999999999999999999999`,
  `NaN`,
  `null`,
  `undefined`,
  `NULL`,
  `{"$gt":""}`,
  `x'00'`,
  'a'.repeat(5_000),
];

/** What stands around: keys that a wildcard, a range or a cut string would reach. */
const BYSTANDERS = ['-1', 'NULL', '__proto0__', 'a', 'a.b', 'aXb', 'ab', 'ax', 'b', 'constructor/1', 'null', 'z'];

/** One call and what came of it, without versions: they differ between stores. */
type Act = (store: StorageAdapter) => Promise<unknown>;

async function outcomeOf(act: Act, store: StorageAdapter): Promise<unknown> {
  return act(store).catch((error) => ({ code: error.code ?? String(error) }));
}

/** Does the same to the store and to one in memory: each act must have the same outcome, and the same keys are left. */
async function sameAsMemory(store: StorageAdapter, actsOf: (injection: string) => Readonly<Record<string, Act>>) {
  const model = memoryStorage();
  await Promise.all([store, model].map((each) => putAll(each, BYSTANDERS)));
  for (const injection of INJECTIONS) {
    for (const [what, act] of Object.entries(actsOf(injection))) {
      const where = `${what} ${JSON.stringify(injection.slice(0, 60))}`;
      expect([where, await outcomeOf(act, store)]).toEqual([where, await outcomeOf(act, model)]);
    }
  }
  const contents = await Promise.all([store, model].map(contentsOf));
  expect(contents[0]).toEqual(contents[1]);
}

async function contentsOf(store: StorageAdapter): Promise<readonly unknown[]> {
  const keys = await keysOf(store, '');
  return Promise.all(keys.map(async (key) => [key, text((await store.get(key))?.value)]));
}

async function keysOnly(listing: ReturnType<StorageAdapter['list']>): Promise<readonly string[]> {
  return (await listing).entries.map(({ key }) => key);
}

/** No string is ever more than a string: what it would mean in a query, a pattern or a path does not happen. */
export const injectionRules: readonly ContractRule[] = [
  {
    name: 'a key that would mean something in a query, a pattern or a path is a key like any other, or refused',
    run: ({ store }) =>
      sameAsMemory(store, (key) => ({
        get: async (store) => text((await store.get(key))?.value),
        put: async (store) => typeof (await store.put(key, bytes(key))),
        'get what was put under': async (store) => text((await store.get(key))?.value),
        'create again': (store) => store.put(key, bytes('again'), { ifVersion: null }),
        delete: (store) => store.delete(key),
      })),
  },
  {
    name: 'a prefix that would mean something in a query or a pattern matches its own characters only, or is refused',
    run: ({ store }) =>
      sameAsMemory(store, (prefix) => ({
        list: (store) => keysOnly(store.list(prefix)),
        'list backward': (store) => keysOnly(store.list(prefix, { reverse: true, limit: 3 })),
      })),
  },
  {
    name: 'after may be any string, whatever it would mean in a query, a protocol or an encoding',
    run: ({ store }) =>
      sameAsMemory(store, (after) => ({
        'list after': (store) => keysOnly(store.list('', { after })),
        'list backward after': (store) => keysOnly(store.list('a', { after, reverse: true })),
      })),
  },
  {
    name: 'ifVersion may be any string: what no write got conflicts, whatever it would mean in a query',
    run: ({ store }) =>
      sameAsMemory(store, (ifVersion) => ({
        'put if': (store) => store.put('a', bytes('late'), { ifVersion }),
        'put an absent key if': (store) => store.put('absent', bytes('late'), { ifVersion }),
        'delete if': (store) => store.delete('a', { ifVersion }),
      })),
  },
  {
    name: 'the conditions of a batch may be any string, whatever it would mean in a query',
    needs: ['atomicBatch'],
    run: ({ store }) =>
      sameAsMemory(store, (ifVersion) => ({
        'batch if': async (store) =>
          store.batch?.([
            { type: 'put', key: 'new', value: bytes('late') },
            { type: 'check', key: 'a', ifVersion },
          ]),
      })),
  },
];

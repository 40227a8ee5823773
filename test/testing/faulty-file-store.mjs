// @ts-check
/**
 * A file store with a fault, opened by processes of their own: the kit has to find each of these. The argument is JSON:
 * the directory and the name of the fault.
 */
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { ConflictError, fileStorage } from 'holdfast';

/** @typedef {import('holdfast').StorageAdapter} StorageAdapter */

/**
 * What each fault does with a store that has none.
 * @type {Record<string, (honest: import('holdfast').FileStorage, directory: string) => Partial<StorageAdapter>>}
 */
const faults = {
  none: () => ({}),
  'checks and then writes': (honest) => ({
    async put(key, value, options) {
      const bytes = new Uint8Array(value);
      const current = (await honest.get(key))?.version;
      const ifVersion = options?.ifVersion;
      if (ifVersion !== undefined && (current ?? null) !== ifVersion) throw new ConflictError(key, current);
      await sleep(1);
      return honest.put(key, bytes);
    },
  }),
  'reads from a cache': (honest) => {
    /** @type {Map<string, ReturnType<StorageAdapter['get']>>} */
    const cache = new Map();
    return {
      async get(key) {
        const known = cache.get(key) ?? honest.get(key);
        cache.set(key, known);
        return known;
      },
    };
  },
  'does a batch one by one': (honest) => ({
    async batch(operations) {
      let version = '';
      for (const operation of operations) {
        version = await honest.batch([operation]);
        await sleep(1);
      }
      return version;
    },
  }),
  'acknowledges before it writes': (honest) => ({
    async put(key, value, options) {
      const bytes = new Uint8Array(value);
      void sleep(5).then(() => honest.put(key, bytes, options));
      return `early ${key}`;
    },
  }),
  'writes in two parts': (honest) => ({
    async put(key, value, options) {
      const bytes = new Uint8Array(value);
      const ifVersion = await honest.put(key, bytes.subarray(0, bytes.length / 2), options);
      await sleep(2);
      return honest.put(key, bytes, { ifVersion });
    },
  }),
  'refuses every write': () => ({
    async put() {
      throw new Error('read-only');
    },
  }),
  'writes more than it is told': (honest) => ({
    async put(key, value, options) {
      const version = await honest.put(key, value, options);
      await honest.put(`${key}-backup`, Buffer.from('a copy'));
      return version;
    },
  }),
  'leaves its lock behind': (honest, directory) => ({
    async put(key, value, options) {
      const bytes = new Uint8Array(value);
      const lock = join(directory, 'lock');
      while (existsSync(lock)) await turn();
      mkdirSync(lock);
      try {
        await sleep(3);
        return await honest.put(key, bytes, options);
      } finally {
        rmdirSync(lock);
      }
    },
  }),
};

/** @param {string} argument */
export default function open(argument) {
  const { directory, fault } = JSON.parse(argument);
  if (!(fault in faults)) throw new Error(`No fault is called "${fault}".`);
  const honest = fileStorage(directory, { durability: 'process' });
  return { ...honest, capabilities: honest.capabilities, ...faults[fault]?.(honest, directory) };
}

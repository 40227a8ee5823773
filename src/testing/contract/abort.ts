import { expect } from 'vitest';
import { bytes, keysOf, textAt } from './entries.js';
import type { ContractRule } from './rule.js';

const REASON = new Error('the caller gave up');

/** A signal says no before the call: nothing happens. It says no later: what happened is told truly. */
export const abortRules: readonly ContractRule[] = [
  {
    name: 'get and list under an aborted signal reject with its reason',
    async run({ store }) {
      const signal = AbortSignal.abort(REASON);
      await expect(store.get('key', { signal })).rejects.toBe(REASON);
      await expect(store.list('', { signal })).rejects.toBe(REASON);
    },
  },
  {
    name: 'put under an aborted signal rejects with its reason and writes nothing',
    async run({ store }) {
      const signal = AbortSignal.abort(REASON);
      await store.put('key', bytes('before'));
      await expect(store.put('key', bytes('late'), { signal })).rejects.toBe(REASON);
      await expect(store.put('new', bytes('late'), { signal, ifVersion: null })).rejects.toBe(REASON);
      expect(await keysOf(store, '')).toEqual(['key']);
      expect(await textAt(store, 'key')).toBe('before');
    },
  },
  {
    name: 'delete under an aborted signal rejects with its reason and removes nothing',
    async run({ store }) {
      const signal = AbortSignal.abort(REASON);
      const ifVersion = await store.put('key', bytes('before'));
      await expect(store.delete('key', { signal })).rejects.toBe(REASON);
      await expect(store.delete('key', { signal, ifVersion })).rejects.toBe(REASON);
      expect(await textAt(store, 'key')).toBe('before');
    },
  },
  {
    name: 'a put aborted under way either writes and returns its version, or rejects with the reason and writes nothing',
    async run({ store }) {
      const controller = new AbortController();
      const put = store.put('key', bytes('value'), { signal: controller.signal });
      controller.abort(REASON);
      const answer = await put.then(
        (version) => version,
        (reason) => reason,
      );
      const entry = await store.get('key');
      expect(answer).toBe(entry === undefined ? REASON : entry.version);
    },
  },
  {
    name: 'a signal that never aborts changes nothing',
    async run({ store }) {
      const { signal } = new AbortController();
      const version = await store.put('key', bytes('value'), { signal });
      expect((await store.get('key', { signal }))?.version).toBe(version);
      expect((await store.list('', { signal })).entries).toHaveLength(1);
      expect(await store.delete('key', { signal, ifVersion: version })).toBe(true);
    },
  },
];

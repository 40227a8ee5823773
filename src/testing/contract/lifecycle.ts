import { expect } from 'vitest';
import type { StorageAdapter } from '../../storage/adapter.js';
import { bytes, keysOf, putAll, textAt } from './entries.js';
import type { ContractRule } from './rule.js';

const CLOSED = { code: 'HOLDFAST_CLOSED' };

/** One call of each method the store has. */
function callsOf(store: StorageAdapter): readonly (() => Promise<unknown>)[] {
  const { batch } = store;
  return [
    () => store.get('key'),
    () => store.put('key', bytes('late')),
    () => store.delete('key'),
    () => store.list(''),
    ...(batch ? [() => batch.call(store, [{ type: 'put', key: 'key', value: bytes('late') }])] : []),
  ];
}

const promiseRules: readonly ContractRule[] = [
  {
    name: 'capabilities are complete and the optional methods are there as they say',
    async run({ store: { name, capabilities, batch, watch } }) {
      expect(name).toMatch(/./);
      expect(['none', 'process', 'disk', 'replicated']).toContain(capabilities.durability);
      expect(['process', 'host', 'network']).toContain(capabilities.scope);
      expect([true, false]).toContain(capabilities.monotonicVersions);
      expect(capabilities.atomicBatch).toBe(batch !== undefined);
      expect(capabilities.watch).toBe(watch !== undefined);
      const { maxValueBytes = 1 } = capabilities;
      expect(Number.isInteger(maxValueBytes) && maxValueBytes > 0).toBe(true);
    },
  },
];

const openAndCloseRules: readonly ContractRule[] = [
  {
    name: 'open may be called early, twice or not at all',
    async run({ store, another }) {
      await store.put('key', bytes('value'));
      const other = await another();
      await Promise.all([other.open?.(), other.open?.()]);
      await other.open?.();
      expect(await textAt(other, 'key')).toBe('value');
    },
  },
  {
    name: 'close may be called twice, also at the same time',
    needs: ['close'],
    async run({ store }) {
      await store.put('key', bytes('value'));
      await Promise.all([store.close?.(), store.close?.()]);
      await store.close?.();
    },
  },
  {
    name: 'a store that was never used can be closed',
    needs: ['close'],
    async run({ store }) {
      await store.close?.();
      await expect(store.get('key')).rejects.toMatchObject(CLOSED);
    },
  },
  {
    name: 'after close every method rejects with ClosedError',
    needs: ['close'],
    async run({ store }) {
      await store.put('key', bytes('value'));
      await store.close?.();
      for (const call of callsOf(store)) await expect(call()).rejects.toMatchObject(CLOSED);
    },
  },
  {
    name: 'close waits for the writes under way',
    needs: ['close', 'reopen', 'durability'],
    async run({ store, another }) {
      await store.put('a', bytes('a'));
      const writes = putAll(store, ['b', 'c']);
      await store.close?.();
      await expect(writes).resolves.toHaveLength(2);
      expect(await keysOf(await another(), '')).toEqual(['a', 'b', 'c']);
    },
  },
];

/** What a store says of itself, and how it begins and ends. */
export const lifecycleRules: readonly ContractRule[] = [...promiseRules, ...openAndCloseRules];

import { expect } from 'vitest';
import type { StorageAdapter, Version } from '../../storage/adapter.js';
import { bytes, keysOf, text, textAt } from './entries.js';
import type { BatchingStore, ContractRule, RuledStore } from './rule.js';
import { untilNoConflict } from './words.js';

const RACERS = 20;
const INCREMENTS = 50;

/** Runs one act per racer at once, every other one through a second instance. */
async function race<Result>(
  { store, another }: RuledStore,
  act: (store: StorageAdapter, racer: number) => Promise<Result>,
): Promise<readonly PromiseSettledResult<Result>[]> {
  const rival = await another();
  const racers = Array.from({ length: RACERS }, (_, racer) => act(racer % 2 === 0 ? store : rival, racer));
  return Promise.allSettled(racers);
}

function winners<Result>(results: readonly PromiseSettledResult<Result>[]): readonly Result[] {
  return results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
}

function refusals(results: readonly PromiseSettledResult<unknown>[]): readonly unknown[] {
  return results.flatMap((result) => (result.status === 'rejected' ? [result.reason.code ?? result.reason] : []));
}

const ALL_BUT_ONE_CONFLICT = Array.from({ length: RACERS - 1 }, () => 'HOLDFAST_CONFLICT');

function increment(store: StorageAdapter): Promise<Version> {
  return untilNoConflict(async () => {
    const entry = await store.get('counter');
    const count = Number(text(entry?.value) ?? 0);
    return store.put('counter', bytes(String(count + 1)), { ifVersion: entry?.version ?? null });
  });
}

function transfer(store: BatchingStore, from: string, to: string): Promise<Version> {
  return untilNoConflict(async () => {
    const [payer, payee] = await Promise.all([store.get(from), store.get(to)]);
    return store.batch([
      {
        type: 'put',
        key: from,
        value: bytes(String(Number(text(payer?.value)) - 1)),
        ifVersion: payer?.version ?? null,
      },
      { type: 'put', key: to, value: bytes(String(Number(text(payee?.value)) + 1)), ifVersion: payee?.version ?? null },
    ]);
  });
}

const writeRaces: readonly ContractRule[] = [
  {
    name: 'of many that create one key at once, exactly one wins and the others conflict',
    async run(ruled) {
      const results = await race(ruled, async (store, racer) => {
        await store.put('key', bytes(`racer ${racer}`), { ifVersion: null });
        return `racer ${racer}`;
      });
      expect(winners(results)).toEqual([await textAt(ruled.store, 'key')]);
      expect(refusals(results)).toEqual(ALL_BUT_ONE_CONFLICT);
    },
  },
  {
    name: 'of many that replace one version at once, exactly one wins and the others conflict',
    async run(ruled) {
      const ifVersion = await ruled.store.put('key', bytes('start'));
      const results = await race(ruled, async (store, racer) => {
        await store.put('key', bytes(`racer ${racer}`), { ifVersion });
        return `racer ${racer}`;
      });
      expect(winners(results)).toEqual([await textAt(ruled.store, 'key')]);
      expect(refusals(results)).toEqual(ALL_BUT_ONE_CONFLICT);
    },
  },
  {
    name: 'of many that delete one version at once, exactly one wins and the others conflict',
    async run(ruled) {
      const ifVersion = await ruled.store.put('key', bytes('start'));
      const results = await race(ruled, (store) => store.delete('key', { ifVersion }));
      expect(winners(results)).toEqual([true]);
      expect(refusals(results)).toEqual(ALL_BUT_ONE_CONFLICT);
    },
  },
  {
    name: 'of many that delete one key at once, exactly one is told that it was there',
    async run(ruled) {
      await ruled.store.put('key', bytes('start'));
      const results = await race(ruled, (store) => store.delete('key'));
      expect(winners(results).filter(Boolean)).toEqual([true]);
      expect(refusals(results)).toEqual([]);
    },
  },
  {
    name: 'of many that write one key at once, the last one stands, whole and under its own version',
    async run(ruled) {
      const results = await race(ruled, async (store, racer) => [
        await store.put('key', bytes(`racer ${racer}`)),
        racer,
      ]);
      const last = await ruled.store.get('key');
      expect(refusals(results)).toEqual([]);
      expect(winners(results)).toContainEqual([last?.version, Number(text(last?.value)?.slice('racer '.length))]);
    },
  },
  {
    name: 'many that write different keys at once are all kept',
    async run(ruled) {
      const keys = Array.from({ length: RACERS }, (_, racer) => `racer-${String(racer).padStart(2, '0')}`);
      await race(ruled, (store, racer) => store.put(keys[racer] as string, bytes('here')));
      expect(await keysOf(ruled.store, '')).toEqual(keys);
    },
  },
  {
    name: 'increments by compare-and-swap from two instances lose nothing',
    async run({ store, another }) {
      const count = async (instance: StorageAdapter) => {
        for (let done = 0; done < INCREMENTS; done++) await increment(instance);
      };
      await Promise.all([count(store), count(await another())]);
      expect(await textAt(store, 'counter')).toBe(String(2 * INCREMENTS));
    },
  },
];

const batchRaces: readonly ContractRule[] = [
  {
    name: 'of many batches over the same keys at once, one stands whole',
    needs: ['atomicBatch'],
    async run(ruled) {
      const keys = ['a', 'b', 'c'];
      await race(ruled, (store, racer) =>
        (store as BatchingStore).batch(keys.map((key) => ({ type: 'put', key, value: bytes(`racer ${racer}`) }))),
      );
      const entries = await Promise.all(keys.map((key) => ruled.store.get(key)));
      expect(new Set(entries.map((entry) => text(entry?.value))).size).toBe(1);
      expect(new Set(entries.map((entry) => entry?.version)).size).toBe(1);
    },
  },
  {
    name: 'transfers by batch between shared keys neither make nor lose anything',
    needs: ['atomicBatch'],
    async run(ruled) {
      const accounts = ['a', 'b', 'c', 'd'];
      for (const account of accounts) await ruled.store.put(account, bytes('100'));
      const results = await race(ruled, (store, racer) =>
        transfer(
          store as BatchingStore,
          accounts[racer % 4] as string,
          accounts[(racer + 1 + (racer % 3)) % 4] as string,
        ),
      );
      const balances = await Promise.all(accounts.map((account) => textAt(ruled.store, account)));
      expect(refusals(results)).toEqual([]);
      expect(balances.map(Number).reduce((sum, balance) => sum + balance)).toBe(400);
    },
  },
];

/** Nobody's write is lost, done twice or mixed with another's, also through two instances. */
export const raceRules: readonly ContractRule[] = [...writeRaces, ...batchRaces];

import { expect } from 'vitest';
import { systemClock } from '../../base/clock.js';
import type { StorageAdapter } from '../../storage/adapter.js';
import { type SeededRandom, seededRandom } from '../seeded-random.js';
import { bytes, keysOf, putAll, text, textAt } from './entries.js';
import { turn } from './patience.js';
import type { ContractRule } from './rule.js';
import { type Told, wrongWrites } from './told-writes.js';

const REASON = new Error('the caller gave up');

const WAVES = 20;
const AT_ONCE = 50;

/** Aborts at some moment of the call: right behind it, some turns of the event loop later, or some milliseconds. */
async function abortSometime(controller: AbortController, random: SeededRandom): Promise<void> {
  const turns = random.integer(6);
  const ms = random.integer(4);
  if (random.chance(0.4)) await systemClock.sleep(ms);
  else for (let at = 0; at < turns; at++) await turn();
  controller.abort(REASON);
}

/** A write by a name of its own under a signal that aborts at some moment, and what its caller was told. */
async function abortedWrite(store: StorageAdapter, name: string, random: SeededRandom): Promise<[string, Told]> {
  const controller = new AbortController();
  const { signal } = controller;
  const doomed = `doomed/${name}`;
  const ifVersion = random.chance(0.5) ? await store.put(doomed, bytes(name)) : undefined;
  const write = ifVersion
    ? store.delete(doomed, { signal, ifVersion })
    : store.put(`made/${name}`, bytes(name), { signal, ifVersion: null });
  const [outcome] = await Promise.allSettled([write, abortSometime(controller, random)]);
  const kind = ifVersion ? 'deleted' : 'made';
  if (outcome.status === 'fulfilled') return [`${kind}/${name}`, 'done'];
  expect(outcome.reason, name).toBe(REASON);
  return [`${kind}/${name}`, 'not done'];
}

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
    name: 'of 1,000 writes aborted at random moments each happened and resolved, or rejected with the reason and did not',
    async run({ store }) {
      const random = seededRandom('aborts');
      const told = new Map<string, Told>();
      for (let wave = 0; wave < WAVES; wave++) {
        const names = Array.from({ length: AT_ONCE }, (_, at) => `${wave}-${at}`);
        const writes = await Promise.all(names.map((name) => abortedWrite(store, name, random)));
        for (const [write, outcome] of writes) told.set(write, outcome);
      }
      const left = new Set(await keysOf(store, ''));
      const happened = [...told.keys()].filter((write) =>
        write.startsWith('made/') ? left.has(write) : !left.has(write.replace('deleted/', 'doomed/')),
      );
      expect(wrongWrites(happened, told)).toEqual([]);
    },
  },
  {
    name: 'reads aborted at random moments show what is there or reject with the reason, and writes go on behind them',
    async run({ store }) {
      const random = seededRandom('aborted reads');
      const keys = ['a', 'b', 'c'];
      await putAll(store, keys);
      const reads = Array.from({ length: 4 * AT_ONCE }, async (_, at) => {
        const controller = new AbortController();
        const { signal } = controller;
        const key = random.pick(keys);
        const read =
          at % 2 === 0 ? store.get(key, { signal }).then((entry) => text(entry?.value)) : keysOf(store, '', { signal });
        const [outcome] = await Promise.allSettled([read, abortSometime(controller, random)]);
        if (outcome.status === 'rejected') expect(outcome.reason).toBe(REASON);
        else expect(outcome.value).toEqual(at % 2 === 0 ? key : keys);
      });
      await Promise.all(reads);
      await store.put('d', bytes('d'));
      expect(await keysOf(store, '')).toEqual([...keys, 'd']);
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

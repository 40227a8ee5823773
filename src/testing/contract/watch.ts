import { expect } from 'vitest';
import type { StorageAdapter } from '../../storage/adapter.js';
import { bytes, putAll, textAt } from './entries.js';
import { until } from './patience.js';
import type { BatchingStore, ContractRule, RuledStore } from './rule.js';

/** How soon a hint must have come. Correctness never depends on hints; a host that waits for one still wants it soon. */
const HEARD_WITHIN_MS = 10_000;

type WatchingStore = StorageAdapter & Required<Pick<StorageAdapter, 'watch'>>;

/** What a listener heard, and a way to wait for it. */
interface Ear {
  readonly keys: readonly string[];
  stop(): Promise<void>;
  hears(key: string): Promise<void>;
}

async function listen(store: StorageAdapter, prefix: string, heardWithinMs: number): Promise<Ear> {
  const keys: string[] = [];
  const stop = await (store as WatchingStore).watch(prefix, (key) => keys.push(key));
  const hears = (key: string) => until(heardWithinMs, `A hint at "${key}" under "${prefix}"`, () => keys.includes(key));
  return { keys, stop, hears };
}

/** A rule about `watch`, with a second instance to write through. */
function watchRule(
  name: string,
  run: (store: StorageAdapter, other: StorageAdapter, ruled: RuledStore) => Promise<void>,
  needs: NonNullable<ContractRule['needs']> = [],
): ContractRule {
  return {
    name,
    needs: ['watch', ...needs],
    run: async (ruled) => run(ruled.store, await ruled.another(), ruled),
  };
}

/** The changes that are hinted at. A hint may take `ms` to come. */
const changeRules = (ms: number): readonly ContractRule[] => [
  watchRule('watch hints at a key that another instance created or replaced', async (store, other) => {
    const ear = await listen(store, 'runs/', ms);
    await putAll(other, ['runs/1']);
    await ear.hears('runs/1');
    const version = await other.put('runs/2', bytes('first'), { ifVersion: null });
    await ear.hears('runs/2');
    const again = await listen(store, 'runs/', ms);
    await other.put('runs/2', bytes('second'), { ifVersion: version });
    await again.hears('runs/2');
  }),
  watchRule('watch hints at a key that another instance deleted', async (store, other) => {
    await putAll(store, ['runs/1', 'runs/2']);
    const ear = await listen(store, 'runs/', ms);
    await other.delete('runs/1');
    await ear.hears('runs/1');
  }),
  watchRule(
    'watch hints at each key that a batch of another instance put or deleted',
    async (store, other) => {
      await putAll(store, ['runs/old']);
      const ear = await listen(store, 'runs/', ms);
      await (other as BatchingStore).batch([
        { type: 'put', key: 'runs/1', value: bytes('1') },
        { type: 'delete', key: 'runs/old' },
        { type: 'put', key: 'elsewhere', value: bytes('2') },
      ]);
      await ear.hears('runs/1');
      await ear.hears('runs/old');
      expect(ear.keys).not.toContain('elsewhere');
    },
    ['atomicBatch'],
  ),
];

/** Who hears what. That something is not heard is judged once a later change was heard by all who hear it. */
const listenerRules = (ms: number): readonly ContractRule[] => [
  watchRule('watch does not hint at keys outside its prefix, which is no pattern', async (store, other) => {
    const [ear, all] = [await listen(store, 'a_/', ms), await listen(store, '', ms)];
    const elsewhere = ['a', 'a_', 'ab/1', 'A_/1', 'b/a_/1', 'a'.repeat(300)];
    await putAll(other, elsewhere);
    await putAll(other, ['a_/1']);
    for (const key of [...elsewhere, 'a_/1']) await all.hears(key);
    await ear.hears('a_/1');
    expect(new Set(ear.keys)).toEqual(new Set(['a_/1']));
  }),
  watchRule('a listener that throws harms neither the writes nor the other listeners', async (store, other) => {
    const throwing = () => {
      throw new Error('this listener always throws');
    };
    const stops = [await (store as WatchingStore).watch('runs/', throwing)];
    const ear = await listen(store, 'runs/', ms);
    stops.push(await (store as WatchingStore).watch('runs/', throwing));
    for (const [key, writer] of [
      ['runs/1', other],
      ['runs/2', store],
      ['runs/3', other],
    ] as const) {
      await putAll(writer, [key]);
      await ear.hears(key);
    }
    expect(await textAt(store, 'runs/2')).toBe('runs/2');
    for (const stop of stops) await stop();
  }),
];

/** Where hints end, judged in the same way. */
const endingRules = (ms: number): readonly ContractRule[] => [
  watchRule('after stop has resolved a listener hears nothing, and others go on hearing', async (store, other) => {
    const [ear, rest] = [await listen(store, 'runs/', ms), await listen(store, 'runs/', ms)];
    await putAll(other, ['runs/1']);
    await ear.hears('runs/1');
    await ear.stop();
    for (const key of ['runs/2', 'runs/3']) {
      await putAll(other, [key]);
      await rest.hears(key);
    }
    await ear.stop(); // Once more does no harm.
    expect(new Set(ear.keys)).toEqual(new Set(['runs/1']));
  }),
  watchRule(
    'an instance that is closed hints at nothing any more',
    async (store, other, { another }) => {
      const witness = await listen(await another(), 'runs/', ms);
      const ear = await listen(store, 'runs/', ms);
      await store.close?.();
      for (const key of ['runs/1', 'runs/2']) {
        await putAll(other, [key]);
        await witness.hears(key);
      }
      expect(ear.keys).toEqual([]);
    },
    ['reopen', 'close'],
  ),
];

/** Hints at changes, each of which has to come within `heardWithinMs`. */
export function watchRules(heardWithinMs: number = HEARD_WITHIN_MS): readonly ContractRule[] {
  return [...changeRules(heardWithinMs), ...listenerRules(heardWithinMs), ...endingRules(heardWithinMs)];
}

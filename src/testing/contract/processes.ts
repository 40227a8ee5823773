import { expect } from 'vitest';
import type { StorageAdapter } from '../../storage/adapter.js';
import { bytes, keysOf, listAll, textAt } from './entries.js';
import { turn } from './patience.js';
import type { BatchingStore, ContractRule, RuledStore } from './rule.js';
import { addWord, isConflict, untilNoConflict, wordsAt } from './words.js';

const CREATIONS = 40;
const ROUNDS = 20;
const BATCHES = 80;

/** Stores of so many processes, started at the same time. */
async function storesOf({ inProcess }: RuledStore, count: number): Promise<readonly StorageAdapter[]> {
  const processes = await Promise.all(Array.from({ length: count }, inProcess));
  return processes.map(({ store }) => store);
}

/** How much is added: by so many lanes of each process, so many words each. */
interface Addition {
  readonly lanes: number;
  readonly words: number;
}

/** Each lane of each process adds its own words to one list; returns all of them. */
async function addWords(stores: readonly StorageAdapter[], { lanes: count, words: each }: Addition) {
  const lanes = stores.flatMap((store, process) =>
    Array.from({ length: count }, async (_, lane) => {
      const words = Array.from({ length: each }, (_, at) => `${process}-${lane}-${at}`);
      for (const word of words) await untilNoConflict(() => addWord(store, 'words', word));
      return words;
    }),
  );
  return (await Promise.all(lanes)).flat();
}

/** A rule about compare-and-swap by so many processes. */
function additionRule(count: number, addition: Addition): ContractRule {
  return {
    name: `of what ${count} processes add by compare-and-swap nothing is lost and nothing is there twice`,
    needs: ['processes'],
    async run(ruled) {
      const added = await addWords(await storesOf(ruled, count), addition);
      expect((await wordsAt(ruled.store, 'words')).toSorted()).toEqual(added.toSorted());
    },
  };
}

/** The batch after which it is written for the `count`th time. */
const pair = (count: number) =>
  ['left', 'right'].map((key) => ({ type: 'put', key, value: bytes(String(count)) }) as const);

/**
 * Reads the pair until the writer is done. Two reads are no snapshot, but the later one must show at least the batch that
 * the earlier one showed.
 */
async function halvesSeen(store: StorageAdapter, isWritten: () => boolean): Promise<readonly string[]> {
  const halves: string[] = [];
  for (let look = 0; !isWritten(); look++) {
    const [first, second] = look % 2 === 0 ? (['left', 'right'] as const) : (['right', 'left'] as const);
    const earlier = Number((await textAt(store, first)) ?? 0);
    const later = Number((await textAt(store, second)) ?? 0);
    if (later < earlier) halves.push(`${first} of batch ${earlier} beside ${second} of batch ${later}`);
    await turn();
  }
  return halves;
}

/** Processes that know nothing of each other, but share a store. */
export const processRules: readonly ContractRule[] = [
  additionRule(2, { lanes: 3, words: 15 }),
  additionRule(4, { lanes: 1, words: 25 }),
  {
    name: 'of 4 processes that create one key at once, exactly one wins and the others conflict',
    needs: ['processes'],
    async run(ruled) {
      const stores = await storesOf(ruled, 4);
      for (let creation = 0; creation < CREATIONS; creation++) {
        const key = `key-${creation}`;
        const creators = stores.map((store, process) => store.put(key, bytes(`${process}`), { ifVersion: null }));
        const outcomes = await Promise.allSettled(creators);
        const winners = outcomes.flatMap(({ status }, process) => (status === 'fulfilled' ? [`${process}`] : []));
        const refusals = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
        expect(winners, key).toEqual([await textAt(ruled.store, key)]);
        expect(refusals.filter((reason) => !isConflict(reason))).toEqual([]);
      }
    },
  },
  {
    name: 'what one process was told is written or deleted, another sees at once, by get and by list',
    needs: ['processes'],
    async run(ruled) {
      const stores = [...(await storesOf(ruled, 2)), ruled.store];
      for (let round = 0; round < ROUNDS; round++) {
        const writer = stores[round % 3] as StorageAdapter;
        const readers = stores.filter((store) => store !== writer);
        const version = await writer.put('key', bytes(`${round}`));
        for (const reader of readers) {
          expect([await textAt(reader, 'key'), (await reader.get('key'))?.version]).toEqual([`${round}`, version]);
          expect(await listAll(reader, '')).toMatchObject([{ key: 'key', version }]);
        }
        await writer.delete('key');
        for (const reader of readers) {
          expect(await reader.get('key')).toBeUndefined();
          expect(await keysOf(reader, '')).toEqual([]);
        }
      }
    },
  },
  {
    name: 'no process sees one half of another’s batch without the other',
    needs: ['processes', 'atomicBatch'],
    async run(ruled) {
      const [writer, reader] = (await storesOf(ruled, 2)) as [BatchingStore, StorageAdapter];
      let isWritten = false;
      const writing = async () => {
        for (let count = 1; count <= BATCHES; count++) await writer.batch(pair(count));
      };
      const [halves] = await Promise.all([
        Promise.all([reader, ruled.store].map((store) => halvesSeen(store, () => isWritten))),
        writing().finally(() => {
          isWritten = true;
        }),
      ]);
      expect(halves.flat()).toEqual([]);
      expect(await textAt(ruled.store, 'right')).toBe(`${BATCHES}`);
    },
  },
];

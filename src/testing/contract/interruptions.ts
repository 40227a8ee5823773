import { expect } from 'vitest';
import { isHoldfastError } from '../../base/errors.js';
import type { StorageAdapter } from '../../storage/adapter.js';
import { bytes, keysOf, putAll, textAt } from './entries.js';
import { stillWrong, turn, until, within } from './patience.js';
import { type BatchingStore, type ContractRule, type RuledStore, UNHURRIED_MS } from './rule.js';
import { type Told, wrongWrites } from './told-writes.js';
import { addWord, addWordToAll, wordsAt } from './words.js';

/** Longest a call may take, and longest the store may serve nobody after an interruption. */
const SETTLES_WITHIN_MS = 30_000;
const INTERRUPTIONS = 200;
/** Fewer: what they would find shows sooner. */
const INTERRUPTIONS_OF_READS = 50;
/** Calls acknowledged between two interruptions, so that each meets a store at work. */
const PROGRESS = 4;

const WORDS = 'words';
const PAIR = ['pair/left', 'pair/right'] as const;

/** Codes that say that nothing was done. Besides them there is "nobody knows"; anything else breaks the contract. */
const NOTHING_DONE = ['HOLDFAST_CONFLICT', 'HOLDFAST_STORAGE', 'HOLDFAST_NO_SPACE'];

/** Calls that go on until so many interruptions are over. Each has to settle in time, in one of the ways allowed. */
class Storm {
  #acknowledged = 0;
  #isOver = false;
  readonly #settleMs: number;

  constructor(settleMs: number) {
    this.#settleMs = settleMs;
  }

  /** Makes a call. @throws Error if it does not settle in time, or with what no interrupted call may say. */
  async told(what: string, call: () => Promise<unknown>): Promise<Told> {
    try {
      await within(this.#settleMs, what, call());
      this.#acknowledged++;
      return 'done';
    } catch (error) {
      const code = isHoldfastError(error) ? error.code : '';
      if (code === 'HOLDFAST_OUTCOME_UNKNOWN') return 'unknown';
      if (NOTHING_DONE.includes(code)) return 'not done';
      throw error;
    }
  }

  /** Repeats every act, and interrupts, until all interruptions are done or something is wrong. */
  async rage(count: number, interrupt: () => Promise<void>, acts: readonly ((turn: number) => Promise<unknown>)[]) {
    const lanes = acts.map((act) => this.#repeat(act));
    const outcomes = await Promise.allSettled([...lanes, this.#interrupt(count, interrupt)]);
    const failed = outcomes.find(({ status }) => status === 'rejected') as PromiseRejectedResult | undefined;
    if (failed) throw failed.reason;
  }

  /** Resolves once the act is acknowledged, without anything being opened anew. */
  async calm(act: (turn: number) => Promise<Told>): Promise<void> {
    let turn = 0;
    await until(this.#settleMs, 'A write after the last interruption', async () => (await act(--turn)) === 'done');
  }

  async #repeat(act: (turn: number) => Promise<unknown>): Promise<void> {
    try {
      for (let at = 0; !this.#isOver; at++) {
        await act(at);
        await turn(); // A store that answers at once must not keep the interruptions waiting.
      }
    } finally {
      this.#isOver = true;
    }
  }

  async #interrupt(count: number, interrupt: () => Promise<void>): Promise<void> {
    try {
      for (let done = 0; done < count && !this.#isOver; done++) {
        const enough = this.#acknowledged + PROGRESS;
        const isAtWork = () => this.#isOver || this.#acknowledged >= enough;
        await until(this.#settleMs, `${PROGRESS} calls served after interruption ${done}`, isAtWork);
        await interrupt();
      }
    } finally {
      this.#isOver = true;
    }
  }
}

/** Everything the writers were told, by what they wrote to. */
interface Accounts {
  readonly words: Map<string, Told>;
  readonly pairs: Map<string, Told>;
  /** Creations of one key by several writers, by `key writer`. */
  readonly creations: Map<string, Told>;
}

/** What a writer does again and again: a list it adds to, keys it creates, two keys it changes by one batch. */
function actsOf(storm: Storm, accounts: Accounts, store: StorageAdapter, writer: string) {
  const tell = async (told: Map<string, Told>, write: string, call: () => Promise<unknown>) => {
    const outcome = await storm.told(`The write ${write}`, call);
    told.set(write, outcome);
    return outcome;
  };
  const addToWords = (turn: number) =>
    tell(accounts.words, `${writer}:${turn}`, () => addWord(store, WORDS, `${writer}:${turn}`));
  const create = (turn: number) =>
    tell(accounts.creations, `new/${turn} ${writer}`, () =>
      store.put(`new/${turn}`, bytes(writer), { ifVersion: null }),
    );
  const addToPair = (turn: number) =>
    tell(accounts.pairs, `${writer}:${turn}`, () => addWordToAll(store as BatchingStore, PAIR, `${writer}:${turn}`));
  return { addToWords, all: [addToWords, create, ...(store.batch ? [addToPair] : [])] };
}

/** What is not as the writers were told. */
async function untruths(store: StorageAdapter, { words, pairs, creations }: Accounts): Promise<readonly string[]> {
  const [added, left, right, created] = await Promise.all([
    wordsAt(store, WORDS),
    wordsAt(store, PAIR[0]),
    wordsAt(store, PAIR[1]),
    creationsIn(store),
  ]);
  const isHalf = left.join() !== right.join();
  return [
    ...wrongWrites(added, words),
    ...wrongWrites(left, pairs),
    ...wrongWrites(created, creations),
    ...(isHalf ? [`of a batch one half is there: ${PAIR[0]} and ${PAIR[1]} differ`] : []),
  ];
}

async function creationsIn(store: StorageAdapter): Promise<readonly string[]> {
  const keys = await keysOf(store, 'new/');
  return Promise.all(keys.map(async (key) => `${key} ${await textAt(store, key)}`));
}

async function writeThroughInterruptions({ store, another, interrupt }: RuledStore, settleMs: number): Promise<void> {
  const storm = new Storm(settleMs);
  const accounts: Accounts = { words: new Map(), pairs: new Map(), creations: new Map() };
  const stores = [store, await another()];
  const writers = stores.map((each, at) => actsOf(storm, accounts, each, `writer-${at}`));
  await storm.rage(
    INTERRUPTIONS,
    interrupt,
    writers.flatMap(({ all }) => all),
  );
  for (const { addToWords } of writers) await storm.calm(addToWords);
  for (const each of [...stores, await another()]) {
    expect(await stillWrong(() => untruths(each, accounts))).toEqual([]);
  }
}

async function readThroughInterruptions({ store, another, interrupt }: RuledStore, settleMs: number): Promise<void> {
  const storm = new Storm(settleMs);
  const keys = ['standing/0', 'standing/1', 'standing/2'];
  await putAll(store, keys);
  const found = new Set<string>();
  const readsOf = (reader: StorageAdapter) => [
    (turn: number) => {
      const key = keys[turn % keys.length] as string;
      return storm.told(`get ${key}`, async () => found.add(`${key}: ${await textAt(reader, key)}`));
    },
    () => storm.told('list', async () => found.add((await keysOf(reader, 'standing/', { limit: 2 })).join())),
  ];
  await storm.rage(INTERRUPTIONS_OF_READS, interrupt, [...readsOf(store), ...readsOf(await another())]);
  expect([...found].toSorted()).toEqual([keys.join(), ...keys.map((key) => `${key}: ${key}`)].toSorted());
}

/** What goes wrong with the medium, done to a store at work. A call and a recovery may each take `settleMs`. */
export function interruptionRules(settleMs: number = SETTLES_WITHIN_MS): readonly ContractRule[] {
  return [
    {
      name: 'through 200 interruptions each write settles in time and happened exactly as its writer was told',
      needs: ['interrupt'],
      timeoutMs: 3 * UNHURRIED_MS,
      run: (ruled) => writeThroughInterruptions(ruled, settleMs),
    },
    {
      name: 'an interrupted read is an error: never a missing key, never a part of a listing',
      needs: ['interrupt'],
      timeoutMs: 2 * UNHURRIED_MS,
      run: (ruled) => readThroughInterruptions(ruled, settleMs),
    },
  ];
}

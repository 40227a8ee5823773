import { expect } from 'vitest';
import { systemClock } from '../../base/clock.js';
import type { StorageAdapter } from '../../storage/adapter.js';
import { type SeededRandom, seededRandom } from '../seeded-random.js';
import { bytes, keysOf, textAt } from './entries.js';
import { stillWrong, turn, within } from './patience.js';
import { type BatchingStore, type ContractRule, type RuledStore, UNHURRIED_MS } from './rule.js';
import type { StoreProcess } from './store-process.js';
import { type Told, wrongWrites } from './told-writes.js';
import { addWord, untilNoConflict, wordsAt } from './words.js';

/** Processes killed per rule, one after the other over one store: what one left is what the next begins with. */
const LIVES = 4;
/** Acts under way at once in a process: a kill meets all of them. */
const LANES = 6;
/** A process dies after one to so many acknowledgements. */
const MOST_ACKNOWLEDGED = 30;
/** How soon others must get on: longer than a lock of a dead client may stand. */
const HELD_UP_MS = 30_000;

/** The acts of a process that was killed: all that were begun, and those that were acknowledged. */
interface Life {
  readonly begun: readonly string[];
  readonly done: ReadonlySet<string>;
}

/** Lets a process act in lanes and kills it in the middle of that. */
async function actUntilKilled(
  process: StoreProcess,
  random: SeededRandom,
  act: (name: string) => Promise<unknown>,
): Promise<Life> {
  const begun: string[] = [];
  const done = new Set<string>();
  let isOver = false;
  const lane = async (lane: number) => {
    for (let at = 0; !isOver; at++) {
      const name = `${lane}-${at}`;
      begun.push(name);
      try {
        await act(name);
        done.add(name);
      } catch (error) {
        if (isOver) return; // What a kill does: this act was not acknowledged.
        isOver = true;
        throw error;
      }
    }
  };
  const acting = Promise.all(Array.from({ length: LANES }, (_, at) => lane(at)));
  const killing = async () => {
    const startedAtMs = systemClock.monotonicMs();
    const enough = 1 + random.integer(MOST_ACKNOWLEDGED);
    while (done.size < enough && !isOver) await turn();
    // Acknowledgements come in step with what the process does: the kill must not, so it waits for a part of an act.
    const nowMs = systemClock.monotonicMs();
    const killAtMs = nowMs + random() * (nowMs - startedAtMs) * (LANES / done.size);
    while (systemClock.monotonicMs() < killAtMs && !isOver) await turn();
    isOver = true;
    await process.kill();
  };
  await Promise.all([acting, killing()]);
  return { begun, done };
}

/** How a rule writes: what an act of this name stores, and under which keys. */
interface Writing {
  keysOf(name: string): readonly string[];
  write(store: StorageAdapter, keys: readonly string[]): Promise<unknown>;
}

const puts: Writing = {
  keysOf: (name) => [name],
  write: (store, [key = '']) => store.put(key, bytes(contentOf(key))),
};

const batches: Writing = {
  keysOf: (name) => [`${name}/a`, `${name}/b`, `${name}/c`],
  write: (store, keys) =>
    (store as BatchingStore).batch(keys.map((key) => ({ type: 'put', key, value: bytes(contentOf(key)) }))),
};

/** What only this key holds: from a few bytes to some tens of thousands. */
function contentOf(key: string): string {
  const times = [...key].reduce((sum, character) => (sum * 31 + character.charCodeAt(0)) % 1_500, 7);
  return `${key} `.repeat(1 + times);
}

/** Kills one process after the other while they write, and looks each time at what is left, also from a new instance. */
async function surviveKills(ruled: RuledStore, { keysOf, write }: Writing): Promise<void> {
  const random = seededRandom('killed while writing');
  for (let life = 1; life <= LIVES; life++) {
    const process = await ruled.inProcess();
    const keysIn = (name: string) => keysOf(`life-${life}/${name}`);
    const acts = await actUntilKilled(process, random, (name) => write(process.store, keysIn(name)));
    for (const store of [ruled.store, await ruled.another()]) {
      expect(await stillWrong(() => damageDone(store, `life-${life}/`, { ...acts, keysIn }))).toEqual([]);
    }
    await write(ruled.store, keysOf(`after-life-${life}`));
  }
}

/** What is not as it was told: acknowledged and not there, there in part, other bytes, keys nobody wrote. */
async function damageDone(
  store: StorageAdapter,
  prefix: string,
  { begun, done, keysIn }: Life & { keysIn(name: string): readonly string[] },
): Promise<readonly string[]> {
  const looks = begun.map(async (name) => {
    const states = await Promise.all(keysIn(name).map((key) => stateOf(store, key)));
    const isWhole = states.every((state) => state === 'whole');
    const isAbsent = states.every((state) => state === 'absent');
    if (isWhole || (isAbsent && !done.has(name))) return [];
    return [`${name}: ${states.join(', ')}${done.has(name) ? ', and was acknowledged' : ''}`];
  });
  const written = new Set(begun.flatMap(keysIn));
  const invented = (await keysOf(store, prefix)).filter((key) => !written.has(key));
  return [...(await Promise.all(looks)).flat(), ...invented.map((key) => `${key} was never written`)];
}

async function stateOf(store: StorageAdapter, key: string): Promise<'whole' | 'absent' | 'other bytes'> {
  const value = await textAt(store, key);
  if (value === undefined) return 'absent';
  return value === contentOf(key) ? 'whole' : 'other bytes';
}

/** What a process leaves that dies while it writes. */
const lossRules: readonly ContractRule[] = [
  {
    name: 'after kill -9 every acknowledged write is there, whole, and no other is there in part',
    needs: ['processes', 'durability'],
    run: (ruled) => surviveKills(ruled, puts),
  },
  {
    name: 'after kill -9 every acknowledged batch is there, whole, and no other is there in part',
    needs: ['processes', 'durability', 'atomicBatch'],
    run: (ruled) => surviveKills(ruled, batches),
  },
];

async function goOnBesideTheDead({ store, inProcess }: RuledStore, heldUpMs: number): Promise<void> {
  const random = seededRandom('killed while adding');
  const told = new Map<string, Told>();
  const add = (to: StorageAdapter, word: string) => untilNoConflict(() => addWord(to, 'words', word));
  for (let life = 1; life <= LIVES; life++) {
    const process = await inProcess();
    const acts = await actUntilKilled(process, random, (name) => add(process.store, `${life}:${name}`));
    for (const name of acts.begun) told.set(`${life}:${name}`, acts.done.has(name) ? 'done' : 'unknown');
    await within(heldUpMs, 'A write after another process was killed', add(store, `${life}`));
    told.set(`${life}`, 'done');
  }
  expect(await stillWrong(async () => wrongWrites(await wordsAt(store, 'words'), told))).toEqual([]);
}

/** `kill -9` at random moments of a process that writes. Others must get on within `heldUpMs`. */
export function killedProcessRules(heldUpMs: number = HELD_UP_MS): readonly ContractRule[] {
  return [
    ...lossRules,
    {
      name: 'a process killed in the middle of its writes holds up nobody, and its writes happened once at most',
      needs: ['processes'],
      timeoutMs: 2 * UNHURRIED_MS,
      run: (ruled) => goOnBesideTheDead(ruled, heldUpMs),
    },
  ];
}

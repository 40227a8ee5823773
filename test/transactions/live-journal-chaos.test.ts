import { describe, expect, test } from 'vitest';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { chaosStorage } from '../../src/testing/chaos-storage.js';
import { type SeededRandom, seededRandom } from '../../src/testing/seeded-random.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import type { LiveJournal } from '../../src/transactions/live-journal.js';
import { type StoredTransaction, TransactionStore } from '../../src/transactions/transaction-store.js';
import { settledOn } from '../support/settled-on.js';
import { begin, found, line, longLine, metaOf, stores, TestHolder, textsOf } from './journal-scene.js';

const ID = 'order-42';
const END = { status: 'done', owner: null } as const;
const SEEDS = Array.from({ length: 200 }, (_, seed) => seed);

/** Appends in bursts of random lines. Returns what was acknowledged, in the order of the calls. */
async function appendAll(journal: LiveJournal, random: SeededRandom, texts: readonly string[]): Promise<string[]> {
  const acknowledged = new Set<string>();
  const left = [...texts];
  while (left.length > 0) {
    const burst = left.splice(0, 1 + random.integer(4)).map(async (text) => {
      await journal.append(longLine(text, text.length + random.integer(2_500)));
      acknowledged.add(text);
    });
    const answers = await Promise.allSettled(burst);
    if (answers.some(({ status }) => status === 'rejected')) break;
  }
  return texts.filter((text) => acknowledged.has(text));
}

/** Until it is done: somebody else who does not give up. */
async function insist<Result>(clock: VirtualClock, act: () => Promise<Result>): Promise<Result> {
  for (;;) {
    try {
      return await act();
    } catch {
      await clock.sleep(20);
    }
  }
}

async function scene(make: () => StorageAdapter, seed: number) {
  const clock = new VirtualClock();
  const inner = make();
  const stormy = new TransactionStore(chaosStorage(inner, seed, { failBefore: 0.1, failAfter: 0.1 }), clock);
  const calm = new TransactionStore(inner, clock);
  const journal = await begin(calm, metaOf(ID));
  await journal.finish(line('let go'), { owner: null });
  const take = async (store: TransactionStore, owner: string): Promise<LiveJournal> => {
    const stored = await found(store, ID);
    const change = { owner, fence: stored.meta.fence + 1 };
    return store.takeOver(stored, { line: line(`taken by ${owner}`), change, holder: new TestHolder() });
  };
  return { clock, random: seededRandom(`scene ${seed}`), stormy, calm, take };
}

const textsFrom = (owner: string) => Array.from({ length: 20 }, (_, index) => `${owner} ${index}`);

describe.each(stores)('in bad weather, on %s', (_name, make) => {
  test.each(SEEDS)('what was acknowledged is there, in order, none twice, cancelled or not (seed %i)', async (seed) => {
    const { clock, random, stormy, calm, take } = await scene(make, seed);
    const journal = await settledOn(
      clock,
      insist(clock, () => take(stormy, 'a')),
    );
    const cancels: string[] = [];
    journal.onCancel = (reason) => cancels.push(reason);
    const work = (async () => {
      const acknowledged = await appendAll(journal, random, textsFrom('a'));
      await journal.finish(line('end'), END);
      return acknowledged;
    })();
    const cancelled = insist(clock, async () => {
      await clock.sleep(random.integer(60));
      const stored = await found(stormy, ID);
      if (stored.hasEnded || stored.meta.cancel !== undefined) return stored;
      return stormy.amend(stored, line('cancel'), { cancel: 'no' });
    });
    const [acknowledged] = await settledOn(clock, Promise.all([work, cancelled]));
    const stored = await found(calm, ID);
    const texts = await textsOf(stored);
    const isCancelled = stored.meta.cancel !== undefined;
    expect(stored.hasEnded).toBe(true);
    expect(acknowledged).toEqual(textsFrom('a'));
    expect(texts.filter((text) => text.startsWith('a ') || text === 'end')).toEqual([...textsFrom('a'), 'end']);
    expect(texts.filter((text) => text === 'cancel')).toHaveLength(isCancelled ? 1 : 0);
    expect(cancels).toEqual(isCancelled ? ['no'] : []);
  });

  test.each(SEEDS)('nothing of an owner comes behind the takeover that fenced it (seed %i)', async (seed) => {
    const { clock, random, stormy, calm, take } = await scene(make, seed);
    const old = await settledOn(
      clock,
      insist(clock, () => take(stormy, 'old')),
    );
    const losses: unknown[] = [];
    old.onLost((error) => losses.push(error));
    const fenced = appendAll(old, random, textsFrom('old'));
    const takeover = (async () => {
      await clock.sleep(random.integer(100));
      const now = await insist(clock, () => take(stormy, 'new'));
      const acknowledged = await appendAll(now, random, textsFrom('new'));
      await now.finish(line('end'), END);
      return acknowledged;
    })();
    const [before, after] = await settledOn(clock, Promise.all([fenced, takeover]));
    const stored: StoredTransaction = await found(calm, ID);
    const texts = await textsOf(stored);
    const taken = texts.lastIndexOf('taken by new');
    const ofOld = texts.filter((text) => text.startsWith('old '));
    expect(ofOld).toEqual(textsFrom('old').slice(0, ofOld.length));
    expect(ofOld.slice(0, before.length)).toEqual(before);
    expect(texts.slice(taken + 1)).toEqual([...textsFrom('new'), 'end']);
    expect(after).toEqual(textsFrom('new'));
    await settledOn(
      clock,
      insist(clock, () => old.refresh()),
    );
    expect(losses).toHaveLength(1);
  });
});

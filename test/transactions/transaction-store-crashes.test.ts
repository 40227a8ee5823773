import { describe, expect, test } from 'vitest';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { TransactionStore } from '../../src/transactions/transaction-store.js';
import { around, begin, dying, found, line, longLine, metaOf, stores, TestHolder, textsOf } from './journal-scene.js';

const ID = 'order-42';
const STEPS = ['one', 'two', 'three', 'four', 'five', 'six', 'seven'];
const END = { status: 'done', owner: null } as const;

/** What a process did, as far as it heard of it. */
interface Heard {
  readonly lines: string[];
  hasEnded: boolean;
  isDeleting: boolean;
  isDeleted: boolean;
}

/** A whole life: begun, seven long lines and so three segments, the end, the delete. */
async function live(storage: StorageAdapter, heard: Heard): Promise<void> {
  const store = new TransactionStore(storage, new VirtualClock());
  const journal = await begin(store, metaOf(ID));
  heard.lines.push('begun');
  for (const step of STEPS) {
    await journal.append(longLine(step, 3_000));
    heard.lines.push(step);
  }
  await journal.finish(line('end'), END);
  heard.lines.push('end');
  heard.hasEnded = true;
  const ended = await found(store, ID);
  heard.isDeleting = true;
  await store.delete(ended);
  heard.isDeleted = true;
}

async function callsOfALife(make: () => StorageAdapter): Promise<number> {
  let calls = 0;
  const counting = around(make(), (_call, _key, send) => {
    calls += 1;
    return send();
  });
  await live(counting, { lines: [], hasEnded: false, isDeleting: false, isDeleted: false });
  return calls;
}

/** Deaths between the two writes of a begin: nobody can tell that the second one will not come. */
const marksAlone = new Set(['a store of four methods after 2', 'a store of four methods before 3']);

async function keysIn(storage: StorageAdapter): Promise<string[]> {
  return (await storage.list('')).entries.map(({ key }) => key);
}

async function openIn(store: TransactionStore) {
  const open = [];
  for await (const stored of store.open()) open.push(stored);
  return open;
}

/** Goes on with what is there, to its end, and deletes it. Returns all that was in the journal. */
async function goOn(store: TransactionStore): Promise<string[]> {
  for (const stored of await openIn(store)) {
    if ('error' in stored) throw stored.error;
    const change = { owner: 'node-2', fence: stored.meta.fence + 1 };
    const journal = await store.takeOver(stored, { line: line('taken'), change, holder: new TestHolder() });
    for (const step of STEPS) await journal.append(longLine(step, 3_000));
    await journal.finish(line('end'), END);
  }
  const ended = await store.read(ID);
  const texts = await textsOf(ended);
  if (ended) await store.delete(ended);
  return texts;
}

describe.each(stores)('on %s', async (name, make) => {
  const count = await callsOfALife(make);
  const deaths = Array.from({ length: count }, (_, index) => index + 1);

  describe.each(['before', 'after'] as const)('a process that dies %s its call', (when) => {
    test.each(deaths)("number %i loses nothing that was acknowledged and is in nobody's way", async (at) => {
      const storage = make();
      const heard: Heard = { lines: [], hasEnded: false, isDeleting: false, isDeleted: false };
      void live(dying(storage, at, when), heard);
      await new VirtualClock().advance(0);
      expect(heard.isDeleted).toBe(false);

      const store = new TransactionStore(storage, new VirtualClock());
      const stored = await store.read(ID);
      const texts = await textsOf(stored);
      const script = ['begun', ...STEPS, 'end'];
      const isGone = stored === undefined && (heard.isDeleting || heard.lines.length === 0);
      expect(texts).toEqual(isGone ? [] : script.slice(0, texts.length));
      if (!isGone) expect(texts.length - heard.lines.length).toBeOneOf([0, 1]);
      if (!isGone) expect(stored?.hasEnded).toBe(texts.includes('end'));
      if (heard.hasEnded) expect(await openIn(store)).toEqual([]);

      const all = await goOn(store);
      expect(all.slice(0, texts.length)).toEqual(texts);
      if (!isGone && !texts.includes('end')) expect(all.slice(texts.length)).toEqual(['taken', ...STEPS, 'end']);
      const again: Heard = { lines: [], hasEnded: false, isDeleting: false, isDeleted: false };
      await live(storage, again);
      expect(again.isDeleted).toBe(true);
      const isMarkAlone = marksAlone.has(`${name} ${when} ${at}`);
      expect(await keysIn(storage)).toEqual(isMarkAlone ? [expect.stringContaining('transactions/open/')] : []);
    });
  });
});

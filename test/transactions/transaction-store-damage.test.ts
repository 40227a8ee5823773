import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/base/errors.js';
import { newJournal, sealHead, sealSegment } from '../../src/records/journal.js';
import { FencedError } from '../../src/records/lease.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { TransactionStore } from '../../src/transactions/transaction-store.js';
import { rejectionOf } from '../support/deferred.js';
import { begin, found, line, listen, longLine, metaOf, TestHolder, textsOf } from './journal-scene.js';

const ID = 'order-42';
const HEAD_KEY = 'transactions/heads/p=order-42';
const PARTS = 'transactions/parts/p=order-42/';

/** A store with one transaction of three segments. */
async function scene() {
  const storage = memoryStorage();
  const clock = new VirtualClock();
  const store = new TransactionStore(storage, clock);
  const holder = new TestHolder();
  const journal = await begin(store, metaOf(ID), holder);
  for (const text of ['a', 'b', 'c', 'd']) await journal.append(longLine(text, 6_000));
  const parts = (await storage.list(PARTS)).entries.map(({ key }) => key);
  return { storage, clock, store, holder, journal, parts };
}

async function bytesOf(storage: StorageAdapter, key: string): Promise<Uint8Array> {
  const entry = await storage.get(key);
  if (entry === undefined) throw new Error(`"${key}" is not there.`);
  return entry.value;
}

async function flip(storage: StorageAdapter, key: string, at: number): Promise<void> {
  const bytes = Buffer.from(await bytesOf(storage, key));
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  await storage.put(key, bytes);
}

/** The store with every entry marked as perhaps not the newest. */
function suspicious(storage: StorageAdapter): StorageAdapter {
  return {
    ...storage,
    async get(key) {
      const entry = await storage.get(key);
      return entry && { ...entry, suspect: true };
    },
  };
}

describe('a damaged head', () => {
  test.each([0, 10, 60, 300, 6_000])(
    'with byte %i changed is read by nobody, and nothing is put over it',
    async (at) => {
      const { storage, store } = await scene();
      const before = await found(store, ID);
      await flip(storage, HEAD_KEY, at);
      const damaged = await bytesOf(storage, HEAD_KEY);
      await expect(store.read(ID)).rejects.toBeInstanceOf(CorruptionError);
      await expect(store.begin(metaOf(ID), line('again'), new TestHolder())).rejects.toBeInstanceOf(CorruptionError);
      await expect(store.amend(before, line('cancel'), { cancel: 'no' })).rejects.toBeInstanceOf(CorruptionError);
      expect(await bytesOf(storage, HEAD_KEY)).toEqual(damaged);
    },
  );

  test('does not hide the others', async () => {
    const { storage, store } = await scene();
    for (const id of ['order-41', 'order-43']) await begin(store, metaOf(id));
    await flip(storage, HEAD_KEY, 100);
    const seen = [];
    for await (const stored of store.open()) seen.push('error' in stored ? [stored.key, stored.id] : stored.meta.id);
    expect(seen).toEqual(['order-41', [HEAD_KEY, ID], 'order-43']);
  });

  test('keeps its owner waiting, as long as it may write', async () => {
    const { storage, clock, holder, journal } = await scene();
    const heard = listen(journal);
    await flip(storage, HEAD_KEY, 100);
    const appended = rejectionOf(journal.append(line('e')));
    await clock.advance(1_000);
    expect(heard.delays.length).toBeGreaterThan(3);
    expect(heard.delays.every((error) => error instanceof CorruptionError)).toBe(true);
    holder.expire();
    await clock.advance(2_000);
    const error = await appended;
    expect(error).toBeInstanceOf(FencedError);
    expect((error as FencedError).cause).toBeInstanceOf(CorruptionError);
  });

  test('is one that was copied here from another key', async () => {
    const { storage, store } = await scene();
    const other = await begin(store, metaOf('order-43'));
    await other.append(line('x'));
    await storage.put(HEAD_KEY, await bytesOf(storage, 'transactions/heads/p=order-43'));
    await expect(store.read(ID)).rejects.toBeInstanceOf(CorruptionError);
  });

  test('is one that was written for another id', async () => {
    const { storage, store } = await scene();
    await storage.put(HEAD_KEY, sealHead(HEAD_KEY, newJournal(metaOf('order-43'))).bytes);
    await expect(store.read(ID)).rejects.toThrow('says it belongs to transaction "order-43"');
  });

  test.each([
    ['no id', { id: 7 }],
    ['a name that is none', { name: 7 }],
    ['a status that is none', { status: 'asleep' }],
    ['a status of another type', { status: 7 }],
    ['an owner that is none', { owner: undefined }],
    ['a fence that is no whole number', { fence: 1.5 }],
    ['no count of takeovers', { takeovers: null }],
    ['no time', { startedAtMs: 'noon' }],
    ['nothing it is stuck at', { stuck: null }],
    ['a stuck step that is none', { stuck: { reason: 'past-pivot', step: 7 } }],
    ['a cancel without words', { cancel: 7 }],
  ])('is one with %s', async (_name, change) => {
    const { storage, store } = await scene();
    const about = { ...metaOf(ID), ...change };
    await storage.put(HEAD_KEY, sealHead(HEAD_KEY, newJournal(about)).bytes);
    await expect(store.read(ID)).rejects.toBeInstanceOf(CorruptionError);
  });

  test('is one that says nothing of itself', async () => {
    const { storage, store } = await scene();
    await storage.put(HEAD_KEY, sealHead(HEAD_KEY, newJournal(null)).bytes);
    await expect(store.read(ID)).rejects.toBeInstanceOf(CorruptionError);
  });

  test('is one that may not be the newest', async () => {
    const { storage, clock } = await scene();
    const store = new TransactionStore(suspicious(storage), clock);
    await expect(store.read(ID)).rejects.toBeInstanceOf(CorruptionError);
  });
});

describe('a damaged segment', () => {
  test('with one byte changed makes the journal unreadable, not shorter', async () => {
    const { storage, store, parts } = await scene();
    expect(parts).toHaveLength(3);
    for (const part of parts) {
      await flip(storage, part, 2_000);
      const stored = await found(store, ID);
      await expect(stored.lines()).rejects.toBeInstanceOf(CorruptionError);
      await flip(storage, part, 2_000);
    }
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'a', 'b', 'c', 'd']);
  });

  test('is one that is missing', async () => {
    const { storage, store, parts } = await scene();
    await storage.delete(parts[1] as string);
    await expect((await found(store, ID)).lines()).rejects.toBeInstanceOf(CorruptionError);
  });

  test('is one that took the place of another', async () => {
    const { storage, store, parts } = await scene();
    await storage.put(parts[1] as string, await bytesOf(storage, parts[2] as string));
    await expect((await found(store, ID)).lines()).rejects.toBeInstanceOf(CorruptionError);
  });

  test('is one that is whole and was not written by this journal', async () => {
    const { storage, store, parts } = await scene();
    const { record } = sealSegment('', { ...newJournal(null), tail: Buffer.from('forged\n') });
    const { sealRecord } = await import('../../src/records/envelope.js');
    const key = parts[1] as string;
    await storage.put(key, sealRecord({ ...record.header, key }, Buffer.from('forged\n')).bytes);
    await expect((await found(store, ID)).lines()).rejects.toThrow('not the part');
  });

  test('is one that may not be the newest', async () => {
    const { storage, clock, parts } = await scene();
    const store = new TransactionStore(
      { ...storage, get: (key) => (key === parts[0] ? suspicious(storage) : storage).get(key) },
      clock,
    );
    await expect((await found(store, ID)).lines()).rejects.toBeInstanceOf(CorruptionError);
  });
});

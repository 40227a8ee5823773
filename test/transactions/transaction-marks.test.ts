import { describe, expect, test } from 'vitest';
import { CorruptionError, LimitError } from '../../src/base/errors.js';
import { FencedError } from '../../src/records/lease.js';
import { ConflictError, OutcomeUnknownError, StorageError } from '../../src/storage/adapter.js';
import { checked } from '../../src/storage/checked.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { TransactionStore } from '../../src/transactions/transaction-store.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { settledOn } from '../support/settled-on.js';
import { plainStore } from '../testing/plain-store.js';
import {
  around,
  begin,
  failing,
  found,
  line,
  listen,
  longLine,
  metaOf,
  stores,
  TestHolder,
  textsOf,
} from './journal-scene.js';
import { playMarks } from './mark-schedule.js';

const ID = 'order-42';
const HEAD_KEY = 'transactions/heads/p=order-42';
const OPEN = 'transactions/open/';
const END = { status: 'done', owner: null } as const;
const ABANDONED = { status: 'stuck', stuck: { reason: 'abandoned' } } as const;

const storeOn = (storage = memoryStorage()) => new TransactionStore(storage, new VirtualClock());

async function keysIn(storage = memoryStorage(), prefix = ''): Promise<string[]> {
  return (await storage.list(prefix)).entries.map(({ key }) => key);
}

async function openIn(store: TransactionStore) {
  const open = [];
  for await (const stored of store.open()) open.push('error' in stored ? stored : stored.meta.id);
  return open;
}

/** The writes that are sent, in order. */
function written(inner = memoryStorage()) {
  const writes: string[] = [];
  const storage = around(inner, (call, key, send) => {
    if (call !== 'get' && call !== 'list') writes.push(`${call} ${key.slice(0, OPEN.length)}`);
    return send();
  });
  return { storage, writes };
}

describe.each(stores)('on %s', (_name, make) => {
  test('a mark stands beside the head for as long as it is open', async () => {
    const storage = make();
    const store = storeOn(storage);
    const journal = await begin(store, metaOf(ID));
    await journal.append(line('a'));
    const name = (await found(store, ID)).head.head.journal;
    expect(await keysIn(storage)).toEqual([HEAD_KEY, `${OPEN}p=order-42/${name}`]);
    await journal.finish(line('end'), END);
    expect(await keysIn(storage)).toEqual([HEAD_KEY]);
  });

  test('one that is let go of, stuck or taken over is marked all the same', async () => {
    const storage = make();
    const store = storeOn(storage);
    const journal = await begin(store, metaOf(ID));
    await journal.finish(line('stuck'), { status: 'stuck', stuck: { reason: 'past-pivot' }, owner: null });
    expect(await openIn(store)).toEqual([ID]);
    const change = { status: 'running', stuck: undefined, owner: 'node-2', fence: 2 } as const;
    const taken = { line: line('taken'), change, holder: new TestHolder() };
    const next = await store.takeOver(await found(store, ID), taken);
    expect(await openIn(store)).toEqual([ID]);
    await next.finish(line('end'), END);
    expect(await keysIn(storage, OPEN)).toEqual([]);
  });

  test('one that was abandoned is marked no more, and one that is begun again under its id has another mark', async () => {
    const storage = make();
    const store = storeOn(storage);
    await begin(store, metaOf(ID));
    const before = await keysIn(storage, OPEN);
    await store.amend(await found(store, ID), line('abandoned'), ABANDONED);
    expect(await keysIn(storage)).toEqual([HEAD_KEY]);
    await store.delete(await found(store, ID));
    await begin(store, metaOf(ID));
    const after = await keysIn(storage, OPEN);
    expect(after).toHaveLength(1);
    expect(after).not.toEqual(before);
  });

  test('a recovery takes away a mark that an end left behind', async () => {
    const storage = make();
    const store = storeOn(storage);
    const journal = await begin(store, metaOf(ID));
    const [mark] = await keysIn(storage, OPEN);
    await journal.finish(line('end'), END);
    await storage.put(mark as string, new Uint8Array());
    expect(await openIn(store)).toEqual([]);
    expect(await keysIn(storage)).toEqual([HEAD_KEY]);
  });
});

describe('on a store with batch', () => {
  test('head and mark come in one write, and the mark goes in the one that ends', async () => {
    const { storage, writes } = written();
    const journal = await begin(storeOn(storage), metaOf(ID));
    await journal.append(line('a'));
    await journal.finish(line('end'), END);
    expect(writes).toEqual(['batch transactions/heads', 'put transactions/heads', 'batch transactions/heads']);
  });

  test('an end by an amendment is one write, too, and a delete after it', async () => {
    const inner = memoryStorage();
    await begin(storeOn(inner), metaOf(ID));
    const { storage, writes } = written(inner);
    const store = storeOn(storage);
    await store.amend(await found(store, ID), line('abandoned'), ABANDONED);
    await store.delete(await found(store, ID));
    expect(writes).toEqual(['batch transactions/heads', 'delete transactions/heads']);
    expect(await keysIn(inner)).toEqual([]);
  });

  test('a mark whose head is lost is damage, and does not hide the others', async () => {
    const storage = memoryStorage();
    const store = storeOn(storage);
    for (const id of ['a', ID, 'z']) await begin(store, metaOf(id));
    await storage.delete(HEAD_KEY);
    const [a, lost, z] = await openIn(store);
    expect([a, z]).toEqual(['a', 'z']);
    expect(lost).toEqual({ key: HEAD_KEY, id: ID, error: expect.any(CorruptionError) });
    await begin(store, metaOf(ID));
    expect(await openIn(store)).toHaveLength(4);
  });

  test('one that ends and is deleted, or begun again, while it is listed is no damage', async () => {
    const inner = memoryStorage();
    for (const isBegunAgain of [false, true]) {
      const journal = await begin(storeOn(inner), metaOf(ID));
      const slow = around(inner, async (call, _key, send) => {
        const answer = await send();
        if (call !== 'list') return answer;
        await journal.finish(line('end'), END);
        await storeOn(inner).delete(await found(storeOn(inner), ID));
        if (isBegunAgain) await begin(storeOn(inner), metaOf(ID));
        return answer;
      });
      expect(await openIn(storeOn(slow))).toEqual([]);
    }
    expect(await openIn(storeOn(inner))).toEqual([ID]);
  });
});

describe('on a store of four methods', () => {
  const plain = () => checked(plainStore());

  test('the mark comes before the head, and goes after the end', async () => {
    const { storage, writes } = written(plain());
    const journal = await begin(storeOn(storage), metaOf(ID));
    await journal.finish(line('end'), END);
    const put = 'put transactions/heads';
    expect(writes).toEqual(['put transactions/open/', put, put, 'delete transactions/open/']);
  });

  test('who finds it begun already marks nothing', async () => {
    const inner = plain();
    await begin(storeOn(inner), metaOf(ID));
    const { storage, writes } = written(inner);
    expect(await storeOn(storage).begin(metaOf(ID), line('second'), new TestHolder())).toHaveProperty('existing');
    expect(writes).toEqual([]);
  });

  test.each([
    ['is open', false],
    ['has ended', true],
  ])('who is outrun by one that %s takes back its own mark and no other', async (_name, hasEnded) => {
    const inner = plain();
    const racing = around(inner, async (call, key, send) => {
      if (call !== 'put' || key !== HEAD_KEY) return send();
      const journal = await begin(storeOn(inner), metaOf(ID));
      if (hasEnded) await journal.finish(line('end'), END);
      return send();
    });
    const answer = await storeOn(racing).begin(metaOf(ID), line('second'), new TestHolder());
    const texts = hasEnded ? ['begun', 'end'] : ['begun'];
    expect('existing' in answer && (await textsOf(answer.existing))).toEqual(texts);
    expect(await keysIn(inner, OPEN)).toHaveLength(hasEnded ? 0 : 1);
    expect(await openIn(storeOn(inner))).toEqual(hasEnded ? [] : [ID]);
  });

  test('a head that is too large, or whose holder is lost, leaves no mark', async () => {
    const inner = plain();
    const holder = new TestHolder();
    const small = { ...inner, capabilities: { ...inner.capabilities, maxValueBytes: 1_000 } };
    const tooLarge = storeOn(checked(small)).begin(metaOf(ID), longLine('a', 1_000), holder);
    await expect(tooLarge).rejects.toBeInstanceOf(LimitError);
    expect(await keysIn(inner)).toEqual([]);
    const late = around(inner, async (_call, key, send) => {
      const answer = await send();
      if (key.startsWith(OPEN)) holder.expire();
      return answer;
    });
    await expect(storeOn(late).begin(metaOf(ID), line('a'), holder)).rejects.toBeInstanceOf(FencedError);
    expect(await keysIn(inner)).toEqual([]);
  });

  test('a head that may come to be there keeps its mark, and so does one that a store said to be refused', async () => {
    for (const [error, heads] of [
      [new StorageError('Down.'), 0],
      [new ConflictError(HEAD_KEY, 'its own'), 1],
    ] as const) {
      const inner = plain();
      const when = heads === 0 ? 'before' : 'after';
      const store = storeOn(
        failing(inner, (call, key) => (call === 'put' && key === HEAD_KEY ? { [when]: error } : undefined)),
      );
      await rejectionOf(store.begin(metaOf(ID), line('a'), new TestHolder()));
      expect(await keysIn(inner, OPEN)).toHaveLength(1);
      expect(await openIn(storeOn(inner))).toHaveLength(heads);
    }
  });

  test('a mark alone is left to who may be about to begin, by recoveries and by others who begin and end', async () => {
    const inner = plain();
    const gate = deferred();
    const slow = around(inner, async (call, key, send) => {
      if (call === 'put' && key === HEAD_KEY) await gate.promise;
      return send();
    });
    const late = storeOn(slow).begin(metaOf(ID), line('late'), new TestHolder());
    await new VirtualClock().advance(0);
    const store = storeOn(inner);
    expect(await openIn(store)).toEqual([]);
    await (await begin(store, metaOf(ID))).finish(line('end'), END);
    expect(await openIn(store)).toEqual([]);
    await store.delete(await found(store, ID));
    gate.resolve();
    expect(await late).toHaveProperty('begun');
    expect(await openIn(store)).toEqual([ID]);
  });

  test.each([
    ['of its owner', true],
    ['by an amendment', false],
  ])('an end %s has happened though its mark cannot be taken away', async (_name, isOwners) => {
    const inner = plain();
    const down = new StorageError('Down.');
    const store = storeOn(failing(inner, (call) => (call === 'delete' ? { before: down } : undefined)));
    const journal = await begin(store, metaOf(ID));
    const heard = listen(journal);
    if (isOwners) await journal.finish(line('end'), END);
    else await store.amend(await found(store, ID), line('abandoned'), ABANDONED);
    expect(heard.delays).toEqual(isOwners ? [down] : []);
    expect((await found(store, ID)).hasEnded).toBe(true);
    expect(await openIn(store)).toEqual([{ key: HEAD_KEY, id: ID, error: down }]);
    expect(await openIn(storeOn(inner))).toEqual([]);
    expect(await keysIn(inner)).toEqual([HEAD_KEY]);
  });

  test('a delete takes the mark that an end left behind along', async () => {
    const inner = plain();
    const store = storeOn(inner);
    const journal = await begin(store, metaOf(ID));
    const [mark] = await keysIn(inner, OPEN);
    await journal.finish(line('end'), END);
    await inner.put(mark as string, new Uint8Array());
    await store.delete(await found(store, ID));
    expect(await keysIn(inner)).toEqual([]);
  });

  test('who sends a begin twice keeps the mark when the second is refused: the first may still arrive', async () => {
    const inner = plain();
    const store = storeOn(inner);
    const sent: (() => Promise<unknown>)[] = [];
    const slow = around(inner, async (call, key, send) => {
      if (call !== 'put' || key !== HEAD_KEY) return send();
      sent.push(send);
      if (sent.length === 1) throw new OutcomeUnknownError(key);
      await (await begin(store, metaOf(ID))).finish(line('end'), END);
      return send();
    });
    const clock = new VirtualClock();
    const late = new TransactionStore(slow, clock).begin(metaOf(ID), line('late'), new TestHolder());
    expect(await settledOn(clock, late)).toHaveProperty('existing');
    await store.delete(await found(store, ID));
    await sent[0]?.();
    expect(await openIn(store)).toEqual([ID]);
  });
});

describe('any number of processes on a store of four methods', () => {
  const lives = ['live', 'delete', 'live', 'delete'] as const;

  test('leave no open transaction without a mark, whoever dies when, and in the end no mark', async () => {
    const processes = [lives, lives, lives, ['delete', 'recover', 'delete', 'abandon', 'recover']] as const;
    const { violations, marks, ends, deletes } = await playMarks(processes, { schedules: 300, late: false });
    expect(violations).toEqual([]);
    expect(marks).toEqual({ open: 0, stray: 0 });
    expect(ends).toBeGreaterThan(600);
    expect(deletes).toBeGreaterThan(400);
  });

  test('nor do they when writes arrive late, of which nobody knows', async () => {
    const processes = [['live', 'abandon'], ['live'], ['live', 'recover'], ['recover', 'abandon']] as const;
    const { violations, marks, ends } = await playMarks(processes, { schedules: 300, late: true });
    expect(violations).toEqual([]);
    expect(marks.open + ends).toBeGreaterThan(200);
    expect(marks.stray).toBeGreaterThan(0); // What nobody can prove to be dead stays.
  });
});

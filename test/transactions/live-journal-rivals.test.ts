import { describe, expect, test } from 'vitest';
import { FencedError } from '../../src/records/lease.js';
import { OutcomeUnknownError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { TransactionStore } from '../../src/transactions/transaction-store.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { settledOn } from '../support/settled-on.js';
import { around, begin, found, gated, line, listen, metaOf, TestHolder, textsOf, unlucky } from './journal-scene.js';

const ID = 'order-42';
const HEAD_KEY = 'transactions/heads/p=order-42';
const LOST = new FencedError('node node-1');

describe('others who write', () => {
  test('a cancel between two lines is told once, and no line is lost', async () => {
    const store = new TransactionStore(memoryStorage(), new VirtualClock());
    const journal = await begin(store, metaOf(ID));
    const heard = listen(journal);
    await store.amend(await found(store, ID), line('cancel'), { cancel: 'changed my mind' });
    await journal.append(line('a'));
    await journal.append(line('b'));
    await journal.refresh();
    expect(heard.cancels).toEqual(['changed my mind']);
    expect(journal.meta.cancel).toBe('changed my mind');
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'cancel', 'a', 'b']);
  });

  test('refresh tells of a cancel without a write, and of nothing when there is nothing', async () => {
    const store = new TransactionStore(memoryStorage(), new VirtualClock());
    const journal = await begin(store, metaOf(ID));
    const heard = listen(journal);
    await journal.refresh();
    await store.amend(await found(store, ID), line('cancel'), { cancel: 'no' });
    await journal.refresh();
    await journal.refresh();
    await journal.append(line('a'));
    expect(heard).toEqual({ cancels: ['no'], delays: [], losses: [] });
  });

  test('refresh does not take a write of its own that is not answered yet for that of another', async () => {
    const put = deferred();
    const get = deferred();
    let isSlow = false;
    const storage = around(memoryStorage(), async (call, _key, send) => {
      if (!isSlow) return send();
      if (call === 'get') await get.promise;
      const answer = await send();
      if (call === 'put') await put.promise;
      return answer;
    });
    const clock = new VirtualClock();
    const journal = await begin(new TransactionStore(storage, clock), metaOf(ID));
    const heard = listen(journal);
    isSlow = true;
    const refreshed = journal.refresh();
    const appended = journal.append(line('a'));
    await clock.advance(0); // The write is in the store; its answer is not here.
    get.resolve();
    await refreshed;
    await journal.refresh();
    put.resolve();
    await appended;
    expect(heard.losses).toEqual([]);
  });

  test('an end of its own that sets the cancel is no news', async () => {
    const { clock, journal, heard } = await unlucky([{ after: new OutcomeUnknownError(HEAD_KEY) }]);
    await settledOn(clock, journal.append(line('cancelled'), { cancel: 'by its owner' }));
    expect(heard.cancels).toEqual([]);
  });

  test.each([
    ['refresh', 0],
    ['a line', 1],
  ])('a takeover fences the old owner at %s', async (_name, lines) => {
    const store = new TransactionStore(memoryStorage(), new VirtualClock());
    const old = await begin(store, metaOf(ID));
    const heard = listen(old);
    const holder = new TestHolder();
    const change = { owner: 'node-2', fence: 2 };
    const now = await store.takeOver(await found(store, ID), { line: line('taken'), change, holder });
    const refusals = await Promise.all([
      old.refresh(),
      ...Array(lines)
        .fill(0)
        .map(() => rejectionOf(old.append(line('late')))),
    ]);
    expect(heard.losses).toHaveLength(1);
    expect(refusals.slice(1)).toEqual(Array(lines).fill(heard.losses[0]));
    await now.append(line('a'));
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'taken', 'a']);
  });

  test('a takeover over a write whose answer was lost fences, though the write happened', async () => {
    const { clock, journal, store } = await unlucky([{ after: new OutcomeUnknownError(HEAD_KEY) }]);
    const appended = rejectionOf(journal.append(line('a')));
    await clock.advance(0);
    const change = { owner: 'node-2', fence: 2 };
    await store.takeOver(await found(store, ID), { line: line('taken'), change, holder: new TestHolder() });
    await clock.advance(50);
    expect(await appended).toBeInstanceOf(FencedError);
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'a', 'taken']);
  });

  test('an owner whose transaction somebody ended is fenced', async () => {
    const store = new TransactionStore(memoryStorage(), new VirtualClock());
    const journal = await begin(store, metaOf(ID));
    const abandoned = { status: 'stuck', stuck: { reason: 'abandoned' } } as const;
    await store.amend(await found(store, ID), line('abandoned'), abandoned);
    await expect(journal.append(line('late'))).rejects.toBeInstanceOf(FencedError);
  });

  test('an owner whose transaction was deleted is fenced, also when its id is begun again', async () => {
    const inner = memoryStorage();
    const store = new TransactionStore(inner, new VirtualClock());
    const journal = await begin(store, metaOf(ID));
    await inner.delete(HEAD_KEY);
    await begin(store, metaOf(ID));
    await expect(journal.append(line('late'))).rejects.toBeInstanceOf(FencedError);
    const orphan = await begin(store, metaOf('order-43'));
    await inner.delete('transactions/heads/p=order-43');
    await orphan.refresh();
    await expect(orphan.append(line('late'))).rejects.toBeInstanceOf(FencedError);
    expect(await textsOf(await found(store, ID))).toEqual(['begun']);
  });

  test('who listens for a loss too late is told at once; who left is not told', async () => {
    const holder = new TestHolder();
    const journal = await begin(new TransactionStore(memoryStorage(), new VirtualClock()), metaOf(ID), holder);
    const told: string[] = [];
    const leave = journal.onLost(() => told.push('left'));
    leave();
    holder.lose(LOST);
    journal.onLost(() => told.push('late'));
    expect(told).toEqual(['late']);
  });

  test('a conflict that is found after the loss changes nothing any more', async () => {
    const inner = memoryStorage();
    const { storage, gate } = gated(inner);
    const clock = new VirtualClock();
    const holder = new TestHolder();
    const journal = await begin(new TransactionStore(storage, clock), metaOf(ID), holder);
    const heard = listen(journal);
    await inner.delete(HEAD_KEY);
    const held = deferred();
    gate.held = held.promise;
    const appended = rejectionOf(journal.append(line('a')));
    holder.lose(LOST);
    held.resolve();
    await clock.advance(0);
    expect(heard.losses).toEqual([await appended]);
  });

  test.each([
    ['the status', { status: 'compensating' }],
    ['the owner', { owner: null }],
    ['the fence', { fence: 2 }],
  ] as const)('somebody who changes %s ends the right of the owner to go on', async (_name, change) => {
    const store = new TransactionStore(memoryStorage(), new VirtualClock());
    const journal = await begin(store, metaOf(ID));
    await store.amend(await found(store, ID), line('by hand'), change);
    await expect(journal.append(line('late'))).rejects.toBeInstanceOf(FencedError);
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'by hand']);
  });
});

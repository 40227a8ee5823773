import { describe, expect, test } from 'vitest';
import { ClosedError, CorruptionError } from '../../src/base/errors.js';
import { FencedError } from '../../src/records/lease.js';
import { ConflictError, NoSpaceError, OutcomeUnknownError, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { TransactionStore } from '../../src/transactions/transaction-store.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { settledOn } from '../support/settled-on.js';
import {
  around,
  begin,
  failing,
  found,
  gated,
  line,
  listen,
  longLine,
  metaOf,
  TestHolder,
  textsOf,
  unlucky,
} from './journal-scene.js';

const ID = 'order-42';
const HEAD_KEY = 'transactions/heads/p=order-42';
const LOST = new FencedError('node node-1');

describe('a store that fails', () => {
  test.each([
    ['a StorageError', () => new StorageError('The line is cut.')],
    ['a NoSpaceError', () => new NoSpaceError('the disk')],
    ['an OutcomeUnknownError', () => new OutcomeUnknownError(HEAD_KEY)],
  ])('with %s is asked again, after growing waits', async (_name, error) => {
    const { clock, journal, heard, store } = await unlucky([{ before: error() }, { before: error() }]);
    const appended = journal.append(line('a'));
    await clock.advance(149);
    expect(heard.delays).toEqual([error(), error()]);
    expect(await textsOf(await found(store, ID))).toEqual(['begun']);
    await clock.advance(1);
    await appended;
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'a']);
  });

  test('is asked every two seconds in the end', async () => {
    const errors = Array.from({ length: 20 }, () => ({ before: new StorageError('Down.') }));
    const { clock, journal, heard } = await unlucky(errors);
    const appended = journal.append(line('a'));
    await clock.advance(50 + 100 + 200 + 400 + 800 + 1_600);
    expect(heard.delays).toHaveLength(7);
    await clock.advance(2_000);
    expect(heard.delays).toHaveLength(8);
    await settledOn(clock, appended);
    expect(clock.pending).toBe(0);
  });

  test('that has written all the same is not made to write again', async () => {
    const { clock, journal, store } = await unlucky([{ after: new StorageError('No answer.') }]);
    const first = journal.append(line('a'));
    const second = journal.append(line('b'));
    await settledOn(clock, Promise.all([first, second]));
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'a', 'b']);
  });

  test('does not stop a journal that a cancel reached after the lost answer', async () => {
    const { clock, journal, heard, store } = await unlucky([{ after: new OutcomeUnknownError(HEAD_KEY) }]);
    const appended = journal.append(line('a'));
    await clock.advance(0);
    await store.amend(await found(store, ID), line('cancel'), { cancel: 'too late' });
    await settledOn(clock, appended);
    await journal.append(line('b'));
    expect(heard.cancels).toEqual(['too late']);
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'a', 'cancel', 'b']);
  });

  test('is asked no more once the holder is lost: the cause is what it said last', async () => {
    const down = new StorageError('Down.');
    const { clock, holder, journal, heard } = await unlucky([{ before: down }, { before: down }]);
    const appended = rejectionOf(journal.append(line('a')));
    const behind = rejectionOf(journal.append(line('b')));
    await clock.advance(0);
    holder.lose(LOST);
    const error = await appended;
    expect(error).toBeInstanceOf(FencedError);
    expect(error).toMatchObject({ what: 'transaction "order-42"', cause: down });
    expect(await behind).toBe(error);
    expect(heard.losses).toEqual([error]);
    expect(clock.pending).toBe(0);
  });

  test('and was heard again is not the cause of a later loss', async () => {
    const { clock, holder, journal, heard } = await unlucky([{ before: new StorageError('Down.') }]);
    await settledOn(clock, journal.append(line('a')));
    holder.lose(LOST);
    expect(heard.losses).toMatchObject([{ code: 'HOLDFAST_FENCED', cause: LOST }]);
  });

  test('is asked no more once the holder may not write, though nobody said so', async () => {
    const { clock, holder, journal, heard, store } = await unlucky([{ before: new StorageError('Down.') }]);
    const appended = rejectionOf(journal.append(line('a')));
    await clock.advance(0);
    holder.expire();
    await clock.advance(50);
    expect(await appended).toBeInstanceOf(FencedError);
    expect(heard.losses).toHaveLength(1);
    expect(await textsOf(await found(store, ID))).toEqual(['begun']);
  });

  test('because it was closed is not asked again', async () => {
    const closed = new ClosedError('The store');
    const down = new StorageError('Down.');
    const { clock, journal, heard } = await unlucky([{ before: down }, { before: closed }]);
    const error = await settledOn(clock, rejectionOf(journal.append(line('a'))));
    expect(error).toBeInstanceOf(FencedError);
    expect(error).toMatchObject({ cause: closed });
    expect(heard.delays).toEqual([down]);
  });

  test('that never answers does not keep the loss from who waits', async () => {
    const { storage, gate } = gated(memoryStorage());
    const holder = new TestHolder();
    const journal = await begin(new TransactionStore(storage, new VirtualClock()), metaOf(ID), holder);
    gate.held = new Promise<void>(() => {});
    const appended = rejectionOf(journal.append(line('a')));
    holder.lose(LOST);
    expect(await appended).toMatchObject({ code: 'HOLDFAST_FENCED', cause: LOST });
    await expect(journal.append(line('b'))).rejects.toBe(await appended);
  });

  test('that answers after the loss changes nothing any more', async () => {
    const { storage, gate } = gated(memoryStorage());
    const clock = new VirtualClock();
    const holder = new TestHolder();
    const journal = await begin(new TransactionStore(storage, clock), metaOf(ID), holder);
    const held = deferred();
    gate.held = held.promise;
    const appended = rejectionOf(journal.append(line('a')));
    const heard = listen(journal);
    holder.lose(LOST);
    held.resolve();
    await clock.advance(0);
    expect(await appended).toBe(heard.losses[0]);
    expect(heard.losses).toHaveLength(1);
  });

  test('the reading after a conflict may fail, too, and is tried again', async () => {
    const inner = memoryStorage();
    const clock = new VirtualClock();
    let failures = 0;
    const damaged = new CorruptionError('Flipped.', HEAD_KEY);
    const storage = failing(inner, (call) => (call === 'get' && failures-- > 0 ? { before: damaged } : undefined));
    const journal = await begin(new TransactionStore(storage, clock), metaOf(ID));
    const heard = listen(journal);
    const store = new TransactionStore(inner, clock);
    await store.amend(await found(store, ID), line('cancel'), { cancel: 'no' });
    failures = 2;
    await settledOn(clock, journal.append(line('a')));
    expect(heard).toMatchObject({ delays: [damaged, damaged], cancels: ['no'], losses: [] });
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'cancel', 'a']);
  });

  test('that tells of a conflict which nobody caused is asked again', async () => {
    const { clock, journal, heard, store } = await unlucky([{ before: new ConflictError(HEAD_KEY, 'another') }]);
    await settledOn(clock, journal.append(line('a')));
    expect(heard.delays).toHaveLength(1);
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'a']);
  });

  test('is not even sent a segment by who may not write', async () => {
    const { storage, puts } = gated(memoryStorage());
    const holder = new TestHolder();
    const journal = await begin(new TransactionStore(storage, new VirtualClock()), metaOf(ID), holder);
    holder.expire();
    await expect(journal.append(longLine('a', 9_000))).rejects.toBeInstanceOf(FencedError);
    expect(puts).toEqual([]);
  });

  test('is not sent a head when the holder is lost while the segment is written', async () => {
    const clock = new VirtualClock();
    const holder = new TestHolder();
    const inner = memoryStorage();
    const storage = around(inner, (_call, key, send) => {
      if (key.startsWith('transactions/parts/')) holder.expire();
      return send();
    });
    const journal = await begin(new TransactionStore(storage, clock), metaOf(ID), holder);
    const refusal = await rejectionOf(journal.append(longLine('a', 9_000)));
    expect(refusal).toBeInstanceOf(FencedError);
    expect(await textsOf(await found(new TransactionStore(inner, clock), ID))).toEqual(['begun']);
  });

  test('does not make one wait who heard of the loss from the report of the failure', async () => {
    const { clock, holder, journal } = await unlucky([{ before: new StorageError('Down.') }]);
    journal.onDelayed = () => holder.lose(LOST);
    expect(await rejectionOf(journal.append(line('a')))).toBeInstanceOf(FencedError);
    await clock.advance(0);
    expect(clock.pending).toBe(0);
  });

  test('leaves an unnamed segment when the head fails, and the same one is named at last', async () => {
    const inner = memoryStorage();
    const { clock, journal, store } = await unlucky([{}, { before: new StorageError('Down.') }], inner);
    await settledOn(clock, journal.append(longLine('a', 9_000)));
    await settledOn(clock, journal.append(longLine('b', 9_000)));
    expect((await inner.list('transactions/parts/')).entries).toHaveLength(2);
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'a', 'b']);
  });

  test('while a segment is written makes it be written again', async () => {
    const inner = memoryStorage();
    const lost = new OutcomeUnknownError('transactions/parts/');
    const { clock, journal, heard, store } = await unlucky([{ after: lost }, { before: lost }], inner);
    await settledOn(clock, journal.append(longLine('a', 9_000)));
    expect(heard.delays).toEqual([lost, expect.any(Error)]);
    expect((await inner.list('transactions/parts/')).entries).toHaveLength(1);
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'a']);
  });
});

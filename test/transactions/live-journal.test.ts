import { describe, expect, test } from 'vitest';
import { ClosedError, LimitError } from '../../src/base/errors.js';
import { SPLIT_BYTES } from '../../src/records/journal-segments.js';
import { FencedError } from '../../src/records/lease.js';
import { OutcomeUnknownError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { TransactionStore } from '../../src/transactions/transaction-store.js';
import { settledOn } from '../support/settled-on.js';
import {
  begin,
  failing,
  found,
  gated,
  line,
  listen,
  longLine,
  metaOf,
  stores,
  TestHolder,
  textsOf,
} from './journal-scene.js';

const ID = 'order-42';
const END = { status: 'done', owner: null } as const;
const LOST = new FencedError('node node-1');

describe.each(stores)('a journal on %s', (_name, make) => {
  test('keeps its lines in the order of the calls, and says what is known of it', async () => {
    const clock = new VirtualClock({ nowMs: 5_000 });
    const store = new TransactionStore(make(), clock);
    const journal = await begin(store, metaOf(ID));
    await Promise.all(['a', 'b', 'c'].map((text) => journal.append(line(text))));
    await journal.append(line('d'), { status: 'compensating', takeovers: 0 });
    const stored = await found(store, ID);
    expect(await textsOf(stored)).toEqual(['begun', 'a', 'b', 'c', 'd']);
    expect(stored.meta).toEqual(metaOf(ID, { status: 'compensating', updatedAtMs: 5_000 }));
    expect(journal.meta).toEqual(stored.meta);
    expect(stored.hasEnded).toBe(false);
  });

  test('has ended when finish resolves, and is among the open ones no more', async () => {
    const storage = make();
    const store = new TransactionStore(storage, new VirtualClock());
    const holder = new TestHolder();
    const journal = await begin(store, metaOf(ID), holder);
    const appended = journal.append(line('a'));
    await journal.finish(line('end'), END);
    await expect(appended).resolves.toBeUndefined();
    const stored = await found(store, ID);
    expect(await textsOf(stored)).toEqual(['begun', 'a', 'end']);
    expect(stored.hasEnded).toBe(true);
    const { entries } = await storage.list('transactions/');
    expect(entries.map(({ key }) => key)).toEqual(['transactions/heads/p=order-42']);
    expect(holder.listening).toBe(0);
  });

  test('takes nothing after finish', async () => {
    const store = new TransactionStore(make(), new VirtualClock());
    const journal = await begin(store, metaOf(ID));
    const finished = journal.finish(line('end'), END);
    await expect(journal.append(line('late'))).rejects.toBeInstanceOf(ClosedError);
    await finished;
    await expect(journal.finish(line('late'), END)).rejects.toBeInstanceOf(ClosedError);
    await journal.refresh();
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'end']);
  });

  test('lets go of a transaction that others go on with', async () => {
    const store = new TransactionStore(make(), new VirtualClock());
    const holder = new TestHolder();
    const journal = await begin(store, metaOf(ID), holder);
    const heard = listen(journal);
    await journal.finish(line('let go'), { owner: null });
    const stored = await found(store, ID);
    expect(stored).toMatchObject({ hasEnded: false, meta: { owner: null, status: 'running' } });
    holder.lose(LOST);
    expect(heard.losses).toEqual([]);
  });

  test('stays readable and small at 10,000 entries', async () => {
    const storage = make();
    const store = new TransactionStore(storage, new VirtualClock());
    const journal = await begin(store, metaOf(ID));
    const texts = Array.from({ length: 10_000 }, (_, index) => `entry ${index} of a journal that grows and grows`);
    for (const text of texts.slice(0, 5_000)) await journal.append(line(text));
    await Promise.all(texts.slice(5_000).map((text) => journal.append(line(text))));
    const [head] = (await storage.list('transactions/heads/')).entries;
    expect(head?.sizeBytes).toBeLessThan(SPLIT_BYTES + 1_000);
    expect(await textsOf(await found(store, ID))).toEqual(['begun', ...texts]);
  });

  test('a line longer than a tail may get stands in a head of its own', async () => {
    const store = new TransactionStore(make(), new VirtualClock());
    const journal = await begin(store, metaOf(ID));
    await journal.append(longLine('long', 3 * SPLIT_BYTES));
    await journal.append(line('short'));
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'long', 'short']);
  });

  test('an end whose answer was lost has happened, and is marked as open no more', async () => {
    const inner = make();
    const clock = new VirtualClock();
    let isLost = false;
    const storage = failing(inner, (call, key) => {
      const isEnd = !isLost && (call === 'batch' || call === 'put') && key !== '' && isFinishing;
      if (!isEnd) return undefined;
      isLost = true;
      return { after: new OutcomeUnknownError(key) };
    });
    let isFinishing = false;
    const journal = await begin(new TransactionStore(storage, clock), metaOf(ID));
    const heard = listen(journal);
    isFinishing = true;
    await settledOn(clock, journal.finish(line('end'), END));
    expect(heard.delays).toHaveLength(1);
    const store = new TransactionStore(inner, clock);
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'end']);
    expect((await inner.list('transactions/open/')).entries).toEqual([]);
  });
});

describe('lines that share a write', () => {
  test('those that come while one is under way go into the next, together', async () => {
    const { storage, puts } = gated(memoryStorage());
    const journal = await begin(new TransactionStore(storage, new VirtualClock()), metaOf(ID));
    await Promise.all(['a', 'b', 'c', 'd'].map((text) => journal.append(line(text))));
    expect(puts).toHaveLength(2);
  });

  test('their changes are merged in order', async () => {
    const store = new TransactionStore(memoryStorage(), new VirtualClock());
    const journal = await begin(store, metaOf(ID));
    await Promise.all([
      journal.append(line('a')),
      journal.append(line('b'), { status: 'stuck', stuck: { reason: 'past-pivot' }, takeovers: 4 }),
      journal.append(line('c'), { status: 'running', stuck: undefined }),
    ]);
    const { meta } = await found(store, ID);
    expect(meta).toEqual(metaOf(ID, { takeovers: 4, updatedAtMs: meta.updatedAtMs }));
  });

  test('one that is too large for the store is refused alone, and the journal goes on', async () => {
    const limited = failing(memoryStorage(), () => undefined);
    const store = new TransactionStore(
      { ...limited, put: (key, value, options) => refuseLarge(value) ?? limited.put(key, value, options) },
      new VirtualClock(),
    );
    const journal = await begin(store, metaOf(ID));
    const texts = ['a', 'b', 'c', 'd'];
    const answers = await Promise.allSettled([
      ...texts.slice(0, 2).map((text) => journal.append(line(text))),
      journal.append(longLine('large', 4_000)),
      ...texts.slice(2).map((text) => journal.append(line(text))),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
    ]);
    await expect(journal.append(longLine('large', 4_000))).rejects.toBeInstanceOf(LimitError);
    await journal.append(line('e'));
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'a', 'b', 'c', 'd', 'e']);
  });

  test('an end that is too large may be followed by another', async () => {
    const inner = memoryStorage();
    const { batch = async () => '' } = inner;
    const store = new TransactionStore(
      {
        ...inner,
        batch: (operations) =>
          refuseLarge(operations[0]?.type === 'put' ? operations[0].value : new Uint8Array()) ?? batch(operations),
      },
      new VirtualClock(),
    );
    const journal = await begin(store, metaOf(ID));
    await expect(journal.finish(longLine('large', 4_000), END)).rejects.toBeInstanceOf(LimitError);
    await journal.finish(line('end'), END);
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'end']);
  });
});

function refuseLarge(value: Uint8Array): Promise<never> | undefined {
  return value.length > 4_000 ? Promise.reject(new LimitError('Too large.', 'maxValueBytes', 4_000)) : undefined;
}

import { describe, expect, test } from 'vitest';
import { CorruptionError, InvalidInputError } from '../../src/base/errors.js';
import { FencedError } from '../../src/records/lease.js';
import { ConflictError, NoSpaceError, OutcomeUnknownError, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { TransactionStore } from '../../src/transactions/transaction-store.js';
import { rejectionOf } from '../support/deferred.js';
import { settledOn } from '../support/settled-on.js';
import { suspectStore } from '../support/suspect-store.js';
import { around, begin, failing, found, line, longLine, metaOf, stores, TestHolder, textsOf } from './journal-scene.js';

const ID = 'order-42';
const HEAD_KEY = 'transactions/heads/p=order-42';
const END = { status: 'done', owner: null } as const;
const TAKEN = { owner: 'node-2', fence: 2 };

const storeOn = (storage = memoryStorage(), clock = new VirtualClock()) => new TransactionStore(storage, clock);

async function ended(store: TransactionStore, id: string): Promise<void> {
  await (await begin(store, metaOf(id))).finish(line('end'), END);
}

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const gathered: Item[] = [];
  for await (const item of items) gathered.push(item);
  return gathered;
}

const idsOf = (list: readonly object[]) =>
  list.map((item) => ('meta' in item ? (item.meta as { id: string }).id : item));

describe.each(stores)('on %s', (_name, make) => {
  test('a transaction is begun once: the second beginner is given what is there', async () => {
    const store = storeOn(make());
    const answers = await Promise.all(['a', 'b'].map((text) => store.begin(metaOf(ID), line(text), new TestHolder())));
    expect(answers.map((answer) => 'begun' in answer)).toEqual([true, false]);
    const [, second] = answers;
    expect(second && 'existing' in second && (await textsOf(second.existing))).toEqual(['a']);
  });

  test('one that has ended is not begun again', async () => {
    const storage = make();
    const store = storeOn(storage);
    await ended(store, ID);
    const writes: string[] = [];
    const watched = around(storage, (call, _key, send) => {
      if (call === 'put') writes.push(call);
      return send();
    });
    const answer = await storeOn(watched).begin(metaOf(ID), line('again'), new TestHolder());
    expect(writes).toEqual([]);
    expect('existing' in answer && answer.existing.hasEnded).toBe(true);
    expect((await storage.list('transactions/open/')).entries).toEqual([]);
  });

  test('nothing is there that was not begun', async () => {
    const store = storeOn(make());
    expect(await store.read(ID)).toBeUndefined();
    expect(await all(store.open())).toEqual([]);
    expect(await all(store.list())).toEqual([]);
  });

  test('open gives those that have not ended, list gives all', async () => {
    const store = storeOn(make());
    await begin(store, metaOf('b'));
    await begin(store, metaOf('a/1'));
    await ended(store, 'c');
    expect(idsOf(await all(store.open()))).toEqual(['a/1', 'b']);
    expect(idsOf(await all(store.list()))).toEqual(['a/1', 'b', 'c']);
  });

  test('list gives one that ends meanwhile once', async () => {
    const store = storeOn(make());
    const journal = await begin(store, metaOf(ID));
    const list = store.list();
    const first = await list.next();
    await journal.finish(line('end'), END);
    expect(first.value).toMatchObject({ meta: { id: ID } });
    expect(await all(list)).toEqual([]);
  });

  test('one that ends while it is listed is given out as open by nobody', async () => {
    const inner = make();
    const journal = await begin(storeOn(inner), metaOf(ID));
    const slow = around(inner, async (call, _key, send) => {
      const answer = await send();
      if (call === 'list') await journal.finish(line('end'), END);
      return answer;
    });
    expect(await all(storeOn(slow).open())).toEqual([]);
  });

  test('one that was ended by an amendment is ended everywhere', async () => {
    const storage = make();
    const store = storeOn(storage);
    await begin(store, metaOf(ID, { status: 'stuck', stuck: { reason: 'past-pivot', step: 'pay' } }));
    const change = { status: 'stuck', stuck: { reason: 'abandoned' } } as const;
    const abandoned = await store.amend(await found(store, ID), line('abandoned'), change);
    expect(abandoned.hasEnded).toBe(true);
    expect(await all(store.open())).toEqual([]);
    expect((await storage.list('')).entries.map(({ key }) => key)).toEqual([HEAD_KEY]);
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'abandoned']);
  });

  test('delete takes an ended one with all its parts', async () => {
    const storage = make();
    const store = storeOn(storage);
    const journal = await begin(store, metaOf(ID));
    for (const text of ['a', 'b', 'c', 'd']) await journal.append(longLine(text, 5_000));
    await store.amend(await found(store, ID), line('end'), { status: 'rolled-back' });
    await ended(store, `${ID}-b`);
    await store.delete(await found(store, ID));
    expect((await storage.list('')).entries.map(({ key }) => key)).toEqual([`${HEAD_KEY}-b`]);
    expect(await store.read(ID)).toBeUndefined();
  });

  test('delete refuses one that has not ended, and one that is not what was read', async () => {
    const storage = make();
    const store = storeOn(storage);
    await begin(store, metaOf(ID));
    await expect(store.delete(await found(store, ID))).rejects.toBeInstanceOf(ConflictError);
    await ended(store, 'order-43');
    const before = await found(store, 'order-43');
    await store.delete(before);
    await expect(store.delete(before)).rejects.toBeInstanceOf(ConflictError);
    await ended(store, 'order-43');
    await expect(store.delete(before)).rejects.toBeInstanceOf(ConflictError);
    expect(idsOf(await all(store.list()))).toEqual(['order-42', 'order-43']);
  });

  test('an amendment of what has changed since it was read is refused', async () => {
    const store = storeOn(make());
    const journal = await begin(store, metaOf(ID));
    const before = await found(store, ID);
    await journal.append(line('a'));
    await expect(store.amend(before, line('cancel'), { cancel: 'no' })).rejects.toBeInstanceOf(ConflictError);
    await journal.finish(line('end'), END);
    const after = await found(store, ID);
    await expect(store.amend(after, line('cancel'), { cancel: 'no' })).rejects.toBeInstanceOf(ConflictError);
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'a', 'end']);
  });

  test('of two that take over one does', async () => {
    const store = storeOn(make());
    await begin(store, metaOf(ID));
    const stored = await found(store, ID);
    const takeovers = ['x', 'y'].map((text) =>
      store.takeOver(stored, { line: line(text), change: TAKEN, holder: new TestHolder() }),
    );
    const answers = await Promise.allSettled(takeovers);
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(await found(store, ID)).toMatchObject({ meta: { owner: 'node-2', fence: 2 } });
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'x']);
  });

  test('lines of one that was deleted since it was read are a conflict, not damage', async () => {
    const store = storeOn(make());
    const journal = await begin(store, metaOf(ID));
    for (const text of ['a', 'b', 'c']) await journal.append(longLine(text, 5_000));
    await journal.finish(line('end'), END);
    const before = await found(store, ID);
    await store.delete(before);
    await expect(before.lines()).rejects.toBeInstanceOf(ConflictError);
    await ended(store, ID);
    await expect(before.lines()).rejects.toBeInstanceOf(ConflictError);
  });
});

describe('a holder that is lost', () => {
  test('begins nothing and takes nothing over', async () => {
    const storage = memoryStorage();
    const store = storeOn(storage);
    await begin(store, metaOf('order-43'));
    const { entries } = await storage.list('');
    const holder = new TestHolder();
    holder.expire();
    await expect(store.begin(metaOf(ID), line('a'), holder)).rejects.toBeInstanceOf(FencedError);
    const stored = await found(store, 'order-43');
    const takeover = store.takeOver(stored, { line: line('x'), change: TAKEN, holder });
    await expect(takeover).rejects.toBeInstanceOf(FencedError);
    expect((await storage.list('')).entries).toEqual(entries);
  });
});

describe('a begin that fails', () => {
  const write = (error: { before?: Error; after?: Error }, times: number) => {
    const inner = memoryStorage();
    let left = times;
    const clock = new VirtualClock();
    const store = storeOn(
      failing(inner, (call) => (call === 'batch' && left-- > 0 ? error : undefined)),
      clock,
    );
    return { clock, inner, begun: store.begin(metaOf(ID), line('begun'), new TestHolder()), sent: () => times - left };
  };

  test.each([
    ['an unknown outcome', new OutcomeUnknownError(HEAD_KEY)],
    ['a store that cannot tell', new StorageError('The line is cut.')],
  ])('with %s has begun if its record is there', async (_name, after) => {
    const { clock, begun } = write({ after }, 1);
    const answer = await settledOn(clock, begun);
    expect('begun' in answer).toBe(true);
  });

  test('with an unknown outcome and no record there is sent three times in all', async () => {
    const lost = new OutcomeUnknownError(HEAD_KEY);
    const twice = write({ before: lost }, 2);
    expect('begun' in (await settledOn(twice.clock, twice.begun))).toBe(true);
    const always = write({ before: lost }, 9);
    await expect(settledOn(always.clock, always.begun)).rejects.toBe(lost);
    expect(always.sent()).toBe(3);
  });

  test('otherwise is not sent again', async () => {
    const full = new NoSpaceError('the disk');
    const { clock, begun, sent, inner } = write({ before: full }, 9);
    await expect(settledOn(clock, begun)).rejects.toBe(full);
    expect(sent()).toBe(1);
    expect((await inner.list('')).entries).toEqual([]);
  });

  test('and whose record cannot be looked for gives the error of the write', async () => {
    const down = new StorageError('Down.');
    const store = storeOn(failing(memoryStorage(), (call) => ({ before: call === 'batch' ? down : new Error(call) })));
    await expect(store.begin(metaOf(ID), line('a'), new TestHolder())).rejects.toBe(down);
  });

  test('because of a record that was deleted meanwhile is a conflict', async () => {
    const conflict = new ConflictError(HEAD_KEY, 'gone');
    const { clock, begun } = write({ before: conflict }, 1);
    await expect(settledOn(clock, begun)).rejects.toBe(conflict);
  });
});

describe('an amendment whose answer is lost', () => {
  test('has happened if its record is there', async () => {
    const inner = memoryStorage();
    const clock = new VirtualClock();
    await begin(storeOn(inner), metaOf(ID));
    const lost = new OutcomeUnknownError(HEAD_KEY);
    let left = 1;
    const store = storeOn(
      failing(inner, (call) => (call === 'put' && left-- > 0 ? { after: lost } : undefined)),
      clock,
    );
    const amended = await settledOn(clock, store.amend(await found(store, ID), line('cancel'), { cancel: 'no' }));
    expect(amended.meta.cancel).toBe('no');
    expect(await textsOf(amended)).toEqual(['begun', 'cancel']);
    const journal = await store.takeOver(amended, { line: line('x'), change: TAKEN, holder: new TestHolder() });
    await journal.append(line('a'));
    expect(await textsOf(await found(store, ID))).toEqual(['begun', 'cancel', 'x', 'a']);
  });
});

describe('a delete whose answer is lost', () => {
  test.each([
    ['after it happened takes the parts, too', 'after', 0],
    ['before it happened leaves all as it is', 'before', 4],
  ] as const)('%s', async (_name, when, keys) => {
    const inner = memoryStorage();
    const journal = await begin(storeOn(inner), metaOf(ID));
    for (const text of ['a', 'b', 'c', 'd']) await journal.append(longLine(text, 5_000));
    await journal.finish(line('end'), END);
    const lost = new OutcomeUnknownError(HEAD_KEY);
    const store = storeOn(
      failing(inner, (call, key) => (call === 'delete' && key === HEAD_KEY ? { [when]: lost } : undefined)),
    );
    const outcome = await rejectionOf(store.delete(await found(store, ID)));
    expect(outcome).toBe(keys === 0 ? undefined : lost);
    expect((await inner.list('')).entries).toHaveLength(keys);
  });

  test('any other failure is told', async () => {
    const inner = memoryStorage();
    await ended(storeOn(inner), ID);
    const down = new StorageError('Down.');
    const store = storeOn(failing(inner, (call) => (call === 'delete' ? { before: down } : undefined)));
    await expect(store.delete(await found(store, ID))).rejects.toBe(down);
    expect(await store.read(ID)).toBeDefined();
  });
});

describe('ids', () => {
  test.each(['', 'x'.repeat(1_025), '\ud800'])('%j names no transaction', async (id) => {
    const store = storeOn();
    await expect(store.read(id)).rejects.toBeInstanceOf(InvalidInputError);
    await expect(begin(store, metaOf(id))).rejects.toBeInstanceOf(InvalidInputError);
  });

  test('of any other kind are told apart and come back as they were', async () => {
    const store = storeOn();
    const ids = ['a', 'A', 'a/b', 'ä', '../x', 'x'.repeat(1_024), `${'x'.repeat(1_023)}y`];
    for (const id of ids) await begin(store, metaOf(id));
    expect(new Set(idsOf(await all(store.open())))).toEqual(new Set(ids));
  });
});

test('more transactions than fit on a page are all there', async () => {
  const inner = memoryStorage();
  const paged = { ...inner, list: (prefix: string, options = {}) => inner.list(prefix, { ...options, limit: 2 }) };
  const store = storeOn(paged);
  const ids = ['a', 'b', 'c', 'd', 'e'];
  for (const id of ids) await begin(store, metaOf(id));
  expect(idsOf(await all(store.open()))).toEqual(ids);
});

test('one that cannot be read is in the list, and does not hide the others', async () => {
  const inner = memoryStorage();
  for (const id of ['a', 'b', 'c']) await begin(storeOn(inner), metaOf(id));
  await inner.put('transactions/heads/p=b', Buffer.from('not a record'));
  const [a, b, c] = await all(storeOn(inner).list());
  expect([a, c]).toMatchObject([{ meta: { id: 'a' } }, { meta: { id: 'c' } }]);
  expect(b).toEqual({ key: 'transactions/heads/p=b', id: 'b', error: expect.any(CorruptionError) });
});

test('lines that cannot be read because the store fails are told so', async () => {
  const inner = memoryStorage();
  const journal = await begin(storeOn(inner), metaOf(ID));
  await journal.append(longLine('a', 9_000));
  const down = new StorageError('Down.');
  const store = storeOn(failing(inner, (_call, key) => (key.includes('/parts/') ? { before: down } : undefined)));
  await expect((await found(store, ID)).lines()).rejects.toBe(down);
});

test('a list that fails fails, and is not an empty one', async () => {
  const store = storeOn(
    failing(memoryStorage(), (call) => (call === 'list' ? { before: new StorageError('Down.') } : undefined)),
  );
  await expect(all(store.open())).rejects.toBeInstanceOf(StorageError);
});

test('a store that cannot tell which keys it lost says so behind what is there', async () => {
  const inner = memoryStorage();
  await begin(storeOn(inner), metaOf(ID));
  const [first, second] = await all(storeOn(suspectStore(inner)).open());
  expect(first).toMatchObject({ meta: { id: ID } });
  expect(second).toEqual({ key: 'transactions/open/', id: undefined, error: expect.any(CorruptionError) });
});

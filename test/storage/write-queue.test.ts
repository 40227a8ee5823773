import { getEventListeners } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type BatchOperation, ConflictError, type Version } from '../../src/storage/adapter.js';
import { type GroupTarget, type QueuedWrite, WriteQueue, type Written } from '../../src/storage/write-queue.js';
import { deferred, rejectionOf } from '../support/deferred.js';

const WRITTEN = { version: '1', existed: false };
const put = (key: string, value: Uint8Array = Buffer.from(key)): BatchOperation => ({ type: 'put', key, value });
const swap = (key: string, ifVersion: Version | null): BatchOperation => ({ ...put(key), ifVersion }) as BatchOperation;
const check = (key: string): BatchOperation => ({ type: 'check', key, ifVersion: '0' });
const keysOf = (group: readonly QueuedWrite[]): string =>
  group.map(({ operations }) => operations.map(({ key }) => key).join('+')).join(' ');

/** A store that keeps each group until the test lets it go. */
class HeldStore implements GroupTarget {
  readonly groups: (readonly QueuedWrite[])[] = [];
  readonly #gates = [] as ReturnType<typeof deferred<void>>[];
  readonly groupsAtOnce: number;
  readonly repeatsKeys: boolean;

  constructor(groupsAtOnce = 1, repeatsKeys = true) {
    this.groupsAtOnce = groupsAtOnce;
    this.repeatsKeys = repeatsKeys;
  }

  get seen(): string[] {
    return this.groups.map(keysOf);
  }

  async writeGroup(group: readonly QueuedWrite[]): Promise<void> {
    const gate = deferred();
    this.groups.push(group);
    this.#gates.push(gate);
    await gate.promise;
    for (const { resolve } of group) resolve(WRITTEN);
  }

  /** The one write of a group that is to be refused, before the group is let go. */
  refuse(group: number, conflict: ConflictError): void {
    this.groups[group]?.[0]?.reject(conflict);
  }

  /** Settles the group of that number, counted from 0. */
  async finish(group: number, error?: unknown): Promise<void> {
    if (error === undefined) this.#gates[group]?.resolve();
    else this.#gates[group]?.reject(error);
    await turns();
  }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await setImmediate();
}

/** Submits a write for each key and lets the store have what it takes. */
async function submit(
  queue: WriteQueue,
  ...keys: string[]
): Promise<{ outcomes: Promise<PromiseSettledResult<Written>[]> }> {
  const outcomes = Promise.allSettled(keys.map((key) => queue.submit([put(key)])));
  await turns();
  return { outcomes };
}

describe('a group', () => {
  test('is all that came in one turn, in order, and is answered as the store says', async () => {
    const store = new HeldStore();
    const { outcomes } = await submit(new WriteQueue(store), 'b', 'a', 'b');
    expect(store.seen).toEqual(['b a b']);
    await store.finish(0);
    expect(await outcomes).toMatchObject([{ value: WRITTEN }, { value: WRITTEN }, { value: WRITTEN }]);
  });

  test('gathers while the store is busy with the one before', async () => {
    const store = new HeldStore();
    const queue = new WriteQueue(store);
    await submit(queue, 'a');
    await submit(queue, 'b');
    await submit(queue, 'c');
    expect(store.seen).toEqual(['a']);
    await store.finish(0);
    expect(store.seen).toEqual(['a', 'b c']);
  });

  test('holds the write of whoever was answered just now', async () => {
    const store = new HeldStore();
    const queue = new WriteQueue(store);
    void queue.submit([put('a')]).then(() => queue.submit([put('a2')]));
    await submit(queue, 'b');
    await submit(queue, 'c');
    await store.finish(0);
    expect(store.seen).toEqual(['a b', 'c a2']);
  });

  test('ends at 256 operations, and a batch is never split', async () => {
    const store = new HeldStore();
    const queue = new WriteQueue(store);
    const batch = Array.from({ length: 200 }, (_, at) => put(`batch-${at}`));
    void queue.submit(batch);
    void queue.submit(batch);
    for (let at = 0; at < 56; at++) void queue.submit([put(`single-${at}`)]);
    await turns();
    await store.finish(0);
    expect(store.groups.map((group) => group.length)).toEqual([1, 57]);
    await store.finish(1);
    void queue.submit(Array.from({ length: 300 }, (_, at) => put(`large-${at}`)));
    await turns();
    expect(store.groups[2]?.[0]?.operations).toHaveLength(300);
  });

  test('takes its share of what waits where several may be under way at once, and all of it where that is little', async () => {
    const store = new HeldStore(2);
    const queue = new WriteQueue(store);
    const keys = (count: number) => Array.from({ length: count }, (_, at) => `${at}`);
    await submit(queue, ...keys(100));
    expect(store.groups.map((group) => group.length)).toEqual([50, 50]);
    await submit(queue, ...keys(60));
    await store.finish(0);
    expect(store.groups.map((group) => group.length)).toEqual([50, 50, 60]);
    await store.finish(1);
    await submit(queue, ...keys(32));
    expect(store.groups.map((group) => group.length)).toEqual([50, 50, 60, 32]);
  });

  test('takes all that waits, and no share, where several writes check the same key', async () => {
    const store = new HeldStore(2, false);
    const queue = new WriteQueue(store);
    for (let at = 0; at < 60; at++) void queue.submit([check('guard'), put(`${at}`)]);
    await turns();
    expect(store.groups.map((group) => group.length)).toEqual([60]);
  });

  test('ends at 8 MiB, and one larger write goes alone', async () => {
    const store = new HeldStore();
    const queue = new WriteQueue(store);
    const mebibytes = [5, 3, 1, 9, 1];
    for (const size of mebibytes) void queue.submit([put(`${size}`, Buffer.alloc(size * 1024 * 1024))]);
    await turns();
    for (let group = 0; group < 4; group++) await store.finish(group);
    expect(store.seen).toEqual(['5 3', '1', '9', '1']);
  });

  test('that fails fails those that were not answered, and the next one goes on', async () => {
    const store = new HeldStore();
    const queue = new WriteQueue(store);
    const { outcomes } = await submit(queue, 'a', 'b');
    store.groups[0]?.[0]?.resolve(WRITTEN);
    const { outcomes: later } = await submit(queue, 'c');
    await store.finish(0, 'lost');
    expect(await outcomes).toMatchObject([{ value: WRITTEN }, { reason: 'lost' }]);
    await store.finish(1);
    expect(await later).toMatchObject([{ value: WRITTEN }]);
  });

  test('is begun anew after a time with nothing to do', async () => {
    const store = new HeldStore();
    const queue = new WriteQueue(store);
    await submit(queue, 'a');
    await store.finish(0);
    await submit(queue, 'b');
    expect(store.seen).toEqual(['a', 'b']);
  });
});

describe('several groups at once', () => {
  test('are under way up to the number that the store allows', async () => {
    const store = new HeldStore(2);
    const queue = new WriteQueue(store);
    for (const key of ['a', 'b', 'c', 'd']) await submit(queue, key);
    expect(store.seen).toEqual(['a', 'b']);
    await store.finish(1);
    expect(store.seen).toEqual(['a', 'b', 'c d']);
  });

  test('never hold one key twice where keys may not repeat: the later write waits, others pass it', async () => {
    const store = new HeldStore(2, false);
    const queue = new WriteQueue(store);
    await submit(queue, 'a', 'a', 'b');
    expect(store.seen).toEqual(['a b']);
    await submit(queue, 'c');
    expect(store.seen).toEqual(['a b', 'c']);
    await store.finish(0);
    expect(store.seen).toEqual(['a b', 'c', 'a']);
  });

  test('keep the order of two writes of a key, also when one is in a batch with another key', async () => {
    const store = new HeldStore(1, false);
    const queue = new WriteQueue(store);
    void queue.submit([put('a')]);
    void queue.submit([put('a'), put('b')]);
    void queue.submit([put('b')]);
    void queue.submit([put('c')]);
    await turns();
    await store.finish(0);
    await store.finish(1);
    expect(store.seen).toEqual(['a c', 'a+b', 'b']);
  });

  test('free the keys of a group that failed', async () => {
    const store = new HeldStore(1, false);
    const queue = new WriteQueue(store);
    await submit(queue, 'a', 'a');
    await store.finish(0, new Error('lost'));
    expect(store.seen).toEqual(['a', 'a']);
  });
});

describe('where keys may not repeat, a key', () => {
  test('is shared by writes that only check it', async () => {
    const store = new HeldStore(2, false);
    const queue = new WriteQueue(store);
    for (const key of ['a', 'b', 'c']) void queue.submit([check('lease'), put(key)]);
    await turns();
    void queue.submit([check('lease'), put('later')]);
    await turns();
    expect(store.seen).toEqual(['lease+a lease+b lease+c']);
  });

  test('is not shared by a change and a check, whichever comes first', async () => {
    const store = new HeldStore(1, false);
    const queue = new WriteQueue(store);
    void queue.submit([check('checked'), put('a')]);
    void queue.submit([put('checked')]);
    void queue.submit([put('changed')]);
    void queue.submit([put('b'), check('changed')]);
    await turns();
    await store.finish(0);
    expect(store.seen).toEqual(['checked+a changed', 'checked b+changed']);
  });

  test('is not checked ahead of a change that waits', async () => {
    const store = new HeldStore(1, false);
    const queue = new WriteQueue(store);
    void queue.submit([check('lease'), put('a')]);
    void queue.submit([put('lease')]);
    void queue.submit([put('b'), check('lease')]);
    await turns();
    await store.finish(0);
    await store.finish(1);
    expect(store.seen).toEqual(['lease+a', 'lease', 'b+lease']);
  });
});

describe('where keys may not repeat, a write that waited while another was under way', () => {
  /** `first` is sent alone; `later` waits behind it. */
  async function waitingBehind(first: BatchOperation[], later: BatchOperation[], error?: unknown) {
    const store = new HeldStore(1, false);
    const queue = new WriteQueue(store);
    const won = queue.submit(first).catch(() => undefined);
    const outcome = Promise.allSettled([queue.submit(later)]);
    await turns();
    if (error instanceof ConflictError) store.refuse(0, error);
    await store.finish(0, error instanceof ConflictError ? undefined : error);
    await store.finish(1);
    await won;
    return { sent: store.groups.length, outcome: (await outcome)[0] };
  }
  const conflict = (currentVersion: Version | undefined) => ({
    sent: 1,
    outcome: { reason: { code: 'HOLDFAST_CONFLICT', key: 'a', currentVersion } },
  });
  const SENT = { sent: 2, outcome: { value: WRITTEN } };

  test.each([
    ['the same swap', [swap('a', '0')]],
    ['a creation', [swap('a', null)]],
    ['a delete', [{ type: 'delete', key: 'a', ifVersion: '0' } as const]],
    ['a batch that checks the key first', [check('a'), put('b')]],
  ])('is refused unsent once that has changed its key: %s', async (_what, later) => {
    expect(await waitingBehind([swap('a', '0')], later)).toMatchObject(conflict('1'));
  });

  test('is refused unsent with what was in the way of both', async () => {
    const inTheWay = new ConflictError('a', '7');
    expect(await waitingBehind([swap('a', '0')], [swap('a', '0')], inTheWay)).toMatchObject(conflict('7'));
    const absent = new ConflictError('a', undefined);
    expect(await waitingBehind([swap('a', '0')], [swap('a', '0')], absent)).toMatchObject(conflict(undefined));
  });

  test('is refused unsent once its key is deleted', async () => {
    expect(await waitingBehind([{ type: 'delete', key: 'a' }], [swap('a', '0')])).toMatchObject(conflict(undefined));
  });

  test('is refused unsent by what a check has shown', async () => {
    expect(await waitingBehind([check('a'), put('b')], [swap('a', '5')])).toMatchObject(conflict('0'));
  });

  test.each([
    ['it asks for nothing', [swap('a', '0')], [put('a')], undefined],
    ['its condition may hold', [swap('a', '0')], [swap('a', '7')], new ConflictError('a', '7')],
    ['its key is absent as it demands', [{ type: 'delete', key: 'a' } as const], [swap('a', null)], undefined],
    ['the other failed', [swap('a', '0')], [swap('a', '0')], new Error('lost')],
    [
      'the other was refused for another key',
      [check('b'), swap('a', '0')],
      [swap('a', '0')],
      new ConflictError('b', '7'),
    ],
    ['a condition before it is not known to hold', [swap('a', '0')], [check('c'), swap('a', '0')], undefined],
  ])('is sent if %s', async (_why, first, later, error) => {
    expect(await waitingBehind(first, later, error)).toMatchObject(SENT);
  });

  test('is sent if it came after the other was', async () => {
    const store = new HeldStore(1, false);
    const queue = new WriteQueue(store);
    void queue.submit([swap('a', '0')]);
    await turns();
    void queue.submit([swap('a', '0')]);
    await store.finish(0);
    expect(store.seen).toEqual(['a', 'a']);
  });

  test('is sent if one before it may change its key', async () => {
    const store = new HeldStore(1, false);
    const queue = new WriteQueue(store);
    void queue.submit([swap('a', '0')]);
    void queue.submit([{ type: 'delete', key: 'a' }]);
    void queue.submit([swap('a', null)]);
    await turns();
    await store.finish(0);
    await store.finish(1);
    expect(store.seen).toEqual(['a', 'a', 'a']);
  });
});

describe('a write', () => {
  test('has its own bytes from the moment it is submitted', async () => {
    const store = new HeldStore();
    const queue = new WriteQueue(store);
    const value = Buffer.from('before');
    void queue.submit([put('a', value), { type: 'delete', key: 'b' }, { type: 'check', key: 'c', ifVersion: null }]);
    value.fill(0);
    await turns();
    const [operation, ...others] = store.groups[0]?.[0]?.operations ?? [];
    expect(operation).toEqual(put('a', Buffer.from('before')));
    expect(others).toEqual([
      { type: 'delete', key: 'b' },
      { type: 'check', key: 'c', ifVersion: null },
    ]);
  });

  test('that is aborted while it waits rejects at once with the reason and never reaches the store', async () => {
    const store = new HeldStore();
    const queue = new WriteQueue(store);
    await submit(queue, 'a');
    const controller = new AbortController();
    const aborted = rejectionOf(queue.submit([put('b')], controller.signal));
    await submit(queue, 'c');
    controller.abort('enough');
    expect(await aborted).toBe('enough'); // At once: the store is still busy.
    await store.finish(0);
    expect(store.seen).toEqual(['a', 'c']);
  });

  test('whose signal has aborted before is rejected, and nothing is sent', async () => {
    const store = new HeldStore();
    expect(await rejectionOf(new WriteQueue(store).submit([put('a')], AbortSignal.abort('before')))).toBe('before');
    expect(store.seen).toEqual([]);
  });

  test('has one listener at its signal together with all others, and none once they are sent', async () => {
    const store = new HeldStore();
    const queue = new WriteQueue(store);
    const { signal } = new AbortController();
    await submit(queue, 'busy');
    for (let at = 0; at < 20; at++) void queue.submit([put(`key-${at}`)], signal);
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    await store.finish(0);
    expect(store.groups[1]).toHaveLength(20);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  test('that the store takes and never answers is an unknown outcome, and no write hangs', async () => {
    const forgetful: GroupTarget = { groupsAtOnce: 1, repeatsKeys: true, writeGroup: () => Promise.resolve() };
    const error = await rejectionOf(new WriteQueue(forgetful).submit([put('a')]));
    expect(error).toMatchObject({ code: 'HOLDFAST_OUTCOME_UNKNOWN', key: 'a', cause: { code: 'HOLDFAST_STORAGE' } });
  });

  test('that is aborted once it is under way is finished', async () => {
    const store = new HeldStore();
    const controller = new AbortController();
    const write = new WriteQueue(store).submit([put('a')], controller.signal);
    await turns();
    controller.abort('too late');
    await store.finish(0);
    await expect(write).resolves.toEqual(WRITTEN);
  });
});

describe('drained', () => {
  test('waits for what is under way and for what waits behind it', async () => {
    const store = new HeldStore();
    const queue = new WriteQueue(store);
    await submit(queue, 'a');
    await submit(queue, 'b');
    let isDrained = false;
    const draining = queue.drained().then(() => {
      isDrained = true;
    });
    await store.finish(0);
    expect(isDrained).toBe(false);
    await store.finish(1);
    await draining;
    expect(isDrained).toBe(true);
  });

  test('has nothing to wait for in a queue that was never used', async () => {
    await expect(new WriteQueue(new HeldStore()).drained()).resolves.toBeUndefined();
  });
});

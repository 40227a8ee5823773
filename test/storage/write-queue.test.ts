import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { BatchOperation } from '../../src/storage/adapter.js';
import { type GroupTarget, type QueuedWrite, WriteQueue, type Written } from '../../src/storage/write-queue.js';
import { deferred, rejectionOf } from '../support/deferred.js';

const WRITTEN = { version: '1', existed: false };
const put = (key: string, value: Uint8Array = Buffer.from(key)): BatchOperation => ({ type: 'put', key, value });
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

  test('that is aborted while it waits rejects with the reason and never reaches the store', async () => {
    const store = new HeldStore();
    const queue = new WriteQueue(store);
    await submit(queue, 'a');
    const controller = new AbortController();
    const aborted = rejectionOf(queue.submit([put('b')], controller.signal));
    await submit(queue, 'c');
    controller.abort('enough');
    await store.finish(0);
    expect(await aborted).toBe('enough');
    expect(store.seen).toEqual(['a', 'c']);
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

import { describe, expect, test } from 'vitest';
import { type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { CallOrder } from '../../src/storage/call-order.js';
import { compressed } from '../../src/storage/compressed.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { deferred } from '../support/deferred.js';

/** Compressed on another thread, for some milliseconds. */
const LARGE = Buffer.from(Array.from({ length: 40_000 }, (_, step) => `{"step":${step}}`).join());
/** Compressed at once. */
const SMALL = Buffer.from('small');

async function sizeAt(store: StorageAdapter, key: string): Promise<number | undefined> {
  return (await store.get(key))?.value.byteLength;
}

describe('calls that nobody waits for', () => {
  test('of a large and a small value put in this order, the small one stands', async () => {
    const store = compressed(memoryStorage());
    await Promise.all([store.put('key', LARGE), store.put('key', SMALL)]);
    expect(await sizeAt(store, 'key')).toBe(SMALL.length);
  });

  test('many puts of any size are done in the order of the calls', async () => {
    const store = compressed(memoryStorage());
    const values = Array.from({ length: 60 }, (_, at) => LARGE.subarray(0, (at % 3) * 100_000 + at));
    const versions = await Promise.all(values.map((value) => store.put('key', value)));
    expect(versions.toSorted()).toEqual(versions);
    expect(await sizeAt(store, 'key')).toBe(values.at(-1)?.length);
  });

  test('a delete after a put removes what was put', async () => {
    const store = compressed(memoryStorage());
    const [, wasThere] = await Promise.all([store.put('key', LARGE), store.delete('key')]);
    expect(wasThere).toBe(true);
    expect(await store.get('key')).toBeUndefined();
  });

  test('a batch comes after the puts of all its keys, and a put after the batch', async () => {
    const store = compressed(memoryStorage());
    const puts = [store.put('a', LARGE), store.put('b', LARGE)];
    const batch = store.batch?.([
      { type: 'put', key: 'a', value: SMALL },
      { type: 'delete', key: 'b' },
    ]);
    const last = store.put('a', LARGE.subarray(0, 2_000));
    const versions = [...(await Promise.all(puts)).toSorted(), await batch, await last];
    expect(versions.toSorted()).toEqual(versions);
    expect([await sizeAt(store, 'a'), await sizeAt(store, 'b')]).toEqual([2_000, undefined]);
  });

  test('a put of another key does not wait for a large one', async () => {
    const store = compressed(memoryStorage());
    const large = store.put('large', LARGE);
    const small = await store.put('small', SMALL);
    expect(small < (await large)).toBe(true);
  });

  test('a write that fails lets the next one of its key through', async () => {
    const inner = memoryStorage();
    let puts = 0;
    const failing: StorageAdapter = {
      ...inner,
      put: async (...put) => {
        if (puts++ === 0) throw new StorageError('the first write fails');
        return inner.put(...put);
      },
    };
    const store = compressed(failing);
    const [first, second] = await Promise.allSettled([store.put('key', LARGE), store.put('key', SMALL)]);
    expect([first.status, second.status]).toEqual(['rejected', 'fulfilled']);
    expect(await sizeAt(store, 'key')).toBe(SMALL.length);
  });
});

describe('what is taken from the caller at once', () => {
  test('the bytes of a large value', async () => {
    const store = compressed(memoryStorage());
    const buffer = Buffer.from(LARGE);
    const put = store.put('key', buffer);
    buffer.fill(0);
    await put;
    expect(Buffer.from((await store.get('key'))?.value ?? []).equals(LARGE)).toBe(true);
  });

  test('the bytes of large values in a batch, and its operations', async () => {
    const store = compressed(memoryStorage());
    const buffer = Buffer.from(LARGE);
    const operation = { type: 'put', key: 'key', value: buffer, ifVersion: null as string | null } as const;
    const batch = store.batch?.([operation]);
    buffer.fill(0);
    Object.assign(operation, { key: 'other', ifVersion: 'never' });
    await batch;
    expect(Buffer.from((await store.get('key'))?.value ?? []).equals(LARGE)).toBe(true);
    expect(await store.get('other')).toBeUndefined();
  });

  test('the condition', async () => {
    const store = compressed(memoryStorage());
    await store.put('key', SMALL);
    const options: { ifVersion?: string | null } = { ifVersion: null };
    const put = store.put('key', LARGE, options);
    delete options.ifVersion;
    await expect(put).rejects.toMatchObject({ code: 'HOLDFAST_CONFLICT' });
  });
});

describe('close', () => {
  test('waits for the values that are being compressed', async () => {
    const inner = memoryStorage();
    const { close: _stays, ...shared } = inner;
    const store = compressed({ ...shared, close: async () => inner.close?.() });
    const writes = [store.put('a', LARGE), store.put('b', LARGE), store.delete('a')];
    await store.close?.();
    await expect(Promise.all(writes)).resolves.toHaveLength(3);
  });

  test('a large value put afterwards is refused', async () => {
    const store = compressed(memoryStorage());
    await store.close?.();
    await expect(store.put('key', LARGE)).rejects.toMatchObject({ code: 'HOLDFAST_CLOSED' });
  });
});

test('a put that is aborted while its value is compressed is not done', async () => {
  const store = compressed(memoryStorage());
  const controller = new AbortController();
  const reason = new Error('too late');
  const put = store.put('key', LARGE, { signal: controller.signal });
  controller.abort(reason);
  await expect(put).rejects.toBe(reason);
  expect(await store.get('key')).toBeUndefined();
});

describe('CallOrder', () => {
  test('a write that cannot be made ready does not let later ones pass those before it', async () => {
    const order = new CallOrder();
    const sent: string[] = [];
    const send = async (what: string) => void sent.push(what);
    const slow = deferred<string>();
    const first = order.run(['key'], slow.promise, send);
    const second = order.run(['key'], Promise.reject(new Error('cannot be made')), send);
    const third = order.run(['key'], 'third', send);
    await expect(Promise.race([third, Promise.resolve('still waiting')])).resolves.toBe('still waiting');
    slow.resolve('first');
    await expect(second).rejects.toThrow('cannot be made');
    await Promise.all([first, third]);
    expect(sent).toEqual(['first', 'third']);
  });

  test('a write that is sent does not hide the next one, which is not', async () => {
    const order = new CallOrder();
    const sent: string[] = [];
    const send = async (what: string) => void sent.push(what);
    const slow = deferred<string>();
    const first = order.run(['key'], Promise.resolve('first'), send);
    const second = order.run(['key'], slow.promise, send);
    await first;
    const third = order.run(['key'], 'third', send);
    slow.resolve('second');
    await Promise.all([second, third]);
    expect(sent).toEqual(['first', 'second', 'third']);
  });
});

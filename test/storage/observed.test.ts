import { describe, expect, test } from 'vitest';
import { type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { observed, type StorageCallEvent } from '../../src/storage/observed.js';
import { bytes, textAt } from '../../src/testing/contract/entries.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

/** An observed store with what it has reported. */
function watched(store: StorageAdapter = memoryStorage()) {
  const events: StorageCallEvent[] = [];
  const clock = new VirtualClock();
  return { store: observed(store, (event) => events.push(event), { clock }), events, clock };
}

const called = { type: 'storage.called', store: 'memory', durationMs: 0, outcome: 'ok' };

describe('what is reported', () => {
  test('each call with its key, size and outcome, in the order in which they settled', async () => {
    const { store, events } = watched();
    const version = await store.put('key', bytes('value'));
    await store.get('key');
    await store.get('absent');
    await store.list('k');
    await store.batch?.([
      { type: 'put', key: 'a', value: bytes('12') },
      { type: 'check', key: 'key', ifVersion: version },
      { type: 'put', key: 'b', value: bytes('345') },
    ]);
    await store.delete('key');
    expect(events).toEqual([
      { ...called, operation: 'put', key: 'key', sizeBytes: 5 },
      { ...called, operation: 'get', key: 'key', sizeBytes: 5 },
      { ...called, operation: 'get', key: 'absent' },
      { ...called, operation: 'list', key: 'k' },
      { ...called, operation: 'batch', key: 'a', sizeBytes: 5 },
      { ...called, operation: 'delete', key: 'key' },
    ]);
    expect(JSON.parse(JSON.stringify(events))).toEqual(events);
  });

  test('how long the store took, by the injected clock', async () => {
    const { store, events, clock } = watched({
      ...memoryStorage(),
      get: async () => {
        await clock.sleep(250);
        return undefined;
      },
    });
    const get = store.get('key');
    await clock.advance(250);
    await get;
    expect(events).toMatchObject([{ operation: 'get', durationMs: 250 }]);
  });

  test('a failed condition as a conflict, and the caller gets the same error', async () => {
    const { store, events } = watched();
    const currentVersion = await store.put('key', bytes('1'));
    const refused = store.put('key', bytes('22'), { ifVersion: null });
    await expect(refused).rejects.toMatchObject({ code: 'HOLDFAST_CONFLICT', key: 'key', currentVersion });
    expect(events[1]).toEqual({
      ...called,
      operation: 'put',
      key: 'key',
      sizeBytes: 2,
      outcome: 'conflict',
      code: 'HOLDFAST_CONFLICT',
    });
  });

  test('an error with its code and without its words, and the caller gets the very same error', async () => {
    const error = new StorageError('connection to redis://user:secret@host refused');
    const fails = async () => {
      throw error;
    };
    const { store, events } = watched({ ...memoryStorage(), list: fails });
    await expect(store.list('')).rejects.toBe(error);
    expect(events).toEqual([{ ...called, operation: 'list', key: '', outcome: 'error', code: 'HOLDFAST_STORAGE' }]);
  });

  test('an adapter’s own error as StorageError, also if it is thrown at once', async () => {
    const { store, events } = watched({
      ...memoryStorage(),
      delete: () => {
        throw new TypeError('broken');
      },
    });
    await expect(store.delete('key')).rejects.toMatchObject({ code: 'HOLDFAST_STORAGE' });
    expect(events).toMatchObject([{ operation: 'delete', outcome: 'error', code: 'HOLDFAST_STORAGE' }]);
  });

  test('an abort under way as aborted, and the caller gets the reason', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const { store, events } = watched({
      ...memoryStorage(),
      get: async () => {
        controller.abort(reason);
        throw reason;
      },
    });
    await expect(store.get('key', { signal: controller.signal })).rejects.toBe(reason);
    expect(events).toEqual([{ ...called, operation: 'get', key: 'key', outcome: 'aborted' }]);
  });

  test('nothing of a call that never reached the store', async () => {
    const { store, events } = watched();
    await expect(store.get('')).rejects.toMatchObject({ code: 'HOLDFAST_INVALID_INPUT' });
    await expect(store.get('key', { signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow('no');
    expect(events).toEqual([]);
  });

  test('the size that was given, whatever becomes of the buffer', async () => {
    const { store, events } = watched();
    const buffer = bytes('value');
    const put = store.put('key', buffer);
    structuredClone(buffer, { transfer: [buffer.buffer as ArrayBuffer] });
    await put;
    expect(buffer.byteLength).toBe(0);
    expect(events).toMatchObject([{ sizeBytes: 5 }]);
    expect(await textAt(store, 'key')).toBe('value');
  });
});

describe('what is not changed', () => {
  test('a sink that throws fails no call', async () => {
    const store = observed(memoryStorage(), () => {
      throw new Error('listener');
    });
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
    await store.put('key', bytes('value'));
    expect(await textAt(store, 'key')).toBe('value');
    expect((await warned).message).toContain('listener');
  });

  test('name, capabilities and methods are those of the store', async () => {
    const plain = memoryStorage();
    const { batch: _, ...without } = plain;
    const store = observed({ ...without, capabilities: { ...plain.capabilities, atomicBatch: false } }, () => {});
    expect(store.name).toBe('memory');
    expect(store.capabilities).toEqual({ ...plain.capabilities, atomicBatch: false });
    expect([store.batch, store.watch, store.open]).toEqual([undefined, undefined, undefined]);
    await store.close?.();
    await expect(plain.get('key')).rejects.toMatchObject({ code: 'HOLDFAST_CLOSED' });
  });

  test('open and watch pass, unreported', async () => {
    const passed: string[] = [];
    const { store, events } = watched({
      ...memoryStorage(),
      open: async () => void passed.push('open'),
      watch: async (prefix) => {
        passed.push(prefix);
        return async () => {};
      },
    });
    await store.open?.();
    await store.watch?.('runs/', () => {});
    expect(passed).toEqual(['open', 'runs/']);
    expect(events).toEqual([]);
  });

  test('without a clock the machine’s is used', async () => {
    const events: StorageCallEvent[] = [];
    await observed(memoryStorage(), (event) => events.push(event)).get('key');
    expect(events[0]?.durationMs).toBeGreaterThanOrEqual(0);
  });

  test('a sink that is no function and an unknown option are refused', () => {
    const invalid = { code: 'HOLDFAST_INVALID_INPUT' };
    expect(() => observed(memoryStorage(), {} as () => void)).toThrow(
      expect.objectContaining({ ...invalid, path: 'sink' }),
    );
    expect(() => observed(memoryStorage(), () => {}, { values: true } as object)).toThrow(
      expect.objectContaining({ ...invalid, path: 'options.values' }),
    );
  });
});

import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/base/errors.js';
import { RestoreCounter, type RestoreStatisticsEvent } from '../../src/checkpoints/restore-counter.js';
import { readRestoreStatistics, restoreStatisticsKey } from '../../src/checkpoints/restore-statistics.js';
import { sealRecord } from '../../src/records/envelope.js';
import { OutcomeUnknownError, type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

const SESSION = 'agent';
const KEY = restoreStatisticsKey(SESSION);

/** Counts restores in a storage, which may be altered, and hears what is reported. */
function make(inner: StorageAdapter, changes: Partial<StorageAdapter> = {}) {
  const clock = new VirtualClock({ nowMs: 1000 });
  const storage = { ...inner, ...changes };
  const events: RestoreStatisticsEvent[] = [];
  const counter = new RestoreCounter({ storage, clock, emit: (event) => events.push(event) });
  const count = async (sequence = 1, degraded = false) => {
    counter.count(SESSION, { sequence, degraded });
    await counter.counted(SESSION);
  };
  return { clock, events, counter, count, read: () => readRestoreStatistics(inner, SESSION) };
}

/** A `put` whose first call is made by `instead`. */
function firstPut(
  inner: StorageAdapter,
  instead: (put: () => Promise<string>) => Promise<string>,
): StorageAdapter['put'] {
  let isFirst = true;
  return (...call) => {
    const put = () => inner.put(...call);
    if (!isFirst) return put();
    isFirst = false;
    return instead(put);
  };
}

describe('counting', () => {
  test('a session that was never restored has zeros', async () => {
    expect(await make(memoryStorage()).read()).toEqual({ restores: 0, degradedRestores: 0 });
  });

  test('every restore counts, and the last one says when and to what', async () => {
    const { clock, count, read, events } = make(memoryStorage());
    await count(7);
    await clock.advance(500);
    await count(5, true);
    expect(await read()).toEqual({ restores: 2, degradedRestores: 1, lastRestoredAtMs: 1500, lastSequence: 5 });
    expect(events).toEqual([]);
  });

  test('sessions are counted apart', async () => {
    const storage = memoryStorage();
    await make(storage).count();
    expect(await readRestoreStatistics(storage, 'other')).toEqual({ restores: 0, degradedRestores: 0 });
  });

  test('costs one read and one write', async () => {
    const inner = memoryStorage();
    const calls: string[] = [];
    const noted =
      <Call extends unknown[], Answer>(name: string, method: (...call: Call) => Answer) =>
      (...call: Call) => {
        calls.push(name);
        return method(...call);
      };
    const { count } = make(inner, { get: noted('get', inner.get), put: noted('put', inner.put) });
    await count();
    expect(calls).toEqual(['get', 'put']);
  });

  test('processes that count at once lose nothing', async () => {
    const storage = memoryStorage();
    const counters = Array.from({ length: 8 }, () => make(storage));
    await Promise.all(counters.map(({ count }) => count()));
    expect(await counters[0]?.read()).toMatchObject({ restores: 8 });
    expect(counters.flatMap(({ events }) => events)).toEqual([]);
  });

  test('gives up when others are always faster, and says so', async () => {
    const inner = memoryStorage();
    let puts = 0;
    const put: StorageAdapter['put'] = async (...call) => {
      puts++;
      await make(inner).count(); // Another process, just before.
      return inner.put(...call);
    };
    const { count, events } = make(inner, { put });
    await count();
    expect(puts).toBe(20);
    expect(events).toMatchObject([{ type: 'checkpoint.statistics-failed', session: SESSION }]);
  });
});

describe('when the storage fails', () => {
  test.each(['get', 'put'] as const)('a failed %s is reported and does not fail the restore', async (method) => {
    const inner = memoryStorage();
    const fail = () => Promise.reject(new StorageError('no connection'));
    const { count, events, read } = make(inner, { [method]: fail });
    await count();
    expect(events).toEqual([{ type: 'checkpoint.statistics-failed', session: SESSION, error: 'no connection' }]);
    expect(await read()).toMatchObject({ restores: 0 });
  });

  test('a write of unknown outcome that happened counts once', async () => {
    const inner = memoryStorage();
    const put = firstPut(inner, async (send) => {
      await send();
      throw new OutcomeUnknownError(KEY);
    });
    const { count, events, read } = make(inner, { put });
    await count();
    expect(await read()).toMatchObject({ restores: 1 });
    expect(events).toEqual([]);
  });

  test('a write of unknown outcome that cannot be found is reported', async () => {
    const inner = memoryStorage();
    const unknown = () => Promise.reject(new OutcomeUnknownError(KEY));
    const { count, events, read } = make(inner, { put: unknown });
    await count();
    await make(inner).count();
    await count();
    expect(await read()).toMatchObject({ restores: 1 });
    expect(events).toHaveLength(2);
  });
});

describe('damage', () => {
  /** A record under the key that is intact, with this in its header. */
  const sealed = (meta: unknown) => sealRecord({ key: KEY, id: 'id', parent: null, meta }, Buffer.alloc(0)).bytes;
  const counts = { restores: 3, degradedRestores: 0, lastRestoredAtMs: 1, lastSequence: 1 };

  test.each([
    ['bytes that are no record', new Uint8Array(9)],
    ['a record of something else', sealed({ restores: -1 })],
    ['a record of another session', sealed({ ...counts, session: 'other' })],
  ])('%s is an error to whoever reads, and replaced by a new count', async (_, bytes) => {
    const storage = memoryStorage();
    await storage.put(KEY, bytes);
    const { count, read, events } = make(storage);
    await expect(read()).rejects.toThrow(CorruptionError);
    await count(4);
    expect(await read()).toMatchObject({ restores: 1, lastSequence: 4 });
    expect(events).toMatchObject([{ error: expect.stringContaining('"agent" are counted anew') }]);
  });

  test('a record that the store itself cannot read is replaced, too', async () => {
    const inner = memoryStorage();
    await make(inner).count();
    const get = () => Promise.reject(new CorruptionError('cannot be read', KEY));
    const { count, events, read } = make(inner, { get });
    await count(9);
    expect(await read()).toMatchObject({ restores: 1, lastSequence: 9 });
    expect(events).toHaveLength(1);
  });

  test('a record that may not be the newest is left as it is until the store is repaired', async () => {
    const inner = memoryStorage();
    for (const sequence of [1, 2]) await make(inner).count(sequence);
    const get: StorageAdapter['get'] = async (key) => {
      const entry = await inner.get(key);
      return entry && { ...entry, suspect: true };
    };
    const { count, events, read } = make(inner, { get });
    await count();
    expect(events).toMatchObject([{ error: expect.stringContaining('Repair the store') }]);
    expect(await read()).toMatchObject({ restores: 2 });
    await expect(readRestoreStatistics({ ...inner, get }, SESSION)).rejects.toThrow(CorruptionError);
  });
});

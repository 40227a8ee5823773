import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/base/errors.js';
import { OutcomeUnknownError, type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { COPY_ROOM_BYTES } from '../../src/storage/replicated/copy-format.js';
import { replicated } from '../../src/storage/replicated/replicated.js';
import { bytes, conflict, keysOf, putAll, textAt } from '../../src/testing/contract/entries.js';
import { deferred } from '../support/deferred.js';
import { connectionTo, watchable, withoutBatch } from './inner-stores.js';
import { copiesIn, damageKey, down, named, scene, valuesIn } from './replicated-scene.js';

const DOWN = new StorageError('the backup is down');

describe('writes', () => {
  test('a put, its replacement and its delete are in every backup when they are acknowledged', async () => {
    const { store, backups } = scene({}, 2);
    await store.put('key', bytes('one'));
    for (const { store } of backups) expect(await copiesIn(store)).toEqual({ key: 'one' });
    await store.put('key', bytes('two'));
    for (const { store } of backups) expect(await copiesIn(store)).toEqual({ key: 'two' });
    await store.delete('key');
    for (const { store } of backups) expect(await keysOf(store, '')).toEqual([]);
  });

  test('versions and conditions are those of the primary', async () => {
    const { store, primary, backup } = scene();
    const version = await store.put('key', bytes('one'), { ifVersion: null });
    expect((await primary.store.get('key'))?.version).toBe(version);
    await expect(store.put('key', bytes('two'), { ifVersion: null })).rejects.toMatchObject(conflict('key', version));
    expect(await copiesIn(backup.store)).toEqual({ key: 'one' });
  });

  test('the puts of a batch come to a backup in one batch, its deletes with them, its checks not', async () => {
    const { store, backup } = scene();
    await putAll(store, ['doomed', 'lease']);
    const batches: string[][] = [];
    backup.faults.batch = async (operations) => {
      batches.push(operations.map(({ type, key }) => `${type} ${key}`));
      return (backup.store as Required<StorageAdapter>).batch(operations);
    };
    const lease = (await store.get('lease'))?.version ?? null;
    await store.batch?.([
      { type: 'put', key: 'a', value: bytes('1') },
      { type: 'check', key: 'lease', ifVersion: lease },
      { type: 'delete', key: 'doomed' },
      { type: 'put', key: 'b', value: bytes('2') },
    ]);
    expect(batches).toEqual([['put a', 'delete doomed', 'put b']]);
    expect(await copiesIn(backup.store)).toEqual({ a: '1', b: '2', lease: 'lease' });
  });

  test('a backup without batches gets the parts one by one, in their order', async () => {
    const backup = withoutBatch(memoryStorage());
    const store = replicated([memoryStorage(), backup]);
    await store.put('gone', bytes('gone'));
    await store.batch?.([
      { type: 'put', key: 'a', value: bytes('1') },
      { type: 'delete', key: 'gone' },
    ]);
    expect(await copiesIn(backup)).toEqual({ a: '1' });
  });

  test('a batch of checks only changes no backup', async () => {
    const { store, backup } = scene();
    backup.faults.list = down(DOWN).list as StorageAdapter['list'];
    await store.batch?.([{ type: 'check', key: 'absent', ifVersion: null }]);
    expect(store.divergence()).toEqual([{ backup: 'backup 1', failed: 0, pending: 0 }]);
  });

  test('a write that the primary refused reaches no backup', async () => {
    const { store, primary, backup } = scene();
    primary.faults.put = down(new StorageError('no')).put as StorageAdapter['put'];
    await expect(store.put('key', bytes('value'))).rejects.toThrow('no');
    expect(await keysOf(backup.store, '')).toEqual([]);
  });

  test('a write of unknown outcome is copied if the primary has it, and no error is hidden', async () => {
    const { store, primary, backup } = scene();
    primary.faults.put = async (key, value, options) => {
      await primary.store.put(key, value, options);
      throw new OutcomeUnknownError(key);
    };
    await expect(store.put('key', bytes('value'))).rejects.toBeInstanceOf(OutcomeUnknownError);
    await store.close();
    expect(await copiesIn(backup.store)).toEqual({ key: 'value' });
  });

  test('a write of unknown outcome that did not happen leaves nothing in a backup', async () => {
    const { store, primary, backup } = scene();
    primary.faults.delete = down(new OutcomeUnknownError('key')).delete as StorageAdapter['delete'];
    primary.faults.put = down(new OutcomeUnknownError('key')).put as StorageAdapter['put'];
    await expect(store.put('key', bytes('value'))).rejects.toBeInstanceOf(OutcomeUnknownError);
    await expect(store.delete('key')).rejects.toBeInstanceOf(OutcomeUnknownError);
    await store.close();
    expect(await keysOf(backup.store, '')).toEqual([]);
  });

  test('the copy is made of the bytes as they were when the call was made', async () => {
    const { store, backup } = scene();
    const buffer = bytes('before');
    const put = store.put('key', buffer);
    buffer.fill(0);
    await put;
    expect(await copiesIn(backup.store)).toEqual({ key: 'before' });
  });

  test('of many writes of one key at once the newest is in the backup, in few copies', async () => {
    const { store, backup } = scene();
    let copies = 0;
    backup.faults.put = async (...given) => {
      copies++;
      return backup.store.put(...given);
    };
    const writes = Array.from({ length: 50 }, (_, at) => store.put('key', bytes(`write ${at}`)));
    await Promise.all(writes);
    expect(await copiesIn(backup.store)).toEqual({ key: await textAt(store, 'key') });
    expect(copies).toBeLessThan(10);
  });
});

describe('a backup that fails', () => {
  test('fails no write, and is reported and counted', async () => {
    const { store, primary, backup, events } = scene();
    Object.assign(backup.faults, down(DOWN));
    await store.put('key', bytes('value'));
    await store.batch?.([
      { type: 'put', key: 'a', value: bytes('1') },
      { type: 'delete', key: 'key' },
    ]);
    expect(await valuesIn(primary.store)).toEqual({ a: '1' });
    const failed = { type: 'backup.copy-failed', store: 'backup 1', error: DOWN.message, code: 'HOLDFAST_STORAGE' };
    expect(events).toEqual([
      { ...failed, key: 'key' },
      { ...failed, key: 'a' },
      { ...failed, key: 'key' },
    ]);
    expect(store.divergence()).toEqual([{ backup: 'backup 1', failed: 3, pending: 0 }]);
  });

  test('holds up no other backup', async () => {
    const { store, backups } = scene({}, 2);
    Object.assign(backups[0]?.faults ?? {}, down(DOWN));
    await store.put('key', bytes('value'));
    expect(await copiesIn(backups[1]?.store as StorageAdapter)).toEqual({ key: 'value' });
    expect(store.divergence().map(({ failed }) => failed)).toEqual([1, 0]);
  });

  test('has the key again with its next write', async () => {
    const { store, backup } = scene();
    await store.put('key', bytes('one'));
    Object.assign(backup.faults, down(DOWN));
    await store.put('key', bytes('two'));
    expect(await copiesIn(backup.store)).toEqual({ key: 'one' });
    for (const method of Object.keys(backup.faults)) delete backup.faults[method as keyof StorageAdapter];
    await store.put('key', bytes('three'));
    expect(await copiesIn(backup.store)).toEqual({ key: 'three' });
  });

  test('what a driver said of its password is in no event', async () => {
    const { store, backup, events } = scene();
    Object.assign(backup.faults, down(new StorageError('refused: redis://user:secret@host')));
    await store.put('key', bytes('value'));
    expect(JSON.stringify(events)).not.toContain('secret');
    expect(events).toHaveLength(1);
  });

  test('a backup that refuses a right condition for ever is given up', async () => {
    const { store, backup, events } = scene();
    await store.put('key', bytes('one'));
    const { put } = backup.store;
    backup.faults.put = (key, value) => put(key, value, { ifVersion: 'never' });
    await store.put('key', bytes('two'));
    expect(events).toMatchObject([{ type: 'backup.copy-failed', key: 'key', code: 'HOLDFAST_CONFLICT' }]);
  });

  test('a store that holds something else is not overwritten', async () => {
    const { store, backup, events } = scene();
    await backup.store.put('key', bytes('of somebody else'));
    await store.put('key', bytes('value'));
    expect(await textAt(backup.store, 'key')).toBe('of somebody else');
    expect(events).toMatchObject([{ type: 'backup.copy-failed', error: expect.stringContaining('no copies') }]);
    await backup.store.delete('key');
    await store.put('key', bytes('value'));
    expect(await copiesIn(backup.store)).toEqual({ key: 'value' });
  });

  test('a store that cannot be looked into is not taken for a backup', async () => {
    const { store, backup, events } = scene();
    await backup.store.put('key', bytes('of somebody else'));
    backup.faults.get = down(DOWN).get as StorageAdapter['get'];
    await store.put('key', bytes('value'));
    expect(await textAt(backup.store, 'key')).toBe('of somebody else');
    expect(events).toMatchObject([{ type: 'backup.copy-failed', error: DOWN.message }]);
  });

  test('a backup of which the first keys are damaged is still one', async () => {
    const { store, backup } = scene();
    await store.put('a', bytes('1'));
    damageKey(backup, 'a');
    const again = replicated([memoryStorage(), backup.adapter]);
    await again.put('b', bytes('2'));
    expect(again.divergence()).toMatchObject([{ failed: 0 }]);
  });
});

describe('following', () => {
  test('a write is acknowledged before the backup has it, and close waits for the copy', async () => {
    const { store, backup } = scene({ backups: 'follow' });
    const answer = deferred();
    backup.faults.put = async (...given) => {
      await answer.promise;
      return backup.store.put(...given);
    };
    await store.put('key', bytes('value'));
    expect(await keysOf(backup.store, '')).toEqual([]);
    expect(store.divergence()).toMatchObject([{ pending: 1, failed: 0 }]);
    const closed = store.close();
    answer.resolve();
    await closed;
    expect(await copiesIn(backup.store)).toEqual({ key: 'value' });
  });

  test('a hundred writes are copied, at most 64 at once', async () => {
    const { store, backup } = scene({ backups: 'follow' });
    let most = 0;
    let running = 0;
    backup.faults.put = async (...given) => {
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => setImmediate(resolve));
      running--;
      return backup.store.put(...given);
    };
    const keys = Array.from({ length: 100 }, (_, at) => `key-${at}`);
    await putAll(store, keys);
    await store.batch?.([
      { type: 'put', key: 'key-0', value: bytes('in a batch') },
      { type: 'put', key: 'last', value: bytes('in a batch') },
    ]);
    await store.close();
    expect(Object.keys(await copiesIn(backup.store))).toHaveLength(101);
    expect(most).toBe(64);
  });
});

describe('reads', () => {
  test('are answered by the primary alone', async () => {
    const { store, primary, backup } = scene();
    await store.put('key', bytes('value'));
    Object.assign(backup.faults, down(DOWN));
    expect(await textAt(store, 'key')).toBe('value');
    expect(await keysOf(store, '')).toEqual(['key']);
    Object.assign(primary.faults, down(new StorageError('the primary is down')));
    for (const method of Object.keys(backup.faults)) delete backup.faults[method as keyof StorageAdapter];
    await expect(store.get('key')).rejects.toThrow('the primary is down');
    await expect(store.list('')).rejects.toThrow('the primary is down');
  });

  test('of a damaged key reject, and say that a backup has the very bytes', async () => {
    const { store, primary } = scene();
    await store.put('key', bytes('value'));
    damageKey(primary, 'key');
    const error = await store.get('key').catch((reason) => reason);
    expect(error).toMatchObject({ code: 'HOLDFAST_CORRUPTION', key: 'key', cause: expect.any(CorruptionError) });
    expect(error.message).toBe(
      '"key" is damaged. A backup has the very bytes that were lost: repair() puts them back.',
    );
  });

  test('of a damaged key say that the backups have an older value, or none', async () => {
    const { store, primary, backup } = scene();
    await store.put('key', bytes('old'));
    Object.assign(backup.faults, down(DOWN));
    await store.put('key', bytes('new'));
    damageKey(primary, 'key');
    await expect(store.get('key')).rejects.toThrow('No backup that answers has it.');
    for (const method of Object.keys(backup.faults)) delete backup.faults[method as keyof StorageAdapter];
    await expect(store.get('key')).rejects.toThrow('may not be the one that was lost');
  });

  test('of a damaged key tell of the damage even if nothing else can be read', async () => {
    const { store, primary } = scene();
    await store.put('key', bytes('value'));
    damageKey(primary, 'key');
    primary.faults.list = down(new StorageError('no listing')).list as StorageAdapter['list'];
    await expect(store.get('key')).rejects.toMatchObject({ code: 'HOLDFAST_CORRUPTION', key: 'key' });
  });
});

describe('what is promised', () => {
  test('the primary’s durability, batches and versions, in the narrowest scope of all', () => {
    const network = named('network');
    const capabilities = { ...network.capabilities, scope: 'network', durability: 'disk' } as const;
    const primary = { ...network, capabilities };
    const host = { ...named('host'), capabilities: { ...capabilities, scope: 'host', atomicBatch: false } as const };
    expect(replicated([primary, host]).capabilities).toEqual({ ...capabilities, scope: 'host' });
    expect(replicated([primary, host, memoryStorage()]).capabilities.scope).toBe('process');
    const another = { ...named('another'), capabilities };
    expect(replicated([primary, another]).capabilities).toEqual(capabilities);
  });

  test('values that fit the primary, and fit a backup with their header', async () => {
    const limited = (name: string, maxValueBytes: number) => {
      const store = named(name);
      return { ...store, capabilities: { ...store.capabilities, maxValueBytes } };
    };
    const maxOf = (primary: StorageAdapter, backup: StorageAdapter) =>
      replicated([primary, backup]).capabilities.maxValueBytes;
    expect(maxOf(limited('primary', 5_000), memoryStorage())).toBe(5_000);
    expect(maxOf(limited('primary', 5_000), limited('backup', 5_000))).toBe(5_000 - COPY_ROOM_BYTES);
    expect(maxOf(memoryStorage(), memoryStorage())).toBeUndefined();
    const store = replicated([memoryStorage(), limited('backup', 2_000)]);
    await store.put('key', new Uint8Array(2_000 - COPY_ROOM_BYTES));
    expect(store.divergence()).toMatchObject([{ failed: 0 }]);
  });

  test('a version too long for a copy is a copy that failed', async () => {
    const { store, primary, events } = scene();
    primary.faults.list = async () => ({ entries: [{ key: 'key', version: 'v'.repeat(513), sizeBytes: 5 }] });
    primary.faults.put = async () => 'v'.repeat(513);
    await store.put('key', bytes('value'));
    expect(events).toMatchObject([{ type: 'backup.copy-failed', code: 'HOLDFAST_LIMIT' }]);
  });

  test('a store alone, a store given twice and an unknown option are refused', () => {
    const store = memoryStorage();
    const refused = (path: string) => expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT', path });
    expect(() => replicated([store])).toThrow(refused('stores'));
    expect(() => replicated([store, memoryStorage(), store])).toThrow(refused('stores'));
    expect(() => replicated(store as never)).toThrow(refused('stores'));
    expect(() => replicated([store, memoryStorage()], { backups: 'never' as 'wait' })).toThrow(
      refused('options.backups'),
    );
  });
});

describe('opening and closing', () => {
  test('open opens all stores; a backup that cannot be opened is reported and fails nothing', async () => {
    const opened: string[] = [];
    const opening = (name: string, error?: unknown): StorageAdapter => ({
      ...named(name),
      open: async () => {
        if (error) throw error;
        opened.push(name);
      },
    });
    const events: unknown[] = [];
    const emit = (event: unknown) => void events.push(event);
    await replicated([opening('primary'), opening('one'), opening('two', DOWN), named('three')], { emit }).open();
    expect(opened).toEqual(['primary', 'one']);
    expect(events).toEqual([
      { type: 'backup.open-failed', store: 'two', error: DOWN.message, code: 'HOLDFAST_STORAGE' },
    ]);
    await expect(replicated([opening('primary', DOWN), named('one')]).open()).rejects.toBe(DOWN);
  });

  test('close closes all stores, once, and tells of the first that could not be closed', async () => {
    const closed: string[] = [];
    const closing = (name: string, error?: unknown): StorageAdapter => ({
      ...named(name),
      close: async () => {
        closed.push(name);
        if (error) throw error;
      },
    });
    const store = replicated([closing('primary'), closing('one', DOWN), closing('two')]);
    await expect(store.close()).rejects.toBe(DOWN);
    await expect(store.close()).rejects.toBe(DOWN);
    expect(closed).toEqual(['primary', 'one', 'two']);
  });

  test('after close everything rejects with ClosedError, also what looks after backups', async () => {
    const { store } = scene();
    await store.close();
    const isClosed = { code: 'HOLDFAST_CLOSED' };
    await expect(store.get('key')).rejects.toMatchObject(isClosed);
    await expect(store.open()).rejects.toMatchObject(isClosed);
    await expect(store.compare()).rejects.toMatchObject(isClosed);
    await expect(store.repair()).rejects.toMatchObject(isClosed);
  });

  test('close ends a repair that is under way', async () => {
    const { store, backup } = scene();
    await putAll(
      store,
      Array.from({ length: 100 }, (_, at) => `key-${at}`),
    );
    let looked = 0;
    backup.faults.get = async (key) => {
      if (looked++ === 20) void store.close();
      return backup.store.get(key);
    };
    await expect(store.repair()).rejects.toMatchObject({ code: 'HOLDFAST_CLOSED' });
    expect(looked).toBeLessThan(50);
  });
});

test('watch is that of the primary, until it is stopped or the store is closed', async () => {
  const primary = watchable(memoryStorage());
  const store = replicated([connectionTo(primary), memoryStorage()]);
  const hints: string[] = [];
  await store.watch?.('runs/', (key) => hints.push(key));
  await putAll(store, ['elsewhere', 'runs/1']);
  await store.close();
  await putAll(primary, ['runs/2']);
  expect(hints).toEqual(['runs/1']);
});

test('its name tells the primary', () => {
  expect(scene().store.name).toBe('replicated primary');
});

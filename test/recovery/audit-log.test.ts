import { describe, expect, test } from 'vitest';
import { CorruptionError, InvalidInputError } from '../../src/base/errors.js';
import { type AuditEntry, AuditLog } from '../../src/recovery/audit-log.js';
import { OutcomeUnknownError, type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { rejectionOf } from '../support/deferred.js';

const KEY = new Uint8Array(32).fill(7);

async function filled(count: number, key?: Uint8Array) {
  const storage = memoryStorage();
  const log = new AuditLog({ storage, clock: new VirtualClock(), ...(key && { key }) });
  for (let at = 1; at <= count; at++) await log.append(at % 2 ? 'odd' : 'even', { at });
  return { storage, log, keyOf: (at: number) => `audit/p=main/${String(at).padStart(16, '0')}` };
}

async function read(entries: AsyncIterable<AuditEntry>): Promise<AuditEntry[]> {
  const all: AuditEntry[] = [];
  for await (const entry of entries) all.push(entry);
  return all;
}

async function change(storage: StorageAdapter, key: string, edit: (bytes: Uint8Array) => Uint8Array) {
  await storage.put(key, edit((await storage.get(key))?.value as Uint8Array));
}

describe('an audit log', () => {
  test('gives what was appended, in order, by type, place and time', async () => {
    const { log } = await filled(6);
    const all = await read(log.list());
    expect(all.map(({ sequence, type, data }) => [sequence, type, data])).toEqual(
      [1, 2, 3, 4, 5, 6].map((at) => [at, at % 2 ? 'odd' : 'even', { at }]),
    );
    expect((await read(log.list({ type: 'odd', after: 2 }))).map(({ sequence }) => sequence)).toEqual([3, 5]);
    expect(await read(log.list({ limit: 1 }))).toHaveLength(1);
    expect(await read(log.list({ sinceMs: Number.MAX_SAFE_INTEGER }))).toEqual([]);
    expect(await log.head()).toEqual({ sequence: 6, hash: all.at(-1)?.hash });
  });

  test('numbers what several append at once without gaps, each in its own order', async () => {
    const storage = memoryStorage();
    const logs = [1, 2, 3].map(() => new AuditLog({ storage }));
    await Promise.all(
      logs.flatMap((log, from) => Array.from({ length: 20 }, (_, at) => log.append('appended', { from, at }))),
    );
    const all = await read((logs[0] as AuditLog).list());
    expect(all.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 60 }, (_, at) => at + 1));
    for (const from of [0, 1, 2]) {
      const own = all.map(({ data }) => data as { from: number; at: number }).filter((data) => data.from === from);
      expect(own.map(({ at }) => at)).toEqual(Array.from({ length: 20 }, (_, at) => at));
    }
    expect(await logs[1]?.verify()).toEqual({ entries: 60, isIntact: true, isSigned: false });
  });

  test('adds an entry once when the answer to its write gets lost', async () => {
    const inner = memoryStorage();
    let isLossy = true;
    const storage = {
      ...inner,
      async put(...given: Parameters<StorageAdapter['put']>) {
        const version = await inner.put(...given);
        if (!isLossy) return version;
        isLossy = false;
        throw new OutcomeUnknownError(given[0]);
      },
    };
    const log = new AuditLog({ storage });
    expect(await log.append('decided', 1)).toMatchObject({ sequence: 1 });
    expect(await log.append('decided', 2)).toMatchObject({ sequence: 2 });
    expect(await read(log.list())).toHaveLength(2);
  });

  test('takes the data at once, and goes on after an append that failed', async () => {
    const log = new AuditLog({ storage: memoryStorage() });
    const data = { answer: 1 };
    const appended = log.append('decided', data);
    data.answer = 2;
    expect((await appended).data).toEqual({ answer: 1 });
    expect(await rejectionOf(log.append('decided', { fn: () => 1 }))).toMatchObject({
      code: 'HOLDFAST_UNSERIALIZABLE',
    });
    expect(await log.append('decided', 3)).toMatchObject({ sequence: 2 });
  });

  test('that is signed takes nothing without its key, and is read and followed without it', async () => {
    const { storage, log } = await filled(2, KEY);
    const keyless = new AuditLog({ storage });
    const error = await rejectionOf(keyless.append('odd', 3));
    expect(error).toMatchObject({ code: 'HOLDFAST_INVALID_INPUT', path: 'options.key' });
    expect((error as Error).message).toMatch(
      /"audit\/p=main\/" is signed.*Give the key \(`auditKey` of createHoldfast\)/,
    );
    expect(await read(keyless.list())).toHaveLength(2);
    expect(await keyless.verify()).toEqual({ entries: 2, isIntact: true, isSigned: false });
    expect(await new AuditLog({ storage, name: 'other' }).append('odd', 1)).toMatchObject({ sequence: 1 });
    expect(await log.append('odd', 3)).toMatchObject({ sequence: 3 });
    expect(await log.verify()).toEqual({ entries: 3, isIntact: true, isSigned: true });
  });

  test('that is not signed, or by another key, takes nothing under this key', async () => {
    const { storage, log } = await filled(2);
    const unsigned = await rejectionOf(new AuditLog({ storage, key: KEY }).append('odd', 3));
    expect(unsigned).toMatchObject({
      code: 'HOLDFAST_CORRUPTION',
      message: expect.stringContaining('not signed at all'),
    });
    expect(await log.append('odd', 3)).toMatchObject({ sequence: 3 });
    expect(await log.verify()).toMatchObject({ isIntact: true });
    const other = (await filled(2, new Uint8Array(32).fill(8))).storage;
    const foreign = await rejectionOf(new AuditLog({ storage: other, key: KEY }).append('odd', 3));
    expect((foreign as Error).message).toMatch(/not signed with this key\.$/);
  });

  test('refuses a key that is too short', () => {
    expect(() => new AuditLog({ storage: memoryStorage(), key: new Uint8Array(31) })).toThrow(InvalidInputError);
  });
});

describe('verify', () => {
  test.each([undefined, KEY])('finds every entry that was damaged, removed or put elsewhere (key %s)', async (key) => {
    for (let at = 1; at <= 5; at++) {
      const damaged = await filled(5, key);
      await change(damaged.storage, damaged.keyOf(at), (bytes) =>
        bytes.map((byte, index) => (index === 60 ? byte ^ 1 : byte)),
      );
      expect(await damaged.log.verify()).toMatchObject({ isIntact: false, firstBad: { sequence: at } });

      const moved = await filled(5, key);
      const other = (await moved.storage.get(moved.keyOf((at % 5) + 1)))?.value as Uint8Array;
      await moved.storage.put(moved.keyOf(at), other);
      expect(await moved.log.verify()).toMatchObject({ isIntact: false, firstBad: { sequence: at } });

      const removed = await filled(5, key);
      const head = await removed.log.head();
      await removed.storage.delete(removed.keyOf(at));
      expect(await removed.log.verify({ head })).toMatchObject({ isIntact: false, firstBad: { sequence: at } });
    }
  });

  test('finds a chain that was written anew with another key, or without one', async () => {
    for (const forger of [undefined, new Uint8Array(32).fill(8)]) {
      const { storage } = await filled(3, forger);
      expect(await new AuditLog({ storage, key: KEY }).verify()).toMatchObject({
        entries: 0,
        isIntact: false,
        firstBad: { sequence: 1, why: expect.stringContaining('not signed with this key') },
      });
    }
  });

  test('finds a log that was cut off, or begun anew, by what was kept of its head', async () => {
    const { log, storage, keyOf } = await filled(5, KEY);
    const head = await log.head();
    expect(await log.verify({ head })).toEqual({ entries: 5, isIntact: true, isSigned: true });
    await storage.delete(keyOf(5));
    expect(await log.verify()).toMatchObject({ isIntact: true });
    expect(await log.verify({ head })).toMatchObject({ isIntact: false, firstBad: { sequence: 5 } });
    await log.append('odd', { at: 5 });
    expect(await log.verify({ head })).toMatchObject({ isIntact: false });
  });

  test('reports what the store cannot read, passes on that it is down, and refuses what is suspect', async () => {
    const { storage } = await filled(3);
    const reading = (fail: (key: string) => Error | undefined) => ({
      ...storage,
      async get(...given: Parameters<StorageAdapter['get']>) {
        const error = fail(given[0]);
        if (error) throw error;
        return storage.get(...given);
      },
    });
    const damaged = reading((key) => (key.endsWith('2') ? new CorruptionError('damaged', key) : undefined));
    expect(await new AuditLog({ storage: damaged }).verify()).toMatchObject({
      isIntact: false,
      firstBad: { sequence: 2 },
    });
    const down = new StorageError('down');
    expect(await rejectionOf(new AuditLog({ storage: reading(() => down) }).verify())).toBe(down);
    const suspect = {
      ...storage,
      async get(...given: Parameters<StorageAdapter['get']>) {
        const entry = await storage.get(...given);
        return entry && { ...entry, suspect: true as const };
      },
    };
    expect(await new AuditLog({ storage: suspect }).verify()).toMatchObject({ isIntact: false, entries: 0 });
    const gone = reading(() => undefined);
    gone.get = async () => undefined;
    expect(await rejectionOf(new AuditLog({ storage: gone }).append('x', 1))).toBeInstanceOf(CorruptionError);
  });

  test('nothing is added behind an entry that cannot be read, and none is listed', async () => {
    const { log, storage, keyOf } = await filled(2);
    await change(storage, keyOf(2), (bytes) => bytes.subarray(0, 50));
    expect(await rejectionOf(log.append('odd', 3))).toBeInstanceOf(CorruptionError);
    expect(await rejectionOf(read(log.list()))).toBeInstanceOf(CorruptionError);
    expect(await storage.get(keyOf(3))).toBeUndefined();
  });
});

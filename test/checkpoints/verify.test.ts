import { describe, expect, test } from 'vitest';
import { LimitError } from '../../src/base/errors.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { CheckpointRecords } from '../../src/checkpoints/checkpoint-records.js';
import { chunkIdOf } from '../../src/checkpoints/packs/chunk.js';
import { decodePack, encodePack } from '../../src/checkpoints/packs/pack.js';
import { withRecentReads } from '../../src/checkpoints/repair/recent-reads.js';
import { verifySession } from '../../src/checkpoints/repair/verify.js';
import { prepareCodecs, UnknownCodecError } from '../../src/records/codec.js';
import { openRecord, sealRecord } from '../../src/records/envelope.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { altered, flip, keyOf, recordsIn, SESSION, saved, stateOf, withSmallValues } from './damaged-session.js';

const isObject = (meta: unknown): meta is object => typeof meta === 'object';

const partsOf = async (storage: StorageAdapter, sequence: number) => {
  const digits = keyOf(sequence).slice(-16);
  const { entries } = await storage.list('checkpoint-parts/');
  return entries.map(({ key }) => key).filter((key) => key.includes(`/${digits}-`));
};

describe('an intact session', () => {
  test.each(['fast', 'deep'] as const)(
    'is intact, %s, also where others need what is left of a removed one',
    async (depth) => {
      const { checkpoints, records } = await saved(6);
      await checkpoints.prune(SESSION, { keepLast: 2 });
      const report = { session: SESSION, isIntact: true, isSuspect: false, checked: 2, newestIntact: 6, damaged: [] };
      expect(await verifySession(records, SESSION, depth)).toEqual(report);
    },
  );

  test.each(['fast', 'deep'] as const)(
    'is intact, %s, with packs that are spread over several records',
    async (depth) => {
      const { records, storage } = await saved(3, withSmallValues(8_192));
      expect((await partsOf(storage, 1)).length).toBeGreaterThan(1);
      expect(await verifySession(records, SESSION, depth)).toMatchObject({ isIntact: true, checked: 3 });
    },
  );

  test('has no checkpoints if nothing was saved', async () => {
    const report = await verifySession(recordsIn(memoryStorage()), SESSION, 'deep');
    expect(report).toEqual({ session: SESSION, isIntact: true, isSuspect: false, checked: 0, damaged: [] });
  });

  test('is verified without a single write', async () => {
    const { storage } = await saved(4);
    await flip(storage, keyOf(2), 'new 2 ');
    const refuse = () => Promise.reject(new Error('a write'));
    const readOnly = altered(storage, { put: refuse, delete: refuse, batch: refuse });
    expect((await verifySession(recordsIn(readOnly), SESSION, 'deep')).isIntact).toBe(false);
  });

  test('reads each record a few times, however many checkpoints need it', async () => {
    const { storage } = await saved(60);
    let reads = 0;
    const counting = altered(storage, {
      get: (key, options) => {
        reads++;
        return storage.get(key, options);
      },
    });
    expect((await verifySession(recordsIn(counting), SESSION, 'deep')).checked).toBe(60);
    expect(reads).toBeLessThanOrEqual(60 * 3);
  });

  test('is read from memory only as far as the limit goes, what was used last staying longest', async () => {
    const storage = memoryStorage();
    for (const key of ['a', 'b', 'c']) await storage.put(key, Buffer.from('12345'));
    const asked: string[] = [];
    const get: StorageAdapter['get'] = (key, options) => {
      asked.push(key);
      return storage.get(key, options);
    };
    const recent = withRecentReads(altered(storage, { get }), 10);
    for (const key of ['a', 'b', 'a', 'c', 'a', 'b', 'gone', 'gone']) await recent.get(key);
    expect(asked).toEqual(['a', 'b', 'c', 'b', 'gone', 'gone']);
  });

  test('is too large to look at if a state is larger than this program allows', async () => {
    const { storage } = await saved(1);
    const records = new CheckpointRecords(storage, prepareCodecs({ maxBytes: 1 }));
    await expect(verifySession(records, SESSION, 'deep')).rejects.toThrow(LimitError);
  });
});

describe('damage', () => {
  test('of a header is found by both, and the checkpoint and those that need its pack are lost', async () => {
    const { storage, records } = await saved(4);
    await flip(storage, keyOf(2), 60);
    const fast = await verifySession(records, SESSION, 'fast');
    expect(fast).toMatchObject({ isIntact: false, checked: 4, newestIntact: 1 });
    expect(fast.damaged).toMatchObject([
      { sequence: 4, reason: 'corrupt', isLost: true, dependents: [], lostDependents: [] },
      { sequence: 3, reason: 'corrupt', isLost: true, dependents: [4], lostDependents: [4] },
      { sequence: 2, reason: 'corrupt', isLost: true, dependents: [4, 3], lostDependents: [4, 3] },
    ]);
    expect(fast.damaged[2]?.error.message).toMatch(/header does not match/);
    expect(fast.damaged[0]?.error.message).toMatch(/parts of its state are in the records 2/);
    expect(await verifySession(records, SESSION, 'deep')).toEqual(fast);
  });

  test('of a chunk that another pack has is named, with those that depend on it, and none of them is lost', async () => {
    const { storage, records } = await saved(20);
    await flip(storage, keyOf(5), 'new 5 ');
    const report = await verifySession(records, SESSION, 'deep');
    expect(report).toMatchObject({ isIntact: false, newestIntact: 20, checked: 20 });
    expect(report.damaged).toHaveLength(1);
    expect(report.damaged[0]).toMatchObject({ sequence: 5, isLost: false, lostDependents: [] });
    expect(report.damaged[0]?.dependents).toEqual([16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6]);
  });

  test('of a chunk that nobody else has loses those that need it, and no others', async () => {
    const { storage, records } = await saved(6);
    await flip(storage, keyOf(3), 'new 3 ');
    const report = await verifySession(records, SESSION, 'deep');
    expect(report.newestIntact).toBe(2);
    expect(report.damaged.map(({ sequence, isLost }) => [sequence, isLost])).toEqual([
      [6, true],
      [5, true],
      [4, true],
      [3, true],
    ]);
    expect(report.damaged.at(-1)).toMatchObject({ dependents: [6, 5, 4], lostDependents: [6, 5, 4] });
  });

  test('of a body is not seen by fast, which reads headers only', async () => {
    const { storage, records } = await saved(3);
    await flip(storage, keyOf(3), 'new 3 ');
    expect(await verifySession(records, SESSION, 'fast')).toMatchObject({ isIntact: true, checked: 3 });
  });

  test('of what is left of a removed checkpoint is named, with those that need it', async () => {
    const { storage, checkpoints, records } = await saved(6);
    await checkpoints.prune(SESSION, { keepLast: 2 });
    await flip(storage, keyOf(2), 'new 2 ');
    const report = await verifySession(records, SESSION, 'deep');
    expect(report).toMatchObject({ isIntact: false, checked: 2 });
    expect(report.newestIntact).toBeUndefined();
    expect(report.damaged).toMatchObject([
      { sequence: 6, isLost: true },
      { sequence: 5, isLost: true },
      { sequence: 2, isLost: false, dependents: [6, 5], lostDependents: [6, 5] },
    ]);
  });

  test('of bytes that no checkpoint needs any more is found all the same', async () => {
    const { storage, records } = await saved(1);
    const entry = await storage.get(keyOf(1));
    const { header, body } = openRecord(keyOf(1), entry?.value as Uint8Array, isObject);
    const chunks = decodePack(body) ?? new Map();
    const withMore = encodePack([...chunks, [chunkIdOf('right'), Buffer.from('wrong')]]);
    await storage.put(keyOf(1), sealRecord(header, withMore).bytes);
    const report = await verifySession(records, SESSION, 'deep');
    expect(report).toMatchObject({ isIntact: false, newestIntact: 1 });
    expect(report.damaged[0]?.error.message).toMatch(/a chunk is not what it was/);
  });

  test('of a pack whose bytes were exchanged for another pack is found', async () => {
    const { storage, records } = await saved(3);
    const [one, two] = [await storage.get(keyOf(1)), await storage.get(keyOf(2))];
    const record = openRecord(keyOf(2), two?.value as Uint8Array, isObject);
    const head = two?.value.subarray(0, two.value.length - record.body.length) as Uint8Array;
    const { body } = openRecord(keyOf(1), one?.value as Uint8Array, isObject);
    await storage.put(keyOf(2), Buffer.concat([head, body]));
    expect((await verifySession(records, SESSION, 'deep')).damaged.at(-1)?.error.message).toMatch(/its body has/);
  });

  test.each([
    ['a missing part', 'fast', (storage: StorageAdapter, part: string) => storage.delete(part)],
    ['a missing part', 'deep', (storage: StorageAdapter, part: string) => storage.delete(part)],
    ['a part with a damaged chunk', 'deep', (storage: StorageAdapter, part: string) => flip(storage, part, 'old 20 ')],
    ['a part with a damaged header', 'deep', (storage: StorageAdapter, part: string) => flip(storage, part, 50)],
  ] as const)('%s is found, %s', async (_what, depth, damage) => {
    const { storage, records } = await saved(3, withSmallValues(8_192));
    const texts = await Promise.all(
      (await partsOf(storage, 1)).map(async (key) => [
        key,
        Buffer.from((await storage.get(key))?.value ?? []).toString(),
      ]),
    );
    const part = texts.find(([, text]) => text?.includes('old 20 '))?.[0] as string;
    await damage(storage, part);
    const report = await verifySession(records, SESSION, depth);
    expect(report).toMatchObject({ isIntact: false, checked: 3 });
    expect(report.damaged.at(-1)).toMatchObject({ sequence: 1, isLost: true, dependents: [3, 2] });
    expect(report.damaged.at(-1)?.error.key).toBe(part);
  });

  test.each(['fast', 'deep'] as const)(
    'a pack that is missing is named, %s, with those that are lost without it',
    async (depth) => {
      const { storage, records } = await saved(20);
      await storage.delete(keyOf(5));
      await storage.delete(keyOf(18));
      const report = await verifySession(records, SESSION, depth);
      expect(report.newestIntact).toBe(17);
      expect(report.checked).toBe(18);
      const missing = report.damaged.filter(({ reason }) => reason === 'missing');
      expect(missing).toMatchObject([
        { sequence: 18, isLost: false, dependents: [20, 19], lostDependents: [20, 19] },
        { sequence: 5, isLost: false, lostDependents: [] },
      ]);
    },
  );

  test('a checkpoint exchanged for another under its number is found, but not one that a repair wrote anew', async () => {
    const { storage, records } = await saved(2);
    const entry = await storage.get(keyOf(1));
    const { header, body } = openRecord(keyOf(1), entry?.value as Uint8Array, isObject);
    await storage.put(keyOf(1), sealRecord({ ...header, id: 'another' }, body).bytes);
    const report = await verifySession(records, SESSION, 'deep');
    expect(report.damaged).toMatchObject([{ sequence: 1, isLost: false, dependents: [2], lostDependents: [] }]);
    expect(report.damaged[0]?.error.message).toMatch(/not the one that later ones were made from/);
    const repaired = { ...header, meta: { ...header.meta, repaired: true } };
    await storage.put(keyOf(1), sealRecord(repaired, body).bytes);
    expect((await verifySession(records, SESSION, 'deep')).isIntact).toBe(true);
  });

  test('a store that cannot tell which keys it lost makes the session suspect', async () => {
    const { storage } = await saved(2);
    const get: StorageAdapter['get'] = async (key) => {
      const entry = await storage.get(key);
      return entry && { ...entry, suspect: true };
    };
    const report = await verifySession(recordsIn(altered(storage, { get })), SESSION, 'fast');
    expect(report).toMatchObject({ isIntact: false, isSuspect: true, damaged: [] });
  });

  test('a state whose codec is not registered is no damage: the verification says what is missing', async () => {
    const storage = memoryStorage();
    const codec = {
      tag: 'day',
      is: (value: unknown) => value instanceof Day,
      encode: () => 1,
      decode: () => new Day(),
    };
    await new CheckpointManager({ storage, codecs: [codec] }).save(SESSION, new Day());
    await expect(verifySession(recordsIn(storage), SESSION, 'deep')).rejects.toThrow(UnknownCodecError);
  });
});

class Day {}

describe('while others are at work', () => {
  /** A store in which something happens when this key is read for the `nth` time. */
  const interrupted = (
    storage: StorageAdapter,
    when: readonly [key: string, nth: number],
    act: () => Promise<unknown>,
  ) => {
    let reads = 0;
    return altered(storage, {
      get: async (key, options) => {
        if (key === when[0] && ++reads === when[1]) await act();
        return storage.get(key, options);
      },
    });
  };

  test.each([1, 2, 3])('a checkpoint that is pruned before read %i of it is no damage', async (nth) => {
    const { storage, checkpoints } = await saved(4);
    const prune = () => checkpoints.prune(SESSION, { keepLast: 1 });
    const racing = interrupted(storage, [keyOf(2), nth], prune);
    expect(await verifySession(recordsIn(racing), SESSION, 'deep')).toMatchObject({ isIntact: true, newestIntact: 4 });
  });

  test.each([1, 2, 3])('a session that is deleted before read %i of a checkpoint is no damage', async (nth) => {
    const { storage, checkpoints } = await saved(4);
    const racing = interrupted(storage, [keyOf(3), nth], () => checkpoints.delete(SESSION));
    expect(await verifySession(recordsIn(racing), SESSION, 'deep')).toMatchObject({ isIntact: true });
  });

  test('a checkpoint that is saved meanwhile with further records is no damage', async () => {
    const storage = withSmallValues(8_192);
    const { checkpoints } = await saved(1, storage);
    let isSaved = false;
    const list: StorageAdapter['list'] = async (prefix, options) => {
      if (prefix.startsWith('checkpoints/') && !isSaved) {
        isSaved = true;
        await checkpoints.save(SESSION, { other: stateOf(29) });
      }
      return storage.list(prefix, options);
    };
    for (const depth of ['fast', 'deep'] as const) {
      isSaved = false;
      const report = await verifySession(recordsIn(altered(storage, { list })), SESSION, depth);
      expect(report.isIntact).toBe(true);
    }
  });

  test('what a store says of a failure that is no damage is passed on', async () => {
    const { storage } = await saved(2);
    const get: StorageAdapter['get'] = () => Promise.reject(new Error('the network is down'));
    await expect(verifySession(recordsIn(altered(storage, { get })), SESSION, 'fast')).rejects.toThrow(
      /network is down/,
    );
  });
});

import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/base/errors.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { isRetired } from '../../src/checkpoints/checkpoint-meta.js';
import { chunkIdOf, REFERENCE_BYTES, REFERENCE_MARK, writeReference } from '../../src/checkpoints/packs/chunk.js';
import { ChunkIndex } from '../../src/checkpoints/repair/chunk-index.js';
import { type RepairReport, repairSession } from '../../src/checkpoints/repair/repair.js';
import { verifySession } from '../../src/checkpoints/repair/verify.js';
import { openRecord, sealRecord } from '../../src/records/envelope.js';
import { ConflictError, type StorageAdapter } from '../../src/storage/adapter.js';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import {
  altered,
  contentOf,
  copyOf,
  flip,
  keyOf,
  recordsIn,
  restorable,
  SESSION,
  saved,
  stateOf,
  withSmallValues,
} from './damaged-session.js';

const repair = (storage: StorageAdapter): Promise<RepairReport> =>
  repairSession(recordsIn(storage), SESSION, { isDryRun: false });
const dryRun = (storage: StorageAdapter): Promise<RepairReport> =>
  repairSession(recordsIn(storage), SESSION, { isDryRun: true });
const isIntact = async (storage: StorageAdapter): Promise<boolean> =>
  (await verifySession(recordsIn(storage), SESSION, 'deep')).isIntact;
const isObject = (meta: unknown): meta is object => typeof meta === 'object';
const bytesUnder = async (storage: StorageAdapter, key: string): Promise<Buffer> =>
  Buffer.from((await storage.get(key))?.value ?? []);
const keysBelow = async (storage: StorageAdapter, prefix: string): Promise<string[]> =>
  (await storage.list(prefix)).entries.map(({ key }) => key);

describe('a session in which nothing is lost', () => {
  test('is left alone if nothing is wrong', async () => {
    const { storage } = await saved(3);
    const before = await contentOf(storage);
    expect(await repair(storage)).toEqual({
      session: SESSION,
      isDryRun: false,
      severity: 'none',
      restorable: [3, 2, 1],
      lost: [],
      repointed: [],
      repairs: [],
      removedParts: 0,
    });
    expect(await contentOf(storage)).toEqual(before);
    expect(await repairSession(recordsIn(storage), 'nobody', { isDryRun: false })).toMatchObject({ severity: 'none' });
  });

  test('has its damaged chunk back from another pack, and the bytes as they were are kept', async () => {
    const { storage } = await saved(20);
    await flip(storage, keyOf(5), 'new 5 ');
    const damaged = await bytesUnder(storage, keyOf(5));
    const report = await repair(storage);
    expect(report).toMatchObject({ severity: 'minor', lost: [], removedParts: 0 });
    expect(report.repointed).toEqual([16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5]);
    expect(report.repairs).toMatchObject([{ sequence: 5, outcome: 'replaced', notKept: [] }]);
    expect(report.repairs[0]?.error).toBeInstanceOf(CorruptionError);
    expect(report.repairs[0]?.keptAs[0]).toMatch(/^checkpoint-damaged\/p=agent\/0{15}5-[0-9a-f]{16}$/);
    expect(await bytesUnder(storage, report.repairs[0]?.keptAs[0] as string)).toEqual(damaged);
    expect(await restorable(storage, 20)).toHaveLength(20);
    expect(await isIntact(storage)).toBe(true);
    expect(await repair(storage)).toMatchObject({ severity: 'none' });
  });

  test('keeps label, metadata, parent and time of a checkpoint whose record is replaced', async () => {
    const { storage, checkpoints } = await saved(1);
    const about = { label: 'gold', operation: 'think', metadata: { at: new Date(7) } };
    const info = await checkpoints.save(SESSION, stateOf(2), about);
    await flip(storage, keyOf(2), indexAt(await bytesUnder(storage, keyOf(2))) + 10);
    await repair(storage);
    const restored = await new CheckpointManager({ storage }).restore(SESSION);
    const { storedBytes: _, ...kept } = info;
    expect(restored).toMatchObject({ state: stateOf(2), degraded: false, checkpoint: kept });
  });

  test('does without a missing pack if other packs have its chunks', async () => {
    const { storage } = await saved(20);
    await storage.delete(keyOf(5));
    const report = await repair(storage);
    expect(report).toMatchObject({ severity: 'minor', lost: [] });
    expect(report.repairs).toMatchObject([{ sequence: 5, outcome: 'retired', keptAs: [], notKept: [] }]);
    expect(await restorable(storage, 20)).toEqual([20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 4, 3, 2, 1]);
    expect(await isIntact(storage)).toBe(true);
  });

  test('has what is left of a removed checkpoint written anew', async () => {
    const { storage, checkpoints } = await saved(6);
    await checkpoints.prune(SESSION, { keepLast: 2 });
    await flip(storage, keyOf(2), indexAt(await bytesUnder(storage, keyOf(2))) + 10);
    expect(await repair(storage)).toMatchObject({ severity: 'minor', repairs: [{ sequence: 2, outcome: 'retired' }] });
    expect(await isIntact(storage)).toBe(true);
    expect(await restorable(storage, 6)).toEqual([6, 5]);
  });

  test('has what a checkpoint does not name put into it: a prune would have removed it', async () => {
    const { storage } = await saved(3);
    const { header, body } = openRecord(keyOf(3), await bytesUnder(storage, keyOf(3)), isObject);
    await storage.put(keyOf(3), sealRecord({ ...header, meta: { ...header.meta, packs: [1] } }, body).bytes);
    const { damaged, newestIntact } = await verifySession(recordsIn(storage), SESSION, 'deep');
    expect([damaged, newestIntact]).toMatchObject([[{ sequence: 3, isLost: false, dependents: [] }], 3]);
    expect(await repair(storage)).toMatchObject({ severity: 'minor', repairs: [{ sequence: 3, outcome: 'replaced' }] });
    expect(await isIntact(storage)).toBe(true);
    await storage.delete(keyOf(2));
    expect(await restorable(storage, 3)).toEqual([3, 1]);
  });

  test('is acknowledged as it is if a checkpoint was exchanged under its number', async () => {
    const { storage } = await saved(2);
    const { header, body } = openRecord(keyOf(1), await bytesUnder(storage, keyOf(1)), isObject);
    await storage.put(keyOf(1), sealRecord({ ...header, id: 'another' }, body).bytes);
    expect(await repair(storage)).toMatchObject({ severity: 'minor', repairs: [{ sequence: 1, outcome: 'replaced' }] });
    expect(await isIntact(storage)).toBe(true);
  });
});

/** Where the index of a record's pack begins. */
function indexAt(bytes: Buffer): number {
  return 40 + bytes.readUInt32LE(36) + 4;
}

describe('chunks in a damaged record', () => {
  test.each([
    ['an id', 10],
    ['a length', 32],
    ['a length by far', 35],
    ['the length of the second', 36 + 33],
    ['the length of the last', -36 + 33],
  ])('are all found if %s in the index of the pack is wrong', async (_what, offset) => {
    const { storage } = await saved(3);
    const bytes = await bytesUnder(storage, keyOf(1));
    const count = bytes.readUInt32LE(indexAt(bytes) - 4);
    await flip(storage, keyOf(1), indexAt(bytes) + (offset < 0 ? 36 * count : 0) + offset);
    expect((await verifySession(recordsIn(storage), SESSION, 'deep')).damaged.length).toBeGreaterThan(0);
    expect(await repair(storage)).toMatchObject({ severity: 'minor', restorable: [3, 2, 1] });
    expect(await restorable(storage, 3)).toEqual([3, 2, 1]);
    expect(await isIntact(storage)).toBe(true);
  });

  test('serve the younger checkpoints although the header, and with it this checkpoint, is lost', async () => {
    const { storage } = await saved(4);
    await flip(storage, keyOf(2), 60);
    const report = await repair(storage);
    expect(report).toMatchObject({ severity: 'major', restorable: [4, 3, 1], lost: [2], repointed: [4, 3] });
    expect(report.repairs).toMatchObject([{ sequence: 2, outcome: 'retired' }]);
    expect(await restorable(storage, 4)).toEqual([4, 3, 1]);
    expect(await isIntact(storage)).toBe(true);
  });

  test('serve as far as they are there if the record was cut off', async () => {
    const { storage } = await saved(20);
    const bytes = await bytesUnder(storage, keyOf(5));
    await storage.put(keyOf(5), bytes.subarray(0, bytes.length - 1)); // The last one is in another pack, too.
    expect(await repair(storage)).toMatchObject({ severity: 'minor', repairs: [{ sequence: 5, outcome: 'replaced' }] });
    expect(await restorable(storage, 20)).toHaveLength(20);
    expect(await isIntact(storage)).toBe(true);
  });

  test.each([0, 3, 39, 41])('are none if %i bytes are left of the record', async (length) => {
    const { storage } = await saved(2);
    await storage.put(keyOf(2), (await bytesUnder(storage, keyOf(2))).subarray(0, length));
    expect(await repair(storage)).toMatchObject({ severity: 'major', lost: [2], restorable: [1] });
    expect(await isIntact(storage)).toBe(true);
  });

  test('are looked for in the parts of a record whose header is lost', async () => {
    const { storage } = await saved(3, withSmallValues(8_192));
    await flip(storage, keyOf(1), 60);
    const report = await repair(storage);
    expect(report).toMatchObject({ severity: 'major', lost: [1], restorable: [3, 2] });
    expect(report.repairs[0]?.keptAs.length).toBeGreaterThan(2);
    expect(report.removedParts).toBe((report.repairs[0]?.keptAs.length ?? 0) - 1);
    expect(await restorable(storage, 3)).toEqual([3, 2]);
    expect(await isIntact(storage)).toBe(true);
  });
});

describe('a session in which something is lost', () => {
  test('loses the checkpoints that nobody can put together, and goes on from the newest that is left', async () => {
    const { storage, checkpoints } = await saved(6);
    await flip(storage, keyOf(3), 'new 3 ');
    const report = await repair(storage);
    expect(report).toMatchObject({ severity: 'major', restorable: [2, 1], lost: [6, 5, 4, 3], repointed: [] });
    expect(report.repairs.map(({ sequence, outcome }) => [sequence, outcome])).toEqual([
      [6, 'retired'],
      [5, 'deleted'],
      [4, 'deleted'],
      [3, 'deleted'],
    ]);
    expect(report.repairs[0]?.error.message).toMatch(/in no record any more/);
    expect(await isIntact(storage)).toBe(true);
    expect(await new CheckpointManager({ storage }).restore(SESSION)).toMatchObject({
      state: stateOf(2),
      degraded: false,
    });
    expect(await keysBelow(storage, 'checkpoint-damaged/')).toHaveLength(4);
    await checkpoints.restore(SESSION);
    expect(await checkpoints.save(SESSION, 'next')).toMatchObject({ sequence: 7, parent: 2 });
  });

  test('does not give the number of a lost checkpoint again, also after a prune', async () => {
    const { storage } = await saved(3);
    await flip(storage, keyOf(3), 60);
    await repair(storage);
    const fresh = new CheckpointManager({ storage });
    await fresh.prune(SESSION, { keepLast: 1 });
    expect(await fresh.save(SESSION, 'next')).toMatchObject({ sequence: 4, parent: 2 });
    expect((await fresh.prune(SESSION, { keepLast: 1 })).removed).toEqual([2]);
    expect((await recordsIn(storage).newest(SESSION, 9)).map(({ sequence }) => sequence)).toEqual([4]);
  });

  test('is left as it is if no checkpoint can be restored, so that restoring goes on to fail loudly', async () => {
    const { storage } = await saved(3);
    await flip(storage, keyOf(1), 'old 20 ');
    const before = await contentOf(storage);
    const report = await repair(storage);
    expect(report).toMatchObject({
      severity: 'catastrophic',
      restorable: [],
      lost: [3, 2, 1],
      repairs: [],
      removedParts: 0,
    });
    expect(await contentOf(storage)).toEqual(before);
    const fresh = new CheckpointManager({ storage });
    await expect(fresh.restore(SESSION)).rejects.toThrow(CorruptionError);
    expect((await fresh.save(SESSION, 'anew')).sequence).toBe(4);
    expect(await repair(storage)).toMatchObject({ severity: 'major', restorable: [4], lost: [3, 2, 1] });
    expect(await isIntact(storage)).toBe(true);
  });

  test('keeps a lost checkpoint as chunks only where others need its pack', async () => {
    const { storage } = await saved(4);
    await flip(storage, keyOf(2), Buffer.from(await bytesUnder(storage, keyOf(2))).lastIndexOf('{'));
    const report = await repair(storage);
    expect(report).toMatchObject({ severity: 'major', lost: [2], restorable: [4, 3, 1] });
    const record = await recordsIn(storage).readRecord(SESSION, 2);
    expect(record && isRetired(record.meta)).toBe(true);
    expect(await restorable(storage, 4)).toEqual([4, 3, 1]);
  });
});

describe('a dry run', () => {
  test.each([
    ['a damaged chunk', (storage: StorageAdapter) => flip(storage, keyOf(5), 'new 5 ')],
    ['a damaged header', (storage: StorageAdapter) => flip(storage, keyOf(20), 60)],
    ['a missing pack', (storage: StorageAdapter) => storage.delete(keyOf(18))],
  ])('says of %s what a repair then does, and changes nothing', async (_what, damage) => {
    const { storage } = await saved(20);
    await damage(storage);
    const before = await contentOf(storage);
    const said = await dryRun(storage);
    expect(await contentOf(storage)).toEqual(before);
    expect(said.severity).not.toBe('none');
    expect(await repair(storage)).toEqual({ ...said, isDryRun: false });
  });
});

describe('further records of packs', () => {
  const orphan = (sequence: number) =>
    recordsIn(altered(withSmallValues(1), {})).partKey(SESSION, `${keyOf(sequence).slice(-16)}-left-0`);

  test('that nothing names are removed, but not those of a save that may be under way', async () => {
    const { storage } = await saved(2);
    await storage.put(orphan(2), Buffer.from('left by a crash'));
    await storage.put(orphan(3), Buffer.from('to be named soon'));
    expect(await dryRun(storage)).toMatchObject({ severity: 'none', removedParts: 1 });
    expect(await repair(storage)).toMatchObject({ severity: 'none', repairs: [], removedParts: 1 });
    expect(await keysBelow(storage, 'checkpoint-parts/')).toEqual([orphan(3)]);
  });

  test('stay while nothing can be restored: they may be what is left', async () => {
    const { storage } = await saved(1);
    await storage.put(orphan(1), Buffer.from('whose is this'));
    await flip(storage, keyOf(1), 60);
    expect(await repair(storage)).toMatchObject({ severity: 'catastrophic', removedParts: 0 });
    expect(await keysBelow(storage, 'checkpoint-parts/')).toEqual([orphan(1)]);
  });

  test('of intact records stay, and a damaged one is replaced with its whole pack', async () => {
    const { storage } = await saved(20, withSmallValues(8_192));
    const { meta } = (await recordsIn(storage).read(SESSION, 17)) ?? {};
    const parts = (meta?.parts ?? []).map(({ name }) => recordsIn(storage).partKey(SESSION, name));
    const texts = await Promise.all(parts.map((key) => bytesUnder(storage, key)));
    const damagedPart = parts[texts.findIndex((text) => text.includes('new 5 '))] as string;
    await flip(storage, damagedPart, 'new 5 ');
    const report = await repair(storage);
    expect(report).toMatchObject({
      severity: 'minor',
      repairs: [{ sequence: 17, outcome: 'replaced' }],
      removedParts: parts.length,
    });
    expect(await storage.get(damagedPart)).toBeUndefined();
    expect(await restorable(storage, 20)).toHaveLength(20);
    expect(await isIntact(storage)).toBe(true);
  });
});

describe('who saves while a session is repaired', () => {
  test.each([
    ['its newest checkpoint was lost', 8],
    ['a pack that it was about to merge was lost', 16],
  ])('a manager that knew the session before is told if %s, and is right afterwards', async (_what, count) => {
    const { storage, checkpoints } = await saved(count);
    await flip(storage, keyOf(7), 'new 7 ');
    expect((await repair(storage)).restorable).toEqual([6, 5, 4, 3, 2, 1]);
    await expect(checkpoints.save(SESSION, stateOf(20))).rejects.toThrow(ConflictError);
    expect(await checkpoints.restore(SESSION)).toMatchObject({ checkpoint: { sequence: 6 } });
    expect(await checkpoints.save(SESSION, stateOf(21))).toMatchObject({ sequence: count + 1, parent: 6 });
    expect((await checkpoints.restore(SESSION))?.state).toEqual(stateOf(21));
    expect(await isIntact(storage)).toBe(true);
  });

  test('a manager whose newest checkpoint stays as it is, but not the packs it needs, is told, too', async () => {
    const { storage, checkpoints } = await saved(8);
    await flip(storage, keyOf(5), 60); // All its chunks are good: 6 to 8 can be restored with them.
    expect(await repair(storage)).toMatchObject({ lost: [5], repointed: [8, 7, 6] });
    await expect(checkpoints.save(SESSION, stateOf(9))).rejects.toThrow(ConflictError);
    expect(await checkpoints.restore(SESSION)).toMatchObject({ checkpoint: { sequence: 8 } });
    expect(await checkpoints.save(SESSION, stateOf(10))).toMatchObject({ sequence: 9, parent: 8 });
    expect(await isIntact(storage)).toBe(true);
  });

  test('a manager that needs nothing of what was repaired goes on', async () => {
    const { storage, checkpoints } = await saved(20);
    await flip(storage, keyOf(5), 'new 5 ');
    await repair(storage);
    expect(await checkpoints.save(SESSION, stateOf(21))).toMatchObject({ sequence: 21, parent: 20 });
    expect(await isIntact(storage)).toBe(true);
  });

  test('what is saved between looking and repairing is looked at again', async () => {
    const { storage, checkpoints } = await saved(8);
    await flip(storage, keyOf(5), 60);
    let saves = 0;
    const racing = altered(storage, {
      put: async (key, value, options) => {
        if (key.startsWith('checkpoint-damaged/') && saves++ === 0) await checkpoints.save(SESSION, stateOf(9));
        return storage.put(key, value, options);
      },
    });
    expect(await repair(racing)).toMatchObject({ severity: 'major', restorable: [9, 8, 7, 6, 4, 3, 2, 1], lost: [5] });
    expect(await isIntact(storage)).toBe(true);
    expect(await restorable(storage, 9)).toEqual([9, 8, 7, 6, 4, 3, 2, 1]);
  });

  test('a record that somebody else changes meanwhile is looked at again', async () => {
    const { storage, checkpoints } = await saved(20);
    await flip(storage, keyOf(5), 'new 5 ');
    let prunes = 0;
    const racing = altered(storage, {
      put: async (key, value, options) => {
        if (key === keyOf(5) && prunes++ === 0) await checkpoints.prune(SESSION, { keepLast: 2 });
        return storage.put(key, value, options);
      },
    });
    expect(await repair(racing)).toMatchObject({ restorable: [20, 19], lost: [] });
    expect(await isIntact(storage)).toBe(true);
    expect(await restorable(storage, 20)).toEqual([20, 19]);
  });

  test.each([
    ['the newest checkpoint is gone', keyOf(8), 3],
    ['a chunk is gone from the pack it was to come from', keyOf(5), 4],
  ])('what is gone when it is needed is looked for again: %s', async (_what, key, nth) => {
    const { storage, checkpoints } = await saved(8);
    await flip(storage, keyOf(5), 60);
    let reads = 0;
    const racing = altered(storage, {
      get: async (asked, options) => {
        if (asked === key && ++reads === nth) await checkpoints.delete(SESSION);
        return storage.get(asked, options);
      },
    });
    expect(await repair(racing)).toMatchObject({ severity: 'none', restorable: [] });
    expect(await keysBelow(storage, 'checkpoints/')).toEqual([]);
  });

  test('a chunk that is gone when it is to be written again is not left out in silence', async () => {
    const { storage } = await saved(20);
    await flip(storage, keyOf(5), 'new 5 ');
    const found = recordsIn(storage).readPack((await recordsIn(storage).read(SESSION, 17)) as never);
    expect([...(await found).values()].some((chunk) => chunk.includes('new 5 '))).toBe(true);
    let reads = 0;
    const racing = altered(storage, {
      get: async (key, options) => {
        if (key === keyOf(17) && ++reads === 3) await storage.delete(key);
        return storage.get(key, options);
      },
    });
    expect(await repair(racing)).toMatchObject({ severity: 'major', restorable: [4, 3, 2, 1] });
    expect(await isIntact(storage)).toBe(true);
  });

  test('somebody who changes it time and again is given way to in the end', async () => {
    const { storage } = await saved(3);
    await flip(storage, keyOf(3), 60);
    const racing = altered(storage, {
      put: async (key, value, options) => {
        if (key === keyOf(3)) await flip(storage, keyOf(3), 61);
        return storage.put(key, value, options);
      },
    });
    await expect(repair(racing)).rejects.toThrow(ConflictError);
    expect(await restorable(storage, 3)).toEqual([2, 1]);
  });
});

describe('a process that dies while it repairs', () => {
  /** The store of a process that dies at its `deadly`-th write, before or after it is done. */
  const mortal = (storage: StorageAdapter, deadly: number, isDone: boolean) => {
    let writes = 0;
    const write = async <Done>(act: () => Promise<Done>): Promise<Done> => {
      writes++;
      if (writes > deadly || (writes === deadly && !isDone)) throw new Error('dead');
      const done = await act();
      if (writes === deadly) throw new Error('dead');
      return done;
    };
    return altered(storage, {
      put: (...given) => write(() => storage.put(...given)),
      delete: (...given) => write(() => storage.delete(...given)),
    });
  };

  const requireDeath = (error: Error): number => {
    if (error.message.includes('dead')) return 0;
    throw error;
  };

  const damages: [string, () => Promise<StorageAdapter>, readonly number[]][] = [
    [
      'lost headers, a missing pack and a damaged chunk',
      async () => {
        const { storage } = await saved(20);
        await flip(storage, keyOf(3), 60);
        await flip(storage, keyOf(5), 'new 5 ');
        await flip(storage, keyOf(7), 'new 7 ');
        await storage.delete(keyOf(6));
        await flip(storage, keyOf(20), 60);
        return storage;
      },
      [19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 5, 4, 2, 1],
    ],
    [
      'packs in several records',
      async () => {
        const { storage } = await saved(5, withSmallValues(8_192));
        await flip(storage, keyOf(1), 60);
        await flip(storage, keyOf(5), 'new 5 ');
        return storage;
      },
      [4, 3, 2],
    ],
  ];

  test.each(damages)(
    'has lost nothing more, whenever it dies, and another one finishes: %s',
    async (_what, make, left) => {
      const damaged = await make();
      const { capabilities } = damaged;
      let survived = 0;
      for (let deadly = 1; survived < 2; deadly++) {
        for (const isDone of [false, true]) {
          const storage = altered(await copyOf(damaged), { capabilities });
          survived += await repair(mortal(storage, deadly, isDone)).then(() => 1, requireDeath);
          await repair(storage);
          expect([deadly, isDone, await restorable(storage, 20)]).toEqual([deadly, isDone, left]);
          expect(await isIntact(storage)).toBe(true);
          expect((await new CheckpointManager({ storage }).save(SESSION, 1)).sequence).toBe(Math.max(...left) + 2);
        }
      }
    },
  );
});

describe('a file store', () => {
  const directories: string[] = [];
  afterEach(async () => {
    for (const directory of directories.splice(0)) await rm(directory, { recursive: true });
  });

  /** A session in a file store, in whose log one byte was flipped while nobody had it open. */
  async function damagedOnDisk(text: string) {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-repair-'));
    directories.push(directory);
    const first = fileStorage(directory);
    await saved(20, first);
    await first.close();
    const names = await readdir(directory);
    const fileOf = (kind: string) => join(directory, names.find((name) => name.startsWith(kind)) as string);
    await rm(fileOf('index-')); // It remembers what the log said before.
    const path = fileOf('log-');
    const bytes = await readFile(path);
    const at = bytes.indexOf(text);
    bytes[at] = (bytes[at] as number) ^ 1;
    await writeFile(path, bytes);
    return fileStorage(directory);
  }

  test('that refuses a damaged record has it replaced, and the report says that its bytes could not be kept', async () => {
    const storage = await damagedOnDisk('new 5 ');
    const report = await repair(storage);
    expect(report).toMatchObject({ severity: 'major', lost: [5], repointed: [16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6] });
    expect(report.repairs).toMatchObject([{ sequence: 5, outcome: 'retired', keptAs: [], notKept: [keyOf(5)] }]);
    expect(await isIntact(storage)).toBe(true);
    await storage.close();
  });

  test('that is repaired first keeps the damaged file, and the session is repaired after it', async () => {
    const storage = await damagedOnDisk('new 5 ');
    expect((await storage.repair()).dropped).toEqual([keyOf(5)]);
    expect(await repair(storage)).toMatchObject({ severity: 'minor', repairs: [{ sequence: 5, outcome: 'retired' }] });
    expect(await isIntact(storage)).toBe(true);
    expect(await restorable(storage, 20)).toHaveLength(19);
    await storage.close();
  });

  test('that cannot tell which keys it lost is to be repaired first', async () => {
    const storage = await damagedOnDisk('"checkpoints/p=agent/0000000000000020"');
    await expect(repair(storage)).rejects.toThrow(/Repair the store first/);
    await storage.repair();
    expect(await repair(storage)).toMatchObject({ severity: 'none' });
    expect(await restorable(storage, 20)).toHaveLength(19);
    await storage.close();
  });
});

describe('the chunks that a session has', () => {
  test('are no state if one of them is missing or is no chunk, and each is counted wherever it stands', () => {
    const index = new ChunkIndex();
    const add = (bytes: Buffer) => {
      index.add(1, chunkIdOf(bytes), bytes);
      return chunkIdOf(bytes);
    };
    const listOf = (...ids: string[]) => {
      const bytes = Buffer.alloc(ids.length * REFERENCE_BYTES);
      ids.reduce((at, id) => writeReference(bytes, at, { id, items: 0 }), 0);
      return add(bytes);
    };
    const leaf = add(Buffer.from('leaf'));
    const noChunk = add(Buffer.from([REFERENCE_MARK, 1, 2]));
    const twice = listOf(leaf, leaf);
    expect([index.sizeOf(listOf(twice, leaf, twice)), index.sizeOf(leaf)]).toEqual([20, 4]);
    expect(index.sizeOf(listOf(leaf, chunkIdOf('nowhere'), leaf))).toBeUndefined();
    expect(index.sizeOf(listOf(leaf, noChunk))).toBeUndefined();
  });
});

describe('a store that fails', () => {
  test.each([
    ['a record is proved', keyOf(1), 2],
    ['its bytes are to be kept', keyOf(3), 3],
  ])('is heard while %s, and what it says is not taken for damage', async (_when, failingKey, nth) => {
    const { storage } = await saved(3);
    await flip(storage, keyOf(3), 60);
    let reads = 0;
    const failing = altered(storage, {
      get: (key, options) =>
        key === failingKey && ++reads === nth
          ? Promise.reject(new Error('the network is down'))
          : storage.get(key, options),
    });
    await expect(repair(failing)).rejects.toThrow(/network is down/);
    expect(await restorable(storage, 3)).toEqual([2, 1]);
  });
});

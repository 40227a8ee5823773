import { describe, expect, test } from 'vitest';
import { sealRecord } from '../../src/records/envelope.js';
import {
  ConflictError,
  OutcomeUnknownError,
  type StorageAdapter,
  StorageError,
  type StoredEntry,
} from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { crashed, RecoveryWorld, trailOf } from './recovery-world.js';

const isSubject = (key: string) => key.includes('/subjects/');
const isResolution = (key: string) => key.includes('/resolutions/');

/** A store whose answer to the first write of such a key is lost, after the write or before it. */
function losingAnswer(isIt: (key: string) => boolean, when: 'after' | 'before'): StorageAdapter {
  const inner = memoryStorage();
  let isLost = false;
  return {
    ...inner,
    async put(key, value, options) {
      const loses = isIt(key) && !isLost;
      if (loses) isLost = true;
      if (loses && when === 'before') throw new OutcomeUnknownError(key);
      const version = await inner.put(key, value, options);
      if (loses) throw new OutcomeUnknownError(key);
      return version;
    },
  };
}

/** A process whose writes of such keys fail, the first `times` of them. */
function failingWrites(isIt: (key: string) => boolean, error: (key: string) => Error, times: number) {
  const world = new RecoveryWorld();
  const process = world.process({ ladder: [world.rung('backup')], budget: { attempts: 2 } });
  let failed = 0;
  process.obstacle = (key) => {
    if (isIt(key) && failed++ < times) throw error(key);
  };
  return { world, recovery: process.recovery, transactions: process.transactions };
}

describe('a claim', () => {
  test.each(['after', 'before'] as const)('whose answer was lost %s it was written is one claim', async (when) => {
    const world = new RecoveryWorld(losingAnswer(isSubject, when));
    const { recovery } = world.process({ ladder: [world.rung('backup')], budget: { attempts: 2 } });
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ number: 1, outcome: 'recovered' });
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ number: 2, outcome: 'recovered' });
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ number: 3, outcome: 'suppressed' });
    expect(world.did).toEqual(['backup', 'backup']);
  });

  test('that cannot be written is an error, and nothing is run', async () => {
    const { world, recovery } = failingWrites(isSubject, () => new StorageError('the disk is gone'), 1);
    await expect(recovery.recover(crashed)).rejects.toThrow('the disk is gone');
    expect(world.did).toEqual([]);
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ number: 1, outcome: 'recovered' });
  });

  test('is tried again when others are faster, and not for ever', async () => {
    const conflict = (key: string) => new ConflictError(key, undefined);
    const often = failingWrites(isSubject, conflict, 19);
    await expect(often.recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'recovered' });
    const always = failingWrites(isSubject, conflict, 20);
    await expect(always.recovery.recover(crashed)).rejects.toMatchObject({ code: 'HOLDFAST_CONFLICT' });
  });

  test('is not built on a record that may be older than what was written last', async () => {
    const inner = memoryStorage();
    let isDamaged = false;
    const suspicious: StorageAdapter = {
      ...inner,
      async get(key, options) {
        const entry = await inner.get(key, options);
        return entry && ((isDamaged && isSubject(key) ? { ...entry, suspect: true } : entry) as StoredEntry);
      },
    };
    const world = new RecoveryWorld(suspicious);
    const { recovery } = world.process({ ladder: [world.rung('backup')] });
    await recovery.recover(crashed);
    isDamaged = true;
    await expect(recovery.recover(crashed)).rejects.toThrow('may be older than what was written last');
    expect(world.did).toEqual(['backup']);
  });
});

describe('the end of a recovery', () => {
  /** The first write of a subject's record is the claim. */
  const afterTheClaim = () => {
    let writes = 0;
    return (key: string) => isSubject(key) && ++writes > 1;
  };

  test('is written again until it is', async () => {
    const { world, recovery } = failingWrites(afterTheClaim(), () => new StorageError('the disk is gone'), 3);
    const record = await world.settled(recovery.recover(crashed));
    expect([record.outcome, trailOf(record), world.did]).toEqual(['recovered', ['backup ok'], ['backup']]);
  });

  test('that cannot be written needs attention, and says what its rungs came to', async () => {
    const { world, recovery } = failingWrites(afterTheClaim(), () => new StorageError('the disk is gone'), 6);
    const record = await world.settled(recovery.recover(crashed));
    expect(record).toMatchObject({ outcome: 'needs-attention', why: expect.stringContaining('the disk is gone') });
    expect(trailOf(record)).toEqual(['backup ok']);
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ number: 2, outcome: 'recovered' });
  });
});

describe('a decision', () => {
  const note = 'mended';

  /** A process with a recovery that needs attention. */
  async function needsAttention(inner: StorageAdapter) {
    const world = new RecoveryWorld(inner);
    const process = world.process({ ladder: [world.failing('backup')] });
    const { id } = await process.recovery.recover(crashed);
    return { process, recovery: process.recovery, id };
  }

  test('whose answer was lost after it was written stands', async () => {
    const { recovery, id } = await needsAttention(losingAnswer(isResolution, 'after'));
    await expect(recovery.resolve(id, { note })).resolves.toMatchObject({ outcome: 'recovered' });
  });

  test('whose answer was lost before it was written is an error, and can be made again', async () => {
    const { recovery, id } = await needsAttention(losingAnswer(isResolution, 'before'));
    await expect(recovery.resolve(id, { note })).rejects.toMatchObject({ code: 'HOLDFAST_OUTCOME_UNKNOWN' });
    await expect(recovery.get(id)).resolves.toMatchObject({ outcome: 'needs-attention' });
    await expect(recovery.resolve(id, { note })).resolves.toMatchObject({ outcome: 'recovered' });
  });

  test('that cannot be written is an error', async () => {
    const { process, recovery, id } = await needsAttention(memoryStorage());
    process.obstacle = () => {
      throw new StorageError('the disk is gone');
    };
    await expect(recovery.resolve(id, { note })).rejects.toThrow('the disk is gone');
  });

  test('that says it is about another recovery is an error', async () => {
    const inner = memoryStorage();
    const { recovery, id } = await needsAttention(inner);
    const key = 'recoveries/recovery/resolutions/e=recovery_2fp_3djob-7_2f1';
    await recovery.resolve(id, { note });
    const meta = { recovery: 'another', outcome: 'recovered', note, resolvedAtMs: 0, from: 'needs-attention' };
    await inner.put(key, sealRecord({ key, id: '1', parent: null, meta }, Buffer.alloc(0)).bytes);
    await expect(recovery.get(id)).rejects.toThrow('belongs to recovery "another"');
  });
});

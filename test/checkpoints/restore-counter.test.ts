import { describe, expect, test } from 'vitest';
import type { CheckpointEvent } from '../../src/checkpoints/checkpoint.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { readRestoreStatistics, restoreStatisticsKey } from '../../src/checkpoints/restore-statistics.js';
import { createHoldfast } from '../../src/holdfast.js';
import { FencedError } from '../../src/records/lease.js';
import { type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { type Deferred, deferred } from '../support/deferred.js';

const SESSION = 'agent';
const NEVER = { restores: 0, degradedRestores: 0 };

/** A store whose writes of statistics wait, each for its own `go`. */
function slowToCount() {
  const storage = memoryStorage();
  const writes: Deferred<void>[] = [];
  const put: StorageAdapter['put'] = async (key, value, options) => {
    if (key.startsWith('checkpoint-restores/')) {
      const go = deferred();
      writes.push(go);
      await go.promise;
    }
    return storage.put(key, value, options);
  };
  return { storage: { ...storage, put }, writes, read: (id = SESSION) => readRestoreStatistics(storage, id) };
}

/** A manager over a store that is slow to count, with a checkpoint of two sessions. */
async function make() {
  const clock = new VirtualClock({ nowMs: 1000 });
  const events: CheckpointEvent[] = [];
  const slow = slowToCount();
  const checkpoints = new CheckpointManager({ storage: slow.storage, clock, emit: (event) => events.push(event) });
  for (const session of [SESSION, 'other']) for (const step of [1, 2]) await checkpoints.save(session, { step });
  return { ...slow, clock, checkpoints, events };
}

/** Lets everything go on that waits for nothing but its turn. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Whether the promise is settled by itself. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let isSettled = false;
  void promise.then(() => {
    isSettled = true;
  });
  await turn();
  return isSettled;
}

async function goAll(writes: readonly Deferred<void>[]): Promise<void> {
  for (let at = 0; at < writes.length; at++) {
    writes[at]?.resolve();
    await turn();
  }
}

describe('restores', () => {
  test('are answered before they are counted, and statistics wait for the count', async () => {
    const { checkpoints, writes, read } = await make();
    expect((await checkpoints.restore(SESSION))?.state).toEqual({ step: 2 });
    expect(await read()).toEqual(NEVER);
    const statistics = checkpoints.restoreStatistics(SESSION);
    expect(await isSettled(statistics)).toBe(false);
    await goAll(writes);
    const counted = { restores: 1, degradedRestores: 0, lastRestoredAtMs: 1000, lastSequence: 2 };
    expect(await statistics).toEqual(counted);
    expect(await read()).toEqual(counted);
  });

  test('that end while a count is being written are one write together', async () => {
    const { checkpoints, writes, clock, read } = await make();
    await checkpoints.restore(SESSION);
    await turn();
    for (let n = 0; n < 9; n++) await checkpoints.restore(SESSION);
    await clock.advance(7);
    await checkpoints.restore(SESSION, { sequence: 1 });
    expect(writes).toHaveLength(1);
    await goAll(writes);
    expect(writes).toHaveLength(2);
    expect(await read()).toEqual({ restores: 11, degradedRestores: 0, lastRestoredAtMs: 1007, lastSequence: 1 });
  });

  test('that gave an older state are told apart also in one write', async () => {
    const { checkpoints, writes, storage, read } = await make();
    await checkpoints.restore(SESSION);
    await turn();
    await checkpoints.restore(SESSION);
    const newest = (await storage.list('checkpoints/')).entries[1]?.key as string;
    await storage.put(newest, Buffer.from('damaged'));
    await checkpoints.restore(SESSION);
    await goAll(writes);
    expect(await read()).toMatchObject({ restores: 3, degradedRestores: 1, lastSequence: 1 });
  });

  test('of one session do not wait for the count of another', async () => {
    const { checkpoints, writes, read } = await make();
    await checkpoints.restore(SESSION);
    await checkpoints.restore('other');
    await turn();
    expect(writes).toHaveLength(2);
    writes[1]?.resolve();
    expect(await checkpoints.restoreStatistics('other')).toMatchObject({ restores: 1 });
    expect(await read()).toEqual(NEVER);
  });

  test('of nothing are not counted', async () => {
    const { checkpoints, writes } = await make();
    await checkpoints.restore('nobody');
    expect(await checkpoints.restoreStatistics('nobody')).toEqual(NEVER);
    expect(writes).toHaveLength(0);
  });

  test('that cannot be counted are reported, and the next ones are counted', async () => {
    const { checkpoints, writes, events } = await make();
    await checkpoints.restore(SESSION);
    await turn();
    writes[0]?.reject(new StorageError('the disk is gone'));
    await checkpoints.drained();
    const failed = { type: 'checkpoint.statistics-failed', session: SESSION, error: 'the disk is gone' };
    expect(events.at(-1)).toEqual(failed);
    await checkpoints.restore(SESSION);
    await turn();
    writes[1]?.resolve();
    expect(await checkpoints.restoreStatistics(SESSION)).toMatchObject({ restores: 1 });
  });
});

describe('drained', () => {
  test('waits for the counts of all sessions', async () => {
    const { checkpoints, writes, read } = await make();
    await checkpoints.restore(SESSION);
    await checkpoints.restore('other');
    const drained = checkpoints.drained();
    await turn();
    writes[0]?.resolve();
    expect(await isSettled(drained)).toBe(false);
    writes[1]?.resolve();
    await drained;
    expect([await read(), await read('other')]).toMatchObject([{ restores: 1 }, { restores: 1 }]);
  });

  test('does not wait for restores that end later', async () => {
    const { checkpoints, writes } = await make();
    await checkpoints.restore(SESSION);
    const drained = checkpoints.drained();
    await turn();
    await checkpoints.restore(SESSION);
    writes[0]?.resolve();
    expect(await isSettled(drained)).toBe(true);
    await goAll(writes);
  });

  test('is waited for when a holdfast is closed', async () => {
    const { storage, writes, read } = slowToCount();
    const holdfast = createHoldfast<number>({ storage });
    await holdfast.checkpoints.save(SESSION, 1);
    await holdfast.checkpoints.restore(SESSION);
    const closing = holdfast.close();
    expect(await isSettled(closing)).toBe(false);
    await goAll(writes);
    await closing;
    expect(await read()).toMatchObject({ restores: 1 });
  });
});

describe('a session that is deleted', () => {
  test('is deleted when its restores are counted, and no count comes back', async () => {
    const { checkpoints, writes, storage } = await make();
    await checkpoints.restore(SESSION);
    await turn();
    await checkpoints.restore(SESSION);
    const deleting = checkpoints.delete(SESSION);
    expect(await isSettled(deleting)).toBe(false);
    await goAll(writes);
    expect(await deleting).toBe(2);
    await checkpoints.drained();
    expect(await storage.get(restoreStatisticsKey(SESSION))).toBeUndefined();
    expect(await checkpoints.restoreStatistics(SESSION)).toEqual(NEVER);
  });

  test('is not counted while it is being deleted, and is again afterwards', async () => {
    const { checkpoints, writes, storage } = await make();
    await checkpoints.restore(SESSION);
    const deleting = checkpoints.delete(SESSION);
    await turn();
    await checkpoints.restore(SESSION); // The count before it still waits.
    await goAll(writes);
    await deleting;
    await checkpoints.drained();
    expect(writes).toHaveLength(1);
    expect(await storage.get(restoreStatisticsKey(SESSION))).toBeUndefined();
    await checkpoints.save(SESSION, { step: 1 });
    await checkpoints.restore(SESSION);
    await turn();
    await goAll(writes);
    expect(await checkpoints.restoreStatistics(SESSION)).toMatchObject({ restores: 1 });
  });

  test('is counted again if it could not be deleted', async () => {
    const { checkpoints, writes, storage } = await make();
    const fail = () => Promise.reject(new StorageError('no connection'));
    const failing = new CheckpointManager({ storage: { ...storage, delete: fail } });
    await expect(failing.delete(SESSION)).rejects.toThrow('no connection');
    await failing.restore(SESSION);
    await turn();
    await goAll(writes);
    expect(await checkpoints.restoreStatistics(SESSION)).toMatchObject({ restores: 1 });
  });
});

describe('restores of a holder', () => {
  /** The same checkpoints for a holder, who can lose what is held. */
  function held(checkpoints: CheckpointManager, storage: StorageAdapter) {
    const lost = new FencedError('session "agent"');
    let isHeld = true;
    const version = () => {
      if (isHeld) return '1';
      throw lost;
    };
    const guard = { storage, key: 'sessions/agent', version, confirm: () => Promise.reject(lost) };
    const lose = () => {
      isHeld = false;
    };
    return { guarded: checkpoints.guardedBy(guard), lose };
  }

  test('are counted with those of the manager it comes from', async () => {
    const { checkpoints, storage, writes } = await make();
    const { guarded } = held(checkpoints, storage);
    await guarded.restore(SESSION);
    await turn();
    await checkpoints.restore(SESSION);
    const statistics = checkpoints.restoreStatistics(SESSION);
    await goAll(writes);
    expect(writes).toHaveLength(2); // One behind the other, so that neither had to be written again.
    expect(await statistics).toMatchObject({ restores: 2 });
  });

  test('are counted also if it is given back meanwhile', async () => {
    const { checkpoints, storage, writes, events, read } = await make();
    const { guarded, lose } = held(checkpoints, storage);
    await guarded.restore(SESSION);
    lose();
    await turn();
    await goAll(writes);
    await checkpoints.drained();
    expect(await read()).toMatchObject({ restores: 1 });
    expect(events.map(({ type }) => type)).not.toContain('checkpoint.statistics-failed');
  });
});

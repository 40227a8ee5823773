import { describe, expect, test } from 'vitest';
import { CorruptionError, InvalidInputError } from '../../src/base/errors.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { EventLog } from '../../src/checkpoints/event-log/event-log.js';
import type { ReplayCheckpoints } from '../../src/checkpoints/event-log/event-log-options.js';
import { ReplayError } from '../../src/checkpoints/event-log/event-log-results.js';
import { ConflictError, type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { rejectionOf } from '../support/deferred.js';
import { type Applied, apply, damage, keysOf, numbers, SESSION, scene, step, watched } from './event-log-scene.js';

const initial: Applied = [];

/** A log of `count` events. */
async function filled(count: number) {
  const made = scene();
  await made.events.appendAll(SESSION, numbers(1, count).map(step));
  return made;
}

/** Positions of the checkpoints that replays saved, newest first. */
async function saved(checkpoints: ReplayCheckpoints<Applied>): Promise<unknown[]> {
  const all: unknown[] = [];
  for await (const { metadata } of checkpoints.list(SESSION)) {
    all.push((metadata.eventLog as { position: number } | undefined)?.position);
  }
  return all;
}

describe('replay', () => {
  test('gives every event to the reducer once, in order, with its position', async () => {
    const { events } = await filled(300);
    const positions: number[] = [];
    const result = await events.replay(
      SESSION,
      (applied, { n }, position) => {
        positions.push(position);
        return [...applied, n];
      },
      { initial },
    );
    expect(result).toEqual({ state: numbers(1, 300), position: 300, replayed: 300 });
    expect(positions).toEqual(numbers(1, 300));
  });

  test('waits for a reducer that is async before it gives it the next event', async () => {
    const { events } = await filled(3);
    const result = await events.replay(SESSION, async (applied, event) => apply(applied, event), { initial });
    expect(result.state).toEqual([1, 2, 3]);
  });

  test('without `initial` gives the reducer undefined first', async () => {
    const { events } = await filled(2);
    const result = await events.replay(SESSION, (applied: Applied = [], event) => apply(applied, event));
    expect(result.state).toEqual([1, 2]);
  });

  test('of a session without events is the state it began with', async () => {
    const { events } = scene();
    expect(await events.replay('nobody', apply, { initial })).toEqual({ state: [], position: 0, replayed: 0 });
    expect((await events.replay('nobody', (applied: Applied = []) => applied)).state).toBeUndefined();
  });

  test('begins at the newest checkpoint, and reads nothing before it', async () => {
    const { storage, events } = await filled(2_000);
    await events.replay(SESSION, apply, { initial, saveEvery: 1_000 });
    await events.append(SESSION, step(2_001));
    const { storage: watching, log } = watched(storage);
    const restarted = scene({ storage: watching, checkpoints: new CheckpointManager({ storage }) });
    const result = await restarted.events.replay(SESSION, apply, { initial });
    expect(result).toMatchObject({
      state: numbers(1, 2_001),
      position: 2_001,
      replayed: 1,
      checkpoint: { sequence: 2 },
    });
    expect(log.gets.length).toBeLessThan(4);
  });

  test('without checkpoints begins at the first event', async () => {
    const { storage, events } = await filled(10);
    await events.replay(SESSION, apply, { initial, saveEvery: 5 });
    const bare = new EventLog<{ n: number; id: string }, Applied>({ storage });
    expect(await bare.replay(SESSION, apply, { initial })).toMatchObject({ replayed: 10, state: numbers(1, 10) });
  });

  test('saves after every saveEvery events behind the newest checkpoint, and none at the end', async () => {
    const { events, checkpoints } = await filled(25);
    await events.replay(SESSION, apply, { initial, saveEvery: 10 });
    expect(await saved(checkpoints)).toEqual([20, 10]);
    await events.replay(SESSION, apply, { initial, saveEvery: 10 });
    expect(await saved(checkpoints)).toEqual([20, 10]);
    await events.appendAll(SESSION, numbers(26, 32).map(step));
    await events.replay(SESSION, apply, { initial, saveEvery: 10 });
    expect(await saved(checkpoints)).toEqual([30, 20, 10]);
  });

  test('saves nothing without saveEvery', async () => {
    const { events, checkpoints } = await filled(25);
    await events.replay(SESSION, apply, { initial });
    expect(await saved(checkpoints)).toEqual([]);
  });

  test('refuses saveEvery without checkpoints', async () => {
    const events = new EventLog({ storage: memoryStorage() });
    const error = await rejectionOf(events.replay(SESSION, () => 0, { saveEvery: 5 }));
    expect(error).toBeInstanceOf(InvalidInputError);
    expect(error).toMatchObject({ path: 'options.saveEvery' });
  });

  test('passes over checkpoints that are not of a replay', async () => {
    const { events, checkpoints } = await filled(20);
    await checkpoints.save(SESSION, [-1], { metadata: { eventLog: 'mine' } });
    await events.replay(SESSION, apply, { initial, saveEvery: 15 });
    await checkpoints.save(SESSION, [-2]);
    await checkpoints.save(SESSION, [-3], { metadata: { eventLog: { log: 'x', position: 'y' } } });
    expect(await events.replay(SESSION, apply, { initial })).toMatchObject({ state: numbers(1, 20), replayed: 5 });
  });

  test('with nothing but such checkpoints begins at the first event', async () => {
    const { events, checkpoints } = await filled(5);
    await checkpoints.save(SESSION, [-1]);
    expect(await events.replay(SESSION, apply, { initial })).toMatchObject({ state: numbers(1, 5), replayed: 5 });
  });

  test('takes an older checkpoint, then the first event, for those that are damaged', async () => {
    const { storage, events } = await filled(25);
    await events.replay(SESSION, apply, { initial, saveEvery: 10 });
    const keys = (await keysOf(storage, 'checkpoints/')).reverse();
    await damage(storage, keys[0] as string);
    expect(await events.replay(SESSION, apply, { initial })).toMatchObject({ state: numbers(1, 25), replayed: 15 });
    await damage(storage, keys[1] as string);
    expect(await events.replay(SESSION, apply, { initial })).toEqual({
      state: numbers(1, 25),
      replayed: 25,
      position: 25,
    });
  });

  test('stops where the reducer throws, names the event, and saves nothing with it', async () => {
    const { events, checkpoints } = await filled(25);
    const cause = new Error('no such account');
    const failing = (applied: Applied, event: { n: number; id: string }) => {
      if (event.n === 20) throw cause;
      return apply(applied, event);
    };
    const error = await rejectionOf(events.replay(SESSION, failing, { initial, saveEvery: 10 }));
    expect(error).toBeInstanceOf(ReplayError);
    expect(error).toMatchObject({ code: 'HOLDFAST_REPLAY', session: SESSION, position: 20, id: 'step-20', cause });
    expect(await saved(checkpoints)).toEqual([10]);
    expect(await events.replay(SESSION, apply, { initial })).toMatchObject({ state: numbers(1, 25), replayed: 15 });
  });

  test('stops where the promise of the reducer is rejected', async () => {
    const { events } = await filled(3);
    const failing = () => Promise.reject(new Error('late'));
    await expect(events.replay(SESSION, failing, { initial })).rejects.toMatchObject({ position: 1 });
  });

  test('ends with the reason of its signal before the next event', async () => {
    const { events } = await filled(3);
    const controller = new AbortController();
    const reason = new Error('enough');
    const aborting = (applied: Applied, event: { n: number; id: string }) => {
      if (event.n === 2) controller.abort(reason);
      return apply(applied, event);
    };
    await expect(events.replay(SESSION, aborting, { initial, signal: controller.signal })).rejects.toBe(reason);
  });

  test('is what was appended before the call; the next one has the rest', async () => {
    const { events } = await filled(2);
    const appending = async (applied: Applied, event: { n: number; id: string }) => {
      await events.append(SESSION, step(event.n + 2));
      return apply(applied, event);
    };
    expect((await events.replay(SESSION, appending, { initial })).state).toEqual([1, 2]);
    expect((await events.replay(SESSION, apply, { initial })).state).toEqual([1, 2, 3, 4]);
  });

  test('is reported with where it began and ended, and how long it took', async () => {
    const { events, clock, heard } = await filled(25);
    const slow = async (applied: Applied, event: { n: number; id: string }) => {
      if (event.n === 20) await Promise.all([clock.sleep(40), clock.advance(40)]);
      return apply(applied, event);
    };
    await events.replay(SESSION, slow, { initial, saveEvery: 10 });
    await events.replay(SESSION, apply, { initial });
    expect(heard.slice(1)).toEqual([
      { type: 'events.replayed', session: SESSION, from: 0, to: 25, durationMs: 40 },
      { type: 'events.replayed', session: SESSION, from: 20, to: 25, durationMs: 0 },
    ]);
  });

  test('is not reported when it fails', async () => {
    const { events, heard } = await filled(1);
    const failing = () => {
      throw new Error('no');
    };
    await rejectionOf(events.replay(SESSION, failing, { initial }));
    expect(heard.map(({ type }) => type)).toEqual(['events.appended']);
  });
});

describe('a checkpoint whose events are not there', () => {
  test('is refused when the events were deleted, also after new ones came', async () => {
    const { events, checkpoints } = await filled(25);
    await events.replay(SESSION, apply, { initial, saveEvery: 10 });
    await events.delete(SESSION);
    const gone = await rejectionOf(events.replay(SESSION, apply, { initial }));
    expect(gone).toBeInstanceOf(CorruptionError);
    expect(gone).toMatchObject({ key: 'events/heads/p=agent' });
    await events.appendAll(SESSION, numbers(1, 30).map(step));
    await expect(events.replay(SESSION, apply, { initial })).rejects.toThrow('the log is another one');
    await checkpoints.delete(SESSION);
    expect((await events.replay(SESSION, apply, { initial })).state).toEqual(numbers(1, 30));
  });

  test('is refused when the store was set back behind it', async () => {
    const { storage, events } = await filled(10);
    const before = await storage.get('events/heads/p=agent');
    await events.appendAll(SESSION, numbers(11, 20).map(step));
    await events.replay(SESSION, apply, { initial, saveEvery: 20 });
    await storage.put('events/heads/p=agent', before?.value as Uint8Array);
    await expect(events.replay(SESSION, apply, { initial })).rejects.toThrow(
      'was made from 20 events, but the log ends at 10',
    );
  });
});

describe('checkpoints in trouble', () => {
  /** A log whose checkpoints fail as the test says. */
  async function withCheckpoints(
    change: (real: CheckpointManager<Applied>, storage: StorageAdapter) => Partial<ReplayCheckpoints<Applied>>,
  ) {
    const { storage } = await filled(25);
    const real = new CheckpointManager<Applied>({ storage });
    const failing: ReplayCheckpoints<Applied> = {
      save: real.save.bind(real),
      restore: real.restore.bind(real),
      list: real.list.bind(real),
      ...change(real, storage),
    };
    return { ...scene({ storage, checkpoints: failing }), real };
  }

  test('do not stop a replay when another replay saved first', async () => {
    let conflicts = 0;
    const { events, real } = await withCheckpoints((manager) => ({
      save: (session, state, options) => {
        if (++conflicts === 1) return Promise.reject(new ConflictError('checkpoints/x', undefined));
        return manager.save(session, state, options);
      },
    }));
    expect(await events.replay(SESSION, apply, { initial, saveEvery: 10 })).toMatchObject({ state: numbers(1, 25) });
    expect(await saved(real)).toEqual([20]);
  });

  test('stop it when they cannot save', async () => {
    const error = new StorageError('broken');
    const { events } = await withCheckpoints(() => ({ save: () => Promise.reject(error) }));
    await expect(events.replay(SESSION, apply, { initial, saveEvery: 10 })).rejects.toBe(error);
  });

  test('stop it when they cannot be read for another reason than damage', async () => {
    const error = new StorageError('broken');
    const { events } = await withCheckpoints(() => ({ restore: () => Promise.reject(error) }));
    await expect(events.replay(SESSION, apply, { initial })).rejects.toBe(error);
  });

  test('that are newer than the events were when the replay began are no damage', async () => {
    const { events, real } = await withCheckpoints((manager, storage) => ({
      async restore(session, options) {
        const other = scene({ storage });
        await other.events.appendAll(SESSION, numbers(26, 30).map(step));
        await other.events.replay(SESSION, apply, { initial, saveEvery: 30 });
        return manager.restore(session, options);
      },
    }));
    expect(await events.replay(SESSION, apply, { initial })).toMatchObject({ state: numbers(1, 30), replayed: 0 });
    expect(await saved(real)).toEqual([30]);
  });

  test('two replays at once come to the same state', async () => {
    const { storage } = await filled(250);
    const results = await Promise.all(
      [1, 2, 3].map(() => scene({ storage }).events.replay(SESSION, apply, { initial, saveEvery: 20 })),
    );
    expect(results.map(({ state }) => state)).toEqual([1, 2, 3].map(() => numbers(1, 250)));
  });
});

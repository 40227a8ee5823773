import { expect, test } from 'vitest';
import { createHoldfast, type HoldfastOptions } from '../../src/holdfast.js';
import { type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

const LEASE_MS = 3_000;

interface Counted {
  readonly count: number;
}

/** A session that saved 1 to 3 and lost its process, and another process that has seen it silent for long enough. */
async function abandoned(recovery: NonNullable<HoldfastOptions<Counted>['recovery']>) {
  const inner = memoryStorage();
  const dead = createHoldfast<Counted>({ storage: inner, clock: new VirtualClock(), leaseMs: LEASE_MS });
  const session = await dead.sessions.open('s');
  for (const count of [1, 2, 3]) await session.checkpoint({ count });
  const clock = new VirtualClock();
  const { storage, line } = lossy(inner);
  const holdfast = createHoldfast<Counted>({ storage, clock, leaseMs: LEASE_MS, recovery });
  await holdfast.sessions.interrupted();
  await clock.advance(LEASE_MS * 1.1);
  /** Runs it, time going by, until that has come to its end. */
  const run = async () => {
    let isOver = false;
    const running = holdfast.run('s', async (held) => ({
      state: (await held.restore())?.state,
      report: holdfast.recoveryOf(held),
    }));
    const ended = running.finally(() => {
      isOver = true;
    });
    ended.catch(() => undefined);
    while (!isOver) await clock.advance(100);
    return ended;
  };
  return { holdfast, line, run, storage };
}

/** A store whose checkpoints cannot be read while the line is down: everything else can. */
function lossy(inner: StorageAdapter) {
  const line = { failures: 0 };
  const get: StorageAdapter['get'] = (key, options) => {
    const isLost = key.startsWith('checkpoints/') && line.failures > 0;
    if (isLost) line.failures--;
    return isLost ? Promise.reject(new StorageError('The line is down.')) : inner.get(key, options);
  };
  return { storage: { ...inner, get }, line };
}

const minimal = () => ({ count: 0 });

test('a session whose checkpoints cannot be read for a moment goes on from the newest it can when they can', async () => {
  const { holdfast, line, run, storage } = await abandoned({ minimal });
  const [key] = (await storage.list('checkpoints/', { reverse: true })).entries.map((entry) => entry.key);
  await storage.put(key as string, Buffer.from('garbage'));
  holdfast.events.on('recovery.started', () => {
    line.failures = 4;
  });
  const { state, report } = await run();
  expect(state).toEqual({ count: 2 });
  expect(report).toMatchObject({ outcome: 'recovered', rung: 'rollback', sequence: 4, lost: [3] });
});

test('a session whose state was read before it was recovered is resumed from it, also if the line is down by then', async () => {
  const { holdfast, line, run } = await abandoned({ minimal });
  holdfast.events.on('recovery.started', () => {
    line.failures = 1_000_000;
  });
  holdfast.events.on('recovery.finished', () => {
    line.failures = 0;
  });
  const { state, report } = await run();
  expect(state).toEqual({ count: 3 });
  expect(report).toMatchObject({ outcome: 'recovered', rung: 'resume', sequence: 3, lost: [] });
});

test('a session whose checkpoints cannot be read costs no recovery, however often that is tried', async () => {
  const { holdfast, line, run } = await abandoned({ minimal });
  line.failures = 1_000_000;
  for (let attempt = 1; attempt <= 5; attempt++) await expect(run()).rejects.toThrow('The line is down.');
  expect(await holdfast.recovery.stats()).toMatchObject({ total: 0 });
  line.failures = 0;
  expect(await run()).toMatchObject({ state: { count: 3 }, report: { rung: 'resume' } });
});

test('a session whose checkpoints cannot be read any more in its recovery is not begun with less', async () => {
  const validate = () => {
    line.failures = 1_000_000;
    return 'refused, and the line went down';
  };
  const { line, run } = await abandoned({ validate, backup: () => ({ count: -1 }), minimal });
  await expect(run()).rejects.toMatchObject({
    recovery: {
      outcome: 'needs-attention',
      trail: [
        { rung: 'resume', status: 'failed' },
        { rung: 'rollback', status: 'failed', why: expect.stringContaining('The line is down.') },
        { rung: 'repair', status: 'skipped' },
        { rung: 'backup', status: 'skipped' },
        { rung: 'minimal', status: 'skipped', why: 'loss threw: The line is down.' },
      ],
    },
  });
});

test('a session is not begun with less while there is a checkpoint that can be gone on from', async () => {
  let isDown = true;
  const validate = () => {
    if (isDown) throw Object.assign(new Error('nobody is there'), { code: 'ECONNREFUSED' });
    return true;
  };
  const { holdfast, run } = await abandoned({ validate, minimal });
  holdfast.events.on('recovery.rung', ({ rung }) => {
    if (rung === 'rollback') isDown = false;
  });
  await expect(run()).rejects.toMatchObject({
    recovery: {
      outcome: 'needs-attention',
      trail: expect.arrayContaining([
        expect.objectContaining({ rung: 'minimal', why: 'loss: checkpoint 3 can be gone on from' }),
      ]),
    },
  });
  expect((await run()).state).toEqual({ count: 3 });
});

test('a check of the state that throws says no: the next older state is looked at', async () => {
  const validate = ({ count }: Counted) => {
    if (count > 1) throw new TypeError('count is too much');
    return true;
  };
  const { run } = await abandoned({ validate, minimal });
  expect(await run()).toMatchObject({ state: { count: 1 }, report: { rung: 'rollback', lost: [3, 2] } });
});

test('a check of the state that fails for a moment is made again, and nothing is rolled back', async () => {
  let failures = 2;
  const validate = () => {
    if (failures-- > 0) throw Object.assign(new Error('the connection was reset'), { code: 'ECONNRESET' });
    return true;
  };
  const { run } = await abandoned({ validate, minimal });
  const { report } = await run();
  expect(report).toMatchObject({ rung: 'resume', sequence: 3 });
});

test('a state that is refused is not looked at again: the next rung is', async () => {
  const looked: number[] = [];
  const validate = ({ count }: Counted) => {
    looked.push(count);
    return count < 3 || 'three is too many';
  };
  const { run } = await abandoned({ validate, minimal });
  const { state, report } = await run();
  expect(state).toEqual({ count: 2 });
  expect(report).toMatchObject({ rung: 'rollback', lost: [3] });
  expect(looked).toEqual([3, 3, 2]);
});

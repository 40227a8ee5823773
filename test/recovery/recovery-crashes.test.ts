import { describe, expect, test } from 'vitest';
import type { EndedRecovery, RecoveryRecord } from '../../src/recovery/recovery-record.js';
import type { Rung } from '../../src/recovery/rung.js';
import { rejectionOf } from '../support/deferred.js';
import { crashed, LEASE_MS, RecoveryWorld, trailOf, type WorldProcess } from './recovery-world.js';

const FIRST = 'recovery/p=job-7/1';

/** Recovers what processes that died have left, when they have been silent for long enough. */
const recoverAll = (world: RecoveryWorld, { transactions }: WorldProcess<string>) =>
  world.settled(transactions.recover({ waitMs: 2 * LEASE_MS }));

/** Begins a recovery in a process that dies in it. */
async function firstLife(world: RecoveryWorld, process: WorldProcess<string>) {
  void rejectionOf(process.recovery.recover(crashed));
  await world.clock.advance(0);
  return process;
}

describe('a recovery whose process died in the rung `backup`', () => {
  /** One life with these rungs: `backup` kills its process until `survives`. */
  const life = (world: RecoveryWorld, survives: boolean, keys: string[] = []) => {
    const process: WorldProcess<string> = world.process({
      ladder: [
        world.rung('retry', { to: 'minor' }),
        world.failing('resume'),
        world.failing('repair'),
        world.rung('backup', {
          run: async ({ key }) => {
            keys.push(key);
            if (!survives) await process.crash();
          },
        }),
        world.rung('minimal', { degraded: true }),
      ],
    });
    return process;
  };

  test('is gone on with by another, which runs only `backup` again, with the same key', async () => {
    const world = new RecoveryWorld();
    const keys: string[] = [];
    await firstLife(world, life(world, false, keys));
    const second = life(world, true, keys);
    const report = await recoverAll(world, second);
    expect(report.resumed).toEqual([FIRST]);
    expect(world.did).toEqual(['resume', 'repair', 'backup', 'backup']);
    expect(keys[1]).toBe(keys[0]);
    const record = (await second.recovery.get(FIRST)) as EndedRecovery;
    expect(record).toMatchObject({ outcome: 'recovered', rung: 'backup' });
    expect(trailOf(record)).toEqual(['retry skipped', 'resume failed', 'repair failed', 'backup ok']);
  });

  test('shows how far it came until then, and makes up no time that nobody kept', async () => {
    const world = new RecoveryWorld();
    await firstLife(world, life(world, false));
    const second = life(world, true);
    const half = (await second.recovery.get(FIRST)) as RecoveryRecord;
    expect(half).not.toHaveProperty('outcome');
    expect(half).not.toHaveProperty('tookMs');
    expect(half.trail).toEqual([
      { rung: 'retry', status: 'skipped', why: 'it is for minor, not major' },
      { rung: 'resume', status: 'failed', why: 'resume is of no use' },
      { rung: 'repair', status: 'failed', why: 'repair is of no use' },
    ]);
    await recoverAll(world, second);
    const whole = (await second.recovery.get(FIRST)) as EndedRecovery;
    expect(whole.trail.slice(0, 3)).toEqual(half.trail);
    expect(whole.trail[3]).toEqual({ rung: 'backup', status: 'ok', ms: 0 });
    expect(whole.tookMs).toBe(whole.endedAtMs - whole.startedAtMs);
    expect(whole.tookMs).toBeGreaterThanOrEqual(LEASE_MS);
  });

  test('is joined by the next failure of the subject, which is told how it ended', async () => {
    const world = new RecoveryWorld();
    await firstLife(world, life(world, false));
    const second = life(world, true);
    const plan = await second.recovery.plan(crashed);
    expect(plan).toMatchObject({ underWay: FIRST, attemptsLeft: 2 });
    const record = await world.settled(second.recovery.recover({ ...crashed, kind: 'frozen' }));
    expect(record).toMatchObject({ id: FIRST, outcome: 'recovered', diagnosis: { kind: 'crashed' } });
    expect(second.types).toEqual(['recovery.rung', 'recovery.finished']);
    await expect(second.recovery.recover(crashed)).resolves.toMatchObject({ number: 2 });
  });

  test('is not diagnosed anew', async () => {
    const world = new RecoveryWorld();
    await firstLife(world, life(world, false));
    const asked: string[] = [];
    const rules = [({ subject }: { subject: string }) => void asked.push(subject)];
    const ladder = [world.rung('resume'), world.rung('repair'), world.rung('backup')];
    const second = world.process({ ladder, rules });
    await recoverAll(world, second);
    expect(asked).toEqual([]);
    await expect(second.recovery.get(FIRST)).resolves.toMatchObject({ diagnosis: { kind: 'crashed' } });
  });

  test('is gone on with by the plan it was begun with, where the ladder has changed', async () => {
    const world = new RecoveryWorld();
    await firstLife(world, life(world, false));
    const second = world.process({ ladder: [world.rung('quick'), world.rung('minimal')] });
    await recoverAll(world, second);
    const record = (await second.recovery.get(FIRST)) as EndedRecovery;
    expect(record).toMatchObject({ outcome: 'degraded', rung: 'minimal' });
    expect(record.trail.slice(2)).toEqual([
      { rung: 'repair', status: 'failed', why: 'repair is of no use' },
      { rung: 'backup', status: 'skipped', why: 'the ladder has no such rung any more', ms: 0 },
      { rung: 'minimal', status: 'ok', ms: 0 },
    ]);
  });

  test('needs attention if `backup` may be run once only, and nothing more is run', async () => {
    const world = new RecoveryWorld();
    const once = (run?: Rung['run']) =>
      world.process({ ladder: [world.rung('backup', { effect: 'once', ...(run && { run }) }), world.rung('minimal')] });
    const first: WorldProcess<string> = once(() => first.crash());
    await firstLife(world, first);
    const second = once();
    const report = await recoverAll(world, second);
    expect(report.stuck).toEqual([FIRST]);
    const record = await second.recovery.get(FIRST);
    expect(record).toMatchObject({ outcome: 'needs-attention' });
    expect(record?.trail).toEqual([{ rung: 'backup', status: 'failed', why: 'Its process died while it ran.' }]);
    expect(record?.why).toContain('it is stuck (unknown-outcome) at rung:backup');
    expect(world.did).toEqual(['backup']);
    await expect(second.recovery.recover(crashed)).resolves.toMatchObject({ number: 2, outcome: 'recovered' });
  });

  test('needs attention if it kills every process that takes it over, and is told once', async () => {
    const world = new RecoveryWorld();
    await firstLife(world, life(world, false));
    for (let deaths = 1; deaths <= 5; deaths++) {
      const process = life(world, false);
      void rejectionOf(process.transactions.recover({ waitMs: 2 * LEASE_MS }));
      await world.clock.advance(2 * LEASE_MS);
    }
    const last = life(world, true);
    const record = await world.settled(last.recovery.recover(crashed));
    expect(record).toMatchObject({ id: FIRST, outcome: 'needs-attention', why: 'it is stuck (crash-loop)' });
    await expect(last.recovery.recover(crashed)).resolves.toMatchObject({ number: 2, outcome: 'recovered' });
  });
});

test('a claim whose process died before its recovery began is what the next failure is given', async () => {
  const world = new RecoveryWorld();
  const first = world.process({ ladder: [world.rung('backup')] });
  first.obstacle = (key) => (key.startsWith('transactions/') ? first.crash() : undefined);
  await firstLife(world, first);
  const second = world.process({ ladder: [world.rung('backup')] });
  await expect(second.recovery.get(FIRST)).resolves.toBeUndefined();
  const record = await world.settled(second.recovery.recover({ ...crashed, kind: 'frozen' }));
  expect(record).toMatchObject({ id: FIRST, outcome: 'recovered', diagnosis: { kind: 'crashed' } });
  expect(world.did).toEqual(['backup']);
});

test('a recovery whose process died when its end was written has ended as it did, and that is told once', async () => {
  const world = new RecoveryWorld();
  const told: string[] = [];
  const first: WorldProcess<'backup'> = world.process({
    ladder: [world.rung('backup')],
    emit: ({ type }) => {
      told.push(type);
      if (type === 'recovery.finished') first.die();
    },
  });
  await firstLife(world, first);
  const second = world.process({ ladder: [world.rung('backup')] });
  await expect(second.recovery.get(FIRST)).resolves.toMatchObject({ outcome: 'recovered' });
  await recoverAll(world, second);
  await expect(second.transactions.get(FIRST)).resolves.toMatchObject({ status: 'done' });
  expect(told).toEqual(['recovery.started', 'recovery.rung', 'recovery.finished']);
  expect([second.types, world.did]).toEqual([[], ['backup']]);
});

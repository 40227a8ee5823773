import { describe, expect, test } from 'vitest';
import { sealRecord } from '../../src/records/envelope.js';
import { countingStarts } from '../../src/recovery/budget.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { crashed, LEASE_MS, RecoveryWorld, type WorldProcess } from './recovery-world.js';

const HOUR_MS = 3_600_000;

describe('the budget of a subject', () => {
  test('of two: the third failure is suppressed, nothing is run, and it is recorded', async () => {
    const world = new RecoveryWorld();
    const { recovery, events } = world.process({
      ladder: [world.rung('backup')],
      budget: { attempts: 2, perMs: HOUR_MS },
    });
    const first = await recovery.recover(crashed);
    const second = await recovery.recover(crashed);
    const third = await recovery.recover(crashed);
    expect([first, second, third].map(({ outcome, number }) => [outcome, number])).toEqual([
      ['recovered', 1],
      ['recovered', 2],
      ['suppressed', 3],
    ]);
    expect(world.did).toEqual(['backup', 'backup']);
    expect(third).toMatchObject({ trail: [], why: 'it had 2 of 2 recoveries in 3600000 ms' });
    await expect(recovery.get(third.id)).resolves.toEqual(third);
    expect(events.at(-1)).toEqual({
      type: 'recovery.finished',
      recovery: third.id,
      subject: 'job-7',
      outcome: 'suppressed',
      why: third.why,
      tookMs: 0,
    });
  });

  test('is three in 72 hours unless it is said otherwise', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.failing('backup')] });
    for (let attempt = 1; attempt <= 3; attempt++) await recovery.recover(crashed);
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'suppressed' });
    world.clock.jumpWall(72 * HOUR_MS - 1);
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'suppressed' });
    world.clock.jumpWall(1);
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'needs-attention' });
  });

  test('is its own, and that of all processes together', async () => {
    const world = new RecoveryWorld();
    const options = { ladder: [world.rung('backup')], budget: { attempts: 1 } };
    await world.process(options).recovery.recover(crashed);
    const { recovery } = world.process(options);
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'suppressed' });
    await expect(recovery.recover({ ...crashed, subject: 'job-8' })).resolves.toMatchObject({ outcome: 'recovered' });
  });

  test('while it is spent, every failure is given the one record of that, and nothing is written', async () => {
    const world = new RecoveryWorld();
    const process = world.process({ ladder: [world.rung('backup')], budget: { attempts: 0 } });
    const first = await process.recovery.recover(crashed);
    const writes: string[] = [];
    process.obstacle = (key) => writes.push(key);
    await expect(process.recovery.recover(crashed)).resolves.toEqual(first);
    expect(writes).toEqual([]);
    expect(process.types).toEqual(['recovery.finished']);
  });

  test('that is spent is recorded anew if the record of that was deleted', async () => {
    const world = new RecoveryWorld();
    const { recovery, transactions } = world.process({ ladder: [world.rung('backup')], budget: { attempts: 0 } });
    const { id } = await recovery.recover(crashed);
    await transactions.delete(id);
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'suppressed', number: 2 });
  });

  test('is not spent by failures that leave nothing to recover', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('backup')], budget: { attempts: 1 } });
    for (let time = 1; time <= 3; time++) await recovery.recover({ subject: 'job-7', kind: 'superseded' });
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'recovered', number: 4 });
  });

  test('is spent by them where something is tried all the same', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('backup')], budget: { attempts: 1 } });
    const superseded = { subject: 'job-7', kind: 'superseded' };
    await recovery.recover(superseded, { strategy: 'backup' });
    await expect(recovery.recover(superseded, { strategy: 'backup' })).resolves.toMatchObject({
      outcome: 'suppressed',
    });
  });

  test('survives wall time that goes back: it blocks for its time from then on, and no longer', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('backup')], budget: { attempts: 1, perMs: HOUR_MS } });
    await recovery.recover(crashed);
    world.clock.jumpWall(-100 * HOUR_MS);
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'suppressed', number: 2 });
    world.clock.jumpWall(HOUR_MS - 1);
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'suppressed', number: 2 });
    world.clock.jumpWall(1);
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'recovered', number: 3 });
  });

  test('survives wall time that goes back again while it is spent', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('backup')], budget: { attempts: 1, perMs: HOUR_MS } });
    await recovery.recover(crashed);
    await recovery.recover(crashed);
    world.clock.jumpWall(-100 * HOUR_MS);
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'suppressed', number: 2 });
    world.clock.jumpWall(HOUR_MS);
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'recovered', number: 3 });
  });

  test('counts starts less than its time ago, those of the future as made now', () => {
    expect(countingStarts([1_000, 1_001, 2_000, 5_000], 2_000, 1_000)).toEqual([1_001, 2_000, 2_000]);
  });
});

describe('of two who recover one subject at once, the second joins,', () => {
  /** A world in which the rung waits to be let go on. */
  function slowWorld() {
    const world = new RecoveryWorld();
    const gate = deferred();
    const ladder = [world.rung('backup', { run: () => gate.promise })];
    return { world, gate, start: () => world.process({ ladder }) };
  }

  test('in the same process', async () => {
    const { world, gate, start } = slowWorld();
    const { recovery, types } = start();
    const both = Promise.all([recovery.recover(crashed), recovery.recover({ ...crashed, error: new Error('again') })]);
    await world.clock.advance(10);
    gate.resolve();
    const [first, second] = await world.settled(both);
    expect(second).toEqual(first);
    expect(first).toMatchObject({ number: 1, tookMs: 10, trail: [{ ms: 10 }] });
    expect([world.did, types]).toEqual([['backup'], []]);
  });

  test('in another process, and both are told the same', async () => {
    const { world, gate, start } = slowWorld();
    const [one, other] = [start(), start()];
    const first = one.recovery.recover(crashed);
    await world.clock.advance(10);
    const second = other.recovery.recover(crashed);
    await world.clock.advance(2_000);
    gate.resolve();
    await expect(world.settled(second)).resolves.toEqual(await first);
    expect(world.did).toEqual(['backup']);
    expect(one.types).toEqual(['recovery.started', 'recovery.rung', 'recovery.finished']);
    expect(other.types).toEqual([]);
  });

  test('for as long as it is willing to wait', async () => {
    const { world, gate, start } = slowWorld();
    const [one, other] = [start(), start()];
    const first = one.recovery.recover(crashed);
    await world.clock.advance(10);
    const busy = await world.settled(rejectionOf(other.recovery.recover(crashed, { waitMs: 1_000 })));
    expect(busy).toMatchObject({ code: 'HOLDFAST_BUSY', what: 'transaction "recovery/p=job-7/1"' });
    gate.resolve();
    await expect(world.settled(first)).resolves.toMatchObject({ outcome: 'recovered' });
  });

  test('and goes on with it itself when the first dies meanwhile', async () => {
    const world = new RecoveryWorld();
    const first: WorldProcess<'backup'> = world.process({
      ladder: [world.rung('backup', { run: () => first.crash() })],
    });
    void rejectionOf(first.recovery.recover(crashed));
    await world.clock.advance(10);
    const second = world.process({ ladder: [world.rung('backup')] });
    const record = await world.settled(second.recovery.recover(crashed));
    expect(record).toMatchObject({ number: 1, outcome: 'recovered' });
    expect(record.tookMs).toBeGreaterThanOrEqual(LEASE_MS);
  });

  test('whoever claims first: many that begin at the same moment make one recovery', async () => {
    const { world, gate, start } = slowWorld();
    const processes = Array.from({ length: 5 }, start);
    const all = Promise.all(processes.map(({ recovery }) => recovery.recover(crashed)));
    await world.clock.advance(0);
    gate.resolve();
    const records = await world.settled(all);
    expect(new Set(records.map(({ id }) => id))).toEqual(new Set(['recovery/p=job-7/1']));
    expect(world.did).toEqual(['backup']);
    const started = processes.flatMap(({ types }) => types).filter((type) => type === 'recovery.started');
    expect(started).toHaveLength(1);
  });

  test('other subjects do not wait', async () => {
    const { world, gate, start } = slowWorld();
    const { recovery } = start();
    const both = Promise.all([recovery.recover(crashed), recovery.recover({ ...crashed, subject: 'job-8' })]);
    await world.clock.advance(0);
    expect(world.did).toEqual(['backup', 'backup']);
    gate.resolve();
    await expect(both).resolves.toMatchObject([{ subject: 'job-7' }, { subject: 'job-8' }]);
  });
});

describe('the record of a subject', () => {
  test('that is damaged is an error, and nothing is run', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('backup')] });
    await recovery.recover(crashed);
    await world.inner.put('recoveries/recovery/subjects/p=job-7', Buffer.from('?'));
    await expect(recovery.recover(crashed)).rejects.toMatchObject({ code: 'HOLDFAST_CORRUPTION' });
    await expect(recovery.plan(crashed)).rejects.toMatchObject({ code: 'HOLDFAST_CORRUPTION' });
    expect(world.did).toEqual(['backup']);
  });

  test('that says it is about another subject is an error', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('backup')] });
    const key = 'recoveries/recovery/subjects/p=job-7';
    const meta = { subject: 'job-8', number: 1, isOpen: false, isSuppressed: false, startsAtMs: [] };
    await world.inner.put(key, sealRecord({ key, id: '1', parent: null, meta }, Buffer.alloc(0)).bytes);
    await expect(recovery.recover(crashed)).rejects.toThrow('belongs to "job-8"');
  });

  test('that is gone costs the budget, and no id is used twice', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('backup')], budget: { attempts: 2 } });
    await recovery.recover(crashed);
    await recovery.recover(crashed);
    await world.inner.delete('recoveries/recovery/subjects/p=job-7');
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ number: 3, outcome: 'recovered' });
  });

  test('knows of recoveries that were deleted', async () => {
    const world = new RecoveryWorld();
    const { recovery, transactions } = world.process({ ladder: [world.rung('backup')] });
    const { id } = await recovery.recover(crashed);
    await transactions.delete(id);
    await expect(recovery.get(id)).resolves.toBeUndefined();
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ number: 2 });
  });
});

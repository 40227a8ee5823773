import { describe, expect, test } from 'vitest';
import type { RecoveryRecord } from '../../src/recovery/recovery-record.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { crashed, never, RecoveryWorld, type WorldProcess } from './recovery-world.js';

const of = (subject: string) => ({ subject, kind: 'crashed' });

async function all(records: AsyncIterable<RecoveryRecord>): Promise<RecoveryRecord[]> {
  const list: RecoveryRecord[] = [];
  for await (const record of records) list.push(record);
  return list;
}
const idsOf = async (records: AsyncIterable<RecoveryRecord>) => (await all(records)).map(({ id }) => id);

/** A process with three recoveries, a second between them: of a, of b, which needs attention, and of a again. */
async function threeRecoveries() {
  const world = new RecoveryWorld();
  const help = world.rung('backup', { when: ({ subject }) => subject !== 'b' });
  const process = world.process({ ladder: [help] });
  for (const subject of ['a', 'b', 'a']) {
    await process.recovery.recover(of(subject));
    await world.clock.advance(1_000);
  }
  return { world, ...process, recovery: process.recovery, transactions: process.transactions };
}

describe('list', () => {
  test('gives recoveries newest first', async () => {
    const { recovery } = await threeRecoveries();
    expect(await idsOf(recovery.list())).toEqual(['recovery/p=a/2', 'recovery/p=b/1', 'recovery/p=a/1']);
  });

  test('of those that began at the same moment the later one first', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('backup')], budget: { attempts: 20 } });
    for (let time = 1; time <= 10; time++) await recovery.recover(of('a'));
    expect(await idsOf(recovery.list({ limit: 2 }))).toEqual(['recovery/p=a/10', 'recovery/p=a/9']);
  });

  test('gives those of one subject, with one outcome, and so many', async () => {
    const { recovery } = await threeRecoveries();
    expect(await idsOf(recovery.list({ subject: 'a' }))).toEqual(['recovery/p=a/2', 'recovery/p=a/1']);
    expect(await idsOf(recovery.list({ outcome: 'needs-attention' }))).toEqual(['recovery/p=b/1']);
    expect(await idsOf(recovery.list({ limit: 1 }))).toEqual(['recovery/p=a/2']);
    expect(await idsOf(recovery.list({ subject: 'c' }))).toEqual([]);
    expect(() => recovery.list({ subjects: 'a' } as never)).toThrow('filter.subjects');
  });

  test('gives what `get` gives, and no other transactions', async () => {
    const { recovery, transactions } = await threeRecoveries();
    await transactions.run('recovery/p=a/9', async () => 1);
    const records = await all(recovery.list());
    expect(records).toHaveLength(3);
    await expect(recovery.get('recovery/p=a/1')).resolves.toEqual(records[2]);
    await expect(recovery.get('recovery/p=a/9')).resolves.toBeUndefined();
    await expect(recovery.get('no such')).resolves.toBeUndefined();
  });

  test('gives all it can read, then says what it cannot', async () => {
    const { world, recovery } = await threeRecoveries();
    const [damaged] = (await world.inner.list('transactions/heads/')).entries;
    await world.inner.put(damaged?.key as string, Buffer.from('?'));
    const given: string[] = [];
    const work = (async () => {
      for await (const { id } of recovery.list()) given.push(id);
    })();
    await expect(work).rejects.toMatchObject({ code: 'HOLDFAST_CORRUPTION' });
    expect(given).toHaveLength(2);
  });

  test('leaves out what is deleted while it goes on', async () => {
    const { recovery, transactions } = await threeRecoveries();
    const list = recovery.list();
    await list.next();
    await transactions.delete('recovery/p=b/1');
    expect(await idsOf(list)).toEqual(['recovery/p=a/1']);
  });
});

describe('stats', () => {
  test('count outcomes and rungs, and give the mean time of those that ended well by themselves', async () => {
    const world = new RecoveryWorld();
    const slow = (ms: number) => ({ run: () => world.clock.sleep(ms) });
    const { recovery } = world.process({
      ladder: [world.failing('resume', { when: ({ subject }) => subject !== 'a' }), world.rung('backup', slow(100))],
      budget: { attempts: 2 },
    });
    for (const subject of ['a', 'b', 'b', 'b']) await world.settled(recovery.recover(of(subject)));
    await expect(recovery.stats()).resolves.toEqual({
      total: 4,
      running: 0,
      outcomes: { recovered: 3, degraded: 0, 'needs-attention': 0, suppressed: 1 },
      resolved: 0,
      rungs: { resume: { ok: 0, failed: 2, skipped: 1 }, backup: { ok: 3, failed: 0, skipped: 0 } },
      meanTimeToRecoveryMs: 100,
    });
  });

  test('count one that runs, and know no mean time before there is one', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('backup', { run: () => never() })] });
    void rejectionOf(recovery.recover(crashed));
    await world.clock.advance(0);
    const stats = await recovery.stats();
    expect(stats).toMatchObject({ total: 1, running: 1, rungs: {} });
    expect(stats).not.toHaveProperty('meanTimeToRecoveryMs');
  });
});

describe('resolve', () => {
  const note = 'restored from the tape in the cellar';

  /** A process whose only rung fails, with a recovery that needs attention. */
  async function needsAttention(attempts = 1) {
    const world = new RecoveryWorld();
    const process = world.process({ ladder: [world.failing('backup')], budget: { attempts } });
    const { id } = await process.recovery.recover(crashed);
    return { world, process, recovery: process.recovery, id };
  }

  test('makes what a person says the outcome, and keeps what it was', async () => {
    const { world, process, recovery, id } = await needsAttention();
    await world.clock.advance(5_000);
    const record = await recovery.resolve(id, { outcome: 'degraded', note });
    expect(record).toMatchObject({
      outcome: 'degraded',
      resolution: { outcome: 'degraded', note, from: 'needs-attention', resolvedAtMs: world.clock.now() },
      trail: [{ rung: 'backup', status: 'failed' }],
    });
    await expect(recovery.get(id)).resolves.toEqual(record);
    await expect(all(recovery.list({ outcome: 'degraded' }))).resolves.toEqual([record]);
    const stats = await recovery.stats();
    expect(stats).toMatchObject({ resolved: 1, outcomes: { degraded: 1, 'needs-attention': 0 } });
    expect(stats).not.toHaveProperty('meanTimeToRecoveryMs');
    expect(process.events.at(-1)).toEqual({
      type: 'recovery.resolved',
      recovery: id,
      subject: 'job-7',
      outcome: 'degraded',
      note,
    });
  });

  test('gives the subject its budget back', async () => {
    const { recovery, id } = await needsAttention();
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'suppressed' });
    await recovery.resolve(id, { note });
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'needs-attention', number: 3 });
  });

  test('does the same for one that was suppressed', async () => {
    const { recovery } = await needsAttention();
    const { id } = await recovery.recover(crashed);
    await expect(recovery.resolve(id, { note })).resolves.toMatchObject({
      outcome: 'recovered',
      resolution: { from: 'suppressed' },
    });
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'needs-attention' });
  });

  test('leaves a budget that nothing was taken from as it is', async () => {
    const { process, recovery, id } = await needsAttention();
    await recovery.resolve(id, { note });
    const writes: string[] = [];
    process.obstacle = (key) => writes.push(key);
    await recovery.resolve(id, { note });
    expect(writes).toEqual([]);
  });

  test('ends a transaction that is stuck', async () => {
    const world = new RecoveryWorld();
    const first: WorldProcess<'backup'> = world.process({
      ladder: [world.rung('backup', { effect: 'once', run: () => first.crash() })],
    });
    void rejectionOf(first.recovery.recover(crashed));
    await world.clock.advance(0);
    const second = world.process({ ladder: [world.rung('backup', { effect: 'once' })] });
    const { id, outcome } = await world.settled(second.recovery.recover(crashed));
    expect(outcome).toBe('needs-attention');
    await second.recovery.resolve(id, { note });
    await expect(second.transactions.get(id)).resolves.toMatchObject({ stuck: { reason: 'abandoned' } });
    await expect(second.recovery.resolve(id, { note })).resolves.toMatchObject({ outcome: 'recovered' });
    await expect(second.transactions.delete(id)).resolves.toBe(true);
    await expect(second.recovery.recover(crashed)).resolves.toMatchObject({ number: 2, outcome: 'recovered' });
  });

  test('leaves the recovery alone that the subject is in meanwhile', async () => {
    const world = new RecoveryWorld();
    const gate = deferred();
    const run = ({ trail }: { trail: readonly unknown[] }) => (trail.length === 0 ? gate.promise : undefined);
    const { recovery } = world.process({
      ladder: [world.rung('backup', { run, when: ({ failure }) => failure.context !== 1 })],
    });
    const { id } = await recovery.recover({ ...crashed, context: 1 });
    const second = recovery.recover(crashed);
    await world.clock.advance(0);
    await recovery.resolve(id, { note });
    const third = recovery.recover(crashed);
    await world.clock.advance(0);
    gate.resolve();
    await expect(Promise.all([second, third])).resolves.toMatchObject([{ number: 2 }, { number: 2 }]);
  });

  test('is finished by the same decision again, if its process died in it', async () => {
    const { world, process, recovery, id } = await needsAttention();
    process.obstacle = (key) => (key.includes('/subjects/') ? process.crash() : undefined);
    void rejectionOf(recovery.resolve(id, { note }));
    await world.clock.advance(0);
    const next = world.process({ ladder: [world.rung('backup')], budget: { attempts: 1 } });
    await expect(next.recovery.get(id)).resolves.toMatchObject({ outcome: 'recovered' });
    await expect(next.recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'suppressed' });
    await next.recovery.resolve(id, { note });
    await expect(next.recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'recovered' });
    expect(next.types.filter((type) => type === 'recovery.resolved')).toEqual([]);
  });

  test('is decided once: another decision is refused, also one made at the same time', async () => {
    const { recovery, id } = await needsAttention();
    const [one, other] = await Promise.allSettled([
      recovery.resolve(id, { note }),
      recovery.resolve(id, { note: 'gave it up' }),
    ]);
    expect([one.status, other.status]).toEqual(['fulfilled', 'rejected']);
    await expect(recovery.resolve(id, { outcome: 'degraded', note })).rejects.toMatchObject({
      code: 'HOLDFAST_RECOVERY_STATE',
      message: `Recovery "${id}" was resolved as recovered already: ${note}. That stands.`,
    });
  });

  test('refuses what waits for nobody', async () => {
    const world = new RecoveryWorld();
    const gate = deferred();
    const { recovery } = world.process({ ladder: [world.rung('backup', { run: () => gate.promise })] });
    const running = recovery.recover(crashed);
    await world.clock.advance(0);
    const id = 'recovery/p=job-7/1';
    await expect(recovery.resolve(id, { note })).rejects.toMatchObject({ recovery: id, outcome: undefined });
    gate.resolve();
    await running;
    await expect(recovery.resolve(id, { note })).rejects.toThrow('ended as recovered: nobody has to decide about it');
    await expect(recovery.resolve('no such', { note })).rejects.toThrow('There is no recovery "no such"');
    await expect(recovery.resolve(id, { note: '' })).rejects.toThrow('options.note');
    await expect(recovery.resolve(id, { note, outcome: 'suppressed' as never })).rejects.toThrow('options.outcome');
  });

  test('says so if the record of a decision is damaged', async () => {
    const { world, recovery, id } = await needsAttention();
    await recovery.resolve(id, { note });
    const [key] = (await world.inner.list('recoveries/recovery/resolutions/')).entries.map((entry) => entry.key);
    const entry = await world.inner.get(key as string);
    await world.inner.put(key as string, Buffer.from('?'));
    await expect(recovery.get(id)).rejects.toMatchObject({ code: 'HOLDFAST_CORRUPTION' });
    expect(entry).toBeDefined();
  });
});

describe('a recovery that was cancelled', () => {
  test('needs attention, and its rung was told', async () => {
    const world = new RecoveryWorld();
    let reason: unknown;
    const { recovery, transactions, events } = world.process({
      ladder: [
        world.rung('backup', {
          run: ({ signal }) =>
            new Promise((_, reject) => {
              signal.addEventListener('abort', () => reject(signal.reason));
              signal.addEventListener('abort', () => {
                reason = signal.reason;
              });
            }),
        }),
        world.rung('minimal'),
      ],
    });
    const recovered = recovery.recover(crashed);
    await world.clock.advance(0);
    await transactions.cancel('recovery/p=job-7/1', 'we replace the machine');
    const record = await recovered;
    expect(record.outcome).toBe('needs-attention');
    expect(record.why).toContain(
      'it was given up: Transaction "recovery/p=job-7/1" was cancelled: we replace the machine',
    );
    expect(world.did).toEqual(['backup']);
    expect(reason).toMatchObject({ code: 'HOLDFAST_CANCELLED' });
    expect(events.at(-1)).toMatchObject({ type: 'recovery.finished', outcome: 'needs-attention', why: record.why });
    await transactions.delete(record.id);
    const next = recovery.recover(crashed, { strategy: 'minimal' });
    await expect(next).resolves.toMatchObject({ number: 2, outcome: 'recovered' });
  });
});

describe('a recovery whose process closes its transactions', () => {
  test('is let go of after the rung that runs, and gone on with by another behind it', async () => {
    const world = new RecoveryWorld();
    const gate = deferred();
    const ladder = [
      world.rung('resume', { run: () => gate.promise, check: () => 'still ill' }),
      world.rung('backup'),
      world.rung('minimal'),
    ];
    const first = world.process({ ladder });
    const refused = rejectionOf(first.recovery.recover(crashed));
    await world.clock.advance(0);
    const closing = first.transactions.close();
    gate.resolve();
    await closing;
    await expect(refused).resolves.toMatchObject({ code: 'HOLDFAST_CLOSED' });
    await world.clock.advance(0);
    expect(first.refused).toEqual(['rung:backup']);
    const second = world.process({ ladder });
    const { resumed } = await world.settled(second.transactions.recover());
    expect([resumed, world.did]).toEqual([['recovery/p=job-7/1'], ['resume', 'backup']]);
    expect(second.types).toEqual(['recovery.rung', 'recovery.finished']);
    await expect(first.recovery.recover(crashed)).rejects.toMatchObject({ code: 'HOLDFAST_CLOSED' });
  });
});

test('a check that its own closing manager refuses has not said no: the rung is run again', async () => {
  const world = new RecoveryWorld();
  const gate = deferred();
  const process = (): WorldProcess<'backup'> => {
    const made: WorldProcess<'backup'> = world.process({
      ladder: [
        world.rung('backup', {
          check: async () => {
            await gate.promise;
            return made.transactions.run('look', async () => true);
          },
        }),
      ],
    });
    return made;
  };
  const first = process();
  const refused = rejectionOf(first.recovery.recover(crashed));
  await world.clock.advance(0);
  const closing = first.transactions.close();
  gate.resolve();
  await closing;
  await expect(refused).resolves.toMatchObject({ code: 'HOLDFAST_CLOSED' });
  const second = process();
  await expect(world.settled(second.recovery.recover(crashed))).resolves.toMatchObject({
    number: 1,
    outcome: 'recovered',
  });
  expect(world.did).toEqual(['backup', 'backup']);
});

test('a rung that is under way and may run once only is in no trail yet', async () => {
  const world = new RecoveryWorld();
  const gate = deferred();
  const { recovery } = world.process({ ladder: [world.rung('backup', { effect: 'once', run: () => gate.promise })] });
  const recovered = recovery.recover(crashed);
  await world.clock.advance(0);
  await expect(recovery.get('recovery/p=job-7/1')).resolves.toMatchObject({ trail: [] });
  gate.resolve();
  await expect(recovered).resolves.toMatchObject({ outcome: 'recovered' });
});

test('a rung that meets something closed has failed, and the next one is tried', async () => {
  const world = new RecoveryWorld();
  const other = world.process({ ladder: [world.rung('x')] });
  await other.transactions.close();
  const { recovery } = world.process({
    ladder: [world.rung('resume', { run: () => other.transactions.run('1', async () => 1) }), world.rung('backup')],
  });
  await expect(recovery.recover(crashed)).resolves.toMatchObject({
    outcome: 'recovered',
    trail: [{ rung: 'resume', status: 'failed' }, { rung: 'backup' }],
  });
});

test('events tell of a recovery in the order in which it went, after each fact', async () => {
  const world = new RecoveryWorld();
  const process = world.process({
    ladder: [world.rung('retry', { to: 'minor' }), world.failing('resume'), world.rung('backup')],
  });
  const error = new TypeError('x is not a function');
  const { id, diagnosis } = await process.recovery.recover({ subject: 'a', error });
  const whose = { recovery: id, subject: 'a' };
  expect(process.events).toEqual([
    {
      type: 'recovery.started',
      ...whose,
      strategy: 'auto',
      kind: 'bug',
      severity: 'major',
      transient: false,
      fingerprint: diagnosis.fingerprint,
    },
    { type: 'recovery.rung', ...whose, rung: 'resume', status: 'failed', why: 'resume is of no use', ms: 0 },
    { type: 'recovery.rung', ...whose, rung: 'backup', status: 'ok', ms: 0 },
    { type: 'recovery.finished', ...whose, outcome: 'recovered', rung: 'backup', tookMs: 0 },
  ]);
});

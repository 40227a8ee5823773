import { describe, expect, test } from 'vitest';
import { InvalidInputError } from '../../src/base/errors.js';
import type { RungContext } from '../../src/recovery/rung.js';
import { crashed, RecoveryWorld, trailOf } from './recovery-world.js';

const reset = () => Object.assign(new Error('the line went dead'), { code: 'ECONNRESET' });

describe('a recovery', () => {
  test('tries rungs in their order until one is accepted, and none behind it', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({
      ladder: [world.failing('resume'), world.rung('backup'), world.rung('minimal', { degraded: true })],
    });
    const record = await recovery.recover(crashed);
    expect(record).toMatchObject({ outcome: 'recovered', rung: 'backup', subject: 'job-7', number: 1 });
    expect(trailOf(record)).toEqual(['resume failed', 'backup ok']);
    expect(world.did).toEqual(['resume', 'backup']);
  });

  test('keeps of each rung why and how long', async () => {
    const world = new RecoveryWorld();
    const slowly = (ms: number) => ({
      run: async () => {
        await world.clock.sleep(ms);
        throw new Error('in vain');
      },
    });
    const { recovery } = world.process({
      ladder: [
        world.rung('retry', { to: 'minor' }),
        world.rung('resume', slowly(200)),
        world.rung('backup', { run: () => world.clock.sleep(50) }),
      ],
    });
    const record = await world.settled(recovery.recover(crashed));
    expect(record.trail).toEqual([
      { rung: 'retry', status: 'skipped', why: 'it is for minor, not major' },
      { rung: 'resume', status: 'failed', why: 'in vain', ms: 200 },
      { rung: 'backup', status: 'ok', ms: 50 },
    ]);
    expect(record.tookMs).toBe(250);
  });

  test('takes its time by a clock that no jump of wall time falsifies', async () => {
    const world = new RecoveryWorld();
    const run = () => {
      world.clock.jumpWall(-3_600_000);
      return world.clock.sleep(50);
    };
    const { recovery } = world.process({ ladder: [world.rung('backup', { run })] });
    const record = await world.settled(recovery.recover(crashed));
    expect([record.tookMs, record.trail[0]?.ms]).toEqual([50, 50]);
  });

  test('ends as degraded on a rung that only keeps the subject going', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('minimal', { degraded: true })] });
    await expect(recovery.recover(crashed)).resolves.toMatchObject({ outcome: 'degraded', rung: 'minimal' });
  });

  test('needs attention when no rung is left', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.failing('backup')] });
    const record = await recovery.recover(crashed);
    expect(record).toMatchObject({ outcome: 'needs-attention', why: 'no rung that was tried was accepted' });
    expect(record).not.toHaveProperty('rung');
  });

  test('needs attention when no rung is for it', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('retry', { to: 'minor' })] });
    await expect(recovery.recover(crashed)).resolves.toMatchObject({
      outcome: 'needs-attention',
      why: 'no rung is for this failure, or could be tried',
    });
    expect(world.did).toEqual([]);
  });

  test('has nothing to do where nothing is broken', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('backup')], budget: { attempts: 0 } });
    const record = await recovery.recover({ subject: 'a', kind: 'cancelled' });
    expect(record).toMatchObject({ outcome: 'recovered', diagnosis: { severity: 'none' } });
    expect(trailOf(record)).toEqual(['backup skipped']);
  });

  test('needs attention where nothing is broken, yet a rung for that failed', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.failing('look', { from: 'none' })] });
    await expect(recovery.recover({ subject: 'a', kind: 'cancelled' })).resolves.toMatchObject({
      outcome: 'needs-attention',
    });
  });

  test('tells a rung what failed, what that is, what was tried, and its key', async () => {
    const world = new RecoveryWorld();
    const seen: unknown[] = [];
    const look = (context: RungContext) => {
      const { subject, failure, diagnosis, trail, transaction, step, fence, attempt } = context;
      seen.push({ subject, failure, kind: diagnosis.kind, trail, transaction, step, fence, attempt });
      seen.push(context.key, context.operationId, context.signal.aborted, context.deadlineAtMs, context.previous);
    };
    const { recovery } = world.process({ ladder: [world.failing('retry'), world.rung('backup', { run: look })] });
    await recovery.recover({ subject: 'a', error: reset(), context: { shard: 3 } });
    const [told, key, operationId, ...others] = seen;
    expect(told).toMatchObject({
      subject: 'a',
      failure: { subject: 'a', error: { message: 'the line went dead', code: 'ECONNRESET' }, context: { shard: 3 } },
      kind: 'transient',
      trail: [{ rung: 'retry', status: 'failed' }],
      transaction: 'recovery/p=a/1',
      step: 'rung:backup',
      fence: 1,
      attempt: 1,
    });
    expect(key).toMatch(/^[\w-]{43}$/);
    expect(operationId).toBe(key);
    expect(others).toEqual([false, world.clock.now() + 300_000, undefined]);
  });

  test('is told with no secret of a URL in it', async () => {
    const world = new RecoveryWorld();
    const run = () => {
      throw new Error('cannot reach postgres://me:hunter2@db/1');
    };
    const process = world.process({ ladder: [world.rung('backup', { run })] });
    const { trail } = await process.recovery.recover(crashed);
    expect(JSON.stringify([trail, process.events])).not.toContain('hunter2');
    expect(trail[0]?.why).toContain('postgres://***@db/1');
  });
});

describe('a rung is skipped', () => {
  test('when its `when` says no, and not when it says yes', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({
      ladder: [
        world.rung('retry', { when: ({ diagnosis }) => diagnosis.transient }),
        world.rung('backup', { when: async () => true }),
      ],
    });
    const record = await recovery.recover(crashed);
    expect(record.trail[0]).toMatchObject({ status: 'skipped', why: 'when: it is not for this failure', ms: 0 });
    expect(world.did).toEqual(['backup']);
  });

  test('when a preflight check fails, whose reason is kept', async () => {
    const world = new RecoveryWorld();
    const process = world.process({
      ladder: [
        world.rung('resume', { preflight: [() => true, async () => 'there is no checkpoint', () => 'not asked'] }),
        world.rung('repair', { preflight: [{ name: 'disk', run: () => '98 % full' }] }),
        world.rung('backup', { preflight: [{ name: 'vault', run: () => false }] }),
        world.rung('minimal', { preflight: [() => Promise.reject(new Error('no answer'))] }),
        world.rung('last', { preflight: [(() => undefined) as never] }),
      ],
    });
    const { outcome, trail, id } = await process.recovery.recover(crashed);
    expect(trail.map(({ status, why }) => [status, why])).toEqual([
      ['skipped', 'preflight 2: there is no checkpoint'],
      ['skipped', 'disk: 98 % full'],
      ['skipped', 'vault said no'],
      ['skipped', 'preflight 1 threw: no answer'],
      ['skipped', 'preflight 1 answered undefined: true or a reason is needed'],
    ]);
    expect([outcome, world.did]).toEqual(['needs-attention', []]);
    await expect(process.recovery.get(id)).resolves.toMatchObject({ trail });
  });
});

describe('a rung that ran', () => {
  test('is accepted only if its check says true', async () => {
    const world = new RecoveryWorld();
    const process = world.process({
      ladder: [
        world.rung('resume', { run: () => 41, check: ({ result }) => result === 42 || `it gave ${result}` }),
        world.rung('repair', { check: () => false }),
        world.rung('backup', { check: () => Promise.reject(new Error('cannot look')) }),
        world.rung('minimal', { run: () => 42, check: ({ result }) => result === 42 || 'no' }),
      ],
    });
    const record = await process.recovery.recover(crashed);
    expect(record.trail.map(({ status, why }) => [status, why])).toEqual([
      ['failed', 'check: it gave 41'],
      ['failed', 'check said no'],
      ['failed', 'check threw: cannot look'],
      ['ok', undefined],
    ]);
  });

  test('is tried again as its options say, and not when it is only not accepted', async () => {
    const world = new RecoveryWorld();
    let tries = 0;
    const flaky = () => {
      if (++tries < 3) throw reset();
    };
    const { recovery } = world.process({
      ladder: [
        world.rung('repair', { retry: 5, check: () => 'still ill' }),
        world.rung('backup', { retry: { maxRetries: 2, backoff: { kind: 'constant', baseMs: 10 } }, run: flaky }),
      ],
    });
    const record = await world.settled(recovery.recover(crashed));
    expect(world.did).toEqual(['repair', 'backup', 'backup', 'backup']);
    expect(record).toMatchObject({ outcome: 'recovered', rung: 'backup' });
  });

  test('is cut off when its time is over, is told, and the next one is tried', async () => {
    const world = new RecoveryWorld();
    let reason: unknown;
    const hang = ({ signal }: RungContext) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          reason = signal.reason;
          reject(signal.reason);
        });
      });
    const { recovery } = world.process({
      ladder: [world.rung('resume', { run: hang, timeoutMs: 1_000 }), world.rung('backup')],
    });
    const record = await world.settled(recovery.recover(crashed));
    expect(trailOf(record)).toEqual(['resume failed', 'backup ok']);
    expect(record.trail[0]).toMatchObject({ why: expect.stringContaining('1000 ms'), ms: 1_000 });
    expect(reason).toMatchObject({ code: 'HOLDFAST_TIMEOUT' });
  });

  test('has five minutes unless it says otherwise', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('resume', { run: () => new Promise(() => {}) })] });
    const record = await world.settled(recovery.recover(crashed));
    expect(record.trail[0]?.ms).toBe(300_000);
  });
});

describe('a strategy', () => {
  test('runs just the rung it names, whatever its severities and its `when` say', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({
      ladder: [world.rung('retry'), world.rung('backup', { from: 'catastrophic', when: () => false })],
    });
    const record = await recovery.recover(crashed, { strategy: 'backup' });
    expect(record).toMatchObject({ outcome: 'recovered', rung: 'backup', strategy: 'backup' });
    expect(world.did).toEqual(['backup']);
  });

  test('does not go past a preflight check', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('backup', { preflight: [() => 'the vault is shut'] })] });
    await expect(recovery.recover(crashed, { strategy: 'backup' })).resolves.toMatchObject({
      outcome: 'needs-attention',
      trail: [{ status: 'skipped', why: 'preflight 1: the vault is shut' }],
    });
  });

  test('that no rung has is refused with the names there are, and nothing is begun', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('retry'), world.rung('backup')] });
    // @ts-expect-error a rung that the ladder does not have
    const refused = recovery.recover(crashed, { strategy: 'nope' });
    await expect(refused).rejects.toThrow('there is no rung "nope". There are "auto", "retry", "backup".');
    await expect(refused).rejects.toBeInstanceOf(InvalidInputError);
    // @ts-expect-error the same for a plan
    await expect(recovery.plan(crashed, { strategy: 'nope' })).rejects.toThrow('There are "auto"');
    await expect(recovery.stats()).resolves.toMatchObject({ total: 0 });
  });
});

describe('a plan', () => {
  test('says which rungs would run and why others would not, runs none and keeps nothing', async () => {
    const world = new RecoveryWorld();
    const process = world.process({
      ladder: [
        world.rung('retry', { to: 'minor' }),
        world.rung('resume', { preflight: [({ failure }) => `${failure.context} is not there`] }),
        world.rung('backup', { when: ({ trail }) => trail.length === 0 }),
      ],
    });
    const plan = await process.recovery.plan({ ...crashed, context: 'it' });
    expect(plan).toMatchObject({ subject: 'job-7', strategy: 'auto', attemptsLeft: 3, diagnosis: { kind: 'crashed' } });
    expect(plan.rungs).toEqual([
      { rung: 'retry', runs: false, why: 'it is for minor, not major' },
      { rung: 'resume', runs: false, why: 'preflight 1: it is not there' },
      { rung: 'backup', runs: true },
    ]);
    expect(plan).not.toHaveProperty('underWay');
    expect([world.did, process.events, (await world.inner.list('')).entries]).toEqual([[], [], []]);
  });

  test('for a strategy is that rung', async () => {
    const world = new RecoveryWorld();
    const { recovery } = world.process({ ladder: [world.rung('retry', { to: 'minor' }), world.rung('backup')] });
    const { rungs, strategy } = await recovery.plan(crashed, { strategy: 'retry' });
    expect([strategy, rungs]).toEqual(['retry', [{ rung: 'retry', runs: true }]]);
  });
});

describe('what cannot be used is refused:', () => {
  const world = new RecoveryWorld();
  const rung = world.rung('backup');
  test.each([
    [[rung, world.rung('backup')], 'options.ladder.1.name: "backup" is the name of an earlier rung'],
    [[world.rung('auto')], 'options.ladder.0.name: "auto" means the whole ladder'],
    [[world.rung('a', { from: 'major', to: 'minor' })], 'options.ladder.0.to: "minor" is milder than `from`, "major"'],
    [[world.rung('a', { timeoutMs: 0 })], 'options.ladder.0.timeoutMs'],
    [[{ name: 'a' } as never], 'options.ladder.0.run: must be a function'],
    [[{ ...rung, preflights: [] } as never], 'options.ladder.0.preflights'],
    [[{ ...rung, preflight: ['x'] } as never], 'options.ladder.0.preflight.0: must be a function, or { name, run }'],
    [[7 as never], 'options.ladder.0: must be a Rung'],
    [[], 'options.ladder'],
    ['x' as never, 'options.ladder: must be an array of rungs'],
  ])('the ladder %j', (ladder, message) => {
    expect(() => world.process({ ladder: ladder as never })).toThrow(message);
  });

  test('two managers of one name on the same transactions', () => {
    const { transactions } = world.process({ ladder: [rung] });
    expect(() => world.process({ ladder: [rung], transactions })).toThrow('"recovery" is defined already');
    expect(() => world.process({ ladder: [rung], transactions, name: 'others' })).not.toThrow();
    expect(() => world.process({ ladder: [rung], transactions, name: 'a/b' })).toThrow('options.name');
  });

  test.each([
    [{ subject: '' }, 'failure.subject'],
    [{ subject: 'x'.repeat(1_025) }, 'failure.subject: 1025 bytes long'],
    [{ subject: 'a', reason: 'b' }, 'failure.reason'],
    [{ subject: 'a', kind: '' }, 'failure.kind'],
  ])('the failure %j', async (failure, message) => {
    const { recovery } = world.process({ ladder: [rung] });
    await expect(recovery.recover(failure)).rejects.toThrow(message);
    await expect(recovery.diagnose(failure)).rejects.toThrow(message);
  });

  test('a context that cannot be kept', async () => {
    const { recovery } = world.process({ ladder: [rung] });
    const refused = recovery.recover({ subject: 'a', context: { fn: () => 1 } });
    await expect(refused).rejects.toMatchObject({ code: 'HOLDFAST_UNSERIALIZABLE', path: '$.fn' });
  });
});

test('what is kept of a failure is what it was when `recover` was called', async () => {
  const world = new RecoveryWorld();
  const { recovery } = world.process({ ladder: [world.rung('backup')] });
  const context = { shard: 3 };
  const recovered = recovery.recover({ ...crashed, context });
  context.shard = 4;
  await expect(recovered).resolves.toMatchObject({ failure: { context: { shard: 3 } } });
});

test('an error of a class of the host is told as an Error of the same name, also before any crash', async () => {
  class QuotaError extends Error {
    override readonly name = 'QuotaError';
    readonly quota = 7;
    readonly socket = new (class Socket {})();
  }
  const world = new RecoveryWorld();
  let told: unknown;
  const { recovery } = world.process({
    ladder: [
      world.rung('backup', {
        run: ({ failure }) => {
          told = failure.error;
        },
      }),
    ],
  });
  await recovery.recover({ subject: 'a', error: new QuotaError('too much') });
  expect(told).not.toBeInstanceOf(QuotaError);
  expect(told).toMatchObject({ name: 'QuotaError', message: 'too much', quota: 7 });
  expect(told).not.toHaveProperty('socket');
});

import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { CorruptionError, InvalidInputError } from '../../src/base/errors.js';
import { createHoldfast, type HoldfastEvent, type HoldfastOptions } from '../../src/holdfast.js';
import { unmetRequirements } from '../../src/recovery/requirements.js';
import { RecoveryFailedError } from '../../src/recovery/session-recovery-error.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { rejectionOf } from '../support/deferred.js';
import { suspectStore } from '../support/suspect-store.js';

const LEASE_MS = 3_000;

interface Counted {
  readonly count: number;
}

type Options = Partial<Omit<HoldfastOptions<Counted>, 'storage' | 'clock'>>;

function host(storage: StorageAdapter = memoryStorage(), options: Options = {}) {
  const clock = new VirtualClock();
  const events: HoldfastEvent[] = [];
  const emit = (event: HoldfastEvent) => void events.push(event);
  const holdfast = createHoldfast<Counted>({ storage, clock, leaseMs: LEASE_MS, emit, ...options });
  /** Sees the silence of whoever died. */
  const outwait = async () => {
    await holdfast.sessions.interrupted();
    await clock.advance(LEASE_MS * 1.1);
  };
  return { storage, clock, events, holdfast, outwait };
}

/** A session that saved `counts`, of a process that is dead now. */
async function abandoned(storage: StorageAdapter, counts: readonly number[], id = 's') {
  const session = await host(storage).holdfast.sessions.open(id);
  for (const count of counts) await session.checkpoint({ count });
}

async function damage(storage: StorageAdapter, sequence: number, id = 's') {
  const { entries } = await storage.list(`checkpoints/p=${id}/`);
  const key = entries.map((entry) => entry.key).find((key) => Number(key.split('/').at(-1)) === sequence) as string;
  const bytes = (await storage.get(key))?.value as Uint8Array;
  bytes[bytes.length - 3] = (bytes.at(-3) as number) ^ 1;
  await storage.put(key, bytes);
}

describe('a session that was taken over', () => {
  test('resumes from its newest checkpoint, and says so', async () => {
    const storage = memoryStorage();
    await abandoned(storage, [1, 2, 3]);
    const { holdfast, outwait, events } = host(storage);
    await outwait();
    const [state, report] = await holdfast.run('s', async (session) => [
      (await session.restore())?.state,
      holdfast.recoveryOf(session),
    ]);
    expect(state).toEqual({ count: 3 });
    expect(report).toMatchObject({
      outcome: 'recovered',
      rung: 'resume',
      sequence: 3,
      lost: [],
      confidence: { value: 0.95 },
      recovery: { subject: 's', diagnosis: { kind: 'crashed', severity: 'minor' } },
    });
    expect(events.map(({ type }) => type)).toContain('recovery.finished');
  });

  test('is restored once to be recovered, and once by its work', async () => {
    const storage = memoryStorage();
    await abandoned(storage, [1, 2, 3]);
    const { holdfast, outwait } = host(storage);
    await outwait();
    await holdfast.run('s', (session) => session.restore());
    expect(await holdfast.checkpoints.restoreStatistics('s')).toMatchObject({ restores: 2, degradedRestores: 0 });
  });

  test('begins anew if nothing had been saved', async () => {
    const storage = memoryStorage();
    await abandoned(storage, []);
    const { holdfast, outwait } = host(storage);
    await outwait();
    const report = await holdfast.run('s', (session) => holdfast.recoveryOf(session));
    expect(report).toMatchObject({ outcome: 'recovered', rung: 'resume', sequence: undefined, confidence: undefined });
  });

  test('is rolled back past a damaged checkpoint, whose number is named as lost', async () => {
    const storage = memoryStorage();
    await abandoned(storage, [1, 2, 3]);
    await damage(storage, 3);
    const { holdfast, outwait } = host(storage);
    await outwait();
    const [restored, report] = await holdfast.run('s', async (session) => [
      await session.restore({ fallback: false }),
      holdfast.recoveryOf(session),
    ]);
    expect(restored?.state).toEqual({ count: 2 });
    expect(report).toMatchObject({ rung: 'rollback', lost: [3], recovery: { diagnosis: { severity: 'major' } } });
    expect(restored?.checkpoint).toMatchObject({ sequence: 4, operation: 'recovery.rollback' });
  });

  test('goes back to a state that the host takes for valid', async () => {
    const storage = memoryStorage();
    await abandoned(storage, [1, 2, -3]);
    const validate = ({ count }: Counted) => count > 0 || 'the count is negative';
    const { holdfast, outwait } = host(storage, { recovery: { validate } });
    await outwait();
    const [restored, report] = await holdfast.run('s', async (session) => [
      await session.restore(),
      holdfast.recoveryOf(session),
    ]);
    expect(restored?.state).toEqual({ count: 2 });
    expect(report).toMatchObject({ rung: 'rollback', lost: [3] });
    expect(report?.recovery.trail[0]).toMatchObject({ rung: 'resume', status: 'failed', why: 'the count is negative' });
  });

  test.each([
    ['a rollback', { validate: ({ count }: Counted) => count > 0 || 'negative' }, 'rollback'],
    ['a backup', { validate: ({ count }: Counted) => count > 5 || 'small', backup: () => ({ count: 6 }) }, 'backup'],
    [
      'the least',
      { validate: ({ count }: Counted) => count === 0 || 'not new', minimal: () => ({ count: 0 }) },
      'minimal',
    ],
  ])(
    'keeps what was there before %s for whoever looks into it, however much is saved and pruned',
    async (_, recovery, rung) => {
      const storage = memoryStorage();
      await abandoned(storage, [1, 2, -3]);
      const { holdfast, outwait } = host(storage, {
        recovery,
        checkpoints: { retention: { keepLast: 1, maxAgeMs: 0, keepLabels: false } },
      });
      await outwait();
      const report = await holdfast.run('s', async (session) => {
        for (let count = 10; count < 40; count++) await session.checkpoint({ count });
        return holdfast.recoveryOf(session);
      });
      expect(report).toMatchObject({ rung, lost: rung === 'rollback' ? [3] : [3, 2, 1] });
      const { decisions } = await holdfast.checkpoints.prune('s', undefined, { dryRun: true });
      expect(decisions.map(({ sequence, reasons }) => [sequence, reasons])).toEqual([
        [34, ['newest-intact', 'last']],
        [4, ['recovery']],
        [3, ['recovery']],
      ]);
      const before = await holdfast.checkpoints.restore('s', { sequence: 3, fallback: false });
      expect(before?.state).toEqual({ count: -3 });
    },
  );

  test('keeps what was there also if that does not fit the schema any more', async () => {
    const storage = memoryStorage();
    await abandoned(storage, [1, -2]);
    const schema = z.object({ count: z.int().min(0) });
    const checkpoints = { schema, schemaVersion: 1, retention: { keepLast: 1 } };
    const { holdfast, outwait } = host(storage, { checkpoints });
    await outwait();
    await holdfast.run('s', async (session) => {
      expect(holdfast.recoveryOf(session)).toMatchObject({ rung: 'rollback', sequence: 3, lost: [2] });
      for (let count = 10; count < 40; count++) await session.checkpoint({ count });
    });
    const earlier = createHoldfast<Counted>({ storage });
    const before = await earlier.checkpoints.restore('s', { sequence: 2, fallback: false });
    expect(before?.state).toEqual({ count: -2 });
    await earlier.close();
  });

  test('takes a backup when no checkpoint is left, and the least it can begin with when there is none', async () => {
    const storage = memoryStorage();
    for (const id of ['a', 'b']) {
      await abandoned(storage, [1], id);
      await damage(storage, 1, id);
    }
    const backup = ({ id }: { readonly id: string }) => (id === 'a' ? { count: 77 } : undefined);
    const { holdfast, outwait } = host(storage, { recovery: { backup, minimal: () => ({ count: 0 }) } });
    await outwait();
    const seen: unknown[] = [];
    for (const id of ['a', 'b']) {
      await holdfast.run(id, async (session) => {
        const report = holdfast.recoveryOf(session);
        seen.push([(await session.restore())?.state, report?.rung, report?.outcome, report?.lost]);
      });
    }
    expect(seen).toEqual([
      [{ count: 77 }, 'backup', 'recovered', [1]],
      [{ count: 0 }, 'minimal', 'degraded', [1]],
    ]);
  });

  test('is given back untouched, with the reasons, when nothing will do', async () => {
    const storage = memoryStorage();
    await abandoned(storage, [1]);
    const before = await storage.list('checkpoints/');
    const requirements = { dependencies: { database: () => 'refuses connections' } };
    const { holdfast, outwait } = host(storage, { recovery: { requirements } });
    await outwait();
    let wasCalled = false;
    const refused = await rejectionOf(
      holdfast.run('s', () => {
        wasCalled = true;
      }),
    );
    expect(refused).toBeInstanceOf(RecoveryFailedError);
    expect((refused as RecoveryFailedError).recovery).toMatchObject({
      outcome: 'needs-attention',
      trail: [
        { rung: 'resume', status: 'skipped', why: expect.stringContaining('database" refuses connections') },
        {},
        {},
      ],
    });
    expect(wasCalled).toBe(false);
    expect(await storage.list('checkpoints/')).toEqual(before);
    expect(await holdfast.sessions.get('s')).toMatchObject({ status: 'interrupted', node: null });
  });
});

describe('a session whose recovery failed', () => {
  test('is not worked on by the next one who opens it, but recovered first', async () => {
    const storage = memoryStorage();
    await abandoned(storage, [1]);
    const refusing = host(storage, { recovery: { validate: () => 'refused' } });
    await refusing.outwait();
    const seen: unknown[] = [];
    for (const _ of [1, 2]) {
      const report = await refusing.holdfast.rescue((session) => seen.push(session.id));
      expect(report.failed).toMatchObject([{ id: 's', error: { code: 'HOLDFAST_RECOVERY_FAILED' } }]);
    }
    await refusing.holdfast.close();
    const { holdfast } = host(storage);
    await holdfast.sessions.release('s');
    const [state, report] = await holdfast.run('s', async (session) => [
      (await session.restore())?.state,
      holdfast.recoveryOf(session),
    ]);
    expect(seen).toEqual([]);
    expect(state).toEqual({ count: 1 });
    expect(report).toMatchObject({ rung: 'resume' });
    expect(await holdfast.run('s', (session) => holdfast.recoveryOf(session), { reopen: true })).toBeUndefined();
  });
});

describe('options', () => {
  test.each([
    [{ validat: () => true }, 'validat'],
    [{ validate: 1 }, 'validate'],
    [{ requirements: { enviroment: {} } }, 'enviroment'],
    [{ requirements: { dependencies: { one: 1 } } }, 'dependencies'],
  ])('of recovery that cannot be used are refused: %o', (recovery, name) => {
    expect(() => createHoldfast({ storage: memoryStorage(), recovery: recovery as never })).toThrow(name);
  });
});

describe('rescue', () => {
  test('takes nothing without work to do, and reports one record that cannot be read', async () => {
    const storage = memoryStorage();
    for (const id of ['a', 'b', 'c']) await abandoned(storage, [1], id);
    const unreadable = {
      ...storage,
      get: (...given: Parameters<StorageAdapter['get']>) =>
        given[0] === 'sessions/p=b'
          ? Promise.reject(new CorruptionError('The value of "b" is damaged.', given[0]))
          : storage.get(...given),
    };
    const { holdfast, outwait } = host(unreadable);
    await outwait();
    expect(await rejectionOf(holdfast.rescue(undefined as never))).toBeInstanceOf(InvalidInputError);
    expect(await rejectionOf(holdfast.run('a', undefined as never))).toBeInstanceOf(InvalidInputError);
    const report = await holdfast.rescue(() => undefined);
    expect(report.completed).toEqual(['a', 'c']);
    expect(report.failed).toMatchObject([{ id: 'b', error: { code: 'HOLDFAST_CORRUPTION' } }]);
  });

  test('says that a store may have lost sessions, rather than that there are none', async () => {
    const { holdfast } = host(suspectStore(memoryStorage()));
    expect(await rejectionOf(holdfast.rescue(() => undefined))).toBeInstanceOf(CorruptionError);
  });

  test('fails a session whose process cannot be judged, and says how to take it', async () => {
    const storage = memoryStorage();
    await abandoned(storage, [1]);
    const key = (await storage.list('nodes/')).entries[0]?.key as string;
    await storage.put(key, Buffer.from('garbage'));
    const { holdfast } = host(storage);
    const report = await holdfast.rescue(() => undefined);
    expect(report.failed).toMatchObject([{ id: 's', error: { code: 'HOLDFAST_CORRUPTION', key } }]);
    const session = await holdfast.sessions.recover('s', { force: true });
    expect((await session.restore())?.state).toEqual({ count: 1 });
  });

  test('runs every interrupted session once, and says what became of each', async () => {
    const storage = memoryStorage();
    for (let at = 0; at < 30; at++) await abandoned(storage, [at], `s${at}`);
    const clock = new VirtualClock();
    const hosts = [1, 2].map(() => createHoldfast<Counted>({ storage, clock, leaseMs: LEASE_MS }));
    await Promise.all(hosts.map((one) => one.sessions.interrupted()));
    await clock.advance(LEASE_MS * 1.1);
    const runs = new Map<string, number>();
    const work = async ({ id, restore }: { id: string; restore: () => Promise<{ state: Counted } | undefined> }) => {
      runs.set(id, (runs.get(id) ?? 0) + 1);
      if (((await restore())?.state.count ?? 0) % 10 === 7) throw new Error('seven');
    };
    const reports = await Promise.all(hosts.map((one) => one.rescue(work, { concurrency: 4 })));
    expect(runs.size).toBe(30);
    expect([...runs.values()].every((count) => count === 1)).toBe(true);
    expect(reports.flatMap(({ completed }) => completed)).toHaveLength(27);
    expect(reports.flatMap(({ failed }) => failed).map(({ error }) => (error as Error).message)).toEqual(
      Array.from({ length: 3 }, () => 'seven'),
    );
  });
});

describe('steps of a session', () => {
  test('run once, however often their session dies; one that failed may be tried again', async () => {
    const storage = memoryStorage();
    const calls: string[] = [];
    const dying = host(storage);
    const session = await dying.holdfast.sessions.open('s');
    expect(await session.step('fetch', ({ key }) => calls.push(key) && 'page')).toBe('page');
    const failing = session.step('parse', () => Promise.reject(new Error('not HTML')));
    expect(await rejectionOf(failing)).toMatchObject({ message: 'not HTML' });
    const { holdfast, outwait } = host(storage);
    await outwait();
    const results = await holdfast.run('s', async (taken) => [
      await taken.step('fetch', () => calls.push('again') && 'other page'),
      await taken.step('parse', () => 'title'),
    ]);
    expect(results).toEqual(['page', 'title']);
    expect(calls).toHaveLength(1);
  });
});

describe('requirements', () => {
  const directory = mkdtemp(join(tmpdir(), 'holdfast-requirements-'));
  afterEach(async () => rm(await directory, { recursive: true, force: true }));

  test('are met by what is declared, and name whatever is not, without its value', async () => {
    const file = join(await directory, 'model.bin');
    await writeFile(file, 'weights');
    const sha256 = createHash('sha256').update('weights').digest('hex');
    process.env.HOLDFAST_TEST_REGION = 'secret-region';
    const met = {
      environment: { HOLDFAST_TEST_REGION: /^secret/ },
      versions: { node: '20.19.0', v8: '1' },
      artifacts: { [file]: sha256.toUpperCase() },
      dependencies: { database: async () => true },
    };
    expect(await unmetRequirements(met)).toEqual([]);
    const unmet = await unmetRequirements({
      environment: { HOLDFAST_TEST_REGION: 'other', HOLDFAST_TEST_MISSING: /./ },
      versions: { node: '999.0.0', cobol: '1' },
      artifacts: { [file]: 'f'.repeat(64), [`${file}.gone`]: sha256 },
      dependencies: { one: () => false, two: () => 'is asleep', three: () => Promise.reject(new Error('refused')) },
    });
    delete process.env.HOLDFAST_TEST_REGION;
    expect(unmet.map(({ kind, why }) => [kind, why])).toEqual([
      ['environment', 'has another value than is needed'],
      ['environment', 'is not set'],
      ['version', `is ${process.versions.node}, at least 999.0.0 is needed`],
      ['version', 'is not known to this process'],
      ['artifact', 'is not the file that is needed'],
      ['artifact', expect.stringMatching(/^cannot be read: ENOENT/)],
      ['dependency', 'is not there'],
      ['dependency', 'is asleep'],
      ['dependency', 'refused'],
    ]);
    expect(JSON.stringify(unmet)).not.toContain('secret-region');
  });
});

describe('rungs', () => {
  test('repair mends what can be mended when no older checkpoint is valid', async () => {
    const storage = memoryStorage();
    await abandoned(storage, [1, 2]);
    await damage(storage, 2);
    let asked = 0;
    const validate = () => ++asked > 1 || 'not yet'; // Refuses what `rollback` finds.
    const { holdfast, outwait } = host(storage, { recovery: { validate } });
    await outwait();
    const report = await holdfast.run('s', (session) => holdfast.recoveryOf(session));
    expect(report).toMatchObject({ rung: 'repair', sequence: 1 });
  });

  test('fail with their reasons, one after the other, and the budget ends loops', async () => {
    const storage = memoryStorage();
    await abandoned(storage, [1]);
    await damage(storage, 1);
    const recovery = {
      validate: () => false,
      minimal: () => ({ count: 0 }),
      budget: { attempts: 1, perMs: 3_600_000 },
    };
    const { holdfast, outwait } = host(storage, { recovery });
    await outwait();
    const refused = (await rejectionOf(holdfast.run('s', () => 1))) as RecoveryFailedError;
    expect(refused.recovery).toMatchObject({ outcome: 'needs-attention', diagnosis: { severity: 'catastrophic' } });
    expect(refused.recovery.trail.at(-1)).toMatchObject({ rung: 'minimal', why: 'the state is not valid' });
    const suppressed = await rejectionOf(holdfast.run('s', () => 1));
    expect(suppressed).toMatchObject({ recovery: { outcome: 'suppressed' } });
    expect((suppressed as Error).message).toContain('was not recovered once more');
  });

  test('do nothing for a session that is not held here', async () => {
    const { holdfast } = host(memoryStorage(), { recovery: { rules: [() => ({ kind: 'mine', severity: 'minor' })] } });
    const record = await holdfast.recovery.recover({ subject: 'nobody' });
    expect(record).toMatchObject({ outcome: 'needs-attention', diagnosis: { kind: 'mine' } });
    expect(record.trail[0]).toMatchObject({ why: expect.stringContaining('is not held here') });
  });
});

describe('what a rescuer finds', () => {
  test('is told apart: held, quarantined, of another prefix, not begun because it was told to stop', async () => {
    const storage = memoryStorage();
    for (const id of ['a-1', 'a-2', 'b-1']) await abandoned(storage, [1], id);
    const clock = new VirtualClock();
    const sessions = { takeovers: { max: 0 } };
    const strict = createHoldfast<Counted>({ storage, clock, leaseMs: LEASE_MS, sessions });
    const first = createHoldfast<Counted>({ storage, clock, leaseMs: LEASE_MS });
    const second = createHoldfast<Counted>({ storage, clock, leaseMs: LEASE_MS });
    for (const one of [first, second, strict]) await one.sessions.interrupted();
    await clock.advance(LEASE_MS * 1.1);
    expect(await strict.rescue(() => 1, { prefix: 'a-1' })).toMatchObject({ quarantined: ['a-1'], completed: [] });
    const none = await first.rescue(() => 1, { signal: AbortSignal.abort() });
    expect(none).toEqual({ completed: [], failed: [], busy: [], quarantined: [] });
    const both = await Promise.all([first, second].map((one) => one.rescue(() => 1, { prefix: 'b', concurrency: 1 })));
    expect(both.flatMap(({ completed }) => completed)).toEqual(['b-1']);
    expect(both.flatMap(({ busy }) => busy)).toEqual(['b-1']);
    expect(await first.rescue(() => 1, { prefix: 'a-2' })).toMatchObject({ completed: ['a-2'] });
  });
});

describe('steps that cannot be run', () => {
  test('reject as transactions do, and names of any length have ids of their own', async () => {
    const { holdfast } = host();
    const long = 'x'.repeat(1_000);
    await holdfast.run(long, async (session) => {
      expect(await session.step('one', () => 1)).toBe(1);
      expect(await session.step('two', () => 2)).toBe(2);
      expect(await rejectionOf(session.step('three', () => () => 3))).toMatchObject({
        code: 'HOLDFAST_UNSERIALIZABLE',
      });
    });
    const session = await holdfast.sessions.open('s');
    await holdfast.transactions.close();
    expect(await rejectionOf(session.step('late', () => 1))).toMatchObject({ code: 'HOLDFAST_CLOSED' });
  });
});

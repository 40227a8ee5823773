import { describe, expect, expectTypeOf, test } from 'vitest';
import { confidence } from '../../src/recovery/confidence.js';
import { defaultLadder } from '../../src/recovery/default-ladder.js';
import type { FailureRule, Severity } from '../../src/recovery/failure.js';
import { RecoveryManager } from '../../src/recovery/recovery-manager.js';
import type { Rung } from '../../src/recovery/rung.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { TransactionManager } from '../../src/transactions/transaction-manager.js';
import { RecoveryWorld } from './recovery-world.js';

const nothing = () => undefined;
const whole = {
  retry: nothing,
  resume: nothing,
  rollback: nothing,
  repair: nothing,
  backup: nothing,
  minimal: nothing,
};

/** Rungs that would be tried. */
async function triedFor(severity: Severity, transient: boolean) {
  const rules: FailureRule[] = [() => ({ kind: 'x', severity, transient })];
  const { recovery } = new RecoveryWorld().process({ ladder: defaultLadder(whole), rules });
  const { rungs } = await recovery.plan({ subject: 'a' });
  return rungs.filter(({ runs }) => runs).map(({ rung }) => rung);
}

describe('the default ladder', () => {
  test.each([
    ['none', true, []],
    ['minor', true, ['retry', 'resume', 'rollback', 'minimal']],
    ['minor', false, ['resume', 'rollback', 'minimal']],
    ['major', true, ['resume', 'rollback', 'repair', 'backup', 'minimal']],
    ['major', false, ['resume', 'rollback', 'repair', 'backup', 'minimal']],
    ['catastrophic', false, ['rollback', 'repair', 'backup', 'minimal']],
  ] as const)('for a failure that is %s (transient: %s) is %j', async (severity, transient, rungs) => {
    expect(await triedFor(severity, transient)).toEqual(rungs);
  });

  test('ends as degraded on `minimal`, and on no other', async () => {
    const degraded = defaultLadder(whole).filter((rung) => rung.degraded);
    expect(degraded.map(({ name }) => name)).toEqual(['minimal']);
  });

  test('has the rungs that it is told how to do, in its own order', () => {
    const ladder = defaultLadder({ minimal: nothing, backup: nothing, repair: undefined });
    expect(ladder.map(({ name }) => name)).toEqual(['backup', 'minimal']);
  });

  test('takes what is said of a rung before what it would say itself', () => {
    const check = () => 'still ill';
    const [rung] = defaultLadder({ resume: { run: nothing, to: 'catastrophic', check, retry: 2 } });
    expect(rung).toEqual({ name: 'resume', to: 'catastrophic', run: nothing, check, retry: 2 });
  });

  test('refuses a rung it does not have', () => {
    const sources = { reboot: nothing };
    expect(() => defaultLadder(sources as never)).toThrow('sources.reboot: the default ladder has no such rung');
  });

  test('lets only its own rungs be asked for by name', async () => {
    const { recovery } = new RecoveryWorld().process({ ladder: defaultLadder({ backup: nothing, minimal: nothing }) });
    await expect(recovery.plan({ subject: 'a' }, { strategy: 'backup' })).resolves.toBeDefined();
    // @ts-expect-error `repair` was left out
    await expect(recovery.plan({ subject: 'a' }, { strategy: 'repair' })).rejects.toThrow('no rung "repair"');
  });
});

test('a ladder that is written out lets only its rungs be asked for by name', () => {
  const storage = memoryStorage();
  const transactions = new TransactionManager({ storage });
  const recovery = new RecoveryManager({
    transactions,
    storage,
    ladder: [
      { name: 'restart', run: ({ subject }) => subject },
      { name: 'call-ann', run: async ({ signal }) => signal.aborted, degraded: true },
    ],
  });
  expectTypeOf(recovery).toEqualTypeOf<RecoveryManager<'restart' | 'call-ann'>>();
  type Strategy = NonNullable<NonNullable<Parameters<typeof recovery.recover>[1]>['strategy']>;
  expectTypeOf<Strategy>().toEqualTypeOf<'auto' | 'restart' | 'call-ann'>();
  const rungs: readonly Rung[] = [{ name: 'restart', run: nothing }];
  const loose = new RecoveryManager({ transactions, storage, ladder: rungs, name: 'loose' });
  expectTypeOf(loose).toEqualTypeOf<RecoveryManager<string>>();
});

describe('confidence', () => {
  test.each([
    [{ ageMs: 0, completeness: 1, tracking: 1 }, 0.95],
    [{ ageMs: 60_000, completeness: 1, tracking: 1 }, 0.95],
    [{ ageMs: 360_000, completeness: 1, tracking: 1 }, 0.85],
    [{ ageMs: 660_000, completeness: 1, tracking: 1 }, 0.8],
    [{ ageMs: 0, completeness: 0.5, tracking: 0 }, 0.775],
    [{ ageMs: 1e12, completeness: 0, tracking: 0 }, 0.5],
  ])('of %j is %d', (input, value) => {
    const { base, freshness, completeness, tracking, value: sum } = confidence(input);
    expect(sum).toBeCloseTo(value, 10);
    expect(base + freshness + completeness + tracking).toBeCloseTo(value, 10);
  });

  test('is made of terms that can be shown', () => {
    expect(confidence({ ageMs: 360_000, completeness: 1, tracking: 0.5 })).toEqual({
      value: 0.8,
      base: 0.5,
      freshness: 0.1,
      completeness: 0.15,
      tracking: 0.05,
    });
  });

  test.each([
    [{ ageMs: -1, completeness: 1, tracking: 1 }, 'input.ageMs'],
    [{ ageMs: 1, completeness: 1.1, tracking: 1 }, 'input.completeness'],
    [{ ageMs: 1, completeness: 1, tracking: Number.NaN }, 'input.tracking'],
    [{ ageMs: 1, completeness: 1 }, 'input.tracking'],
  ])('of %j is refused', (input, path) => {
    expect(() => confidence(input as never)).toThrow(path);
  });
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { RecoveryManager } from '../../src/recovery/recovery-manager.js';
import type { EndedRecovery } from '../../src/recovery/recovery-record.js';
import type { Rung } from '../../src/recovery/rung.js';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import type { CrashOptions, CrashProcess, CrashScenario } from '../../src/testing/crash/crash-scenario.js';
import type { CrashWorld } from '../../src/testing/crash/crash-world.js';
import { crashMatrix } from '../../src/testing/crash-matrix.js';
import type { StorageUnderTest } from '../../src/testing/storage-contract.js';
import { TransactionManager } from '../../src/transactions/transaction-manager.js';
import { plainStore } from '../testing/plain-store.js';
import { crashed, trailOf } from './recovery-world.js';

/** Hundreds of runs, on a machine that may be busy. */
const TIMEOUT_MS = 300_000;
const FIRST = 'recovery/p=job-7/1';

/** The matrix looks at one transaction; this one is named by the recovery. */
class RecoveryTransactions extends TransactionManager {
  override get(id: string) {
    return super.get(id === 'crash-matrix' ? FIRST : id);
  }
}

type LadderOf = (world: CrashWorld) => readonly Rung[];

const scenario =
  (ladderOf: LadderOf): CrashScenario<undefined> =>
  ({ transactions, storage, clock, world }: CrashProcess) => {
    const recovery = new RecoveryManager({ transactions, storage, clock, ladder: ladderOf(world) });
    return async (_id, _input, options) => {
      const known = await recovery.get(FIRST);
      const record = known?.outcome !== undefined ? known : await recovery.recover(crashed, options);
      return { outcome: record.outcome, trail: trailOf(record as EndedRecovery) };
    };
  };

const acting = (world: CrashWorld, name: string, parts: Partial<Rung> = {}): Rung => ({
  name,
  run: (context) => world.act(context),
  ...parts,
});
const refusing = (world: CrashWorld, name: string): Rung => ({ name, run: (context) => world.refuse(context) });

const thirdHelps: LadderOf = (world) => [
  refusing(world, 'resume'),
  acting(world, 'repair', { check: () => 'still ill' }),
  acting(world, 'backup'),
];
const noneHelps: LadderOf = (world) => [refusing(world, 'resume'), acting(world, 'backup', { check: () => false })];
const onlyOne: LadderOf = (world) => [
  acting(world, 'backup', { preflight: [() => 'there is none'] }),
  acting(world, 'minimal', { degraded: true }),
];

async function files(): Promise<StorageUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-recovery-'));
  return {
    open: () => fileStorage(folder, { durability: 'process' }),
    destroy: () => rm(folder, { recursive: true }),
  };
}

let runs = 0;
afterAll(() => console.log(`${runs} recoveries in which processes died`));

async function tryDeaths(ladder: LadderOf, options: CrashOptions<undefined>) {
  const manager = (given: ConstructorParameters<typeof TransactionManager>[0]) => new RecoveryTransactions(given);
  const report = await crashMatrix(scenario(ladder), { manager, allow: ['done'], ...options });
  runs += report.runs;
  return report;
}

describe('wherever processes die, a recovery ends as it would have, and does nothing twice:', {
  timeout: TIMEOUT_MS,
}, () => {
  test.each([
    ['the third rung helps', thirdHelps, {}],
    ['none helps', noneHelps, {}],
    ['one is skipped, one keeps it going', onlyOne, {}],
    ['in files', onlyOne, { storage: files }],
    ['on a store without batches', onlyOne, { storage: () => plainStore() }],
  ] as const)('%s', async (_, ladder, options) => {
    const { violations, outcomes } = await tryDeaths(ladder, { deaths: 1, ...options });
    expect(violations).toEqual([]);
    expect(Object.keys(outcomes)).toEqual(['done']);
  });

  test('and when the process that goes on with it dies, too', async () => {
    const { violations } = await tryDeaths((world) => [acting(world, 'minimal', { degraded: true })], { deaths: 2 });
    expect(violations).toEqual([]);
  });
});

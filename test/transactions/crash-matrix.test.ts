import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import type { CrashOptions, CrashReport } from '../../src/testing/crash/crash-scenario.js';
import { crashMatrix } from '../../src/testing/crash-matrix.js';
import type { StorageUnderTest } from '../../src/testing/storage-contract.js';
import { plainStore } from '../testing/plain-store.js';
import { type NamedScenario, scenarios } from './crash-scenarios.js';

/** Thousands of runs, on a machine that may be busy. */
const TIMEOUT_MS = 300_000;

let runs = 0;

async function tryDeaths({ scenario, ...row }: NamedScenario, options: CrashOptions<undefined>): Promise<CrashReport> {
  const { allow, deaths = 2 } = row;
  const report = await crashMatrix(scenario, { allow, deaths, ...options });
  runs += report.runs;
  return report;
}

/** A store in files of its own, opened anew by every process. */
async function files(): Promise<StorageUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-crash-'));
  return {
    open: () => fileStorage(folder, { durability: 'process' }),
    destroy: () => rm(folder, { recursive: true }),
  };
}

afterAll(() => console.log(`${runs} runs in which processes died`));

const rows = scenarios.map((row) => [row.name, row] as const);
const shortRows = rows.filter(([, { deaths }]) => deaths !== 1);

describe('wherever processes die, nothing is forgotten and nothing done twice:', { timeout: TIMEOUT_MS }, () => {
  test.each(rows)('%s', async (_, row) => {
    const { violations, outcomes } = await tryDeaths(row, {});
    expect(violations).toEqual([]);
    expect(Object.keys(outcomes).sort()).toEqual([...row.allow].sort());
  });
});

describe('the same on a store that has no batch:', { timeout: TIMEOUT_MS }, () => {
  test.each(rows)('%s', async (_, row) => {
    const { violations } = await tryDeaths(row, { storage: () => plainStore(), deaths: 1 });
    expect(violations).toEqual([]);
  });

  test('and when the process that recovers dies, too', async () => {
    const [, row] = rows.find(([name]) => name === 'a crash means back') ?? [];
    const { violations } = await tryDeaths(row as NamedScenario, { storage: () => plainStore() });
    expect(violations).toEqual([]);
  });
});

describe('the same in files that every process opens anew:', { timeout: TIMEOUT_MS }, () => {
  test.each(shortRows)('%s', async (_, row) => {
    const { violations } = await tryDeaths(row, { storage: files, deaths: 1 });
    expect(violations).toEqual([]);
  });
});

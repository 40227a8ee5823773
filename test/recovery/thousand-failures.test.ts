import { expect, test } from 'vitest';
import { failOften } from './thousand-failures.js';

const SEED = 20_261;

test('of 1,000 failures with rungs that fail and processes that die, more than nine in ten need no person', {
  timeout: 120_000,
}, async () => {
  const { ranAgain, deaths, recoveredShare, meanTimeToRecoveryMs, outcomes, failures } = await failOften(1_000, SEED);
  const share = `${(100 * recoveredShare).toFixed(1)} %`;
  console.log(`${share} of ${failures} failures recovered without a person, in ${Math.round(meanTimeToRecoveryMs)} ms`);
  console.log(`${deaths} processes died; ${JSON.stringify(outcomes)}; seed ${SEED}`);
  expect(recoveredShare).toBeGreaterThan(0.9);
  expect(deaths).toBeGreaterThan(10);
  expect(ranAgain).toEqual([]);
});

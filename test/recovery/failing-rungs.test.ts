import { expect, test } from 'vitest';
import { failOften } from './failing-rungs.js';

const SEED = 20_261;

/** Of 100 failures four are hopeless by the rules of the game; the others need a person only if six rungs in a row fail. */
test('a ladder whose rungs fail and whose processes die runs no rung twice, and leaves little but the hopeless to people', {
  timeout: 120_000,
}, async () => {
  const { ranAgain, deaths, recoveredShare, outcomes } = await failOften(1_000, SEED);
  console.log(`${deaths} processes died in a rung; ${JSON.stringify(outcomes)}; seed ${SEED}`);
  expect(recoveredShare).toBeGreaterThan(0.9);
  expect(deaths).toBeGreaterThan(10);
  expect(ranAgain).toEqual([]);
});

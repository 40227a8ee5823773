import { expect, test, vi } from 'vitest';
import { failingFleetApart } from './failing-fleet-apart.js';

// Each simulated host is one of its own, where no other can look for its processes.
vi.mock('../../src/storage/host-process.js', () => ({ ownProcess: () => undefined, isProcessGone: () => false }));

test('of 1,000 failures on hosts apart, 999 are recovered without a person, from all that was acknowledged', {
  timeout: 120_000,
}, async () => {
  const { tried, bad, note } = await failingFleetApart.run('quick');
  console.log(`${tried} failures: ${note}`);
  expect(bad).toEqual([]);
  expect(tried).toBeGreaterThanOrEqual(1_000);
});

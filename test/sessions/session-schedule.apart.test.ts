import { expect, test, vi } from 'vitest';
import { statesApart } from '../faults/session-schedules.js';

// Each simulated process is on a host of its own, where no other can look for it.
vi.mock('../../src/storage/host-process.js', () => ({ ownProcess: () => undefined, isProcessGone: () => false }));

test(`nothing bad comes of: ${statesApart.fault}`, { timeout: 200_000 }, async () => {
  const { bad } = await statesApart.run('quick');
  expect(bad).toEqual([]);
});

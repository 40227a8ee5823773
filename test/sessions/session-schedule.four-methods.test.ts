import { expect, test, vi } from 'vitest';
import { playSchedules, SCHEDULES } from './session-schedule.js';

// Each simulated process is on a host of its own, where no other can look for it.
vi.mock('../../src/storage/host-process.js', () => ({ ownProcess: () => undefined, isProcessGone: () => false }));

test(
  'one holder at a time, nothing acknowledged is lost, nothing stays behind: states kept four methods',
  async () => {
    const { saves, takeovers, violations } = await playSchedules('four methods');
    expect(violations).toEqual([]);
    expect(saves).toBeGreaterThan(SCHEDULES * 5); // Or the schedules prove nothing.
    expect(takeovers).toBeGreaterThan(SCHEDULES);
  },
  SCHEDULES * 2_000,
);

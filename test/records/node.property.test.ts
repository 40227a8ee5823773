import { expect, test } from 'vitest';
import { runSchedule } from './node-schedule.js';

test('no tenure is valid after anybody took it for gone, whatever happens to clocks, processes and calls', async () => {
  let [tenures, gone] = [0, 0];
  for (let seed = 1; seed <= 300; seed++) {
    const report = await runSchedule(seed);
    expect(report.violations).toEqual([]);
    tenures += report.tenures;
    gone += report.gone;
  }
  expect(tenures).toBeGreaterThan(1_500); // Or the schedules prove nothing.
  expect(gone).toBeGreaterThan(1_000);
}, 240_000);

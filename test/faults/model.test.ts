import { expect, test } from 'vitest';
import { modelRows } from './model-rows.js';

for (const row of modelRows) {
  test(`nothing bad comes of: ${row.fault}`, { timeout: 60_000 }, async () => {
    const { tried, bad } = await row.run('quick');
    expect(bad).toEqual([]);
    expect(tried).toBeGreaterThan(20);
  });
}

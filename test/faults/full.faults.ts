import { afterAll, expect, test } from 'vitest';
import { modelRows } from './model-rows.js';
import { processRows } from './process-rows.js';

const table: Record<string, { tried: number; bad: number; note: string; seconds: string }> = {};

for (const row of [...modelRows, ...processRows]) {
  test(row.fault, async () => {
    const start = performance.now();
    const { tried, bad, note = '' } = await row.run('full');
    const seconds = ((performance.now() - start) / 1_000).toFixed(1);
    table[row.fault] = { tried, bad: bad.length, note, seconds };
    expect(bad).toEqual([]);
  });
}

afterAll(() => console.table(table));

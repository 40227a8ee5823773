import { expect, test } from 'vitest';
import { processRows } from './process-rows.js';

const rows = processRows.map(({ fault, run }) => [fault, run] as const);

test.each(rows)('%s: nothing bad comes of it', { timeout: 120_000 }, async (_, run) => {
  const { bad } = await run('quick');
  expect(bad).toEqual([]);
});

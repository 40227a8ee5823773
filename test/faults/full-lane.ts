import { afterAll, expect, test } from 'vitest';
import type { FaultRow } from './row.js';

/** Plays the full lane of each row as a test of its own, and prints what came of them as a table. */
export function playInFull(rows: readonly FaultRow[]): void {
  const table: Record<string, { tried: number; bad: number; note: string; seconds: string }> = {};
  for (const row of rows) {
    test(row.fault, async () => {
      const start = performance.now();
      const { tried, bad, note = '' } = await row.run('full');
      const seconds = ((performance.now() - start) / 1_000).toFixed(1);
      table[row.fault] = { tried, bad: bad.length, note, seconds };
      expect(bad).toEqual([]);
    });
  }
  afterAll(() => console.table(table));
}

import { expect, test, vi } from 'vitest';
import { uniqueId } from '../../src/base/unique-id.js';

test('an id is never given twice', () => {
  const ids = Array.from({ length: 1_000 }, uniqueId);
  expect(new Set(ids).size).toBe(1_000);
});

test('two copies of the module, as in two processes, share no id', async () => {
  vi.resetModules();
  const other = await import('../../src/base/unique-id.js');
  const own = Array.from({ length: 100 }, uniqueId);
  const ids = Array.from({ length: 100 }, other.uniqueId);
  expect(other.uniqueId).not.toBe(uniqueId);
  expect(ids.filter((id) => own.includes(id))).toEqual([]);
});

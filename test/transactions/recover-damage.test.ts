import { describe, expect, test } from 'vitest';
import { StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { decodeEntry, encodeEntry, type JournalEntry } from '../../src/transactions/journal-entry.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

describe('a line of a journal', () => {
  test.each<JournalEntry>([
    { type: 'begun', atMs: 1, value: Buffer.from('{"a":"tab \\t"}') },
    { type: 'done', step: 'tab\tand\nline', atMs: 2, value: Buffer.from('7') },
    { type: 'rolled-back', compensated: ['a'], leftBehind: [], atMs: 3 },
  ])('is read as it was written: %o', (entry) => {
    expect(decodeEntry(encodeEntry(entry), 'order-42')).toEqual(entry);
  });

  test.each([
    ['is no JSON', 'nonsense'],
    ['is nothing', 'null'],
    ['has no type', '{"atMs":1}'],
    ['has a type of a newer version', '{"type":"paused","atMs":1}'],
    ['has no time', '{"type":"begun"}'],
    ['has a step without a name', '{"type":"done","atMs":1,"step":7}'],
  ])('that %s is damage', (_, text) => {
    expect(() => decodeEntry(Buffer.from(text), 'order-42')).toThrow(
      expect.objectContaining({ code: 'HOLDFAST_CORRUPTION', message: expect.stringContaining('order-42') }),
    );
  });
});

test('nodes that cannot be swept are no failure of the transactions', async () => {
  const inner = memoryStorage();
  const list: typeof inner.list = async (prefix, options) => {
    if (prefix.startsWith('nodes')) throw new StorageError('no connection');
    return inner.list(prefix, options);
  };
  const world = new TransactionWorld({ ...inner, list });
  await world.firstLife((tx) => tx.step('book', never));
  const { report } = await world.nextLife((tx) => tx.step('book', () => 1));
  expect(report).toMatchObject({ resumed: ['1'], failed: [], sweepError: { message: 'no connection' } });
});

import { expect, test } from 'vitest';
import { InvalidInputError } from '../../src/base/errors.js';
import { memoryStorage } from '../../src/storage/memory.js';

const value = Buffer.from('1');
const put = { type: 'put', key: 'key', value };

test.each([
  ['no list', undefined],
  ['an empty list', []],
  ['a hole', [null]],
  ['text', ['put']],
  ['no type', [{ key: 'key', value }]],
  ['an unknown type', [{ ...put, type: 'move' }]],
  ['no key', [{ type: 'put', value }]],
  ['a key that is none', [{ ...put, key: 'white space' }]],
  ['no value', [{ type: 'put', key: 'key' }]],
  ['a value that is no bytes', [{ ...put, value: 'text' }]],
  ['a condition that is no version', [{ ...put, ifVersion: 1 }]],
  ['an empty version', [{ ...put, ifVersion: '' }]],
  ['a misspelled condition', [{ ...put, ifversion: 'v' }]],
  ['a misspelled condition beside a right one', [{ ...put, ifVersion: null, ifversion: 'v' }]],
  ['a delete with a value', [{ type: 'delete', key: 'key', value }]],
  ['a delete on condition that the key is absent', [{ type: 'delete', key: 'key', ifVersion: null }]],
  ['a check without a condition', [{ type: 'check', key: 'key' }]],
  ['a check with a value', [{ type: 'check', key: 'key', ifVersion: null, value }]],
  ['a sound operation before one that is not', [put, { type: 'check', key: 'other' }]],
  ['one key twice', [put, { type: 'check', key: 'key', ifVersion: null }]],
])('a batch with %s is refused, and nothing of it is written', async (_, operations) => {
  const storage = memoryStorage();
  await expect(storage.batch?.(operations as never)).rejects.toThrow(InvalidInputError);
  expect((await storage.list('')).entries).toEqual([]);
});

test('a batch of every sound shape is written', async () => {
  const storage = memoryStorage();
  const version = await storage.put('old', value);
  await storage.batch?.([
    { type: 'put', key: 'a', value },
    { type: 'put', key: 'b', value, ifVersion: null },
    { type: 'put', key: 'c', value, ifVersion: undefined } as never,
    { type: 'delete', key: 'd' },
    { type: 'delete', key: 'old', ifVersion: version },
    { type: 'check', key: 'e', ifVersion: null },
  ]);
  expect((await storage.list('')).entries.map(({ key }) => key)).toEqual(['a', 'b', 'c']);
});

import { expect, test } from 'vitest';
import { type Told, wrongWrites } from '../../src/testing/contract/told-writes.js';

const told = new Map<string, Told>([
  ['acknowledged', 'done'],
  ['refused', 'not done'],
  ['in doubt', 'unknown'],
]);

test.each([[['acknowledged']], [['in doubt', 'acknowledged']]])('nothing is wrong with %j', (happened) => {
  expect(wrongWrites(happened, told)).toEqual([]);
});

test.each([
  ['an acknowledged write that is lost', [], 'acknowledged is there 0 times; its writer was told: done'],
  ['one that is there twice', ['acknowledged', 'acknowledged'], 'acknowledged is there 2 times'],
  [
    'a refused one that happened',
    ['acknowledged', 'refused'],
    'refused is there 1 times; its writer was told: not done',
  ],
  ['one in doubt that happened twice', ['acknowledged', 'in doubt', 'in doubt'], 'in doubt is there 2 times'],
  ['one that nobody wrote', ['acknowledged', 'strange'], 'strange is there and was never written'],
])('%s is named', (_, happened, finding) => {
  expect(wrongWrites(happened, told)).toEqual([expect.stringContaining(finding)]);
});

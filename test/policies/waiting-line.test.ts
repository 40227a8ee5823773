import { expect, test } from 'vitest';
import { WaitingLine } from '../../src/policies/waiting-line.js';

test('the first is whoever has waited longest', () => {
  const line = new WaitingLine<string>();
  line.join('a');
  line.join('b');
  expect(line.first).toBe('a');
  expect([...line]).toEqual(['a', 'b']);
});

test('nobody is first in an empty line', () => {
  const line = new WaitingLine<string>();
  line.join('a')();
  expect(line.first).toBeUndefined();
});

test('whoever leaves from the middle is passed over', () => {
  const line = new WaitingLine<string>();
  const leaveA = line.join('a');
  const leaveB = line.join('b');
  line.join('c');
  leaveB();
  leaveA();
  expect([line.first, line.length]).toEqual(['c', 1]);
});

test('leaving twice takes nobody else out', () => {
  const line = new WaitingLine<string>();
  const leave = line.join('a');
  expect(leave()).toBe(true);
  line.join('b');
  expect(leave()).toBe(false);
  expect([line.first, line.length]).toEqual(['b', 1]);
});

import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../src/testing/seeded-random.js';

const take = (count: number, draw: () => unknown) => Array.from({ length: count }, draw);

/** From an independent implementation in 64-bit arithmetic. Never change it: seeds in bug reports must stay good. */
const GOLDEN = [0.476172428810969, 0.7992493775673211, 0.7880108091048896, 0.9924122216179967, 0.4529751045629382];

describe('the sequence', () => {
  test('is the same for ever', () => {
    expect(take(5, seededRandom('holdfast'))).toEqual(GOLDEN);
  });

  test('is the same for the same seed', () => {
    expect(take(100, seededRandom(7))).toEqual(take(100, seededRandom(7)));
  });

  test('is the same for a number and its text', () => {
    expect(take(100, seededRandom(7))).toEqual(take(100, seededRandom('7')));
  });

  test('is another for another seed', () => {
    expect(take(3, seededRandom(7))).not.toEqual(take(3, seededRandom(8)));
  });

  test('stays within [0, 1) and fills it evenly', () => {
    const random = seededRandom('even');
    const tenths = Array.from({ length: 10 }, () => 0);
    for (let draw = 0; draw < 100_000; draw++) {
      const tenth = Math.floor(random() * 10);
      tenths[tenth] = (tenths[tenth] ?? 0) + 1;
    }
    expect(tenths).toHaveLength(10);
    expect(Math.min(...tenths)).toBeGreaterThan(9_600);
    expect(Math.max(...tenths)).toBeLessThan(10_400);
  });
});

describe('integer', () => {
  test('gives every whole number below, and no other', () => {
    const random = seededRandom(1);
    expect(new Set(take(200, () => random.integer(6)))).toEqual(new Set([0, 1, 2, 3, 4, 5]));
  });

  test.each([0, -1, 1.5, Number.NaN, 2 ** 32 + 1])('below %s is refused', (below) => {
    expect(() => seededRandom(1).integer(below)).toThrow(expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT' }));
  });
});

describe('pick', () => {
  test('gives every item in time', () => {
    const random = seededRandom(1);
    expect(new Set(take(50, () => random.pick(['a', 'b', 'c'])))).toEqual(new Set(['a', 'b', 'c']));
  });

  test('refuses an empty list', () => {
    expect(() => seededRandom(1).pick([])).toThrow(expect.objectContaining({ path: 'list' }));
  });
});

describe('chance', () => {
  test('is never at 0 and always at 1', () => {
    const random = seededRandom(1);
    expect(new Set(take(1_000, () => random.chance(0)))).toEqual(new Set([false]));
    expect(new Set(take(1_000, () => random.chance(1)))).toEqual(new Set([true]));
  });

  test('is about as often as it says', () => {
    const random = seededRandom(1);
    const hits = take(10_000, () => random.chance(0.2)).filter(Boolean).length;
    expect(Math.abs(hits - 2_000)).toBeLessThan(150);
  });

  test('draws one number whatever the probability, so that changing one does not shift the rest', () => {
    const [one, other] = [seededRandom(1), seededRandom(1)];
    one.chance(0);
    other.chance(0.7);
    expect(one()).toBe(other());
  });
});

import { expect, test } from 'vitest';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { SimulatedClock } from './simulated-clock.js';

test('sleepers wake in order of time, then in the order they came, at whole milliseconds', async () => {
  const clock = new SimulatedClock();
  const random = seededRandom('heap');
  const woken: [dueMs: number, order: number, atMs: number][] = [];
  for (let order = 0; order < 1_000; order++) {
    const ms = random.integer(500) / 2;
    void clock.sleep(ms).then(() => woken.push([Math.ceil(ms), order, clock.monotonicMs()]));
  }
  await clock.runUntil(1_000);
  expect(woken).toHaveLength(1_000);
  expect(woken).toEqual(woken.toSorted(([a, first], [b, second]) => a - b || first - second));
  expect(woken.every(([dueMs, , atMs]) => dueMs === atMs)).toBe(true);
});

test('what a sleeper sets off has run before time goes on, and may sleep within the same moment', async () => {
  const clock = new SimulatedClock();
  const seen: string[] = [];
  void clock.sleep(10).then(async () => {
    for (let hop = 0; hop < 100; hop++) await undefined;
    await clock.sleep(0);
    seen.push(`first at ${clock.monotonicMs()}`);
  });
  void clock.sleep(11).then(() => seen.push(`second at ${clock.monotonicMs()}`));
  await clock.runUntil(20);
  expect(seen).toEqual(['first at 10', 'second at 11']);
});

test('who sleeps longer than the run is not woken by it', async () => {
  const clock = new SimulatedClock();
  let isAwake = false;
  void clock.sleep(21).then(() => {
    isAwake = true;
  });
  await clock.runUntil(20);
  expect([isAwake, clock.now()]).toEqual([false, 20]);
  await clock.runUntil(21);
  expect(isAwake).toBe(true);
});

test('a sleeper that is called off is told why, and is not woken', async () => {
  const clock = new SimulatedClock();
  const caller = new AbortController();
  const toldWhy = expect(clock.sleep(10, { signal: caller.signal })).rejects.toBe('enough');
  caller.abort('enough');
  await clock.runUntil(20);
  await toldWhy;
  await expect(clock.sleep(10, { signal: caller.signal })).rejects.toBe('enough');
});

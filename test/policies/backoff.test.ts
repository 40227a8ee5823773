import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import pRetry from 'p-retry';
import { describe, expect, test, vi } from 'vitest';
import * as z from 'zod';
import { parseOptions } from '../../src/base/options.js';
import type { AttemptFailure } from '../../src/policies/attempt.js';
import { type Backoff, backoffSchema, compileBackoff, isJittered, type Jitter } from '../../src/policies/backoff.js';
import { seededRandom } from '../../src/testing/seeded-random.js';

const failure: AttemptFailure = { attempt: 1, error: new Error('busy'), startedAtMs: 0, durationMs: 5, delayMs: 0 };

/** The waits before the first `count` retries, each knowing the one before. */
function waits(backoff: Backoff, count: number, random: () => number = () => 0.5): number[] {
  const waitMs = compileBackoff(backoff, random);
  const result: number[] = [];
  for (let retry = 1; retry <= count; retry++) result.push(waitMs(retry, result.at(-1) ?? 0, failure));
  return result;
}

/** How many different waits a thousand clients have before their 20th retry, which is at the cap. */
function differentWaitsAtTheCap(backoff: Backoff): number {
  const random = seededRandom('cap');
  return new Set(Array.from({ length: 1_000 }, () => waits(backoff, 20, random).at(-1))).size;
}

const parsed = (backoff: unknown) => parseOptions(z.strictObject({ backoff: backoffSchema }), { backoff }).backoff;

describe('curves', () => {
  test('exponential doubles from 100 ms up to 30 s', () => {
    const curve = waits({ kind: 'exponential', jitter: 'none' }, 11);
    expect(curve).toEqual([100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
  });

  test('exponential takes its base, its factor and its cap from the options', () => {
    const backoff: Backoff = { kind: 'exponential', baseMs: 10, factor: 3, maxMs: 100, jitter: 'none' };
    expect(waits(backoff, 4)).toEqual([10, 30, 90, 100]);
  });

  test.each([
    ['constant', [10, 10, 10, 10, 10, 10, 10]],
    ['linear', [10, 20, 30, 40, 50, 60, 65]],
    ['fibonacci', [10, 10, 20, 30, 50, 65, 65]],
  ] as const)('%s keeps to its curve and its cap', (kind, expected) => {
    expect(waits({ kind, baseMs: 10, maxMs: 65, jitter: 'none' }, 7)).toEqual(expected);
  });

  test('a list is waited as it is written, then its last wait again', () => {
    expect(waits({ kind: 'list', delaysMs: [5, 1_000, 20] }, 5)).toEqual([5, 1_000, 20, 20, 20]);
  });

  test('a list may be longer than a call may have arguments', () => {
    expect(waits({ kind: 'list', delaysMs: Array.from({ length: 200_000 }, () => 7) }, 1)).toEqual([7]);
  });

  test.each(['exponential', 'linear', 'fibonacci'] as const)('%s ends at the cap where numbers end', (kind) => {
    const waitMs = compileBackoff({ kind, baseMs: 1e300, maxMs: 5_000, jitter: 'none' }, () => 0.5);
    expect([waitMs(2_000, 0, failure), waitMs(1e9, 0, failure)]).toEqual([5_000, 5_000]);
  });

  test.each(['exponential', 'linear', 'fibonacci'] as const)('%s from nothing stays nothing', (kind) => {
    expect(compileBackoff({ kind, baseMs: 0, jitter: 'none' }, () => 0.5)(5_000, 0, failure)).toBe(0);
  });

  test('a base above the cap is cut to it', () => {
    expect(waits({ kind: 'constant', baseMs: 60_000, jitter: 'none' }, 1)).toEqual([30_000]);
    expect(waits({ kind: 'exponential', baseMs: 60_000, maxMs: 1_000 }, 2)).toEqual([1_000, 1_000]);
  });

  test('a wait may be longer than a timer holds', () => {
    expect(waits({ kind: 'list', delaysMs: [2 ** 32] }, 1)).toEqual([2 ** 32]);
  });
});

describe('jitter', () => {
  const drawn = (jitter: Jitter, random: number) =>
    compileBackoff({ kind: 'exponential', maxMs: 1_000, jitter }, () => random)(3, 200, failure);

  test.each([
    ['decorrelated', 100, 600],
    ['full', 0, 400],
    ['equal', 200, 400],
    ['proportional', 200, 600],
    ['none', 400, 400],
  ] as const)('%s draws evenly from %d to %d', (jitter, fromMs, toMs) => {
    expect(drawn(jitter, 0)).toBe(fromMs);
    expect(drawn(jitter, 0.5)).toBe((fromMs + toMs) / 2);
    expect(drawn(jitter, 1 - 2 ** -53)).toBeCloseTo(toMs, 6);
  });

  test('decorrelated goes from the base to three times the base at first', () => {
    expect(waits({ kind: 'exponential', baseMs: 100 }, 1, () => 0)).toEqual([100]);
    expect(waits({ kind: 'exponential', baseMs: 100 }, 1, () => 0.5)).toEqual([200]);
  });

  test('decorrelated grows from the wait before, whatever the kind', () => {
    const almost = () => 1 - 2 ** -53;
    const backoff: Backoff = { kind: 'constant', baseMs: 100, maxMs: 2_000, jitter: 'decorrelated' };
    expect(waits(backoff, 4, almost).map(Math.round)).toEqual([300, 900, 2_000, 2_000]);
  });

  test('decorrelated is not kept small by a wait that the other side named', () => {
    const waitMs = compileBackoff({ kind: 'exponential', baseMs: 100 }, () => 0.5);
    expect(waitMs(2, 1, failure)).toBe(200);
  });

  test('exponential is decorrelated by default, the other curves proportional, a list not at all', () => {
    const [one, other] = [seededRandom(1), seededRandom(1)];
    const named = waits({ kind: 'exponential', jitter: 'decorrelated' }, 5, one);
    expect(waits({ kind: 'exponential' }, 5, other)).toEqual(named);
    expect(waits({ kind: 'linear', baseMs: 100 }, 2, () => 0)).toEqual([50, 100]);
    expect(waits({ kind: 'list', delaysMs: [100] }, 1, () => 0)).toEqual([100]);
  });

  test('a list can be jittered, but not above its longest wait', () => {
    expect(waits({ kind: 'list', delaysMs: [100, 120], jitter: 'proportional' }, 2, () => 0)).toEqual([50, 60]);
    expect(waits({ kind: 'list', delaysMs: [100, 120], jitter: 'proportional' }, 1, () => 1)).toEqual([120]);
  });

  test('a function of the host decides within 0 and the cap', () => {
    const given: number[][] = [];
    const jitter = (cappedMs: number, previousMs: number, random: () => number) => {
      given.push([cappedMs, previousMs, random()]);
      return [-5, 70, Number.POSITIVE_INFINITY][given.length - 1] as number;
    };
    expect(waits({ kind: 'linear', baseMs: 40, maxMs: 100, jitter }, 3)).toEqual([0, 70, 100]);
    expect(given).toEqual([
      [40, 0, 0.5],
      [80, 0, 0.5],
      [100, 70, 0.5],
    ]);
  });

  test.each([Number.NaN, '10', undefined, { ms: 3 }])('a function that returns %o is refused by name', (returned) => {
    const backoff: Backoff = { kind: 'exponential', jitter: () => returned as number };
    expect(() => waits(backoff, 1)).toThrow(
      expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT', path: 'backoff.jitter' }),
    );
  });

  test('is told from its absence', () => {
    expect(isJittered({ kind: 'exponential' })).toBe(true);
    expect(isJittered({ kind: 'constant', baseMs: 1 })).toBe(true);
    expect(isJittered({ kind: 'list', delaysMs: [1], jitter: 'full' })).toBe(true);
    expect(isJittered({ kind: 'exponential', jitter: () => 1 })).toBe(true);
    expect(isJittered({ kind: 'exponential', jitter: 'none' })).toBe(false);
    expect(isJittered({ kind: 'list', delaysMs: [1] })).toBe(false);
    expect(isJittered(() => 1)).toBe(false);
  });
});

describe('a backoff of the host', () => {
  test('is given the failure and taken exactly, above any cap', () => {
    const random = vi.fn(() => 0.5);
    const waitMs = compileBackoff(({ attempt }) => attempt * 100_000.5, random);
    expect(waitMs(1, 0, failure)).toBe(100_000.5);
    expect(random).not.toHaveBeenCalled();
  });

  test.each([Number.NaN, -1, Number.POSITIVE_INFINITY, '5', 5n, undefined, null])(
    'that returns %o is refused',
    (wait) => {
      const waitMs = compileBackoff(() => wait as number, Math.random);
      const refusal = expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT', path: 'backoff' });
      expect(() => waitMs(1, 0, failure)).toThrow(refusal);
    },
  );
});

describe('properties', () => {
  const jitter = fc.constantFrom('decorrelated', 'full', 'equal', 'proportional', 'none');
  const ms = fc.oneof(fc.nat(100_000), fc.double({ min: 0, max: 1e12, noNaN: true }));
  const exponential = fc.record({
    kind: fc.constant('exponential'),
    factor: fc.double({ min: 1, max: 1e6, noNaN: true }),
  });
  const curve = fc.oneof(exponential, fc.record({ kind: fc.constantFrom('constant', 'linear', 'fibonacci') }));
  const capped = fc
    .record({ curve, baseMs: ms, maxMs: ms, jitter })
    .map(({ curve: kind, ...rest }) => ({ ...kind, ...rest }) as Backoff & { readonly maxMs: number });
  const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  const retry = fc.integer({ min: 1, max: 2_000 });

  test('a wait is never above the cap, never negative and never NaN', () => {
    const isWithin = (
      backoff: Backoff & { readonly maxMs: number },
      at: number,
      previousMs: number,
      chance: number,
    ) => {
      const waitMs = compileBackoff(backoff, () => chance)(at, previousMs, failure);
      return waitMs >= 0 && waitMs <= backoff.maxMs;
    };
    fc.assert(fc.property(capped, retry, ms, random, isWithin), { numRuns: 2_000 });
  });

  test('a wait of a list is never above its longest', () => {
    const isWithin = (delaysMs: number[], named: string, at: number, chance: number) => {
      const backoff = { kind: 'list', delaysMs, jitter: named } as Backoff;
      const waitMs = compileBackoff(backoff, () => chance)(at, 0, failure);
      return waitMs >= 0 && waitMs <= Math.max(...delaysMs);
    };
    const listJitter = jitter.filter((name) => name !== 'decorrelated');
    fc.assert(fc.property(fc.array(ms, { minLength: 1 }), listJitter, retry, random, isWithin), { numRuns: 1_000 });
  });

  test('what the schema lets through is the backoff that was given', () => {
    const isKept = (backoff: Backoff) => isDeepStrictEqual(parsed(backoff), backoff);
    fc.assert(fc.property(capped, isKept));
  });
});

describe('at the cap', () => {
  test.each(['decorrelated', 'full', 'equal', 'proportional'] as const)('a thousand clients with %s part', (jitter) => {
    expect(differentWaitsAtTheCap({ kind: 'exponential', jitter })).toBeGreaterThan(990);
  });

  test('a thousand clients without jitter wait the same', () => {
    expect(differentWaitsAtTheCap({ kind: 'exponential', jitter: 'none' })).toBe(1);
  });

  test('clients of p-retry wait the same although it randomizes, which is why its waits are not used', async () => {
    const delays: unknown[] = [];
    const timer = vi.spyOn(globalThis, 'setTimeout').mockImplementation(((wake: () => void, ms: number) => {
      delays.push(ms);
      queueMicrotask(wake);
    }) as unknown as typeof setTimeout);
    const client = () =>
      pRetry(() => Promise.reject(new Error('busy')), { retries: 1, randomize: true, minTimeout: 50, maxTimeout: 40 });
    await Promise.allSettled(Array.from({ length: 100 }, client));
    timer.mockRestore();
    expect(delays).toHaveLength(100);
    expect(new Set(delays)).toEqual(new Set([40]));
  });

  test('the same seed gives the same waits, another seed others', () => {
    const twenty = (seed: number) => waits({ kind: 'exponential' }, 20, seededRandom(seed));
    expect(twenty(1)).toEqual(twenty(1));
    expect(twenty(1)).not.toEqual(twenty(2));
  });
});

describe('options', () => {
  const kinds = 'exponential, constant, linear, fibonacci, list';
  const jitters = 'full, equal, proportional, none';

  test.each([
    [null, '', `must be a function or an object of kind ${kinds}, not null`],
    ['fast', '', `must be a function or an object of kind ${kinds}, not "fast"`],
    [{ kind: 'cubic' }, '.kind', `must be one of ${kinds}, not "cubic"`],
    [{}, '.kind', `must be one of ${kinds}, not undefined`],
    [{ kind: 'exponential', baseMs: -5 }, '.baseMs', 'must be a finite number >= 0, not -5'],
    [{ kind: 'exponential', baseMs: '5' }, '.baseMs', 'must be a finite number >= 0, not "5"'],
    [{ kind: 'exponential', factor: 0.5 }, '.factor', 'must be a finite number >= 1, not 0.5'],
    [{ kind: 'exponential', factor: null }, '.factor', 'must be a finite number >= 1, not null'],
    [{ kind: 'linear' }, '.baseMs', 'must be a finite number >= 0, not undefined'],
    [{ kind: 'linear', baseMs: 1, maxMs: Infinity }, '.maxMs', 'must be a finite number >= 0, not Infinity'],
    [
      { kind: 'linear', baseMs: 1, jitter: true },
      '.jitter',
      `must be a function or one of decorrelated, ${jitters}, not a value of type boolean`,
    ],
    [{ kind: 'list', delaysMs: 5 }, '.delaysMs', 'must be an array of waits, not 5'],
    [{ kind: 'list', delaysMs: [] }, '.delaysMs', 'must have at least one wait'],
    [{ kind: 'list', delaysMs: [1, Number.NaN] }, '.delaysMs.1', 'must be a finite number >= 0, not NaN'],
    [
      { kind: 'list', delaysMs: [1], jitter: 'decorrelated' },
      '.jitter',
      `must be a function or one of ${jitters}, not "decorrelated"`,
    ],
    [{ kind: 'list', delaysMs: [1], maxMs: 5 }, '', 'Unrecognized key: "maxMs"'],
  ])('%j is refused with its place, its value and its bound', (backoff, place, message) => {
    const path = `options.backoff${place}`;
    expect(() => parsed(backoff)).toThrow(expect.objectContaining({ path, message: `${path}: ${message}.` }));
  });

  test('functions pass untouched, undefined properties count as absent', () => {
    const backoff = () => 5;
    expect(parsed(backoff)).toBe(backoff);
    expect(waits(parsed({ kind: 'exponential', baseMs: undefined, jitter: 'none' }), 1)).toEqual([100]);
  });

  test('what the host does to its object later changes nothing', () => {
    const delaysMs = [5];
    const backoff = parsed({ kind: 'list', delaysMs });
    delaysMs[0] = 9;
    expect(waits(backoff, 1)).toEqual([5]);
  });
});

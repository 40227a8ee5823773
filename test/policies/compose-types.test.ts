import { describe, expect, expectTypeOf, test } from 'vitest';
import type { Attempt, Call } from '../../src/policies/attempt.js';
import { bulkhead } from '../../src/policies/bulkhead.js';
import { fallback, fallbackWith } from '../../src/policies/fallback.js';
import { compose, type Policy } from '../../src/policies/policy.js';
import { rateLimit } from '../../src/policies/rate-limit.js';
import { staleIfError } from '../../src/policies/stale-if-error.js';
import { timeout } from '../../src/policies/timeout.js';

// Checked by the compiler. They are written on results, because comparing generic methods lets everything pass.
const count = async () => 1;
const plain: Policy = timeout(50);

/** A policy as a host writes it, which says nothing of what it adds. */
class OfTheHost implements Policy {
  async run<T>(call: Call<T>, context?: Attempt): Promise<T> {
    return call(context as Attempt);
  }
}

describe('policies that add nothing', () => {
  test('leave the type of a result as it is', async () => {
    const results = {
      timeout: await timeout(50).run(count),
      bulkhead: await bulkhead().run(count),
      rateLimit: await rateLimit({ calls: 1, perMs: 1 }).run(count),
      ofTheHost: await new OfTheHost().run(count),
      synchronous: await timeout(50).run(() => 1),
      nothing: await compose().run(count),
      stack: await compose(plain, timeout(50), bulkhead(), new OfTheHost()).run(count),
    };
    expectTypeOf(results).toEqualTypeOf<Record<keyof typeof results, number>>();
    expect(new Set(Object.values(results))).toEqual(new Set([1]));
  });
});

describe('a fallback', () => {
  const failing = (): Promise<number> => Promise.reject(new Error('broken'));

  test('adds the type of its value, exactly', async () => {
    const result = await fallback('n/a').run(failing);
    expectTypeOf(result).toEqualTypeOf<number | 'n/a'>();
    expectTypeOf(await fallback(null).run(failing)).toEqualTypeOf<number | null>();
    expectTypeOf(await fallback({ items: ['a'] }).run(failing)).toEqualTypeOf<number | { items: string[] }>();
    expect(result).toBe('n/a');
  });

  test('adds what its functions return, awaited, of all alternatives', async () => {
    const result = await fallback(
      async () => new Date(0),
      (error, attempt) => {
        expectTypeOf(error).toEqualTypeOf<unknown>();
        expectTypeOf(attempt).toEqualTypeOf<Attempt>();
        return true as boolean;
      },
      undefined,
    ).run(failing);
    expectTypeOf(result).toEqualTypeOf<number | Date | boolean | undefined>();
    expect(result).toEqual(new Date(0));
  });

  test('that never returns adds nothing', async () => {
    const rethrows = fallback((error): never => {
      throw error;
    });
    expectTypeOf(await rethrows.run(count)).toEqualTypeOf<number>();
  });

  test('adds the same with options', async () => {
    const result = await fallbackWith({ when: () => true }, 'n/a').run(failing);
    expectTypeOf(result).toEqualTypeOf<number | 'n/a'>();
    expect(result).toBe('n/a');
  });

  test('needs an alternative', () => {
    // @ts-expect-error There is nothing to fall back on.
    expect(() => fallback()).toThrow();
    // @ts-expect-error Nor here.
    expect(() => fallbackWith({})).toThrow();
  });
});

describe('a stack', () => {
  test('adds what its policies add, each once', async () => {
    const stack = compose(
      fallback('n/a'),
      timeout(50),
      fallback(async () => null),
      staleIfError<Date>({ maxAgeMs: 1 }),
    );
    const result = await stack.run(count);
    expectTypeOf(result).toEqualTypeOf<number | 'n/a' | null | Date>();
    expect(result).toBe(1);
  });

  test('within a stack adds what it adds', async () => {
    const result = await compose(timeout(50), compose(fallback('n/a'))).run(count);
    expectTypeOf(result).toEqualTypeOf<number | 'n/a'>();
    expect(result).toBe(1);
  });

  test('is not a policy that adds less', () => {
    // @ts-expect-error What it may return is not only what the call returns.
    const stack: Policy = compose(fallback('n/a'));
    expect(stack).toBeDefined();
  });

  test('adds unknown when a fallback may return anything', async () => {
    const result = await compose(fallback((): unknown => 'anything')).run(count);
    expectTypeOf(result).toEqualTypeOf<unknown>();
    expect(result).toBe(1);
  });

  test('takes policies only', () => {
    // @ts-expect-error A function is no policy.
    expect(() => compose(() => 1)).toThrow(TypeError);
  });
});

describe('a stale result', () => {
  test('adds the type that is remembered, by key too', async () => {
    const policy = staleIfError<'old'>({ maxAgeMs: 1 });
    expectTypeOf(await policy.run(count)).toEqualTypeOf<number | 'old'>();
    expectTypeOf(await policy.for('a').run(count)).toEqualTypeOf<number | 'old'>();
    expect(await policy.run(count)).toBe(1);
  });
});

import { describe, expect, test } from 'vitest';
import { retry } from '../../src/policies/retry.js';
import type { RetryError } from '../../src/policies/retry-error.js';
import type { RetryPolicyOptions } from '../../src/policies/retry-options.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

/** When the second attempt began after a first that failed with `thrown`, in milliseconds; or why there was none. */
async function secondAttempt(thrown: unknown, options: RetryPolicyOptions = {}) {
  const clock = new VirtualClock();
  let attempts = 0;
  const policy = retry({ clock, backoff: () => 100, ...options });
  const result = policy
    .run(() => {
      if (++attempts === 1) throw thrown;
      return clock.monotonicMs();
    })
    .catch((error: RetryError) => ({ gaveUp: error.reason, asked: error.retryAfterMs }));
  await clock.advance(200_000);
  return result;
}

const asking = (value: string) => ({ status: 429, headers: new Headers({ 'retry-after': value }) });

describe('a retry waits', () => {
  test('as long as the other side asks', async () => {
    await expect(secondAttempt(asking('7'))).resolves.toBe(7_000);
  });

  test('as long as the back-off says, if that is longer', async () => {
    await expect(secondAttempt(asking('0'))).resolves.toBe(100);
  });

  test('a little longer where waits are jittered, so that clients do not come back together', async () => {
    const options = { backoff: { kind: 'constant', baseMs: 100 }, random: () => 0.5 } as const;
    await expect(secondAttempt(asking('10'), options)).resolves.toBe(10_500);
  });

  test('no longer than a minute unless told: it gives up at once, and says what was asked', async () => {
    await expect(secondAttempt(asking('61'))).resolves.toEqual({ gaveUp: 'retry-after', asked: 61_000 });
    await expect(secondAttempt(asking('61'), { retryAfter: { maxMs: 100_000 } })).resolves.toBe(61_000);
  });

  test('as long as is allowed, where that is preferred', async () => {
    await expect(secondAttempt(asking('61'), { retryAfter: { maxMs: 5_000, beyond: 'cap' } })).resolves.toBe(5_000);
  });

  test('not at all longer, where nobody listens', async () => {
    await expect(secondAttempt(asking('7'), { retryAfter: false })).resolves.toBe(100);
  });

  test('as long as a parse of the host says, and by headers where it says nothing', async () => {
    const parse = (ms: number | undefined) => ({ retryAfter: { parse: () => ms } });
    await expect(secondAttempt(asking('7'), parse(900))).resolves.toBe(900);
    await expect(secondAttempt(asking('7'), parse(undefined))).resolves.toBe(7_000);
  });

  test.each([Number.NaN, -1, Number.POSITIVE_INFINITY])('never for %s ms, whoever says so', async (ms) => {
    const gaveUp = { gaveUp: 'decision-failed' };
    await expect(secondAttempt('x', { retryAfter: { parse: () => ms } })).resolves.toMatchObject(gaveUp);
    await expect(secondAttempt('x', { classify: () => ({ retry: true, delayMs: ms }) })).resolves.toMatchObject(gaveUp);
  });

  test('for refused results too', async () => {
    const clock = new VirtualClock();
    const answers = [asking('7'), { status: 200 }];
    const result = retry({
      clock,
      backoff: () => 100,
      retryResult: (value) => (value as { status: number }).status === 429,
    }).run(() => answers.shift());
    await clock.advance(6_999);
    expect(clock.pending).toBe(1);
    await clock.advance(1);
    await expect(result).resolves.toEqual({ status: 200 });
  });

  test('by its own back-off again after one long wait that was asked for', async () => {
    const clock = new VirtualClock();
    const startedMs: number[] = [];
    const outcomes: unknown[] = [asking('50'), new Error('x')];
    const result = retry({ clock, random: () => 1 }).run(() => {
      startedMs.push(Math.round(clock.monotonicMs()));
      if (outcomes.length > 0) throw outcomes.shift();
    });
    await clock.advance(60_000);
    await result;
    // 50 s and a tenth; then three times the first back-off of 300 ms, not three times 50 s.
    expect(startedMs).toEqual([0, 55_000, 55_900]);
  });
});

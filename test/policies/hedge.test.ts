import { describe, expect, test } from 'vitest';
import type { Attempt } from '../../src/policies/attempt.js';
import { Latencies } from '../../src/policies/hedge.js';
import { retry } from '../../src/policies/retry.js';
import { RetryBudget } from '../../src/policies/retry-budget.js';
import type { RetryEvent } from '../../src/policies/retry-event.js';
import { RetryManager } from '../../src/policies/retry-manager.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

/** Copies that take these times, and end in these ways: a value, or an Error to throw. */
function copies(clock: VirtualClock, ...endings: [takesMs: number, outcome: unknown][]) {
  const signals: AbortSignal[] = [];
  const call = async ({ signal }: Attempt) => {
    signals.push(signal); // Counted first: a copy that nobody expects must show.
    const [takesMs, outcome] = endings[signals.length - 1] as [number, unknown];
    await clock.sleep(takesMs);
    if (outcome instanceof Error) throw outcome;
    return outcome;
  };
  return { call, signals };
}

describe('a hedged call', () => {
  test('that is fast has no copy', async () => {
    const clock = new VirtualClock();
    const { call, signals } = copies(clock, [40, 'fast']);
    const result = retry({ clock, hedge: { delayMs: 50 } }).run(call);
    await clock.advance(40);
    await expect(result).resolves.toBe('fast');
    expect([signals.length, clock.pending]).toEqual([1, 0]);
  });

  test('that is slow is overtaken by its copy, and the slow one is aborted', async () => {
    const clock = new VirtualClock();
    const { call, signals } = copies(clock, [500, 'slow'], [20, 'copy']);
    const result = retry({ clock, hedge: { delayMs: 50 } }).run(call);
    await clock.advance(70);
    await expect(result).resolves.toBe('copy');
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
    expect(signals[0]?.reason).toMatchObject({ name: 'AbortError' });
  });

  test('has no more copies than max, one after the other', async () => {
    const clock = new VirtualClock();
    const { call, signals } = copies(clock, [500, 1], [500, 2], [500, 3], [500, 4]);
    const result = retry({ clock, hedge: { delayMs: 50, max: 2 } }).run(call);
    await clock.advance(100);
    expect(signals).toHaveLength(3);
    await clock.advance(400);
    await expect(result).resolves.toBe(1);
    expect(signals).toHaveLength(3);
  });

  test('is not over when one copy fails while another runs', async () => {
    const clock = new VirtualClock();
    const { call } = copies(clock, [60, new Error('first')], [20, 'copy']);
    const result = retry({ clock, maxRetries: 0, hedge: { delayMs: 50 } }).run(call);
    await clock.advance(70);
    await expect(result).resolves.toBe('copy');
  });

  test('fails as its last copy does, and is then tried again', async () => {
    const clock = new VirtualClock();
    const { call } = copies(clock, [60, new Error('first')], [20, new Error('copy')], [1, 'again']);
    const errors: unknown[] = [];
    const policy = retry({
      clock,
      backoff: () => 10,
      hedge: { delayMs: 50 },
      onRetry: ({ error }) => void errors.push((error as Error).message),
    });
    const result = policy.run(call);
    await clock.advance(100);
    await expect(result).resolves.toBe('again');
    expect(errors).toEqual(['copy']);
  });

  test('that fails before its delay has no copy: that is what retries are for', async () => {
    const clock = new VirtualClock();
    const { call, signals } = copies(clock, [10, new Error('quick')]);
    const ended = retry({ clock, maxRetries: 0, hedge: { delayMs: 50 } })
      .run(call)
      .catch((error: Error) => error.message);
    await clock.advance(100);
    await expect(ended).resolves.toBe('quick');
    expect([signals.length, clock.pending]).toEqual([1, 0]);
  });

  test('has no copy when the retry budget is spent', async () => {
    const clock = new VirtualClock();
    const budget = new RetryBudget({ clock, ratio: 0, minPerSecond: 0 });
    const { call, signals } = copies(clock, [500, 'slow']);
    const result = retry({ clock, budget, hedge: { delayMs: 50 } }).run(call);
    await clock.advance(500);
    await expect(result).resolves.toBe('slow');
    expect(signals).toHaveLength(1);
  });

  test('is cut off whole, all copies, when the caller gives up', async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const { call, signals } = copies(clock, [500, 1], [500, 2]);
    const result = retry({ clock, signal: controller.signal, hedge: { delayMs: 50 } }).run(call);
    await clock.advance(60);
    controller.abort('enough');
    await expect(result).rejects.toBe('enough');
    expect(signals.map(({ reason }) => reason)).toEqual(['enough', 'enough']);
    await clock.advance(1_000);
    expect(clock.pending).toBe(0);
  });

  test('gives each copy its own time limit', async () => {
    const clock = new VirtualClock();
    const { call } = copies(clock, [500, 'slow'], [90, 'copy']);
    const result = retry({ clock, attemptTimeoutMs: 100, hedge: { delayMs: 50 } }).run(call);
    await clock.advance(140);
    await expect(result).resolves.toBe('copy');
  });

  test('says that a copy was started', async () => {
    const clock = new VirtualClock();
    const events: RetryEvent[] = [];
    const { call } = copies(clock, [500, 'slow'], [20, 'copy']);
    const result = retry({ clock, hedge: { delayMs: 50 }, emit: (event) => void events.push(event) }).run(call);
    await clock.advance(70);
    await result;
    expect(events.map(({ type }) => type)).toEqual(['attempt.hedged', 'attempt.succeeded']);
  });
});

describe('p95', () => {
  test('starts no copy before it has seen enough, then after what 95 % stayed under', async () => {
    const clock = new VirtualClock();
    const policy = retry({ clock, hedge: { delayMs: 'p95' } });
    for (let ms = 1; ms <= 20; ms++) {
      const warmUp = policy.run(() => clock.sleep(ms));
      await clock.advance(ms);
      await warmUp;
    }
    const { call, signals } = copies(clock, [500, 'slow'], [5, 'copy']);
    const result = policy.run(call);
    await clock.advance(19);
    expect(signals).toHaveLength(1);
    await clock.advance(6);
    await expect(result).resolves.toBe('copy');
  });

  test('knows nothing at first, and forgets what is long ago', () => {
    const latencies = new Latencies();
    for (let call = 0; call < 19; call++) latencies.record(1_000);
    expect(latencies.p95Ms).toBeUndefined();
    for (let call = 0; call < 512; call++) latencies.record(10);
    expect(latencies.p95Ms).toBe(10);
  });

  test('is known of a circuit, whatever else the options of a run say', async () => {
    const clock = new VirtualClock();
    const retries = new RetryManager({ clock });
    const options = (operationId: string) => ({ circuit: 'db', operationId, hedge: { delayMs: 'p95' as const } });
    for (let run = 0; run < 20; run++) {
      const warmUp = retries.run(() => clock.sleep(10), { ...options(`${run}`), onRetry: () => {} });
      await clock.advance(10);
      await warmUp;
    }
    const { call, signals } = copies(clock, [500, 'slow'], [5, 'copy']);
    const result = retries.run(call, options('slow'));
    await clock.advance(15);
    await expect(result).resolves.toBe('copy');
    expect(signals).toHaveLength(2);
  });
});

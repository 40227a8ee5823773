/**
 * Each test shows a defect of the plain opossum 9 first, and then that it does not shine through. Should an expectation
 * about opossum fail after an update, the defect is gone there.
 */
import Opossum from 'opossum';
import pRetry from 'p-retry';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { CircuitBreaker } from '../../src/policies/circuit-breaker.js';
import type { CircuitBreakerOptions } from '../../src/policies/circuit-options.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

const down = new Error('down');
const failing = () => Promise.reject(down);
const working = async () => 'fine';
const opossums: Opossum[] = [];

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  for (const opossum of opossums.splice(0)) opossum.shutdown();
  vi.useRealTimers();
});

/** Plain opossum that runs what it is fired with. */
function plain(options: Opossum.Options & { readonly state?: unknown } = {}) {
  const opossum = new Opossum<[() => unknown], unknown>(async (call) => call(), {
    timeout: false,
    resetTimeout: 1_000,
    ...options,
  } as Opossum.Options<[() => unknown]>);
  opossums.push(opossum as unknown as Opossum);
  return opossum;
}

/** Ours, alike: open for a second. */
function ours(options: Partial<CircuitBreakerOptions> = {}) {
  const clock = new VirtualClock();
  return { clock, breaker: new CircuitBreaker({ name: 'bank', openMs: 1_000, clock, ...options }) };
}

/** Every call, one after the other, whatever comes of it. */
async function fire(target: { fire(call: () => unknown): Promise<unknown> }, call: () => unknown, times: number) {
  for (let fired = 0; fired < times; fired++) await target.fire(call).catch(() => undefined);
}

async function run(breaker: CircuitBreaker, call: () => unknown, times: number) {
  for (let made = 0; made < times; made++) await breaker.run(call).catch(() => undefined);
}

function pendingCall() {
  let resolve!: (value: unknown) => void;
  const promise = new Promise<unknown>((onValue) => {
    resolve = onValue;
  });
  return { promise, resolve };
}

describe('what is counted', () => {
  test('the first failure of all opens it', async () => {
    const opossum = plain();
    await fire(opossum, failing, 1);
    expect(opossum.opened).toBe(true);

    const { breaker } = ours();
    await run(breaker, failing, 1);
    expect(breaker.state).toBe('closed');
  });

  test('a synchronous action that returns nothing counts as a failure (O3)', async () => {
    const opossum = new Opossum((() => undefined) as never, { timeout: false });
    opossums.push(opossum);
    await expect(opossum.fire()).rejects.toThrow(TypeError);
    expect(opossum.opened).toBe(true);

    const { breaker } = ours();
    await expect(breaker.run(() => undefined)).resolves.toBeUndefined();
    expect(breaker.stats()).toMatchObject({ successes: 1, failures: 0 });
  });

  test('calls refused for want of a place open a healthy circuit (O4)', async () => {
    const opossum = plain({ capacity: 1 });
    const slow = pendingCall();
    const first = opossum.fire(() => slow.promise);
    await expect(opossum.fire(working)).rejects.toThrow('Semaphore locked');
    await fire(opossum, working, 1);
    expect(opossum.opened).toBe(true);
    slow.resolve('fine');
    await first;

    const { breaker } = ours({ trip: { kind: 'consecutive', failures: 1 } });
    const permit = breaker.tryAcquire();
    permit?.ignore(); // What a bulkhead inside says when it has no place.
    expect(breaker.state).toBe('closed');
  });

  test('a call that timed out is no longer counted as running, though it runs (O5)', async () => {
    const opossum = plain({ capacity: 1, timeout: 10, errorThresholdPercentage: 100, volumeThreshold: 99 });
    let running = 0;
    const stuck = () => {
      running++;
      return new Promise(() => undefined);
    };
    for (let fired = 0; fired < 4; fired++) {
      const call = expect(opossum.fire(stuck)).rejects.toThrow('Timed out');
      await vi.advanceTimersByTimeAsync(10);
      await call;
    }
    expect(running).toBe(4);

    const { breaker } = ours();
    for (let made = 0; made < 4; made++) void breaker.run(stuck);
    expect(breaker.stats().inFlight).toBe(4);
  });

  test('refused calls dilute the error rate: after 101 refusals 98 failures in a row do not open (O9)', async () => {
    const opossum = plain({ errorThresholdPercentage: 49, volumeThreshold: 5, rollingCountTimeout: 600_000 });
    await fire(opossum, failing, 5);
    await fire(opossum, working, 101);
    await vi.advanceTimersByTimeAsync(1_000);
    await fire(opossum, working, 1);
    expect(opossum.closed).toBe(true);
    let failures = 0;
    for (; opossum.closed; failures++) await fire(opossum, failing, 1);
    expect(failures).toBeGreaterThan(90);

    const { breaker, clock } = ours({ trip: { kind: 'time', windowMs: 600_000, minCalls: 5 } });
    await run(breaker, failing, 5);
    await run(breaker, working, 101);
    await clock.advance(1_000);
    await run(breaker, working, 1);
    await run(breaker, failing, 5);
    expect(breaker.state).toBe('open');
    breaker.dispose();
  });

  test('the window is not reset at closing: one failure opens again (O8)', async () => {
    const opossum = plain({ volumeThreshold: 10, rollingCountTimeout: 600_000 });
    await fire(opossum, failing, 10);
    await vi.advanceTimersByTimeAsync(1_000);
    await fire(opossum, working, 1);
    expect(opossum.closed).toBe(true);
    await fire(opossum, failing, 1);
    expect(opossum.opened).toBe(true);

    const { breaker, clock } = ours({ trip: { kind: 'time', windowMs: 600_000, minCalls: 10 } });
    await run(breaker, failing, 10);
    await clock.advance(1_000);
    await run(breaker, working, 1);
    await run(breaker, failing, 1);
    expect(breaker.state).toBe('closed');
  });

  test('what errorFilter lets pass is a success and closes a half-open circuit (O12)', async () => {
    const opossum = plain({ errorFilter: (error) => error.message === 'given up' });
    const givenUp = () => Promise.reject(new Error('given up'));
    await fire(opossum, failing, 1);
    await vi.advanceTimersByTimeAsync(1_000);
    await fire(opossum, givenUp, 1);
    expect(opossum.closed).toBe(true);

    const { breaker, clock } = ours({
      trip: { kind: 'consecutive', failures: 1 },
      classify: (outcome) => ('error' in outcome ? (outcome.error === down ? 'failure' : 'ignore') : 'success'),
    });
    await run(breaker, failing, 1);
    await clock.advance(1_000);
    await run(breaker, givenUp, 1);
    expect(breaker.state).toBe('half-open');
  });
});

describe('half-open', () => {
  const oneFailure = { trip: { kind: 'consecutive', failures: 1 } } as const;

  test('a late success of a call begun before the trip closes it, without any probe (O6)', async () => {
    const opossum = plain();
    const early = pendingCall();
    const first = opossum.fire(() => early.promise);
    await fire(opossum, failing, 2);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(opossum.halfOpen).toBe(true);
    early.resolve('late');
    await first;
    expect(opossum.closed).toBe(true);

    const { breaker, clock } = ours(oneFailure);
    const begunBefore = pendingCall();
    const run_ = breaker.run(() => begunBefore.promise);
    await run(breaker, failing, 1);
    await clock.advance(1_000);
    begunBefore.resolve('late');
    await run_;
    expect(breaker.state).toBe('half-open');
  });

  test('a probe that hangs makes it refuse for ever (O7)', async () => {
    const opossum = plain();
    await fire(opossum, failing, 1);
    await vi.advanceTimersByTimeAsync(1_000);
    void opossum.fire(() => new Promise(() => undefined));
    await vi.advanceTimersByTimeAsync(3_600_000);
    await expect(opossum.fire(working)).rejects.toThrow('Breaker is open');

    const { breaker, clock } = ours(oneFailure);
    await run(breaker, failing, 1);
    await clock.advance(1_000);
    void breaker.run(() => new Promise(() => undefined));
    await clock.advance(60_000);
    expect(breaker.state).toBe('open');
    await clock.advance(1_000);
    await expect(breaker.run(working)).resolves.toBe('fine');
  });

  test('a probe that fails while it warms up leaves it half-open and refusing for ever (O16)', async () => {
    const opossum = plain({ allowWarmUp: true, rollingCountTimeout: 86_400_000 });
    opossum.open();
    await vi.advanceTimersByTimeAsync(1_000);
    await fire(opossum, failing, 1);
    expect(opossum.halfOpen).toBe(true);
    await vi.advanceTimersByTimeAsync(3_600_000);
    await expect(opossum.fire(working)).rejects.toThrow('Breaker is open');

    const { breaker, clock } = ours();
    breaker.open();
    await clock.advance(1_000);
    await run(breaker, failing, 1);
    await clock.advance(1_000);
    await expect(breaker.run(working)).resolves.toBe('fine');
  });
});

describe('state that is kept', () => {
  /** opossum's own way to keep state. */
  const saved = (opossum: { toJSON(): unknown }) => (opossum.toJSON() as { state: unknown }).state;

  test('a circuit that has just opened may come back half-open (O1, O2)', async () => {
    const opossum = plain();
    opossum.open();
    await vi.advanceTimersByTimeAsync(1_000);
    await fire(opossum, working, 1);
    await vi.advanceTimersByTimeAsync(60_000);
    opossum.open();
    expect(plain({ state: saved(opossum) }).halfOpen).toBe(true);

    const { breaker, clock } = ours();
    await clock.advance(60_000);
    breaker.open();
    const restored = ours().breaker;
    restored.restore(breaker.snapshot());
    expect(restored.state).toBe('open');
    restored.dispose();
    breaker.dispose();
  });

  test('or waits for the whole time again in place of what was left (O2b)', async () => {
    const opossum = plain();
    opossum.open();
    await vi.advanceTimersByTimeAsync(900);
    const again = plain({ state: saved(opossum) });
    await vi.advanceTimersByTimeAsync(999);
    expect(again.opened).toBe(true);

    const { breaker, clock } = ours();
    breaker.open();
    await clock.advance(900);
    const restored = ours().breaker;
    restored.restore(breaker.snapshot());
    expect(restored.retryAfterMs).toBe(100);
    restored.dispose();
    breaker.dispose();
  });
});

describe('what is shared', () => {
  test('two breakers made of one options object share a cache: one answers for the other (O10)', async () => {
    const options: Opossum.Options = { timeout: false, cache: true };
    const first = new Opossum(async () => 'A', options);
    const second = new Opossum(async () => 'B', options);
    opossums.push(first, second);
    await first.fire();
    await expect(second.fire()).resolves.toBe('A');
    expect(Object.keys(options).length).toBeGreaterThan(2);

    const given = { name: 'bank', clock: new VirtualClock() };
    const before = { ...given };
    const [one, other] = [new CircuitBreaker(given), new CircuitBreaker(given)];
    one.isolate();
    expect(other.state).toBe('closed');
    expect(given).toEqual(before);
  });

  test('one time-out aborts every call under way (O11)', async () => {
    const abortController = new AbortController();
    const opossum = plain({ timeout: 10, abortController, volumeThreshold: 99 });
    const late = expect(opossum.fire(() => new Promise(() => undefined))).rejects.toThrow('Timed out');
    await vi.advanceTimersByTimeAsync(9);
    void opossum.fire(() => new Promise(() => undefined)).catch(() => undefined);
    await vi.advanceTimersByTimeAsync(1);
    await late;
    expect(abortController.signal.aborted).toBe(true); // The second has had 1 ms, and this is its signal.

    const { breaker } = ours({ trip: { kind: 'consecutive', failures: 9 } });
    const signals: AbortSignal[] = [];
    const stuck = ({ signal }: { readonly signal: AbortSignal }) =>
      signals.push(signal) && new Promise(() => undefined);
    void breaker.run(stuck);
    await breaker.run(() => Promise.reject(new DOMException('late', 'TimeoutError'))).catch(() => undefined);
    expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
  });
});

describe('what it costs', () => {
  test('every failed call sorts the latencies of all calls in the window', async () => {
    const sorted: number[] = [];
    const { sort } = Array.prototype;
    vi.spyOn(Array.prototype, 'sort').mockImplementation(function (this: unknown[], compare) {
      sorted.push(this.length);
      return sort.call(this, compare);
    });
    const opossum = plain({ volumeThreshold: 99_999 });
    await fire(opossum, working, 500);
    await fire(opossum, failing, 1);
    expect(sorted).toEqual([501]);

    const { breaker } = ours();
    await run(breaker, working, 500);
    await run(breaker, failing, 1);
    expect(sorted).toEqual([501]);
    vi.restoreAllMocks();
  });

  test('each idle circuit holds two timers, which hold it for ever', () => {
    const opossum = plain();
    expect(vi.getTimerCount()).toBe(2);
    opossum.shutdown();
    expect(vi.getTimerCount()).toBe(0);

    expect(new CircuitBreaker({ name: 'bank' }).state).toBe('closed');
    expect(vi.getTimerCount()).toBe(0);
  });

  test('a retry around it hides what really happened (PO1)', async () => {
    const opossum = plain();
    const retried = pRetry(() => opossum.fire(failing), { retries: 2, minTimeout: 1 });
    const hidden = expect(retried).rejects.toThrow('Breaker is open');
    await vi.advanceTimersByTimeAsync(500);
    await hidden;
    await expect(retried).rejects.not.toHaveProperty('cause', down);

    const { breaker } = ours({ trip: { kind: 'consecutive', failures: 1 } });
    const retriedHere = pRetry(() => breaker.run(failing), { retries: 2, minTimeout: 1 });
    const shown = expect(retriedHere).rejects.toMatchObject({ code: 'HOLDFAST_CIRCUIT_OPEN', cause: down });
    await vi.advanceTimersByTimeAsync(500);
    await shown;
    breaker.dispose();
  });
});

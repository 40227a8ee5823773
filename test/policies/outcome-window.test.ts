import { describe, expect, test, vi } from 'vitest';
import type { TripRule } from '../../src/policies/circuit-options.js';
import { outcomeWindow } from '../../src/policies/outcome-window.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

const refused = new Error('refused');

function windowOf(rule: TripRule, clock = new VirtualClock()) {
  return outcomeWindow(rule, 'bank', clock);
}

function fill(window: ReturnType<typeof windowOf>, { good = 0, bad = 0, slow = 0 }) {
  for (let call = 0; call < good; call++) window.success(false);
  for (let call = 0; call < slow; call++) window.success(true);
  for (let call = 0; call < bad; call++) window.failure(false, refused);
  return window;
}

describe('consecutive failures', () => {
  test('open at the limit, not before', () => {
    const window = fill(windowOf({ kind: 'consecutive', failures: 3 }), { bad: 2 });
    expect(window.verdict(0)).toBeUndefined();
    expect(fill(window, { bad: 1 }).verdict(0)).toBe('consecutive-failures');
  });

  test('start again after a success', () => {
    const window = fill(windowOf({ kind: 'consecutive', failures: 3 }), { bad: 2 });
    expect(window.isClean()).toBe(false);
    expect(fill(window, { good: 1 }).isClean()).toBe(true);
    expect(fill(window, { bad: 2 }).verdict(0)).toBeUndefined();
  });

  test('are forgotten at a reset', () => {
    const window = fill(windowOf({ kind: 'consecutive', failures: 2 }), { bad: 1 });
    window.reset();
    expect(fill(window, { bad: 1 }).verdict(0)).toBeUndefined();
  });
});

describe('a count window', () => {
  test('has no verdict on fewer calls than minCalls', () => {
    const window = fill(windowOf({ kind: 'count', size: 10, minCalls: 4 }), { bad: 3 });
    expect(window.verdict(0)).toBeUndefined();
    expect(fill(window, { bad: 1 }).verdict(0)).toBe('failure-ratio');
  });

  test('waits until it is full by default, if it is smaller than 20', () => {
    const window = fill(windowOf({ kind: 'count', size: 3 }), { bad: 2 });
    expect(window.verdict(0)).toBeUndefined();
    expect(fill(window, { bad: 1 }).verdict(0)).toBe('failure-ratio');
  });

  test('opens at exactly its ratio', () => {
    const rule: TripRule = { kind: 'count', size: 30, minCalls: 30, failureRatio: 0.1 };
    expect(fill(windowOf(rule), { good: 28, bad: 2 }).verdict(0)).toBeUndefined();
    expect(fill(windowOf(rule), { good: 27, bad: 3 }).verdict(0)).toBe('failure-ratio');
  });

  test('forgets calls that left the ring, slow ones too', () => {
    const rule: TripRule = { kind: 'count', size: 4, minCalls: 1, slowRatio: 0.25 };
    const window = fill(windowOf(rule), { bad: 2, slow: 2 });
    window.failure(true, refused);
    expect(window.verdict(0)).toBe('failure-ratio');
    expect(fill(window, { good: 3 }).verdict(0)).toBe('slow-ratio');
    expect(fill(window, { good: 1 }).verdict(0)).toBeUndefined();
    expect(window.isClean()).toBe(true);
  });

  test('agrees with a list of the last calls, over 2,000 random ones', () => {
    const random = seededRandom('ring');
    const window = windowOf({ kind: 'count', size: 17, minCalls: 5, failureRatio: 0.4 });
    const last: boolean[] = [];
    for (let call = 0; call < 2_000; call++) {
      const isBad = random.chance(0.4);
      fill(window, isBad ? { bad: 1 } : { good: 1 });
      last.push(isBad);
      if (last.length > 17) last.shift();
      const isOver = last.length >= 5 && last.filter(Boolean).length / last.length >= 0.4;
      expect(window.verdict(0)).toBe(isOver ? 'failure-ratio' : undefined);
    }
  });

  test('is empty after a reset', () => {
    const window = fill(windowOf({ kind: 'count', size: 4, minCalls: 1 }), { bad: 4 });
    window.reset();
    expect(window.isClean()).toBe(true);
    expect(fill(window, { good: 1 }).verdict(0)).toBeUndefined();
  });
});

describe('a time window', () => {
  const rule: TripRule = { kind: 'time', windowMs: 1_000, minCalls: 4, failureRatio: 0.5, slowRatio: 0.5 };

  test('opens at its ratio of the last calls', () => {
    expect(fill(windowOf(rule), { good: 3, bad: 2 }).verdict(0)).toBeUndefined();
    expect(fill(windowOf(rule), { good: 2, bad: 2 }).verdict(0)).toBe('failure-ratio');
  });

  test('asks for 20 calls by default', () => {
    const window = fill(windowOf({ kind: 'time', windowMs: 1_000 }), { bad: 19 });
    expect(window.verdict(0)).toBeUndefined();
    expect(fill(window, { bad: 1 }).verdict(0)).toBe('failure-ratio');
  });

  test('remembers for nine tenths of its length at least, and not longer than its length', async () => {
    const clock = new VirtualClock();
    const window = fill(windowOf(rule, clock), { bad: 4 });
    await clock.advance(900);
    expect(window.verdict(0)).toBe('failure-ratio');
    await clock.advance(100);
    expect(window.verdict(0)).toBeUndefined();
    expect(window.isClean()).toBe(true);
  });

  test('is not turned back by a reading that is older than the last one', () => {
    const clock = { ms: 1_000, now: () => 0, monotonicMs: () => clock.ms, sleep: () => Promise.resolve() };
    const window = fill(outcomeWindow(rule, 'bank', clock), { bad: 3 });
    clock.ms = 950;
    fill(window, { bad: 1 });
    clock.ms = 1_950;
    expect(window.verdict(0)).toBe('failure-ratio');
  });

  test('does not count an hour of silence against anybody', async () => {
    const clock = new VirtualClock();
    const window = fill(windowOf(rule, clock), { bad: 3, slow: 1 });
    await clock.advance(3_600_000);
    expect(fill(window, { bad: 1, good: 2 }).verdict(0)).toBeUndefined();
  });

  test('sees slow calls, and those that still run', () => {
    expect(fill(windowOf(rule), { good: 2, slow: 2 }).verdict(0)).toBe('slow-ratio');
    const window = fill(windowOf(rule), { good: 2 });
    expect(window.verdict(1)).toBeUndefined();
    expect(window.verdict(2)).toBe('slow-ratio');
  });

  test('counts a slow failure as slow and as a failure', () => {
    const window = windowOf({ kind: 'time', windowMs: 1_000, minCalls: 2, failureRatio: 1, slowRatio: 0.5 });
    window.failure(true, refused);
    window.success(false);
    expect(window.verdict(0)).toBe('slow-ratio');
  });

  test('is empty after a reset', () => {
    const window = fill(windowOf(rule), { bad: 4, slow: 1 });
    window.reset();
    expect(window.isClean()).toBe(true);
    expect(fill(window, { good: 1, bad: 3 }).verdict(0)).toBe('failure-ratio');
  });
});

describe('a custom window', () => {
  test('is made once, at the first call, and hears of every call', () => {
    const record = vi.fn(() => false);
    const create = vi.fn(() => ({ record, reset: () => undefined }));
    const window = windowOf({ kind: 'custom', create });
    expect(create).not.toHaveBeenCalled();
    fill(window, { good: 1, slow: 1, bad: 1 });
    expect(create).toHaveBeenCalledTimes(1);
    expect(record.mock.calls).toEqual([
      [{ isFailure: false, isSlow: false }],
      [{ isFailure: false, isSlow: true }],
      [{ isFailure: true, isSlow: false, failure: refused }],
    ]);
  });

  test('opens when it says so, and is clean after a reset', () => {
    const reset = vi.fn();
    const window = windowOf({ kind: 'custom', create: () => ({ record: (call) => call.isFailure, reset }) });
    expect(fill(window, { good: 1 }).verdict(0)).toBeUndefined();
    expect(window.isClean()).toBe(true);
    expect(fill(window, { bad: 1 }).verdict(0)).toBe('custom-rule');
    expect(window.isClean()).toBe(false);
    window.reset();
    expect(reset).toHaveBeenCalledTimes(1);
    expect(window.verdict(0)).toBeUndefined();
    expect(window.isClean()).toBe(true);
  });

  test('that throws is reported, and neither opens nor throws on', () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const create = () => {
      throw new Error('no window');
    };
    const window = fill(windowOf({ kind: 'custom', create }), { bad: 1 });
    expect(window.verdict(0)).toBeUndefined();
    expect(warn).toHaveBeenCalledWith(
      'The custom trip rule of circuit "bank" threw: no window',
      expect.objectContaining({ code: 'HOLDFAST_LISTENER_ERROR' }),
    );
    warn.mockRestore();
  });
});

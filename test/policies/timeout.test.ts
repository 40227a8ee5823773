import { getEventListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { InvalidInputError, isHoldfastError } from '../../src/base/errors.js';
import type { Attempt } from '../../src/policies/attempt.js';
import { CallScope } from '../../src/policies/call-scope.js';
import { TimeoutError, type TimeoutEvent, timeout } from '../../src/policies/timeout.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { deferred, rejectionOf } from '../support/deferred.js';

const never = () => new Promise<never>(() => {});

describe('a call that is slow', () => {
  test('is given up on by the clock, and the caller gets a TimeoutError with the figure', async () => {
    const clock = new VirtualClock();
    const outcome = rejectionOf(timeout(1_000, { clock }).run(never));
    await clock.advance(1_000);
    const error = await outcome;
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error).toMatchObject({ name: 'TimeoutError', code: 'HOLDFAST_TIMEOUT', timeoutMs: 1_000 });
    expect(isHoldfastError(error)).toBe(true);
    expect(String(error)).toContain('1000 ms');
  });

  test('is not given up on a moment earlier', async () => {
    const clock = new VirtualClock();
    const slow = deferred<string>();
    const result = timeout(1_000, { clock }).run(() => slow.promise);
    await clock.advance(999);
    slow.resolve('just in time');
    await expect(result).resolves.toBe('just in time');
  });

  test('has its signal aborted with the very error that the caller gets', async () => {
    const clock = new VirtualClock();
    const reasons: unknown[] = [];
    const outcome = rejectionOf(
      timeout(50, { clock }).run(({ signal }) => {
        signal.addEventListener('abort', () => reasons.push(signal.reason));
        return never();
      }),
    );
    await clock.advance(50);
    expect(reasons).toEqual([await outcome]);
  });

  test('may read its signal only after the time is up, and finds it aborted', async () => {
    const clock = new VirtualClock();
    const late = deferred();
    const seen: boolean[] = [];
    const outcome = rejectionOf(
      timeout(50, { clock }).run(async (attempt) => {
        await late.promise;
        seen.push(attempt.signal.aborted);
      }),
    );
    await clock.advance(50);
    await outcome;
    late.resolve();
    await clock.advance(0);
    expect(seen).toEqual([true]);
  });

  test('counts as left behind until it really ends', async () => {
    const clock = new VirtualClock();
    const outer = new CallScope(1);
    const slow = deferred();
    const outcome = rejectionOf(timeout(50, { clock }).run(() => slow.promise, outer));
    await clock.advance(50);
    await outcome;
    let isQuiet = false;
    outer.whenQuiet(() => {
      isQuiet = true;
    });
    expect(isQuiet).toBe(false);
    slow.resolve();
    await clock.advance(0);
    expect(isQuiet).toBe(true);
  });
});

describe('a late rejection', () => {
  const unhandled: unknown[] = [];
  const hear = (error: unknown) => unhandled.push(error);
  beforeEach(() => {
    unhandled.length = 0;
    process.on('unhandledRejection', hear);
  });
  afterEach(() => process.off('unhandledRejection', hear));

  test('of a call that was given up on is not an unhandled rejection', async () => {
    const clock = new VirtualClock();
    const slow = deferred();
    const outcome = rejectionOf(timeout(50, { clock }).run(() => slow.promise));
    await clock.advance(50);
    slow.reject(new Error('too late'));
    await clock.advance(0);
    expect(await outcome).toBeInstanceOf(TimeoutError);
    expect(unhandled).toEqual([]);
  });
});

describe('a call that ends in time', () => {
  test.each([
    ['a value', () => 'fine'],
    ['a promise', async () => 'fine'],
    // biome-ignore lint/suspicious/noThenProperty: a promise of somebody else's making is what this is about.
    ['a thenable', () => ({ then: (resolve: (value: string) => void) => resolve('fine') }) as PromiseLike<string>],
  ])('returning %s leaves no timer and no listener', async (_kind, call) => {
    const clock = new VirtualClock();
    const { signal } = new AbortController();
    const outer = new CallScope(1);
    outer.follow(signal);
    await expect(timeout(1_000, { clock }).run(call, outer)).resolves.toBe('fine');
    outer.end();
    expect(clock.pending).toBe(0);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  test.each([
    [
      'throws',
      () => {
        throw 'plain';
      },
    ],
    ['rejects', () => Promise.reject('plain')],
  ])('and %s keeps its error untouched, and leaves no timer', async (_kind, call) => {
    const clock = new VirtualClock();
    expect(await rejectionOf(timeout(1_000, { clock }).run(call))).toBe('plain');
    expect(clock.pending).toBe(0);
  });

  test('is not aborted later', async () => {
    const clock = new VirtualClock();
    let signal: AbortSignal | undefined;
    await timeout(50, { clock }).run((attempt) => {
      signal = attempt.signal;
    });
    await clock.advance(1_000);
    expect(signal?.aborted).toBe(false);
  });
});

describe('inside another attempt', () => {
  test('the call sees the number, the id and the failure before it', async () => {
    const outer = new CallScope(3, undefined, { attempt: 2, startedAtMs: 0, durationMs: 1, delayMs: 0 });
    const seen = await timeout(50).run(({ attempt, operationId, previous }) => [attempt, operationId, previous], outer);
    expect(seen).toEqual([3, outer.operationId, outer.previous]);
  });

  test.each([
    ['the own one, if that is nearer', 300, 200],
    ['the outer one, if that is nearer', 100, 100],
  ])('the deadline seen is %s', async (_which, outerMs, seenMs) => {
    const clock = new VirtualClock();
    const outer = timeout(outerMs, { clock });
    const inner = timeout(200, { clock });
    const deadlineAtMs = await outer.run((attempt) => inner.run((innermost) => innermost.deadlineAtMs, attempt));
    expect(deadlineAtMs).toBe(clock.now() + seenMs);
  });

  test('an abort from outside ends it at once, with the reason from outside', async () => {
    const clock = new VirtualClock();
    const outer = new CallScope(1);
    const outcome = rejectionOf(timeout(1_000, { clock }).run(never, outer));
    outer.abort('caller gave up');
    expect(await outcome).toBe('caller gave up');
    expect(clock.pending).toBe(0);
  });

  test('the call is not made if the caller gave up before', async () => {
    const outer = new CallScope(1);
    outer.abort('gone');
    let calls = 0;
    expect(await rejectionOf(timeout(50).run(() => ++calls, outer))).toBe('gone');
    expect(calls).toBe(0);
  });

  test('of an outer and an inner timeout the shorter one speaks, and its own event only', async () => {
    const clock = new VirtualClock();
    const events: TimeoutEvent[] = [];
    const emit = (event: TimeoutEvent) => events.push(event);
    const outer = timeout(100, { clock, emit });
    const inner = timeout(40, { clock, emit });
    const outcome = rejectionOf(outer.run((attempt) => inner.run(never, attempt)));
    await clock.advance(1_000);
    expect(await outcome).toMatchObject({ timeoutMs: 40 });
    expect(events.map(({ timeoutMs }) => timeoutMs)).toEqual([40]);
  });

  test('a context that is not ours keeps its signal and its deadline, and nothing listens to it afterwards', async () => {
    const clock = new VirtualClock();
    const { signal } = new AbortController();
    const foreign: Attempt = { attempt: 2, operationId: 'op', signal, deadlineAtMs: clock.now() + 30 };
    const seen = await timeout(50, { clock }).run(
      ({ attempt, operationId, deadlineAtMs }) => [attempt, operationId, deadlineAtMs],
      foreign,
    );
    expect(seen).toEqual([2, 'op', foreign.deadlineAtMs]);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    expect(clock.pending).toBe(0);
  });

  test('the deadline of a context that is not ours cuts the call off', async () => {
    const clock = new VirtualClock();
    const { signal } = new AbortController();
    const foreign: Attempt = { attempt: 1, operationId: 'op', signal, deadlineAtMs: clock.now() + 30 };
    const outcome = rejectionOf(timeout(50, { clock }).run(never, foreign));
    await clock.advance(30);
    expect(await outcome).toBeInstanceOf(DOMException);
  });
});

describe('events', () => {
  test('say which operation, which attempt and how long', async () => {
    const clock = new VirtualClock();
    const events: TimeoutEvent[] = [];
    const policy = timeout(50, { clock, emit: (event) => events.push(event) });
    const outcome = rejectionOf(policy.run(never, CallScope.operation(undefined, 'op-1')));
    await clock.advance(50);
    await outcome;
    expect(events).toEqual([{ type: 'call.timed-out', operationId: 'op-1', attempt: 1, timeoutMs: 50 }]);
  });

  test('there is none for a call that ends in time or that the caller gave up on', async () => {
    const clock = new VirtualClock();
    const events: TimeoutEvent[] = [];
    const policy = timeout(50, { clock, emit: (event) => events.push(event) });
    const outer = new CallScope(1);
    const outcome = rejectionOf(policy.run(never, outer));
    outer.abort('gone');
    await Promise.all([policy.run(() => 1), outcome]);
    await clock.advance(1_000);
    expect(events).toEqual([]);
  });
});

describe('what is passed in', () => {
  test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY, '50'])('%s milliseconds are refused', (ms) => {
    expect(() => timeout(ms as number)).toThrow(InvalidInputError);
    expect(() => timeout(ms as number)).toThrow(/^ms: /);
  });

  test('more milliseconds than a timer of Node can hold are no short wait', async () => {
    const warnings: string[] = [];
    const hear = (warning: Error) => warnings.push(warning.name);
    process.on('warning', hear);
    const turns = async () => {
      for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
      return 'fine';
    };
    await expect(timeout(2 ** 31).run(turns)).resolves.toBe('fine');
    process.off('warning', hear);
    expect(warnings).toEqual([]);
  });

  test('an unknown option is refused', () => {
    expect(() => timeout(50, { clok: new VirtualClock() } as object)).toThrow(/clok/);
    expect(() => timeout(50, { clock: 5, emit: 5 } as object)).toThrow(/options\.clock/);
    expect(() => timeout(50, { emit: 5 } as object)).toThrow(/options\.emit/);
  });

  test('something that cannot be called is a TypeError, as a rejection', async () => {
    const given = Promise.resolve(1) as unknown as () => number;
    await expect(timeout(50).run(given)).rejects.toThrow(/pass the function that makes it/);
  });
});

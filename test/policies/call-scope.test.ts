import { getEventListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { InvalidInputError } from '../../src/base/errors.js';
import type { Attempt } from '../../src/policies/attempt.js';
import { CallScope, requireFunction } from '../../src/policies/call-scope.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { deferred, rejectionOf } from '../support/deferred.js';

const listenersOn = (signal: AbortSignal) => getEventListeners(signal, 'abort').length;

/** A scope inside `outer` that hears of its abort. */
const inside = (outer: CallScope) => new CallScope(1, outer).attach();

/** A context that is not ours: a test's, or another copy's. */
function foreign(extra: Partial<Attempt> = {}): Attempt {
  return { attempt: 1, operationId: 'op', signal: new AbortController().signal, ...extra };
}

describe('abort', () => {
  test('reaches those inside that are attached, however deep, with the same reason', () => {
    const outer = new CallScope(1);
    const innermost = inside(inside(outer));
    const reason = new Error('gone');
    outer.abort(reason);
    expect([innermost.isAborted, innermost.reason]).toEqual([true, reason]);
  });

  test('does not reach those inside that are not attached', () => {
    const outer = new CallScope(1);
    const inner = new CallScope(1, outer);
    outer.abort('gone');
    expect(inner.isAborted).toBe(false);
  });

  test('has nowhere to come from when there is nothing around', () => {
    expect(new CallScope(1).attach().isAborted).toBe(false);
  });

  test('does not reach those outside', () => {
    const outer = new CallScope(1);
    inside(outer).abort('gone');
    expect([outer.isAborted, outer.signal.aborted]).toEqual([false, false]);
  });

  test('reaches one that is attached after it', () => {
    const outer = new CallScope(1);
    outer.abort('gone');
    expect(inside(outer).reason).toBe('gone');
  });

  test('counts once: the first reason stays, and listeners hear of it once', () => {
    const scope = new CallScope(1);
    const heard: unknown[] = [];
    scope.onAbort((reason) => heard.push(reason));
    scope.abort('first');
    scope.abort('second');
    expect([heard, scope.reason]).toEqual([['first'], 'first']);
  });

  test('may have undefined for a reason', () => {
    const scope = new CallScope(1);
    scope.abort(undefined);
    expect([scope.isAborted, scope.reason]).toEqual([true, undefined]);
  });

  test('aborts the signal, whether it was read before or is read afterwards', () => {
    const [read, unread] = [new CallScope(1), new CallScope(1)];
    const { signal } = read;
    read.abort('gone');
    unread.abort('gone');
    expect([signal.aborted, signal.reason]).toEqual([true, 'gone']);
    expect([unread.signal.aborted, unread.signal.reason]).toEqual([true, 'gone']);
  });

  test('is heard at once by a listener that comes after it, and not by one that has stopped', () => {
    const scope = new CallScope(1);
    const heard: string[] = [];
    const stop = scope.onAbort(() => heard.push('stopped'));
    stop();
    scope.abort('gone');
    scope.onAbort(() => heard.push('late'));
    expect(heard).toEqual(['late']);
  });

  test('lets a listener stop others while it is told', () => {
    const scope = new CallScope(1);
    const inner = inside(scope);
    scope.onAbort(() => inner.end());
    expect(() => scope.abort('gone')).not.toThrow();
  });
});

describe('the signal', () => {
  test('is the same one each time it is read', () => {
    const scope = new CallScope(1);
    expect(scope.signal).toBe(scope.signal);
  });
});

describe('following a signal', () => {
  const warnings: string[] = [];
  const hear = (warning: Error) => warnings.push(warning.name);
  beforeEach(() => {
    warnings.length = 0;
    process.on('warning', hear);
  });
  afterEach(() => process.off('warning', hear));

  test('makes its abort an abort of the scope', () => {
    const controller = new AbortController();
    const scope = new CallScope(1);
    scope.follow(controller.signal);
    controller.abort('gone');
    expect(scope.reason).toBe('gone');
  });

  test('that has aborted already aborts the scope at once and adds no listener', () => {
    const signal = AbortSignal.abort('gone');
    const scope = new CallScope(1);
    scope.follow(signal);
    expect([scope.reason, listenersOn(signal)]).toEqual(['gone', 0]);
  });

  test('takes one listener for a hundred runs, prints no warning, and leaves none', async () => {
    const { signal } = new AbortController();
    const scopes = Array.from({ length: 100 }, () => new CallScope(1));
    for (const scope of scopes) scope.follow(signal);
    expect(listenersOn(signal)).toBe(1);
    for (const scope of scopes) scope.end();
    expect(listenersOn(signal)).toBe(0);
    await new Promise((resolve) => setImmediate(resolve));
    expect(warnings).toEqual([]);
  });

  test('goes on for the others when one run ends', () => {
    const controller = new AbortController();
    const [ended, running] = [new CallScope(1), new CallScope(1)];
    ended.follow(controller.signal);
    running.follow(controller.signal);
    ended.end();
    ended.end();
    controller.abort('gone');
    expect([ended.isAborted, running.isAborted]).toEqual([false, true]);
  });

  test('twice in one scope is undone twice', () => {
    const { signal } = new AbortController();
    const scope = new CallScope(1);
    scope.follow(signal);
    scope.follow(signal);
    scope.end();
    expect(listenersOn(signal)).toBe(0);
  });
});

describe('end', () => {
  test('cuts the scope off from the one around it', () => {
    const outer = new CallScope(1);
    const inner = inside(outer);
    inner.end();
    outer.abort('gone');
    expect(inner.isAborted).toBe(false);
  });

  test('cancels the timer of its deadline', async () => {
    const clock = new VirtualClock();
    const scope = new CallScope(1);
    scope.limit(clock, 50, () => 'late');
    scope.end();
    expect(clock.pending).toBe(0);
    await clock.advance(100);
    expect(scope.isAborted).toBe(false);
  });

  test('of a scope that never needed anything does nothing', () => {
    expect(() => new CallScope(1).end()).not.toThrow();
  });
});

describe('deadlines', () => {
  test('abort the scope when they pass, with a reason that is made then', async () => {
    const clock = new VirtualClock();
    const scope = new CallScope(1);
    scope.limit(clock, 50, () => clock.monotonicMs());
    await clock.advance(49);
    expect(scope.isAborted).toBe(false);
    await clock.advance(1);
    expect([scope.isAborted, scope.reason]).toEqual([true, 50]);
  });

  test.each([
    ['the own one', 100, 300],
    ['the outer one', 300, 100],
  ])('are seen as the nearest: %s', async (_which, ownMs, outerMs) => {
    const clock = new VirtualClock();
    const outer = new CallScope(1);
    outer.limit(clock, outerMs, () => 'outer');
    const scope = inside(outer);
    scope.limit(clock, ownMs, () => 'own');
    await clock.advance(40);
    expect([scope.remainingMs, scope.deadlineAtMs]).toEqual([60, clock.now() + 60]);
  });

  test('are inherited by scopes that have none', () => {
    const clock = new VirtualClock();
    const outer = new CallScope(1);
    outer.limit(clock, 100, () => 'late');
    const innermost = inside(inside(outer));
    expect([innermost.remainingMs, innermost.deadlineAtMs]).toEqual([100, clock.now() + 100]);
  });

  test('are told in wall time and kept on the monotonic clock: a jump moves the label, not the time left', () => {
    const clock = new VirtualClock();
    const scope = new CallScope(1);
    scope.limit(clock, 100, () => 'late');
    clock.jumpWall(3_600_000);
    expect([scope.remainingMs, scope.deadlineAtMs]).toEqual([100, clock.now() + 100]);
  });

  test('that are not there are undefined, and leave time without end', () => {
    const scope = inside(new CallScope(1));
    expect([scope.remainingMs, scope.deadlineAtMs]).toEqual([Number.POSITIVE_INFINITY, undefined]);
  });

  test('that have passed abort in the next turn', async () => {
    const clock = new VirtualClock();
    const scope = new CallScope(1);
    scope.limit(clock, -5, () => 'late');
    await clock.advance(0);
    expect(scope.reason).toBe('late');
  });

  test('leave no timer when something else aborts first', () => {
    const clock = new VirtualClock();
    const scope = new CallScope(1);
    scope.limit(clock, 50, () => 'late');
    scope.abort('gone');
    expect(clock.pending).toBe(0);
  });
});

describe('the operation id', () => {
  test('is the same for all scopes of an operation, and stays the same', () => {
    const operation = CallScope.operation();
    const attempts = [new CallScope(1, operation), new CallScope(2, operation)];
    expect(new Set([...attempts, operation, operation].map(({ operationId }) => operationId)).size).toBe(1);
  });

  test('is a UUID of its own for every operation, also for one inside another', () => {
    const outer = CallScope.operation();
    const inner = CallScope.operation(outer);
    expect(outer.operationId).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(inner.operationId).not.toBe(outer.operationId);
  });

  test('is the given one, if one is given', () => {
    expect(new CallScope(2, CallScope.operation(new CallScope(1), 'order-7')).operationId).toBe('order-7');
  });
});

describe('the scope of a context', () => {
  const clock = new VirtualClock();

  test('is the context itself, if that is one of ours', () => {
    const scope = new CallScope(1);
    expect(CallScope.of(scope, clock)).toBe(scope);
  });

  test('is a first attempt without a context', () => {
    const { attempt, previous, deadlineAtMs, isAborted } = CallScope.of(undefined, clock);
    expect({ attempt, previous, deadlineAtMs, isAborted }).toEqual({ attempt: 1, isAborted: false });
  });

  test('takes a foreign one at its word: number, id, failure, deadline', () => {
    const previous = { attempt: 2, startedAtMs: 0, durationMs: 1, delayMs: 0 };
    const context = foreign({ attempt: 3, operationId: 'order-7', previous, deadlineAtMs: clock.now() + 50 });
    const scope = CallScope.of(context, clock);
    const { attempt, operationId, deadlineAtMs } = scope;
    expect({ attempt, operationId, deadlineAtMs, previous: scope.previous }).toEqual({
      attempt: 3,
      operationId: 'order-7',
      deadlineAtMs: context.deadlineAtMs,
      previous,
    });
    scope.end();
  });

  test('follows the signal of a foreign one until it is ended', () => {
    const controller = new AbortController();
    const [running, ended] = [1, 2].map(() => CallScope.of(foreign({ signal: controller.signal }), clock));
    ended?.end();
    controller.abort('gone');
    expect([running?.reason, ended?.isAborted]).toEqual(['gone', false]);
  });

  test('of a foreign one has a deadline that aborts it like a timeout, until it is ended', async () => {
    const own = new VirtualClock();
    const scope = CallScope.of(foreign({ deadlineAtMs: own.now() + 50 }), own);
    const ended = CallScope.of(foreign({ deadlineAtMs: own.now() + 50 }), own);
    ended.end();
    await own.advance(50);
    expect(scope.reason).toMatchObject({ name: 'TimeoutError' });
    expect([ended.isAborted, own.pending]).toEqual([false, 0]);
  });

  test('of a foreign one that lacks things fills them in', () => {
    const { signal } = new AbortController();
    const scope = CallScope.of({ signal }, clock);
    expect([scope.attempt, scope.signal.aborted]).toEqual([1, false]);
    expect(scope.operationId).toHaveLength(36);
    expect(scope.operationId).toBe(scope.operationId);
  });

  test('of a copy of an attempt is refused, because the copy has lost its signal', () => {
    expect(() => CallScope.of({ ...new CallScope(1) }, clock)).toThrow(InvalidInputError);
    expect(() => CallScope.of({ ...new CallScope(1) }, clock)).toThrow('context');
  });
});

describe('race', () => {
  const unhandled: unknown[] = [];
  const hear = (error: unknown) => unhandled.push(error);
  beforeEach(() => {
    unhandled.length = 0;
    process.on('unhandledRejection', hear);
  });
  afterEach(() => process.off('unhandledRejection', hear));

  test('is the promise, if that ends first, either way', async () => {
    const scope = new CallScope(1);
    await expect(scope.race(Promise.resolve('fine'))).resolves.toBe('fine');
    expect(await rejectionOf(scope.race(Promise.reject('plain')))).toBe('plain');
  });

  test('is the reason at once, if the scope is aborted first', async () => {
    const scope = new CallScope(1);
    const outcome = rejectionOf(scope.race(new Promise(() => {})));
    scope.abort('gone');
    expect(await outcome).toBe('gone');
  });

  test('is the reason, if the scope was aborted before', async () => {
    const scope = new CallScope(1);
    scope.abort('gone');
    expect(await rejectionOf(scope.race(Promise.resolve('fine')))).toBe('gone');
  });

  test('has a loser whose late rejection is not unhandled', async () => {
    const scope = new CallScope(1);
    const slow = deferred();
    const outcome = rejectionOf(scope.race(slow.promise));
    scope.abort('gone');
    await outcome;
    slow.reject(new Error('too late'));
    await new VirtualClock().advance(0);
    expect(unhandled).toEqual([]);
  });

  test('that was won by the promise leaves nothing behind when the scope is aborted later', async () => {
    const scope = new CallScope(1);
    await scope.race(Promise.resolve());
    scope.abort('gone');
    let isQuiet = false;
    scope.whenQuiet(() => {
      isQuiet = true;
    });
    expect(isQuiet).toBe(true);
  });
});

describe('calls left behind', () => {
  /** Was the act done, for each of these scopes? */
  function watch(...scopes: CallScope[]) {
    const isQuiet = scopes.map(() => false);
    for (const [index, scope] of scopes.entries())
      scope.whenQuiet(() => {
        isQuiet[index] = true;
      });
    return isQuiet;
  }
  const settle = () => new VirtualClock().advance(0);

  test('keep all scopes around them from being quiet, and none beside or inside them', async () => {
    const outer = new CallScope(1);
    const [middle, beside] = [new CallScope(1, outer), new CallScope(1, outer)];
    const inner = new CallScope(1, middle);
    const slow = deferred();
    middle.leaveBehind(slow.promise);
    const isQuiet = watch(outer, middle, beside, inner);
    expect(isQuiet).toEqual([false, false, true, true]);
    slow.resolve();
    await settle();
    expect(isQuiet).toEqual([true, true, true, true]);
  });

  test('are waited for one and all, and a rejection ends one as well', async () => {
    const scope = new CallScope(1);
    const [one, other] = [deferred(), deferred()];
    scope.leaveBehind(one.promise);
    scope.leaveBehind(other.promise);
    const isQuiet = watch(scope, scope);
    one.reject(new Error('late'));
    await settle();
    expect(isQuiet).toEqual([false, false]);
    other.resolve();
    await settle();
    expect(isQuiet).toEqual([true, true]);
  });

  test('are counted when a race is lost, in the scopes around as well', async () => {
    const outer = new CallScope(1);
    const inner = inside(outer);
    const slow = deferred();
    const outcome = rejectionOf(inner.race(slow.promise));
    inner.abort('gone');
    await outcome;
    const isQuiet = watch(outer, inner);
    expect(isQuiet).toEqual([false, false]);
    slow.resolve();
    await settle();
    expect(isQuiet).toEqual([true, true]);
  });

  test('that were never there let an act be done at once, and once', async () => {
    const scope = new CallScope(1);
    let acts = 0;
    scope.whenQuiet(() => acts++);
    const slow = deferred();
    scope.leaveBehind(slow.promise);
    slow.resolve();
    await settle();
    expect(acts).toBe(1);
  });
});

describe('requireFunction', () => {
  test.each([
    [Promise.resolve(), 'a promise: pass the function that makes it'],
    [null, 'null'],
    [undefined, 'undefined'],
    [{}, 'object'],
    ['text', 'string'],
  ])('says what %s is', (given, said) => {
    expect(() => requireFunction(given, 'call')).toThrow(new TypeError(`call must be a function, not ${said}.`));
  });

  test('lets functions and classes through', () => {
    expect(() => requireFunction(() => 1, 'call')).not.toThrow();
  });
});

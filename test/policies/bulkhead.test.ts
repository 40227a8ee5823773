import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { InvalidInputError } from '../../src/base/errors.js';
import type { Attempt } from '../../src/policies/attempt.js';
import { Bulkhead, type BulkheadEvent, BulkheadFullError, bulkhead } from '../../src/policies/bulkhead.js';
import { CallScope } from '../../src/policies/call-scope.js';
import { compose } from '../../src/policies/policy.js';
import { timeout } from '../../src/policies/timeout.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { type Deferred, deferred, rejectionOf } from '../support/deferred.js';

/** Lets everything run that can. */
const settle = () => new VirtualClock().advance(0);

/** Calls that begin when they are let in and end when the test says so. */
function work() {
  const begun: string[] = [];
  const open = new Map<string, Deferred<string>>();
  const call = (name: string) => () => {
    begun.push(name);
    const ending = deferred<string>();
    open.set(name, ending);
    return ending.promise;
  };
  const end = (name: string) => {
    open.get(name)?.resolve(name);
    return settle();
  };
  return { begun, call, end, fail: (name: string) => open.get(name)?.reject(new Error(name)) };
}

const counts = ({ running, waiting }: { running: number; waiting: number }) => ({ running, waiting });

describe('places', () => {
  test('no more than maxRunning calls run at once, the others wait and go in the order they came', async () => {
    const door = bulkhead({ maxRunning: 2, maxWaiting: 10 });
    const { begun, call, end } = work();
    const results = Promise.all(['a', 'b', 'c', 'd'].map((name) => door.run(call(name))));
    await settle();
    expect([begun, counts(door.stats())]).toEqual([['a', 'b'], { running: 2, waiting: 2 }]);
    await end('b');
    expect(begun).toEqual(['a', 'b', 'c']);
    await end('a');
    await end('c');
    await end('d');
    expect(await results).toEqual(['a', 'b', 'c', 'd']);
    expect(counts(door.stats())).toEqual({ running: 0, waiting: 0 });
  });

  test('a newcomer does not take the place that came free for one who waits', async () => {
    const door = bulkhead({ maxRunning: 1, maxWaiting: 10 });
    const { begun, call, end } = work();
    const results = [door.run(call('a')), door.run(call('b'))];
    await settle();
    const newcomer = end('a').then(() => door.run(call('c')));
    await settle();
    await settle();
    expect(begun).toEqual(['a', 'b']);
    await end('b');
    await end('c');
    await Promise.all([...results, newcomer]);
    expect(begun).toEqual(['a', 'b', 'c']);
  });

  test.each([
    ['rejects', () => Promise.reject('plain')],
    [
      'throws',
      () => {
        throw 'plain';
      },
    ],
  ])('a call that %s gives its place back, and its error passes through', async (_kind, call) => {
    const door = bulkhead({ maxRunning: 1 });
    expect(await rejectionOf(door.run(call))).toBe('plain');
    expect(door.stats().running).toBe(0);
  });

  test('a call starts in the same turn if a place is free', () => {
    const { begun, call } = work();
    void bulkhead().run(call('a'));
    expect(begun).toEqual(['a']);
  });

  test('ten thousand who wait are let in one after the other, and in order', async () => {
    const door = bulkhead({ maxRunning: 1, maxWaiting: Number.POSITIVE_INFINITY });
    const order: number[] = [];
    const callers = Array.from({ length: 10_000 }, (_, index) => door.run(async () => order.push(index)));
    await Promise.all(callers);
    expect(order).toEqual(callers.map((_, index) => index));
  });
});

describe('a call that was left behind', () => {
  test('keeps its place until it really ends', async () => {
    const clock = new VirtualClock();
    const door = bulkhead({ maxRunning: 1 });
    const { begun, call, end } = work();
    const slow = rejectionOf(compose(door, timeout(50, { clock })).run(call('slow')));
    await clock.advance(50);
    expect(await slow).toMatchObject({ code: 'HOLDFAST_TIMEOUT' });
    expect(door.stats().running).toBe(1);
    expect(await rejectionOf(door.run(call('next')))).toBeInstanceOf(BulkheadFullError);
    await end('slow');
    expect(door.stats().running).toBe(0);
    expect(begun).toEqual(['slow']);
  });

  test('keeps its place if the timeout is around the bulkhead', async () => {
    const clock = new VirtualClock();
    const door = bulkhead({ maxRunning: 1 });
    const { call, end } = work();
    const slow = rejectionOf(compose(timeout(50, { clock }), door).run(call('slow')));
    await clock.advance(50);
    await slow;
    expect(door.stats().running).toBe(1);
    await end('slow');
    expect(door.stats().running).toBe(0);
  });

  test('does not keep the places of calls beside it, under the same context', async () => {
    const clock = new VirtualClock();
    const door = bulkhead({ maxRunning: 2 });
    const context = new CallScope(1);
    const { call } = work();
    const hung = rejectionOf(door.run((attempt) => timeout(50, { clock }).run(call('hung'), attempt), context));
    await clock.advance(50);
    await hung;
    await door.run(() => 'quick', context);
    expect(door.stats().running).toBe(1);
  });
});

describe('a refused caller', () => {
  test('never made its call, and is told which bulkhead is full', async () => {
    const door = new Bulkhead({ name: 'db', maxRunning: 1, maxWaiting: 1 });
    const { begun, call, end } = work();
    const admitted = [door.run(call('a')), door.run(call('b'))];
    const error = await rejectionOf(door.run(call('c')));
    expect(error).toBeInstanceOf(BulkheadFullError);
    expect(error).toMatchObject({
      name: 'BulkheadFullError',
      code: 'HOLDFAST_BULKHEAD_FULL',
      bulkhead: 'db',
      maxRunning: 1,
      maxWaiting: 1,
      waitedMs: 0,
    });
    expect(String(error)).toContain('"db" is full');
    await end('a');
    await end('b');
    await Promise.all(admitted);
    expect(begun).toEqual(['a', 'b']);
    expect(door.stats()).toMatchObject({ name: 'db', rejected: 1 });
  });

  test('costs no stack trace, and other errors keep theirs', async () => {
    const door = bulkhead({ maxRunning: 1 });
    void door.run(() => new Promise(() => {}));
    const { stack } = (await rejectionOf(door.run(() => 1))) as Error;
    expect(stack).not.toContain('\n');
    expect(new Error('other').stack).toContain('\n');
  });

  test('waits no longer than maxWaitMs, and the one behind moves up', async () => {
    const clock = new VirtualClock();
    const door = bulkhead({ maxRunning: 1, maxWaiting: 5, maxWaitMs: 100, clock });
    const { begun, call, end } = work();
    const first = door.run(call('a'));
    const tooLate = rejectionOf(door.run(call('b')));
    await clock.advance(60);
    const last = door.run(call('c'));
    await clock.advance(40);
    expect(await tooLate).toMatchObject({ code: 'HOLDFAST_BULKHEAD_FULL', waitedMs: 100 });
    expect(String(await tooLate)).toContain('within 100 ms');
    await end('a');
    await end('c');
    await Promise.all([first, last]);
    expect(begun).toEqual(['a', 'c']);
    expect(clock.pending).toBe(0);
  });
});

describe('a waiting caller that gives up', () => {
  test('leaves at once with its reason, and its call is never made', async () => {
    const door = bulkhead({ maxRunning: 1, maxWaiting: 1 });
    const { begun, call, end } = work();
    const first = door.run(call('a'));
    const context = new CallScope(1);
    const outcome = rejectionOf(door.run(call('b'), context));
    context.abort('gone');
    expect(await outcome).toBe('gone');
    expect(counts(door.stats())).toEqual({ running: 1, waiting: 0 });
    await end('a');
    await first;
    expect(begun).toEqual(['a']);
    expect(door.stats().running).toBe(0);
  });

  test('is cut off by its own timeout while it waits', async () => {
    const clock = new VirtualClock();
    const door = bulkhead({ maxRunning: 1, maxWaiting: 1 });
    void door.run(() => new Promise(() => {}));
    const outcome = rejectionOf(compose(timeout(50, { clock }), door).run(() => 1));
    await clock.advance(50);
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_TIMEOUT' });
    expect(door.stats().waiting).toBe(0);
  });

  test('in the moment between being let in and beginning gives the place back without having called', async () => {
    const door = bulkhead({ maxRunning: 1, maxWaiting: 1 });
    const { begun, call } = work();
    const context = new CallScope(1);
    const first = deferred();
    const freed = door.run(() => first.promise);
    const outcome = rejectionOf(door.run(call('b'), context));
    first.resolve();
    // One microtask after another, until the place was handed over; the call would begin in the next one.
    while (door.stats().waiting > 0) await undefined;
    context.abort('gone');
    expect(await outcome).toBe('gone');
    await freed;
    expect([begun, door.stats().running]).toEqual([[], 0]);
  });

  test('before it came is refused with its reason, and takes no place', async () => {
    const door = bulkhead();
    const context = new CallScope(1);
    context.abort('gone');
    const { begun, call } = work();
    expect(await rejectionOf(door.run(call('a'), context))).toBe('gone');
    expect([begun, door.stats().running]).toEqual([[], 0]);
  });

  test('before it came to a full bulkhead is told its own reason, and does not count as rejected', async () => {
    const door = bulkhead({ maxRunning: 1 });
    void door.run(() => new Promise(() => {}));
    const context = new CallScope(1);
    context.abort('gone');
    expect(await rejectionOf(door.run(() => 1, context))).toBe('gone');
    expect(door.stats().rejected).toBe(0);
  });
});

describe('context', () => {
  test('is inherited by the call', async () => {
    const outer = CallScope.operation(undefined, 'op');
    const seen = await bulkhead().run(({ attempt, operationId }) => [attempt, operationId], outer);
    expect(seen).toEqual([1, 'op']);
  });

  test('that is not ours aborts the wait, and nothing listens to it afterwards', async () => {
    const door = bulkhead({ maxRunning: 1, maxWaiting: 1 });
    void door.run(() => new Promise(() => {}));
    const controller = new AbortController();
    const foreign: Attempt = { attempt: 1, operationId: 'op', signal: controller.signal };
    const outcome = rejectionOf(door.run(() => 1, foreign));
    controller.abort('gone');
    expect(await outcome).toBe('gone');
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
  });

  test('an abort of it reaches the running call', async () => {
    const outer = new CallScope(1);
    const outcome = rejectionOf(
      bulkhead().run(
        ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
        outer,
      ),
    );
    outer.abort('gone');
    expect(await outcome).toBe('gone');
  });
});

describe('events', () => {
  test('tell of callers that wait and of callers that are refused, not of those let in', async () => {
    const clock = new VirtualClock();
    const events: BulkheadEvent[] = [];
    const emit = (event: BulkheadEvent) => events.push(event);
    const door = bulkhead({ name: 'db', maxRunning: 1, maxWaiting: 1, maxWaitMs: 100, clock, emit });
    void door.run(() => new Promise(() => {}));
    expect(events).toEqual([]);
    const waiting = rejectionOf(door.run(() => 1));
    await rejectionOf(door.run(() => 1));
    await clock.advance(100);
    await waiting;
    expect(events).toEqual([
      { type: 'bulkhead.queued', bulkhead: 'db', waiting: 1 },
      { type: 'bulkhead.rejected', bulkhead: 'db', waitedMs: 0 },
      { type: 'bulkhead.rejected', bulkhead: 'db', waitedMs: 100 },
    ]);
  });

  test('a listener that aborts the caller it hears of keeps nobody in line', async () => {
    const context = new CallScope(1);
    const door = bulkhead({ maxRunning: 1, maxWaiting: 1, emit: () => context.abort('gone') });
    void door.run(() => new Promise(() => {}));
    expect(await rejectionOf(door.run(() => 1, context))).toBe('gone');
    expect(door.stats().waiting).toBe(0);
  });
});

describe('what is passed in', () => {
  test.each([
    [{ maxRunning: 0 }, 'options.maxRunning'],
    [{ maxWaiting: -1 }, 'options.maxWaiting'],
    [{ maxWaiting: 1.5 }, 'options.maxWaiting'],
    [{ maxWaitMs: 0 }, 'options.maxWaitMs'],
    [{ name: '' }, 'options.name'],
    [{ clock: 1 }, 'options.clock'],
    [{ emit: 1 }, 'options.emit'],
    [{ maxRuning: 1 }, 'options.maxRuning'],
  ])('%j is refused, naming %s', (options, path) => {
    const make = () => bulkhead(options as object);
    expect(make).toThrow(InvalidInputError);
    expect(make).toThrow(expect.objectContaining({ path }));
  });

  test('the options are read once: changing the object later changes nothing', async () => {
    const options = { maxRunning: 1 };
    const door = bulkhead(options);
    options.maxRunning = 5;
    expect(door.stats().maxRunning).toBe(1);
  });

  test('something that cannot be called is a TypeError, as a rejection, and takes no place', async () => {
    const door = bulkhead();
    await expect(door.run(undefined as unknown as () => number)).rejects.toThrow(TypeError);
    expect(door.stats().running).toBe(0);
  });
});

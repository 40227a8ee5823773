import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InvalidInputError } from '../../src/base/errors.js';
import type { Attempt } from '../../src/policies/attempt.js';
import { CallScope } from '../../src/policies/call-scope.js';
import {
  RateLimitError,
  type RateLimitEvent,
  RateLimiter,
  type RateLimitOptions,
  rateLimit,
} from '../../src/policies/rate-limit.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { rejectionOf } from '../support/deferred.js';

/** A limiter on a clock of its own, and the times at which it let calls through. */
function scene(options: Partial<RateLimitOptions> = {}) {
  const clock = new VirtualClock();
  const events: RateLimitEvent[] = [];
  const limiter = rateLimit({ calls: 10, perMs: 1_000, clock, emit: (event) => events.push(event), ...options });
  const passedMs: number[] = [];
  const call = () => passedMs.push(clock.monotonicMs());
  return { clock, events, limiter, passedMs, call };
}

/** `count` calls at once; resolves with what those were told that were refused. */
const burstOf = async (count: number, { limiter, call }: ReturnType<typeof scene>) =>
  (await Promise.all(Array.from({ length: count }, () => rejectionOf(limiter.run(call))))).filter((error) => error);

describe('the limit', () => {
  test('lets a burst through at once, and refuses what is beyond it', async () => {
    const stage = scene();
    const refused = await burstOf(12, stage);
    expect([stage.passedMs.length, refused.length]).toEqual([10, 2]);
    expect(refused[0]).toBeInstanceOf(RateLimitError);
  });

  test('lets one more through for each share of the time that passes, fractions included', async () => {
    const stage = scene({ burst: 1 });
    await burstOf(1, stage);
    await stage.clock.advance(60);
    await burstOf(1, stage);
    await stage.clock.advance(40);
    await burstOf(1, stage);
    expect(stage.passedMs).toEqual([0, 100]);
  });

  test('is not saved up beyond the burst', async () => {
    const stage = scene({ burst: 3 });
    await stage.clock.advance(3_600_000);
    await burstOf(10, stage);
    expect(stage.passedMs).toHaveLength(3);
  });

  test('does not follow wall time', async () => {
    const stage = scene({ burst: 1 });
    await burstOf(1, stage);
    stage.clock.jumpWall(3_600_000);
    expect(await burstOf(1, stage)).toHaveLength(1);
  });

  test('holds in every stretch of time, whatever is asked for and given up on', async () => {
    const step = fc.record({
      afterMs: fc.integer({ min: 0, max: 120 }),
      cost: fc.integer({ min: 1, max: 4 }),
      givesUp: fc.boolean(),
      pauseMs: fc.option(fc.integer({ min: 0, max: 80 }), { freq: 8, nil: undefined }),
    });
    const setting = fc.record({
      calls: fc.integer({ min: 1, max: 9 }),
      perMs: fc.integer({ min: 1, max: 700 }),
      burst: fc.integer({ min: 4, max: 12 }),
      maxWaitMs: fc.constantFrom(0, 30, 500, Number.POSITIVE_INFINITY),
    });
    await fc.assert(
      fc.asyncProperty(setting, fc.array(step, { maxLength: 25 }), async (options, steps) => {
        const { clock, limiter } = scene(options);
        const passed: { atMs: number; cost: number }[] = [];
        for (const { afterMs, cost, givesUp, pauseMs } of steps) {
          const controller = new AbortController();
          const { signal } = controller;
          void rejectionOf(
            limiter.acquire({ cost, signal }).then(() => passed.push({ atMs: clock.monotonicMs(), cost })),
          );
          if (pauseMs !== undefined) limiter.pauseFor(pauseMs);
          await clock.advance(afterMs);
          if (givesUp) controller.abort();
        }
        await clock.advance(1_000_000);
        expect(clock.pending).toBe(0);
        for (const [from, { atMs }] of passed.entries()) {
          let total = 0;
          for (const last of passed.slice(from)) {
            total += last.cost;
            const tookMs = last.atMs - atMs + 1e-6; // It counts in nanoseconds.
            expect(total).toBeLessThanOrEqual(options.burst + (tookMs * options.calls) / options.perMs);
          }
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('a refused call', () => {
  test('was never made, and is told when to come again', async () => {
    const stage = scene({ name: 'api', burst: 1 });
    const [error] = (await burstOf(2, stage)) as [RateLimitError];
    expect(error).toMatchObject({
      name: 'RateLimitError',
      code: 'HOLDFAST_RATE_LIMITED',
      limiter: 'api',
      retryAfterMs: 100,
    });
    expect(String(error)).toMatch(/"api".*100 ms/);
    expect(stage.passedMs).toHaveLength(1);
    await stage.clock.advance(error.retryAfterMs);
    expect(await burstOf(1, stage)).toEqual([]);
  });

  test('is let through after the time it was told, for awkward rates too', async () => {
    const stage = scene({ calls: 7, perMs: 977, burst: 1 });
    for (let round = 1; round <= 50; round++) {
      await burstOf(1, stage);
      const error = (await rejectionOf(stage.limiter.run(stage.call))) as RateLimitError;
      await stage.clock.advance(error.retryAfterMs);
      expect(await rejectionOf(stage.limiter.run(stage.call))).toBeUndefined();
      await stage.clock.advance(1_000);
    }
  });

  test('costs no stack trace, and other errors keep theirs', async () => {
    const [error] = (await burstOf(2, scene({ burst: 1 }))) as [Error];
    expect(error.stack).not.toContain('\n');
    expect(new Error('other').stack).toContain('\n');
  });
});

describe('waiting', () => {
  test('callers go in the order they came, evenly spread', async () => {
    const stage = scene({ burst: 1, maxWaitMs: 1_000 });
    const order: number[] = [];
    const calls = [1, 2, 3, 4].map((caller) => stage.limiter.run(() => order.push(caller) && stage.call()));
    await stage.clock.advance(1_000);
    await Promise.all(calls);
    expect(order).toEqual([1, 2, 3, 4]);
    expect(stage.passedMs).toEqual([0, 100, 200, 300]);
  });

  test('is refused at once if it would be longer than maxWaitMs, counting those ahead', async () => {
    const stage = scene({ burst: 1, maxWaitMs: 250 });
    const done = burstOf(5, stage);
    await stage.clock.advance(0);
    expect(stage.events.filter(({ type }) => type === 'rate-limit.rejected')).toHaveLength(2);
    await stage.clock.advance(1_000);
    expect([stage.passedMs, (await done).length]).toEqual([[0, 100, 200], 2]);
  });

  test('does not count those who are through already', async () => {
    const stage = scene({ burst: 1, maxWaitMs: 100 });
    const first = burstOf(2, stage);
    await stage.clock.advance(100);
    const second = burstOf(1, stage);
    await stage.clock.advance(100);
    expect([await first, await second, stage.passedMs]).toEqual([[], [], [0, 100, 200]]);
  });

  test('is not refused for an error of rounding', async () => {
    const stage = scene({ calls: 10, perMs: 1, burst: 1, maxWaitMs: 0.3 }); // 3 * 0.1 > 0.3
    const done = burstOf(4, stage);
    await stage.clock.advance(1);
    expect(await done).toEqual([]);
  });

  test('is refused at once if it would be longer than the deadline', async () => {
    const stage = scene({ burst: 1, maxWaitMs: Number.POSITIVE_INFINITY });
    await burstOf(1, stage);
    const context = new CallScope(1);
    context.limit(stage.clock, 99, () => new Error('late'));
    expect(await rejectionOf(stage.limiter.run(stage.call, context))).toMatchObject({ retryAfterMs: 100 });
    context.end();
    expect(stage.clock.pending).toBe(0);
  });

  test('takes as long as it takes with Infinity', async () => {
    const stage = scene({ calls: 1, perMs: 3_600_000, maxWaitMs: Number.POSITIVE_INFINITY });
    const done = burstOf(25, stage);
    await stage.clock.advance(24 * 3_600_000);
    expect(await done).toEqual([]);
    expect(stage.passedMs.at(-1)).toBe(24 * 3_600_000);
  });

  test('takes one timer however many wait, and none when nobody does', async () => {
    const stage = scene({ burst: 1, maxWaitMs: 1_000 });
    const done = burstOf(8, stage);
    expect(stage.clock.pending).toBe(1);
    await stage.clock.advance(1_000);
    await done;
    expect(stage.clock.pending).toBe(0);
  });

  test('a newcomer does not overtake those whose timer is late', async () => {
    const clock = new VirtualClock();
    let lateMs = 0;
    const monotonicMs = () => clock.monotonicMs() + lateMs;
    const late = { now: () => clock.now(), monotonicMs, sleep: clock.sleep.bind(clock) };
    const stage = scene({ burst: 2, maxWaitMs: 1_000, clock: late });
    const order: string[] = [];
    const calls = ['one', 'two', 'three'].map((name) => stage.limiter.run(() => order.push(name)));
    lateMs = 500; // The event loop was blocked: there is room for both, and the timer has not fired yet.
    calls.push(stage.limiter.run(() => order.push('newcomer')));
    await Promise.all(calls);
    expect(order).toEqual(['one', 'two', 'three', 'newcomer']);
    expect(clock.pending).toBe(0);
  });
});

describe('a waiting caller that gives up', () => {
  test('leaves at once with its reason, uses nothing up, and those behind move up', async () => {
    const stage = scene({ burst: 1, maxWaitMs: 1_000 });
    await burstOf(1, stage);
    const context = new CallScope(1);
    const givenUp = rejectionOf(stage.limiter.run(stage.call, context));
    const behind = stage.limiter.run(stage.call);
    context.abort('gone');
    expect(await givenUp).toBe('gone');
    await stage.clock.advance(1_000);
    await behind;
    expect(stage.passedMs).toEqual([0, 100]);
  });

  test('lets those through at once who waited only for it', async () => {
    const stage = scene({ burst: 10, maxWaitMs: 10_000 });
    await stage.limiter.acquire({ cost: 5 });
    const controller = new AbortController();
    const large = rejectionOf(stage.limiter.acquire({ cost: 10, signal: controller.signal }));
    const small = stage.limiter.run(stage.call);
    controller.abort('gone');
    expect(await large).toBe('gone');
    await small;
    expect(stage.passedMs).toEqual([0]);
    expect(stage.clock.pending).toBe(0);
  });

  test('together with others of the same context uses nothing up', async () => {
    const stage = scene({ burst: 10, maxWaitMs: 10_000 });
    await stage.limiter.acquire({ cost: 9 });
    const context = new CallScope(1);
    const large = rejectionOf(stage.limiter.acquire({ cost: 10, context }));
    const small = rejectionOf(stage.limiter.run(stage.call, context));
    context.abort('gone');
    expect([await large, await small]).toEqual(['gone', 'gone']);
    expect(await burstOf(1, stage)).toEqual([]);
    expect([stage.passedMs, stage.clock.pending]).toEqual([[0], 0]);
  });

  test('from behind changes nothing for the first', async () => {
    const stage = scene({ burst: 1, maxWaitMs: 1_000 });
    await burstOf(1, stage);
    const first = stage.limiter.run(stage.call);
    const context = new CallScope(1);
    const givenUp = rejectionOf(stage.limiter.run(stage.call, context));
    context.abort('gone');
    await givenUp;
    await stage.clock.advance(100);
    await first;
    expect(stage.passedMs).toEqual([0, 100]);
  });

  test('as the last one takes the timer with it', async () => {
    const stage = scene({ burst: 1, maxWaitMs: 1_000 });
    await burstOf(1, stage);
    const context = new CallScope(1);
    const givenUp = rejectionOf(stage.limiter.run(stage.call, context));
    context.abort('gone');
    await givenUp;
    expect(stage.clock.pending).toBe(0);
  });

  test('before it came is refused with its reason, and uses nothing up', async () => {
    const stage = scene({ burst: 1 });
    const context = new CallScope(1);
    context.abort('gone');
    expect(await rejectionOf(stage.limiter.run(stage.call, context))).toBe('gone');
    expect(await burstOf(1, stage)).toEqual([]);
  });

  test('in the moment between being let in and beginning never makes its call', async () => {
    const stage = scene({ burst: 2, maxWaitMs: 1_000 });
    stage.limiter.pauseFor(100);
    const context = new CallScope(1);
    const first = stage.limiter.run(() => context.abort('gone')); // Both are let in in the same moment.
    const second = rejectionOf(stage.limiter.run(stage.call, context));
    await stage.clock.advance(100);
    await first;
    expect(await second).toBe('gone');
    expect(stage.passedMs).toEqual([]);
  });
});

describe('acquire', () => {
  test('counts its cost', async () => {
    const stage = scene({ calls: 1_000, perMs: 60_000, maxWaitMs: 60_000 });
    await stage.limiter.acquire({ cost: 800 });
    const second = stage.limiter.acquire({ cost: 500 }).then(stage.call);
    await stage.clock.advance(60_000);
    await second;
    expect(stage.passedMs).toEqual([18_000]);
  });

  test('costs 1 if nothing is said', async () => {
    const stage = scene({ burst: 1 });
    await stage.limiter.acquire();
    expect(await rejectionOf(stage.limiter.acquire())).toMatchObject({ retryAfterMs: 100 });
  });

  test('of more than the burst is an input error, because it would never pass', async () => {
    const { limiter } = scene({ burst: 5 });
    const error = await rejectionOf(limiter.acquire({ cost: 6 }));
    expect(error).toBeInstanceOf(InvalidInputError);
    expect(error).toMatchObject({ path: 'options.cost' });
    await expect(limiter.acquire({ cost: 5 })).resolves.toBeUndefined();
  });

  test.each([[{ cost: 0 }], [{ cost: Number.NaN }], [{ signal: 5 }], [{ context: 5 }], [{ price: 1 }]])(
    'with %j is refused',
    async (options) => {
      expect(await rejectionOf(scene().limiter.acquire(options as object))).toBeInstanceOf(InvalidInputError);
    },
  );

  test('in a context that is not ours ends with its signal, and nothing listens to it afterwards', async () => {
    const stage = scene({ burst: 1, maxWaitMs: 1_000 });
    await stage.limiter.acquire();
    const controller = new AbortController();
    const context: Attempt = { attempt: 1, operationId: 'op', signal: controller.signal };
    const outcome = rejectionOf(stage.limiter.acquire({ context }));
    controller.abort('gone');
    expect(await outcome).toBe('gone');
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
  });

  test('with a signal of its own leaves no listener on it', async () => {
    const { limiter } = scene();
    const { signal } = new AbortController();
    await limiter.acquire({ signal, context: new CallScope(1) });
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  test('with a signal that has aborted uses nothing up', async () => {
    const stage = scene({ burst: 1 });
    expect(await rejectionOf(stage.limiter.acquire({ signal: AbortSignal.abort('gone') }))).toBe('gone');
    expect(await burstOf(1, stage)).toEqual([]);
  });
});

describe('pauseFor', () => {
  test('lets nothing through for that long', async () => {
    const stage = scene();
    stage.limiter.pauseFor(500);
    expect(await burstOf(1, stage)).toMatchObject([{ retryAfterMs: 500 }]);
    await stage.clock.advance(499);
    expect(await burstOf(1, stage)).toHaveLength(1);
    await stage.clock.advance(1);
    expect(await burstOf(1, stage)).toEqual([]);
  });

  test('holds up those who wait already', async () => {
    const stage = scene({ burst: 1, maxWaitMs: 10_000 });
    const done = burstOf(3, stage);
    stage.limiter.pauseFor(500);
    await stage.clock.advance(1_000);
    expect(await done).toEqual([]);
    expect(stage.passedMs).toEqual([0, 500, 600]);
  });

  test('refuses those at once whose wait grows longer than they may wait, and keeps the others', async () => {
    const stage = scene({ burst: 1, maxWaitMs: 550 });
    const done = burstOf(4, stage);
    await stage.clock.advance(10);
    stage.limiter.pauseFor(500);
    await stage.clock.advance(0);
    expect(stage.events.filter(({ type }) => type === 'rate-limit.rejected')).toHaveLength(2);
    await stage.clock.advance(1_000);
    expect(await done).toHaveLength(2);
    expect(stage.passedMs).toEqual([0, 510]);
    expect(stage.clock.pending).toBe(0);
  });

  test('that is shorter than one that goes on does not shorten it', async () => {
    const stage = scene();
    stage.limiter.pauseFor(500);
    stage.limiter.pauseFor(10);
    expect(await burstOf(1, stage)).toMatchObject([{ retryAfterMs: 500 }]);
  });

  test.each([-1, Number.NaN, Number.POSITIVE_INFINITY])('of %s ms is refused', (ms) => {
    expect(() => scene().limiter.pauseFor(ms)).toThrow(/^ms: /);
  });
});

describe('events', () => {
  test('tell of callers that wait and of callers that are refused, not of those let through', async () => {
    const stage = scene({ name: 'api', burst: 1, maxWaitMs: 100 });
    const done = burstOf(3, stage);
    await stage.clock.advance(100);
    await done;
    expect(stage.events).toEqual([
      { type: 'rate-limit.queued', limiter: 'api', waitMs: 100 },
      { type: 'rate-limit.rejected', limiter: 'api', retryAfterMs: 200 },
    ]);
  });

  test('are not needed', async () => {
    const clock = new VirtualClock();
    const limiter = new RateLimiter({ calls: 1, perMs: 100, maxWaitMs: 100, clock });
    const calls = [1, 2, 3].map(() => rejectionOf(limiter.run(() => 1)));
    await clock.advance(100);
    expect((await Promise.all(calls)).filter((error) => error)).toHaveLength(1);
  });
});

describe('what is passed in', () => {
  test.each([
    [{ perMs: 1 }, 'options.calls'],
    [{ calls: 0, perMs: 1 }, 'options.calls'],
    [{ calls: 1, perMs: 0 }, 'options.perMs'],
    [{ calls: 1, perMs: Number.POSITIVE_INFINITY }, 'options.perMs'],
    [{ calls: 1, perMs: 1, burst: 0.5 }, 'options.burst'],
    [{ calls: 1, perMs: 1, maxWaitMs: -1 }, 'options.maxWaitMs'],
    [{ calls: 1, perMs: 1, name: '' }, 'options.name'],
    [{ calls: 1, perMs: 1, clock: 1 }, 'options.clock'],
    [{ calls: 1, perMs: 1, emit: 1 }, 'options.emit'],
    [{ calls: 1, perMs: 1, bursts: 1 }, 'options.bursts'],
  ])('%j is refused, naming %s', (options, path) => {
    expect(() => rateLimit(options as RateLimitOptions)).toThrow(expect.objectContaining({ path }));
  });

  test("without a clock it is the machine's", async () => {
    await expect(rateLimit({ calls: 1, perMs: 1_000 }).run(() => 'done')).resolves.toBe('done');
  });

  test('what a call throws passes through untouched', async () => {
    expect(await rejectionOf(scene().limiter.run(() => Promise.reject('plain')))).toBe('plain');
  });

  test('the call is in the attempt it was given, and one that is not ours has nobody listening afterwards', async () => {
    const { signal } = new AbortController();
    const context: Attempt = { attempt: 4, operationId: 'op', signal };
    expect(await scene().limiter.run(({ attempt, operationId }) => [attempt, operationId], context)).toEqual([4, 'op']);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  test('something that cannot be called is a TypeError, as a rejection, and uses nothing up', async () => {
    const stage = scene({ burst: 1 });
    await expect(stage.limiter.run(5 as unknown as () => number)).rejects.toThrow(TypeError);
    expect(await burstOf(1, stage)).toEqual([]);
  });
});

import { getEventListeners } from 'node:events';
import { pathToFileURL } from 'node:url';
import { runInNewContext } from 'node:vm';
import pRetry, { AbortError } from 'p-retry';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { AttemptFailure } from '../../src/policies/attempt.js';
import { retry } from '../../src/policies/retry.js';
import type { RetryEvent } from '../../src/policies/retry-event.js';
import { RetryManager } from '../../src/policies/retry-manager.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

// Defects of p-retry 7.1.1, and C1 of cockatiel 3.2.1: each is shown on the plain package, so that an upgrade that
// mends it is noticed, and beside it what happens here, where p-retry drives the attempts after the first.
// p-retry gets faked timers, holdfast a clock of its own.

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const busy = new Error('busy');

/** Throws `error` the first `failures` times, then returns 'done'. */
function failing(error: unknown, failures = Number.POSITIVE_INFINITY) {
  let calls = 0;
  return vi.fn((): string => {
    if (++calls <= failures) throw error;
    return 'done';
  });
}

/** How the promise ended, as a value; it counts as handled from now on. */
function ending(promise: Promise<unknown>): Promise<{ readonly value?: unknown; readonly error?: unknown }> {
  return promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
}

/** Is told once the promise ends, well or not. */
function endOf(promise: Promise<unknown>) {
  const ended = vi.fn();
  promise.then(ended, ended);
  return ended;
}

/** Lets `count` clients fail together; `waits` is what each waited before its sixth attempt, once `ends` are there. */
function fifthWaits(count: number, client: (attempted: () => never) => Promise<unknown>, nowMs: () => number) {
  const times = Array.from({ length: count }, (): number[] => []);
  const ends = times.map((own) =>
    ending(
      client(() => {
        own.push(nowMs());
        throw busy;
      }),
    ),
  );
  return { ends: Promise.all(ends), waits: () => times.map((own) => Math.round((own[5] ?? 0) - (own[4] ?? 0))) };
}

describe('P1: waits at the cap', () => {
  test('p-retry draws before it caps: at the cap all clients come back at the same moment', async () => {
    const options = { retries: 5, minTimeout: 100, maxTimeout: 1_000, randomize: true };
    const clients = fifthWaits(
      20,
      (call) => pRetry(call, options),
      () => performance.now(),
    );
    await vi.advanceTimersByTimeAsync(10_000);
    await clients.ends;
    expect(new Set(clients.waits())).toEqual(new Set([1_000]));
  });

  test.each(['decorrelated', 'full', 'equal', 'proportional'] as const)(
    'here clients with %s jitter are spread out at the cap, and none waits longer',
    async (jitter) => {
      const clock = new VirtualClock();
      const backoff = { kind: 'exponential', baseMs: 100, maxMs: 1_000, jitter } as const;
      const policy = retry({ maxRetries: 5, backoff, clock, random: seededRandom(1), budget: false });
      const clients = fifthWaits(
        20,
        (call) => policy.run(call),
        () => clock.monotonicMs(),
      );
      await clock.advance(10_000);
      await clients.ends;
      expect(new Set(clients.waits()).size).toBeGreaterThan(10);
      expect(Math.max(...clients.waits())).toBeLessThanOrEqual(1_000);
    },
  );
});

describe.each([
  ['P2: a thrown object that is no Error', { code: 'EBUSY' }],
  ['P2: a thrown string', 'busy'],
  ['P3: an Error of another realm, as Jest and vm make them', runInNewContext('new Error("busy")')],
])('%s', (_what, thrown) => {
  test('p-retry does not retry it and throws a TypeError from which the original is gone', async () => {
    const call = failing(thrown, 1);
    const { error } = await ending(pRetry(call, { minTimeout: 0 }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error).not.toHaveProperty('cause');
    expect(call).toHaveBeenCalledTimes(1);
  });

  test('here it is retried', async () => {
    const clock = new VirtualClock();
    const call = failing(thrown, 1);
    const run = retry({ clock }).run(call);
    await clock.advance(60_000);
    await expect(run).resolves.toBe('done');
    expect(call).toHaveBeenCalledTimes(2);
  });

  test('here the final error has the very thing that was thrown', async () => {
    const clock = new VirtualClock();
    const end = ending(retry({ clock, maxRetries: 1 }).run(failing(thrown)));
    await clock.advance(60_000);
    const { error } = await end;
    expect(error).toMatchObject({ code: 'HOLDFAST_RETRY_GAVE_UP', attempts: [{ attempt: 1 }, { attempt: 2 }] });
    expect((error as Error).cause).toBe(thrown);
  });

  test('here without retries it is thrown as it is', async () => {
    const { error } = await ending(retry({ clock: new VirtualClock(), maxRetries: 0 }).run(failing(thrown)));
    expect(error).toBe(thrown);
  });
});

describe('P4: a TypeError that is no network error', () => {
  const typeError = new TypeError('fetch failed because of TLS');

  test('p-retry never retries it and does not ask shouldRetry', async () => {
    const shouldRetry = vi.fn(() => true);
    const call = failing(typeError, 1);
    await expect(pRetry(call, { minTimeout: 0, shouldRetry })).rejects.toBe(typeError);
    expect(call).toHaveBeenCalledTimes(1);
    expect(shouldRetry).not.toHaveBeenCalled();
  });

  test('here it is retried like any other error', async () => {
    const clock = new VirtualClock();
    const run = retry({ clock }).run(failing(typeError, 1));
    await clock.advance(60_000);
    await expect(run).resolves.toBe('done');
  });

  test('here classify is asked, and its word counts', async () => {
    const classify = vi.fn(() => 'fail' as const);
    const call = failing(typeError, 1);
    await expect(retry({ clock: new VirtualClock(), classify }).run(call)).rejects.toBe(typeError);
    expect(classify).toHaveBeenCalledWith(expect.objectContaining({ error: typeError }));
    expect(call).toHaveBeenCalledTimes(1);
  });
});

describe('P5: the caller gives up while an attempt runs', () => {
  test('p-retry waits for the attempt, throws its result away and reports the abort as a failed attempt', async () => {
    const controller = new AbortController();
    const onFailedAttempt = vi.fn();
    const call = () => new Promise((resolve) => setTimeout(resolve, 300, 'done'));
    const run = pRetry(call, { signal: controller.signal, onFailedAttempt });
    const ended = endOf(run);
    await vi.advanceTimersByTimeAsync(20);
    controller.abort();
    await vi.advanceTimersByTimeAsync(279);
    expect(ended).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    await expect(run).rejects.toBe(controller.signal.reason);
    expect(onFailedAttempt).toHaveBeenCalledWith(expect.objectContaining({ error: controller.signal.reason }));
  });

  test('here the run ends at once with the reason, also if the call does not listen', async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const onRetry = vi.fn();
    const end = ending(new RetryManager({ clock }).run(() => clock.sleep(300), { signal: controller.signal, onRetry }));
    await clock.advance(20);
    controller.abort();
    expect(await end).toEqual({ error: controller.signal.reason });
    expect(clock.monotonicMs()).toBe(20);
    expect(onRetry).not.toHaveBeenCalled();
  });

  test('here the signal of the attempt tells the call, which then leaves nothing behind', async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const call = vi.fn(({ signal }: { signal: AbortSignal }) => clock.sleep(300, { signal }));
    const end = ending(new RetryManager({ clock }).run(call, { signal: controller.signal }));
    await clock.advance(20);
    controller.abort(busy);
    expect(await end).toEqual({ error: busy });
    expect(call.mock.calls[0]?.[0].signal.reason).toBe(busy);
    expect(call).toHaveBeenCalledTimes(1);
    expect(clock.pending).toBe(0);
  });

  test('here a result that came before the abort is kept', async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const end = ending(
      new RetryManager({ clock }).run(() => clock.sleep(300).then(() => 'done'), { signal: controller.signal }),
    );
    await clock.advance(300);
    controller.abort();
    expect(await end).toEqual({ value: 'done' });
  });
});

describe('P6: an attempt outlasts the time for the whole run', () => {
  test('p-retry lets it run to its end, whatever maxRetryTime says', async () => {
    const run = pRetry(() => new Promise((resolve) => setTimeout(resolve, 300, 'done')), { maxRetryTime: 50 });
    const ended = endOf(run);
    await vi.advanceTimersByTimeAsync(299);
    expect(ended).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    await expect(run).resolves.toBe('done');
  });

  test('here the deadline cuts it off', async () => {
    const clock = new VirtualClock();
    const run = retry({ clock, deadlineMs: 50 }).run(({ signal }) => clock.sleep(300, { signal }));
    const ended = endOf(run);
    await clock.advance(49);
    expect(ended).not.toHaveBeenCalled();
    await clock.advance(1);
    await expect(run).rejects.toMatchObject({
      code: 'HOLDFAST_RETRY_GAVE_UP',
      reason: 'deadline',
      cause: { name: 'TimeoutError' },
    });
    expect(clock.pending).toBe(0);
  });

  test('here a wait that would pass the deadline is not begun', async () => {
    const clock = new VirtualClock();
    const { error } = await ending(retry({ clock, deadlineMs: 50, backoff: () => 60 }).run(failing(busy)));
    expect(error).toMatchObject({ reason: 'deadline', cause: busy });
    expect(clock.monotonicMs()).toBe(0);
  });
});

describe('P7: an attempt that is free of charge', () => {
  test('p-retry repeats it without any wait', async () => {
    const call = failing(busy, 50);
    await expect(pRetry(call, { minTimeout: 1_000, shouldConsumeRetry: () => false })).resolves.toBe('done');
    expect(call).toHaveBeenCalledTimes(51);
    expect(performance.now()).toBe(0);
  });

  test('here it is waited for like any other and leaves the retries that count untouched', async () => {
    const clock = new VirtualClock();
    const call = failing(busy, 6);
    const classify = ({ attempt }: AttemptFailure) => (attempt <= 5 ? ({ retry: true, free: true } as const) : 'retry');
    const run = retry({ clock, classify, maxRetries: 1, backoff: () => 1_000 }).run(call);
    await clock.advance(999);
    expect(call).toHaveBeenCalledTimes(1);
    await clock.advance(5_001);
    await expect(run).resolves.toBe('done');
    expect(call).toHaveBeenCalledTimes(7);
  });
});

describe('P8: a hook throws', () => {
  const inHook = new Error('thrown by a hook');
  const hook = () => {
    throw inHook;
  };

  test.each(['onFailedAttempt', 'shouldRetry', 'shouldConsumeRetry'])(
    'p-retry lets an error out of %s replace the one of the call',
    async (name) => {
      const call = failing(busy, 1);
      const { error } = await ending(pRetry(call, { minTimeout: 0, [name]: hook }));
      expect(error).toBe(inHook);
      expect(error).not.toHaveProperty('cause');
      expect(call).toHaveBeenCalledTimes(1);
    },
  );

  test.each(['onRetry', 'emit'])('here an error out of %s is a warning and the run goes on', async (name) => {
    const warned = vi.spyOn(process, 'emitWarning').mockReturnValue();
    const clock = new VirtualClock();
    const run = retry({ clock, [name]: hook }).run(failing(busy, 1));
    await clock.advance(60_000);
    await expect(run).resolves.toBe('done');
    expect(warned).toHaveBeenCalledWith(
      expect.stringContaining('thrown by a hook'),
      expect.objectContaining({ code: 'HOLDFAST_LISTENER_ERROR' }),
    );
  });

  test.each([
    ['classify', { classify: hook }],
    ['backoff', { backoff: hook }],
    ['retryAfter.parse', { retryAfter: { parse: hook } }],
  ])('here an error out of %s ends the run and stands beside the one of the call', async (_name, options) => {
    const { error } = await ending(retry({ clock: new VirtualClock(), ...options }).run(failing(busy, 1)));
    expect(error).toMatchObject({ reason: 'decision-failed', attempts: [{ error: busy }] });
    expect((error as Error).cause).toBe(inHook);
  });
});

describe('P9: an AbortError', () => {
  /** What a second copy of p-retry in the dependency tree throws. */
  async function abortErrorOfAnotherCopy(): Promise<Error> {
    const copy = `${pathToFileURL(`${process.cwd()}/node_modules/p-retry/index.js`).href}?copy`;
    const other: { AbortError: typeof AbortError } = await import(/* @vite-ignore */ copy);
    return new other.AbortError('stop');
  }

  test('p-retry tells no hook of it', async () => {
    const onFailedAttempt = vi.fn();
    const shouldRetry = vi.fn(() => true);
    await ending(pRetry(failing(new AbortError('stop')), { onFailedAttempt, shouldRetry }));
    expect(onFailedAttempt).not.toHaveBeenCalled();
    expect(shouldRetry).not.toHaveBeenCalled();
  });

  test('p-retry retries it when it comes from another copy of p-retry', async () => {
    const call = failing(await abortErrorOfAnotherCopy());
    await ending(pRetry(call, { minTimeout: 0, retries: 3 }));
    expect(call).toHaveBeenCalledTimes(4);
  });

  test('here it is told by its name, not retried, and thrown untouched, whoever made it', async () => {
    const stop = await abortErrorOfAnotherCopy();
    const call = failing(stop);
    await expect(retry({ clock: new VirtualClock() }).run(call)).rejects.toBe(stop);
    expect(call).toHaveBeenCalledTimes(1);
  });

  test('here listeners hear of it and classify is asked', async () => {
    const events: RetryEvent[] = [];
    const classify = vi.fn(() => undefined);
    const policy = retry({ clock: new VirtualClock(), classify, emit: (event) => events.push(event) });
    await ending(policy.run(failing(new AbortError('stop'))));
    expect(classify).toHaveBeenCalledTimes(1);
    expect(events).toMatchObject([
      { type: 'attempt.failed', attempt: 1 },
      { type: 'retry.gave-up', reason: 'not-worth-it' },
    ]);
  });
});

describe('P10: listeners on the signal of the caller', () => {
  test('p-retry takes each one off again', async () => {
    const { signal } = new AbortController();
    const end = ending(pRetry(failing(busy), { signal, retries: 3, minTimeout: 10 }));
    await vi.advanceTimersByTimeAsync(1_000);
    await end;
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('so is it here, and a hundred runs at once are one listener', async () => {
    const clock = new VirtualClock();
    const { signal } = new AbortController();
    const retries = new RetryManager({ clock });
    const ends = Array.from({ length: 100 }, () => ending(retries.run(failing(busy), { signal, budget: false })));
    await clock.advance(1);
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    await clock.advance(600_000);
    await Promise.all(ends);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('here the abort of that signal ends every one of them', async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const retries = new RetryManager({ clock });
    const options = { signal: controller.signal, backoff: () => 300 };
    const ends = Array.from({ length: 100 }, () => ending(retries.run(failing(busy), options)));
    await clock.advance(1);
    controller.abort('enough');
    expect(await Promise.all(ends)).toEqual(Array.from({ length: 100 }, () => ({ error: 'enough' })));
  });
});

describe('P11: a wait longer than a timer can hold', () => {
  const tooLongMs = 2 ** 31;

  test('p-retry waits 1 ms instead', async () => {
    vi.useRealTimers(); // The fault lies in the real ones.
    const warned = vi.spyOn(process, 'emitWarning').mockReturnValue();
    await expect(pRetry(failing(busy, 1), { minTimeout: tooLongMs })).resolves.toBe('done');
    expect(warned).toHaveBeenCalledWith(expect.stringContaining('2147483648'), 'TimeoutOverflowWarning');
  });

  test("here the machine's own clock waits all of it", async () => {
    const call = failing(busy, 1);
    const run = retry({ backoff: () => tooLongMs }).run(call);
    await vi.advanceTimersByTimeAsync(tooLongMs - 1);
    expect(call).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1);
    await expect(run).resolves.toBe('done');
  });
});

describe('C1: the caller gives up during a wait', () => {
  test('here the wait ends at once with the reason, and nothing is called again', async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const call = failing(busy);
    const end = ending(new RetryManager({ clock }).run(call, { signal: controller.signal, backoff: () => 300 }));
    await clock.advance(20);
    controller.abort();
    expect(await end).toEqual({ error: controller.signal.reason });
    expect([clock.monotonicMs(), clock.pending]).toEqual([20, 0]);
    await clock.advance(600);
    expect(call).toHaveBeenCalledTimes(1);
  });

  test('it ends as well while classify has not answered', async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const options = { signal: controller.signal, classify: () => clock.sleep(300).then(() => 'retry' as const) };
    const end = ending(new RetryManager({ clock }).run(failing(busy), options));
    await clock.advance(20);
    controller.abort();
    expect(await end).toEqual({ error: controller.signal.reason });
    expect(clock.monotonicMs()).toBe(20);
  });

  test('closing the manager ends it as well', async () => {
    const clock = new VirtualClock();
    const retries = new RetryManager({ clock });
    const end = ending(retries.run(failing(busy), { backoff: () => 300 }));
    await clock.advance(20);
    await retries.close();
    expect((await end).error).toMatchObject({ code: 'HOLDFAST_CLOSED' });
    expect([clock.monotonicMs(), clock.pending]).toEqual([20, 0]);
  });
});

describe('nested retries', () => {
  test('p-retry in p-retry in p-retry multiplies: 64 calls in place of 4', async () => {
    const call = failing(busy);
    const options = { retries: 3, minTimeout: 0 };
    await ending(pRetry(() => pRetry(() => pRetry(call, options), options), options));
    expect(call).toHaveBeenCalledTimes(64);
  });

  test('here the innermost run retries and those around it leave its error alone', async () => {
    const clock = new VirtualClock();
    const call = failing(busy);
    const [outer, middle, inner] = [retry({ clock }), new RetryManager({ clock }), retry({ clock })];
    const end = ending(outer.run(() => middle.run(() => inner.run(call))));
    await clock.advance(600_000);
    expect((await end).error).toMatchObject({ code: 'HOLDFAST_RETRY_GAVE_UP', attempts: { length: 4 }, cause: busy });
    expect(call).toHaveBeenCalledTimes(4);
  });

  test('here that holds for a host that wraps or unwraps the error in between', async () => {
    const clock = new VirtualClock();
    const [wrapped, unwrapped] = [failing(busy), failing(busy)];
    const policy = retry({ clock });
    const rethrow = (change: (error: Error) => unknown) => (error: Error) => Promise.reject(change(error));
    const ends = [
      ending(policy.run(() => policy.run(wrapped).catch(rethrow((cause) => new Error('no answer', { cause }))))),
      ending(policy.run(() => policy.run(unwrapped).catch(rethrow(({ cause }) => cause)))),
    ];
    await clock.advance(600_000);
    await Promise.all(ends);
    expect(wrapped).toHaveBeenCalledTimes(4);
    expect(unwrapped).toHaveBeenCalledTimes(4);
  });

  test('here that holds for what was thrown, whatever it is', async () => {
    const clock = new VirtualClock();
    const call = failing('a string cannot be remembered');
    const policy = retry({ clock });
    const end = ending(policy.run(() => policy.run(call)));
    await clock.advance(600_000);
    await end;
    expect(call).toHaveBeenCalledTimes(4);
  });

  test("here 'allow' multiplies, for those who want it", async () => {
    const clock = new VirtualClock();
    const call = failing(busy);
    const inner = retry({ clock });
    const end = ending(retry({ clock, nested: 'allow' }).run(() => inner.run(call)));
    await clock.advance(600_000);
    await end;
    expect(call).toHaveBeenCalledTimes(16);
  });

  test('here an error object that one run gave up on is retried by a later run', async () => {
    const clock = new VirtualClock();
    const policy = retry({ clock });
    const first = ending(policy.run(failing(busy)));
    await clock.advance(600_000);
    await first;
    const second = policy.run(failing(busy, 1));
    await clock.advance(600_000);
    await expect(second).resolves.toBe('done');
  });
});

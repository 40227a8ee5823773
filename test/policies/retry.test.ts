import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { InvalidInputError } from '../../src/base/errors.js';
import type { Attempt, AttemptFailure } from '../../src/policies/attempt.js';
import { retry } from '../../src/policies/retry.js';
import { RetryError } from '../../src/policies/retry-error.js';
import type { RetryPolicyOptions } from '../../src/policies/retry-options.js';
import { TimeoutError } from '../../src/policies/timeout.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

/** A policy on a clock of its own whose waits are 100 ms each, exactly. */
function scene<F = never>(options: RetryPolicyOptions<F> = {}) {
  const clock = new VirtualClock();
  const policy = retry<F>({ clock, random: () => 0.5, backoff: () => 100, ...options });
  return { clock, policy };
}

/** Throws `errors` one after the other, then returns 'done'; remembers what it was told. */
function failing(...errors: unknown[]) {
  const attempts: Attempt[] = [];
  const startedMs: number[] = [];
  const call = (clock: VirtualClock) => async (attempt: Attempt) => {
    attempts.push(attempt);
    startedMs.push(clock.monotonicMs());
    if (attempts.length <= errors.length) throw errors[attempts.length - 1];
    return 'done';
  };
  return { attempts, startedMs, call };
}

/** What a promise was rejected with. */
const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => expect.fail(`resolved with ${String(value)}`),
    (error: unknown) => error,
  );

const never = () => new Promise<never>(() => {});
const busy = () => Promise.reject(new Error('busy'));

describe('retrying', () => {
  test('waits by the injected clock, then returns the result', async () => {
    const { clock, policy } = scene({ backoff: { kind: 'exponential', jitter: 'none' } });
    const flaky = failing(new Error('one'), new Error('two'));
    const result = policy.run(flaky.call(clock));
    await clock.advance(300);
    await expect(result).resolves.toBe('done');
    expect(flaky.startedMs).toEqual([0, 100, 300]);
    expect(clock.pending).toBe(0);
  });

  test('a call that succeeds is made once', async () => {
    const { clock, policy } = scene();
    const fine = failing();
    await expect(policy.run(fine.call(clock))).resolves.toBe('done');
    expect(fine.attempts.map(({ attempt }) => attempt)).toEqual([1]);
  });

  test('a call that is not asynchronous may return and throw as it likes', async () => {
    const { clock, policy } = scene();
    let calls = 0;
    const result = policy.run(() => {
      if (++calls === 1) throw new Error('at once');
      return 7;
    });
    await clock.advance(100);
    await expect(result).resolves.toBe(7);
  });

  test('when retries run out the error has every attempt, its waits, and the last failure as cause', async () => {
    const { clock, policy } = scene({ maxRetries: 2 });
    const errors = [new Error('a'), new Error('b'), new Error('c')];
    const ended = rejection(policy.run(failing(...errors).call(clock)));
    await clock.advance(200);
    const error = (await ended) as RetryError;
    expect(error).toBeInstanceOf(RetryError);
    expect(error.reason).toBe('exhausted');
    expect(error.cause).toBe(errors[2]);
    expect(error.message).toContain('3 attempts');
    expect(error.message).toMatch(/Last failure: c$/);
    expect(error.attempts.map((failure) => [failure.attempt, failure.error, failure.delayMs])).toEqual([
      [1, errors[0], 100],
      [2, errors[1], 100],
      [3, errors[2], 0],
    ]);
  });

  test('an attempt is told why the one before failed, and how long each took', async () => {
    const { clock, policy } = scene();
    const told: (AttemptFailure | undefined)[] = [];
    const result = policy.run(async ({ attempt, previous }) => {
      told.push(previous);
      if (attempt === 1) await clock.sleep(40).then(() => Promise.reject(new Error('slow')));
    });
    await clock.advance(140);
    await result;
    expect(told[0]).toBeUndefined();
    expect(told[1]).toMatchObject({ attempt: 1, durationMs: 40, startedAtMs: clock.now() - 140, delayMs: 100 });
  });

  test('with maxRetries 0 the error itself is thrown', async () => {
    const { clock, policy } = scene({ maxRetries: 0 });
    const boom = new Error('boom');
    const flaky = failing(boom);
    await expect(rejection(policy.run(flaky.call(clock)))).resolves.toBe(boom);
    expect(flaky.attempts).toHaveLength(1);
  });

  test('waits of zero still let the event loop turn between attempts', async () => {
    const policy = retry({ backoff: () => 0, maxRetries: 2 });
    let turns = 0;
    const counting = setInterval(() => turns++, 0);
    await rejection(policy.run(busy));
    clearInterval(counting);
    expect(turns).toBeGreaterThan(0);
  });
});

describe('what is retried', () => {
  const foreign: unknown = runInNewContext("new Error('from another realm')");
  test.each([
    ['an Error', new Error('x')],
    ['a TypeError that is none of the network', new TypeError('x is not iterable')],
    ['an Error of another realm', foreign],
    ['a plain object', { code: 'EBUSY' }],
    ['a string', 'busy'],
    ['undefined', undefined],
    ['null', null],
    ['a status of 503', Object.assign(new Error('x'), { status: 503 })],
    ['a status of 429', Object.assign(new Error('x'), { status: 429 })],
    ['a TimeoutError', new TimeoutError(5)],
  ])('%s, and it comes out untouched', async (_name, thrown) => {
    const { clock, policy } = scene({ maxRetries: 1 });
    const flaky = failing(thrown, thrown);
    const ended = rejection(policy.run(flaky.call(clock)));
    await clock.advance(100);
    const error = (await ended) as RetryError;
    expect(flaky.attempts).toHaveLength(2);
    expect(error.cause).toBe(thrown);
    expect(error.attempts.map((failure) => failure.error)).toEqual([thrown, thrown]);
  });

  test.each([
    ['a status of 404', Object.assign(new Error('x'), { status: 404 })],
    ['somebody aborting', new DOMException('stop', 'AbortError')],
    ['refused input', new InvalidInputError('x', 'x')],
  ])('not %s: it is thrown as it is', async (_name, thrown) => {
    const { clock, policy } = scene();
    const flaky = failing(thrown);
    await expect(rejection(policy.run(flaky.call(clock)))).resolves.toBe(thrown);
    expect(flaky.attempts).toHaveLength(1);
  });

  test('what a hostile error does when it is looked at harms nothing', async () => {
    const { clock, policy } = scene({ maxRetries: 1 });
    const hostile = new Proxy(new Error('x'), {
      get: () => {
        throw new Error('do not touch');
      },
    });
    const ended = rejection(policy.run(failing(hostile, hostile).call(clock)));
    await clock.advance(100);
    const { reason, cause } = (await ended) as RetryError;
    expect(reason).toBe('exhausted');
    expect(cause === hostile).toBe(true);
  });

  test('what classify says, with every thrown value shown to it', async () => {
    const seen: AttemptFailure[] = [];
    const { clock, policy } = scene({
      classify: (failure) => {
        seen.push(failure);
        return failure.error === 'last' ? 'fail' : 'retry';
      },
    });
    const notFound = { status: 404 };
    const ended = rejection(policy.run(failing(notFound, 'last').call(clock)));
    await clock.advance(100);
    await expect(ended).resolves.toBe('last');
    expect(seen.map(({ attempt, error }) => [attempt, error])).toEqual([
      [1, notFound],
      [2, 'last'],
    ]);
  });

  test('by default, where classify has no opinion; it may take its time', async () => {
    const clock = new VirtualClock();
    const policy = retry({ clock, backoff: () => 100, classify: () => clock.sleep(5).then(() => undefined) });
    const notFound = { status: 404 };
    const ended = rejection(policy.run(failing(new Error('x'), notFound).call(clock)));
    await clock.advance(110);
    await expect(ended).resolves.toBe(notFound);
  });

  test('after a wait that classify chose', async () => {
    const { clock, policy } = scene({ classify: () => ({ retry: true, delayMs: 7 }) });
    const flaky = failing('x');
    const result = policy.run(flaky.call(clock));
    await clock.advance(7);
    await expect(result).resolves.toBe('done');
  });

  test('free attempts do not count, and are waited for', async () => {
    const { clock, policy } = scene({
      maxRetries: 1,
      classify: ({ error }) => ({ retry: true, free: error === 'free' }),
    });
    const flaky = failing('free', 'free', 'free', 'paid', 'paid');
    const ended = rejection(policy.run(flaky.call(clock)));
    await clock.advance(1_000);
    expect(await ended).toMatchObject({ reason: 'exhausted' });
    expect(flaky.startedMs).toEqual([0, 100, 200, 300, 400]);
  });

  test.each([
    ['throws', () => Promise.reject(new Error('bug in classify')), 'bug in classify'],
    ['answers nonsense', () => 'perhaps' as 'retry', "classify answered perhaps: 'retry', 'fail'"],
    ['asks for a negative wait', () => ({ retry: true, delayMs: -1 }) as const, 'a wait of -1'],
    ['asks for NaN', () => ({ retry: true, delayMs: Number.NaN }) as const, 'a wait of NaN'],
  ])('a classify that %s ends the run, and the failure is not lost', async (_name, classify, message) => {
    const { clock, policy } = scene({ classify });
    const error = (await rejection(policy.run(failing('real').call(clock)))) as RetryError;
    expect(error.reason).toBe('decision-failed');
    expect((error.cause as Error).message).toContain(message);
    expect(error.attempts.map((failure) => failure.error)).toEqual(['real']);
  });

  test('a backoff function that answers nonsense ends the run, and the failure is not lost', async () => {
    const { clock, policy } = scene({ backoff: () => Number.NaN });
    const error = (await rejection(policy.run(failing('real').call(clock)))) as RetryError;
    expect(error.reason).toBe('decision-failed');
    expect(error.cause).toBeInstanceOf(InvalidInputError);
    expect(error.attempts.map((failure) => failure.error)).toEqual(['real']);
  });

  test('a result that retryResult refuses', async () => {
    const { clock, policy } = scene({
      maxRetries: 1,
      retryResult: (value) => (value as { status: number }).status === 503,
    });
    const answers = [{ status: 503 }, { status: 200 }];
    const result = policy.run(async () => answers.shift());
    await clock.advance(100);
    await expect(result).resolves.toEqual({ status: 200 });
  });

  test('a refused result in the end is an error that has it', async () => {
    const { clock, policy } = scene({ maxRetries: 1, retryResult: () => true });
    const ended = rejection(policy.run(() => 'not yet'));
    await clock.advance(100);
    const error = (await ended) as RetryError;
    expect(error).toMatchObject({ reason: 'exhausted', cause: { code: 'HOLDFAST_RESULT_REFUSED', result: 'not yet' } });
    expect(error.attempts[1]).toMatchObject({ attempt: 2, result: 'not yet' });
    expect(error.attempts[1]).not.toHaveProperty('error');
  });

  test('a retryResult that throws is a failure of the attempt with what it threw', async () => {
    const { clock, policy } = scene({
      maxRetries: 0,
      retryResult: () => {
        throw new Error('bug');
      },
    });
    await expect(policy.run(() => 1)).rejects.toThrow('bug');
    expect(clock.pending).toBe(0);
  });
});

describe('attempt timeout', () => {
  test('cuts off an attempt that does not listen, aborts its signal, and tries again', async () => {
    const { clock, policy } = scene({ attemptTimeoutMs: 50 });
    const signals: AbortSignal[] = [];
    const result = policy.run(({ attempt, signal }) => {
      signals.push(signal);
      return attempt === 1 ? never() : 'second';
    });
    await clock.advance(150);
    await expect(result).resolves.toBe('second');
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
    expect(signals[0]?.reason).toBeInstanceOf(TimeoutError);
    expect(clock.pending).toBe(0);
  });

  test('is in the history as TimeoutError', async () => {
    const { clock, policy } = scene({ attemptTimeoutMs: 50, maxRetries: 1 });
    const ended = rejection(policy.run(never));
    await clock.advance(200);
    const error = (await ended) as RetryError;
    expect(error.attempts.map((failure) => [(failure.error as Error).name, failure.durationMs])).toEqual([
      ['TimeoutError', 50],
      ['TimeoutError', 50],
    ]);
  });

  test("a late rejection is nobody's, and not unhandled", async () => {
    const { clock, policy } = scene({ attemptTimeoutMs: 50, maxRetries: 0 });
    const ended = rejection(policy.run(() => clock.sleep(80).then(() => Promise.reject(new Error('late')))));
    await clock.advance(100);
    expect(await ended).toBeInstanceOf(TimeoutError);
  });

  test('a call that ends in time leaves no timer', async () => {
    const { clock, policy } = scene({ attemptTimeoutMs: 50 });
    await expect(policy.run(async () => 1)).resolves.toBe(1);
    await expect(policy.run(() => 2)).resolves.toBe(2);
    expect(clock.pending).toBe(0);
  });
});

describe('deadline', () => {
  test('interrupts a running attempt, with the root failure as cause', async () => {
    const { clock, policy } = scene({ deadlineMs: 250 });
    const root = new Error('refused');
    let signal: AbortSignal | undefined;
    const ended = rejection(
      policy.run((attempt) => {
        if (attempt.attempt === 1) throw root;
        signal = attempt.signal;
        return never();
      }),
    );
    await clock.advance(250);
    const error = (await ended) as RetryError;
    expect(error).toMatchObject({ reason: 'deadline', cause: root });
    expect(error.attempts.map(({ attempt, durationMs }) => [attempt, durationMs])).toEqual([
      [1, 0],
      [2, 150],
    ]);
    expect(signal?.reason).toBeInstanceOf(TimeoutError);
    expect(clock.pending).toBe(0);
  });

  test('without an earlier failure its cause is the time that passed', async () => {
    const { clock, policy } = scene({ deadlineMs: 250 });
    const ended = rejection(policy.run(never));
    await clock.advance(250);
    expect(await ended).toMatchObject({ reason: 'deadline', cause: { name: 'TimeoutError', timeoutMs: 250 } });
  });

  test('no wait is begun that would outlast it', async () => {
    const { policy } = scene({ deadlineMs: 100 });
    expect(await rejection(policy.run(busy))).toMatchObject({ reason: 'deadline', cause: { message: 'busy' } });
  });

  test('is shown to the call in wall time', async () => {
    const { clock, policy } = scene({ deadlineMs: 250 });
    await clock.advance(1_000);
    await policy.run(({ deadlineAtMs }) => expect(deadlineAtMs).toBe(clock.now() + 250));
  });

  test('a call that ends in time leaves no timer', async () => {
    const { clock, policy } = scene({ deadlineMs: 250 });
    await policy.run(async () => 1);
    expect(clock.pending).toBe(0);
  });

  test('a classify that hangs is interrupted too', async () => {
    const { clock, policy } = scene({ deadlineMs: 250, classify: never });
    const ended = rejection(policy.run(busy));
    await clock.advance(250);
    expect(await ended).toMatchObject({ reason: 'deadline', cause: { message: 'busy' } });
  });
});

describe('the caller giving up', () => {
  const reason = new Error('changed my mind');

  test('before the start: the call is never made', async () => {
    const { clock, policy } = scene({ signal: AbortSignal.abort(reason) });
    const flaky = failing();
    await expect(rejection(policy.run(flaky.call(clock)))).resolves.toBe(reason);
    expect(flaky.attempts).toEqual([]);
  });

  test('ends the wait at once, and nothing is left of it', async () => {
    const controller = new AbortController();
    const { clock, policy } = scene({ signal: controller.signal, backoff: () => 60_000 });
    const flaky = failing('x');
    const ended = rejection(policy.run(flaky.call(clock)));
    await clock.advance(20);
    controller.abort(reason);
    await expect(ended).resolves.toBe(reason);
    expect(flaky.attempts).toHaveLength(1);
    expect(clock.pending).toBe(0);
  });

  test('ends a running attempt at once, whether or not it listens', async () => {
    const controller = new AbortController();
    const { clock, policy } = scene({ signal: controller.signal });
    let signal: AbortSignal | undefined;
    const ended = rejection(
      policy.run((attempt) => {
        signal = attempt.signal;
        return never();
      }),
    );
    await clock.advance(20);
    controller.abort(reason);
    await expect(ended).resolves.toBe(reason);
    expect(signal?.reason).toBe(reason);
  });

  test('does not undo a result that is there', async () => {
    const controller = new AbortController();
    const { policy } = scene({ signal: controller.signal });
    const result = policy.run(() => {
      controller.abort(reason);
      return 'done';
    });
    await expect(result).resolves.toBe('done');
  });

  test('a hundred runs under one signal print no warning and leave no listener', async () => {
    const controller = new AbortController();
    const { clock, policy } = scene({ signal: controller.signal });
    const warnings: Error[] = [];
    const listen = (warning: Error) => warnings.push(warning);
    process.on('warning', listen);
    const runs = Array.from({ length: 100 }, () => policy.run(() => clock.sleep(10)));
    await clock.advance(10);
    await Promise.all(runs);
    process.off('warning', listen);
    expect(warnings).toEqual([]);
  });
});

describe('runs within runs', () => {
  test("the parent's deadline and signal hold inside", async () => {
    const clock = new VirtualClock();
    const outer = retry({ clock, deadlineMs: 250, maxRetries: 0 });
    const inner = retry({ clock, backoff: () => 100, maxRetries: 10 });
    let calls = 0;
    const deadlines: unknown[] = [];
    const ended = rejection(
      outer.run((parent) =>
        inner.run(({ deadlineAtMs }) => {
          calls++;
          deadlines.push(deadlineAtMs);
          throw new Error('busy');
        }, parent),
      ),
    );
    const deadlineAtMs = clock.now() + 250;
    await clock.advance(250);
    expect(await ended).toMatchObject({ reason: 'deadline', cause: { message: 'busy' } });
    expect(calls).toBe(3); // At 0, 100 and 200 ms; a fourth would begin after the end.
    expect(new Set(deadlines)).toEqual(new Set([deadlineAtMs]));
  });

  test("an inner run that is under way when the parent's deadline passes ends at once", async () => {
    const clock = new VirtualClock();
    const outer = retry({ clock, deadlineMs: 250 });
    const inner = retry({ clock, attemptTimeoutMs: 10_000 });
    const ended = rejection(outer.run((parent) => inner.run(never, parent)));
    await clock.advance(250);
    expect(await ended).toMatchObject({ reason: 'deadline' });
    expect(clock.pending).toBe(0);
  });

  test('what an inner run gave up on is not retried outside', async () => {
    const clock = new VirtualClock();
    const policy = retry({ clock, backoff: () => 10, maxRetries: 2 });
    let calls = 0;
    const ended = rejection(
      policy.run(() => policy.run(() => policy.run(() => Promise.reject(new Error(`${++calls}`))))),
    );
    await clock.advance(1_000);
    expect(await ended).toMatchObject({ reason: 'exhausted', cause: { message: '3' } });
    expect(calls).toBe(3); // Not 27.
  });

  test.each([
    ['wrapped as a cause', (error: unknown) => new Error('wrapped', { cause: new Error('again', { cause: error }) })],
    ['unwrapped', (error: unknown) => (error as RetryError).cause],
  ])('nor is it when it comes out %s', async (_name, rework) => {
    const clock = new VirtualClock();
    const policy = retry({ clock, backoff: () => 10, maxRetries: 2 });
    let calls = 0;
    const inner = () => policy.run(() => Promise.reject(new Error(`${++calls}`)));
    const ended = rejection(policy.run(() => inner().catch((error: unknown) => Promise.reject(rework(error)))));
    await clock.advance(1_000);
    await ended;
    expect(calls).toBe(3);
  });

  test('with nested: allow it is', async () => {
    const clock = new VirtualClock();
    const inner = retry({ clock, backoff: () => 10, maxRetries: 1 });
    const outer = retry({ clock, backoff: () => 10, maxRetries: 1, nested: 'allow' });
    let calls = 0;
    const ended = rejection(outer.run(() => inner.run(() => Promise.reject(new Error(`${++calls}`)))));
    await clock.advance(1_000);
    await ended;
    expect(calls).toBe(4);
  });

  test('a constant error that one run gave up on does not stop the retries of the next', async () => {
    const { clock, policy } = scene({ maxRetries: 1 });
    const constant = new Error('always the same object');
    const first = rejection(policy.run(failing(constant, constant).call(clock)));
    await clock.advance(100);
    await first;
    const second = failing(constant);
    const result = policy.run(second.call(clock));
    await clock.advance(100);
    await expect(result).resolves.toBe('done');
  });

  test('nor does one that a run gave up on which had begun before: connections fail many with one error', async () => {
    const { clock, policy } = scene({ maxRetries: 1 });
    const broken = new Error('connection lost');
    const other = rejection(policy.run(() => Promise.reject(broken)));
    const outcomes: unknown[] = [broken];
    const mine = policy.run(async () => {
      await clock.sleep(250);
      if (outcomes.length > 0) throw outcomes.shift();
      return 'done';
    });
    await clock.advance(100); // The other one gives up.
    await other;
    await clock.advance(500);
    await expect(mine).resolves.toBe('done');
  });

  test('what a run inside threw that wanted no retry is retried outside', async () => {
    const { clock, policy } = scene();
    const once = retry({ clock, maxRetries: 0, attemptTimeoutMs: 50 });
    let calls = 0;
    const result = policy.run((parent) => once.run(() => (++calls === 1 ? never() : 'done'), parent));
    await clock.advance(150);
    await expect(result).resolves.toBe('done');
  });

  test('a chain of causes that is a ring ends', async () => {
    const { clock, policy } = scene();
    const ring = new Error('ring');
    ring.cause = ring;
    const result = policy.run(failing(ring).call(clock));
    await clock.advance(100);
    await expect(result).resolves.toBe('done');
  });
});

describe('operationId', () => {
  test('is the same for all attempts of a run, and another for the next run', async () => {
    const { clock, policy } = scene();
    const flaky = failing('x', 'x');
    const first = policy.run(flaky.call(clock));
    await clock.advance(200);
    await first;
    await policy.run(flaky.call(clock));
    const [one, two, three, other] = flaky.attempts.map(({ operationId }) => operationId);
    expect(new Set([one, two, three]).size).toBe(1);
    expect(other).not.toBe(one);
  });

  test.each<[string, RetryPolicyOptions]>([
    ['a deadline', { deadlineMs: 1_000 }],
    ['hedges', { hedge: { delayMs: 5 } }],
    ['a timeout', { attemptTimeoutMs: 1_000 }],
  ])('is the same for all attempts with %s', async (_name, options) => {
    const { clock, policy } = scene(options);
    const flaky = failing('x', 'x');
    const result = policy.run(flaky.call(clock));
    await clock.advance(200);
    await result;
    expect(new Set(flaky.attempts.map(({ operationId }) => operationId)).size).toBe(1);
  });

  test('can be given, and is in the error', async () => {
    const { policy } = scene({ operationId: 'order-42', deadlineMs: 50 });
    expect(await rejection(policy.run(busy))).toMatchObject({ operationId: 'order-42' });
  });

  test('of an inner run is not that of its parent', async () => {
    const { clock, policy } = scene();
    const ids = await policy.run(async (parent) => {
      const inner = await policy.run(({ operationId }) => operationId, parent);
      return [parent.operationId, inner];
    });
    expect(ids[0]).not.toBe(ids[1]);
    expect(clock.pending).toBe(0);
  });
});

describe('onRetry', () => {
  test('is told of the failure and the wait before each retry', async () => {
    const told: AttemptFailure[] = [];
    const { clock, policy } = scene({ onRetry: (failure) => void told.push({ ...failure }) });
    const result = policy.run(failing('a', 'b').call(clock));
    await clock.advance(200);
    await result;
    expect(told.map(({ attempt, error, delayMs }) => [attempt, error, delayMs])).toEqual([
      [1, 'a', 100],
      [2, 'b', 100],
    ]);
  });

  test('may throw: the run goes on, and the process is warned', async () => {
    const { clock, policy } = scene({
      onRetry: () => {
        throw new Error('hook broke');
      },
    });
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
    const result = policy.run(failing('a').call(clock));
    await clock.advance(100);
    await expect(result).resolves.toBe('done');
    expect((await warned).message).toContain('hook broke');
  });
});

describe('bad input', () => {
  test.each([
    ['an unknown name', { retries: 3 }, 'retries'],
    ['a fraction of a retry', { maxRetries: 1.5 }, 'options.maxRetries'],
    ['a negative number of retries', { maxRetries: -1 }, 'options.maxRetries'],
    ['endless retries that nothing can end', { maxRetries: Number.POSITIVE_INFINITY }, 'options.maxRetries'],
    ['a timeout of zero', { attemptTimeoutMs: 0 }, 'options.attemptTimeoutMs'],
    ['a deadline of NaN', { deadlineMs: Number.NaN }, 'options.deadlineMs'],
    ['a backoff of no kind', { backoff: { kind: 'random' } }, 'options.backoff'],
    ['a classify that is no function', { classify: 'retry' }, 'options.classify'],
    ['a hedge without a delay', { hedge: {} }, 'options.hedge.delayMs'],
    ['a circuit by name, without a manager', { circuit: 'db' }, 'options.circuit'],
    ['a signal that is none', { signal: {} }, 'options.signal'],
  ])('%s is refused where the policy is made, with its path', (_name, options, path) => {
    expect(() => retry(options as RetryPolicyOptions)).toThrow(InvalidInputError);
    expect(() => retry(options as RetryPolicyOptions)).toThrow(path);
  });

  test('endless retries are fine with a deadline', async () => {
    const { clock, policy } = scene({ maxRetries: Number.POSITIVE_INFINITY, deadlineMs: 950 });
    const ended = rejection(policy.run(busy));
    await clock.advance(1_000);
    const error = (await ended) as RetryError;
    expect(error.attempts).toHaveLength(10);
  });

  test.each([
    ['undefined', undefined, 'not undefined'],
    ['a promise', Promise.resolve(1), 'pass the function that makes it'],
    ['null', null, 'not null'],
  ])('%s in place of a function is a TypeError that says so, as a rejection', async (_name, call, message) => {
    const { policy } = scene();
    const error = await rejection(policy.run(call as never));
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toContain(message);
    const guarded = scene({ deadlineMs: 5 }).policy;
    await expect(guarded.run(call as never)).rejects.toThrow(TypeError);
  });

  test('the options object is neither kept nor changed', async () => {
    const clock = new VirtualClock();
    const delaysMs = [100];
    const backoff = Object.freeze({ kind: 'list', delaysMs } as const);
    const policy = retry(Object.freeze({ clock, maxRetries: 1, backoff }));
    delaysMs[0] = 5_000;
    const result = policy.run(failing('x').call(clock));
    await clock.advance(100);
    await expect(result).resolves.toBe('done');
  });
});

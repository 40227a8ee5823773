import { inspect } from 'node:util';
import { describe, expect, test, vi } from 'vitest';
import { isHoldfastError } from '../../src/base/errors.js';
import { CallScope } from '../../src/policies/call-scope.js';
import { CircuitBreaker, circuitBreaker } from '../../src/policies/circuit-breaker.js';
import type { CircuitEvent } from '../../src/policies/circuit-event.js';
import { CircuitOpenError } from '../../src/policies/circuit-open-error.js';
import type { CircuitBreakerOptions } from '../../src/policies/circuit-options.js';
import { InFlightCalls, TimedPermit } from '../../src/policies/circuit-permit.js';
import { compose } from '../../src/policies/policy.js';
import { timeout } from '../../src/policies/timeout.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

const down = new Error('down');
const failing = () => Promise.reject(down);
const working = () => 'fine';

/** A breaker that opens at the second failure in a row, for a second. */
function fixture(options: Partial<CircuitBreakerOptions> = {}) {
  const clock = new VirtualClock();
  const events: CircuitEvent[] = [];
  const breaker = new CircuitBreaker({
    name: 'bank',
    trip: { kind: 'consecutive', failures: 2 },
    openMs: 1_000,
    clock,
    emit: (event) => events.push(event),
    ...options,
  });
  const fail = async (times: number) => {
    for (let call = 0; call < times; call++) await breaker.run(failing).catch(() => undefined);
  };
  return { clock, breaker, events, fail, types: () => events.map(({ type }) => type) };
}

/** A call that ends when it is told to. */
function pendingCall<T = unknown>() {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}

describe('a closed circuit', () => {
  test('passes results and errors through untouched', async () => {
    const { breaker } = fixture({ trip: { kind: 'consecutive', failures: 9 } });
    await expect(breaker.run(working)).resolves.toBe('fine');
    await expect(breaker.run(failing)).rejects.toBe(down);
    await expect(
      breaker.run(() => {
        throw down;
      }),
    ).rejects.toBe(down);
    await expect(breaker.run(() => undefined)).resolves.toBeUndefined();
  });

  test('hands the scope it was called in on to the call', async () => {
    const { breaker } = fixture();
    const scope = new CallScope(3);
    await expect(breaker.run((attempt) => attempt, scope)).resolves.toBe(scope);
    await expect(breaker.run(({ attempt }) => attempt)).resolves.toBe(1);
  });

  test('rejects, and does not throw, when the call is no function', async () => {
    const { breaker } = fixture();
    await expect(breaker.run(undefined as never)).rejects.toThrow(TypeError);
    expect(breaker.stats().calls).toBe(0);
  });

  test('opens at the failure that a rule names, and refuses at once without calling', async () => {
    const { breaker, fail } = fixture();
    await fail(1);
    expect(breaker.state).toBe('closed');
    await fail(1);
    expect(breaker.state).toBe('open');
    const call = vi.fn();
    await expect(breaker.run(call)).rejects.toThrow(CircuitOpenError);
    expect(call).not.toHaveBeenCalled();
  });

  test('opens at 5 failures in a row by default', async () => {
    const breaker = new CircuitBreaker({ name: 'x', clock: new VirtualClock() });
    for (let call = 0; call < 4; call++) await breaker.run(failing).catch(() => undefined);
    expect(breaker.state).toBe('closed');
    await breaker.run(failing).catch(() => undefined);
    expect(breaker.state).toBe('open');
    breaker.dispose();
  });

  test('opens at half of 20 calls by default', async () => {
    const breaker = new CircuitBreaker({ name: 'x', clock: new VirtualClock() });
    for (let call = 0; call < 19; call++) await breaker.run(call % 2 ? working : failing).catch(() => undefined);
    expect(breaker.state).toBe('closed');
    await breaker.run(failing).catch(() => undefined);
    expect(breaker.state).toBe('open');
    breaker.dispose();
  });

  test('opens as soon as one of several rules says so', async () => {
    const { breaker, fail } = fixture({
      trip: [
        { kind: 'consecutive', failures: 9 },
        { kind: 'count', size: 2, failureRatio: 1 },
      ],
    });
    await fail(2);
    expect(breaker.state).toBe('open');
  });

  test('does not open at a success, however bad the window is', async () => {
    const { breaker, fail } = fixture({ trip: { kind: 'count', size: 4, failureRatio: 0.5 } });
    await fail(3);
    await breaker.run(working);
    expect(breaker.state).toBe('closed');
    await fail(1);
    expect(breaker.state).toBe('open');
  });

  test('opens at a success if a custom rule says so', async () => {
    const create = () => ({ record: () => true, reset: () => undefined });
    const { breaker, events } = fixture({ trip: { kind: 'custom', create } });
    await expect(breaker.run(working)).resolves.toBe('fine');
    expect(events).toEqual([{ type: 'circuit.opened', circuit: 'bank', openForMs: 1_000, reason: 'custom-rule' }]);
  });
});

test('a custom rule beside others does not make these open at a success', async () => {
  const create = () => ({ record: () => false, reset: () => undefined });
  const { breaker, fail } = fixture({
    trip: [
      { kind: 'custom', create },
      { kind: 'count', size: 4, failureRatio: 0.5 },
    ],
  });
  await fail(3);
  await breaker.run(working);
  expect(breaker.state).toBe('closed');
});

describe('the refusal', () => {
  test('says which circuit, when to come back, and why', async () => {
    const { breaker, fail, clock } = fixture();
    await fail(2);
    await clock.advance(400.5);
    const error = await breaker.run(working).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(CircuitOpenError);
    expect(error).toMatchObject({
      name: 'CircuitOpenError',
      code: 'HOLDFAST_CIRCUIT_OPEN',
      circuit: 'bank',
      retryAfterMs: 600,
      cause: down,
      message: 'Circuit "bank" refused the call. Answer without its dependency, or ask again in 600 ms.',
    });
    expect(isHoldfastError(error)).toBe(true);
  });

  test('has no stack, but can be read in a log', () => {
    const limit = Error.stackTraceLimit;
    const error = new CircuitOpenError('bank', 5, { cause: down });
    expect(Error.stackTraceLimit).toBe(limit);
    expect(error.stack).toBe(String(error));
    expect(inspect(error)).toContain('CircuitOpenError: Circuit "bank" refused the call.');
    expect(inspect(error)).toContain('[cause]: Error: down');
  });

  test('works where built-ins are frozen, with a stack then', async () => {
    const { stackTraceLimit } = Error;
    Object.defineProperty(Error, 'stackTraceLimit', { value: stackTraceLimit, writable: false, configurable: true });
    vi.resetModules();
    const { CircuitOpenError: Frozen } = await import('../../src/policies/circuit-open-error.js');
    const error = new Frozen('bank', 5);
    Object.defineProperty(Error, 'stackTraceLimit', { value: stackTraceLimit, writable: true, configurable: true });
    expect(error.stack).toContain('    at ');
  });

  test('has no cause when nobody failed', () => {
    const { breaker } = fixture();
    breaker.open();
    expect(breaker.refusal()).not.toHaveProperty('cause');
    breaker.close();
  });
});

describe('the open time', () => {
  test('is exactly openMs, every time', async () => {
    const { breaker, fail, clock } = fixture();
    for (const round of [1, 2, 3]) {
      await fail(round === 1 ? 2 : 1);
      expect(breaker.retryAfterMs).toBe(1_000);
      await clock.advance(999);
      expect(breaker.state).toBe('open');
      await clock.advance(1);
      expect(breaker.state).toBe('half-open');
    }
  });

  test('grows with the openings in a row', async () => {
    const openMs = { kind: 'exponential', baseMs: 100, factor: 2, maxMs: 350, jitter: 'none' } as const;
    const { breaker, fail, clock } = fixture({ openMs });
    const times: number[] = [];
    for (let round = 0; round < 4; round++) {
      await fail(round === 0 ? 2 : 1);
      times.push(breaker.retryAfterMs);
      await clock.advance(breaker.retryAfterMs);
    }
    expect(times).toEqual([100, 200, 350, 350]);
  });

  test('goes on growing if it opens again soon after closing, and starts anew after it was closed as long', async () => {
    const openMs = { kind: 'exponential', baseMs: 100, jitter: 'none' } as const;
    const { breaker, fail, clock } = fixture({ openMs });
    await fail(2);
    await clock.advance(100);
    await breaker.run(working);
    await clock.advance(99);
    await fail(2);
    expect(breaker.retryAfterMs).toBe(200);
    await clock.advance(200);
    await breaker.run(working);
    await clock.advance(200);
    await fail(2);
    expect(breaker.retryAfterMs).toBe(100);
    breaker.dispose();
  });

  test('is drawn between 5 and 15 seconds by default', async () => {
    const opened = async (random: () => number) => {
      const breaker = new CircuitBreaker({ name: 'x', clock: new VirtualClock(), random });
      breaker.open();
      breaker.dispose();
      return breaker.retryAfterMs;
    };
    expect(await opened(() => 0)).toBe(5_000);
    expect(await opened(() => 0.5)).toBe(10_000);
  });

  test('is lengthened by the Retry-After of the failure that opens it, up to 10 minutes', async () => {
    const busy = (seconds: number) => () => Promise.reject({ status: 503, headers: { 'retry-after': `${seconds}` } });
    const openAfter = async (seconds: number) => {
      const { breaker } = fixture({ trip: { kind: 'consecutive', failures: 1 } });
      await breaker.run(busy(seconds)).catch(() => undefined);
      breaker.dispose();
      return breaker.retryAfterMs;
    };
    expect(await openAfter(7)).toBe(7_000);
    expect(await openAfter(0)).toBe(1_000);
    expect(await openAfter(86_400)).toBe(600_000);
  });

  test('falls back on a fixed one when the jitter throws, and the call keeps its error', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const openMs = { kind: 'constant', baseMs: 5, jitter: () => Number.NaN } as const;
    const { breaker, events } = fixture({ openMs, trip: { kind: 'consecutive', failures: 1 } });
    await expect(breaker.run(failing)).rejects.toBe(down);
    expect(events[0]).toMatchObject({ type: 'circuit.opened', openForMs: 5_000 });
    expect(warn).toHaveBeenCalledOnce();
    warn.mockRestore();
    breaker.dispose();
  });
});

describe('half-open', () => {
  test('closes after a good probe', async () => {
    const { breaker, fail, clock, types } = fixture();
    await fail(2);
    await clock.advance(1_000);
    await expect(breaker.run(working)).resolves.toBe('fine');
    expect(breaker.state).toBe('closed');
    expect(types()).toEqual(['circuit.opened', 'circuit.half-opened', 'circuit.closed']);
    expect(clock.pending).toBe(0);
  });

  test('opens again after one failed probe', async () => {
    const { breaker, fail, clock, events } = fixture();
    await fail(2);
    await clock.advance(1_000);
    await fail(1);
    expect(breaker.state).toBe('open');
    expect(events.at(-1)).toEqual({
      type: 'circuit.opened',
      circuit: 'bank',
      openForMs: 1_000,
      reason: 'probe-failed',
      error: 'down',
    });
    breaker.close();
  });

  test('lets one caller through and refuses the others at once', async () => {
    const { breaker, fail, clock } = fixture();
    await fail(2);
    await clock.advance(1_000);
    expect(breaker.retryAfterMs).toBe(0);
    const probe = pendingCall();
    const first = breaker.run(() => probe.promise);
    const refused = await breaker.run(working).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'HOLDFAST_CIRCUIT_OPEN', retryAfterMs: 1_000 });
    probe.resolve('back');
    await expect(first).resolves.toBe('back');
    await expect(breaker.run(working)).resolves.toBe('fine');
  });

  test('lets as many through at once as there are permits, and closes after as many successes as asked', async () => {
    const { breaker, fail, clock } = fixture({ halfOpen: { permits: 2, successes: 3 } });
    await fail(2);
    await clock.advance(1_000);
    const [first, second] = [breaker.tryAcquire(), breaker.tryAcquire()];
    expect(breaker.tryAcquire()).toBeUndefined();
    first?.success();
    first?.success();
    second?.success();
    expect(breaker.state).toBe('half-open');
    breaker.tryAcquire()?.success();
    expect(breaker.state).toBe('closed');
  });

  test('gets the permit back from a probe that is ignored, and has learnt nothing', async () => {
    const { breaker, fail, clock } = fixture();
    await fail(2);
    await clock.advance(1_000);
    breaker.tryAcquire()?.ignore();
    expect(breaker.state).toBe('half-open');
    await expect(breaker.run(working)).resolves.toBe('fine');
    expect(breaker.state).toBe('closed');
  });

  test('counts a probe that does not end in time as failed, and its late success as nothing', async () => {
    const { breaker, fail, clock, events } = fixture({ halfOpen: { maxMs: 500 } });
    await fail(2);
    await clock.advance(1_000);
    const hung = breaker.tryAcquire();
    await clock.advance(499);
    expect(breaker.state).toBe('half-open');
    expect(breaker.retryAfterMs).toBe(1);
    await clock.advance(1);
    expect(breaker.tryAcquire()).toBeUndefined();
    expect(events.at(-2)).toMatchObject({ type: 'circuit.opened', reason: 'probe-hung' });
    await clock.advance(1_000);
    hung?.success();
    expect(breaker.state).toBe('half-open');
    expect(breaker.stats()).toMatchObject({ calls: 3, successes: 1, failures: 2, inFlight: 0 });
  });
});

describe('news from before', () => {
  test('a late success of a call begun before the trip does not close a half-open circuit', async () => {
    const { breaker, fail, clock } = fixture();
    const early = pendingCall();
    const run = breaker.run(() => early.promise);
    await fail(2);
    await clock.advance(1_000);
    expect(breaker.state).toBe('half-open');
    early.resolve('late');
    await expect(run).resolves.toBe('late');
    expect(breaker.state).toBe('half-open');
    breaker.close();
  });

  test('late failures do not open a circuit that closed meanwhile', async () => {
    const { breaker, fail, clock } = fixture();
    const permits = [breaker.tryAcquire(), breaker.tryAcquire()];
    await fail(2);
    await clock.advance(1_000);
    await breaker.run(working);
    for (const permit of permits) permit?.failure(down);
    expect(breaker.state).toBe('closed');
    expect(breaker.stats()).toMatchObject({ failures: 4, inFlight: 0 });
  });

  test('a late success does not interrupt failures in a row', async () => {
    const { breaker, fail } = fixture();
    const early = breaker.tryAcquire();
    breaker.close();
    await fail(1);
    early?.success();
    await fail(1);
    expect(breaker.state).toBe('open');
    breaker.close();
  });

  test('one failure after closing does not open', async () => {
    const { breaker, fail, clock } = fixture({ trip: { kind: 'time', windowMs: 60_000, minCalls: 4 } });
    await fail(4);
    await clock.advance(1_000);
    await breaker.run(working);
    await fail(1);
    expect(breaker.state).toBe('closed');
  });
});

describe('a permit', () => {
  test('settles once: the first word counts', () => {
    const { breaker } = fixture();
    const permit = breaker.tryAcquire();
    permit?.success();
    permit?.failure(down);
    permit?.ignore();
    permit?.success();
    expect(breaker.stats()).toMatchObject({ calls: 1, successes: 1, failures: 0, ignored: 0 });
    const ignored = breaker.tryAcquire();
    ignored?.ignore();
    ignored?.failure(down);
    const failed = breaker.tryAcquire();
    failed?.failure(down);
    failed?.failure(down);
    expect(breaker.stats()).toMatchObject({ calls: 3, successes: 1, failures: 1, ignored: 1 });
    expect(breaker.state).toBe('closed');
  });
});

describe('a permit of a probe', () => {
  test('settles once, too', async () => {
    const { breaker, clock } = fixture({ halfOpen: { successes: 3 } });
    breaker.open(10);
    await clock.advance(10);
    const probe = breaker.tryAcquire();
    probe?.ignore();
    probe?.success();
    probe?.failure(down);
    probe?.ignore();
    expect(breaker.stats()).toMatchObject({ state: 'half-open', calls: 1, ignored: 1, inFlight: 0 });
  });
});

describe('what an outcome means', () => {
  const once = { trip: { kind: 'consecutive', failures: 1 } } as const;

  test.each([400, 404, 422])('HTTP %i is a success: the dependency answered', async (status) => {
    const { breaker } = fixture(once);
    await expect(breaker.run(() => Promise.reject({ status }))).rejects.toEqual({ status });
    expect(breaker.stats()).toMatchObject({ state: 'closed', successes: 1, failures: 0 });
  });

  test.each([408, 425, 429, 500, 503])('HTTP %i is a failure', async (status) => {
    const { breaker } = fixture(once);
    await breaker.run(() => Promise.reject({ status })).catch(() => undefined);
    expect(breaker.state).toBe('open');
    breaker.close();
  });

  test('what was refused on this side is ignored: nothing was sent', async () => {
    const { breaker } = fixture(once);
    const inner = new CircuitBreaker({ name: 'inner' });
    inner.isolate();
    await compose(breaker, inner)
      .run(() => 1)
      .catch(() => undefined);
    expect(breaker.stats()).toMatchObject({ state: 'closed', ignored: 1, failures: 0 });
  });

  test('an error after the caller aborted is ignored, also when classify calls all errors failures', async () => {
    for (const classify of [undefined, () => 'failure' as const]) {
      const { breaker } = fixture({ ...once, ...(classify && { classify }) });
      const controller = new AbortController();
      const context = { attempt: 1, operationId: 'id', signal: controller.signal };
      const run = breaker.run(({ signal }) => {
        controller.abort(new Error('changed my mind'));
        return Promise.reject(signal.reason);
      }, context);
      await expect(run).rejects.toThrow('changed my mind');
      expect(breaker.stats()).toMatchObject({ state: 'closed', ignored: 1, failures: 0 });
    }
  });

  test('an error after a time-out from outside is a failure', async () => {
    const { breaker } = fixture(once);
    const scope = new CallScope(1);
    const call = () => {
      scope.abort(new DOMException('too late', 'TimeoutError'));
      return Promise.reject(scope.reason);
    };
    await expect(breaker.run(call, scope)).rejects.toThrow('too late');
    expect(breaker.state).toBe('open');
    breaker.close();
  });

  test('an error after the deadline passed is a failure, whatever it is aborted with', async () => {
    const { breaker, clock } = fixture(once);
    const scope = new CallScope(1);
    scope.limit(clock, 50, () => new Error('over'));
    const run = breaker.run(
      ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        }),
      scope,
    );
    const ended = expect(run).rejects.toThrow('over');
    await clock.advance(50);
    await ended;
    expect(breaker.state).toBe('open');
    scope.end();
    breaker.close();
  });

  test('classify decides about values and errors', async () => {
    const { breaker } = fixture({
      trip: { kind: 'consecutive', failures: 2 },
      classify: (outcome) => ('error' in outcome ? 'ignore' : outcome.value === 'fine' ? 'success' : 'failure'),
    });
    await breaker.run(working);
    await breaker.run(failing).catch(() => undefined);
    await expect(breaker.run(() => 'bad')).resolves.toBe('bad');
    expect(breaker.stats()).toMatchObject({ successes: 1, ignored: 1, failures: 1, state: 'closed' });
    await breaker.run(() => 'bad');
    expect(breaker.refusal().cause).toBe('bad');
    breaker.close();
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('broken');
      },
      /^classify of circuit "bank" threw: broken$/,
    ],
    [
      'throws what is no error',
      () => {
        throw 'broken';
      },
      /^classify of circuit "bank" threw: broken$/,
    ],
    ['gives no verdict', () => undefined as never, /it must return 'success'/],
  ])('a classify that %s counts a failure, is reported, and does not touch the result', async (_, classify, text) => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const { breaker } = fixture({ classify });
    await expect(breaker.run(working)).resolves.toBe('fine');
    expect(breaker.stats().failures).toBe(1);
    expect(warn).toHaveBeenCalledWith(
      expect.stringMatching(text),
      expect.objectContaining({ code: 'HOLDFAST_LISTENER_ERROR' }),
    );
    warn.mockRestore();
  });

  test('a context that cannot be read fails the call, which is not made and not counted', async () => {
    const { breaker } = fixture();
    const hostile = {
      get attempt(): number {
        throw down;
      },
    };
    await expect(breaker.run(working, hostile as never)).rejects.toBe(down);
    expect(breaker.stats()).toMatchObject({ calls: 0, inFlight: 0 });
  });

  test('a call that hangs fails when the time it was given is over, and the circuit opens', async () => {
    const { breaker, clock } = fixture({ trip: { kind: 'consecutive', failures: 2 } });
    const stack = compose(timeout(50, { clock }), breaker);
    const ends = [1, 2].map(() => stack.run(() => new Promise(() => {})).catch((error: Error) => error.name));
    await clock.advance(50);
    await expect(Promise.all(ends)).resolves.toEqual(['TimeoutError', 'TimeoutError']);
    expect(breaker.stats()).toMatchObject({ state: 'open', failures: 2, inFlight: 0 });
    breaker.close();
  });

  test('a call that hangs is ignored when its caller gives up, at once', async () => {
    const { breaker } = fixture();
    const controller = new AbortController();
    const ended = breaker.run(() => new Promise(() => {}), { signal: controller.signal });
    controller.abort('enough');
    await expect(ended).rejects.toBe('enough');
    expect(breaker.stats()).toMatchObject({ ignored: 1, inFlight: 0 });
  });

  test('a call whose caller has given up before is not made', async () => {
    const { breaker } = fixture();
    await expect(breaker.run(working, { signal: AbortSignal.abort('enough') })).rejects.toBe('enough');
    expect(breaker.stats()).toMatchObject({ calls: 0 });
  });
});

describe('slow calls', () => {
  const slowAtHalf = { slowCallMs: 100, trip: { kind: 'count', size: 4, minCalls: 2, slowRatio: 0.5 } } as const;

  test('open at their ratio, though they succeed', async () => {
    const { breaker, clock, events } = fixture(slowAtHalf);
    const [first, second] = [breaker.tryAcquire(), breaker.tryAcquire()];
    await clock.advance(100);
    first?.success();
    expect(breaker.stats()).toMatchObject({ state: 'closed', slow: 0 });
    await clock.advance(1);
    second?.success();
    expect(breaker.stats()).toMatchObject({ state: 'open', slow: 1, successes: 2 });
    expect(events[0]).toMatchObject({ reason: 'slow-ratio' });
    expect(events[0]).not.toHaveProperty('error');
    breaker.close();
  });

  test('count while they still run, as soon as the next caller asks', async () => {
    const { breaker, clock } = fixture(slowAtHalf);
    breaker.tryAcquire();
    await clock.advance(50);
    breaker.tryAcquire();
    await clock.advance(51);
    expect(breaker.tryAcquire()).toBeDefined();
    await clock.advance(50);
    expect(breaker.tryAcquire()).toBeUndefined();
    expect(breaker.state).toBe('open');
    breaker.close();
  });

  test('count once: running, and not again when they end', async () => {
    const { breaker, clock } = fixture({
      slowCallMs: 100,
      trip: { kind: 'count', size: 9, minCalls: 5, slowRatio: 0.6 },
    });
    const slow = [breaker.tryAcquire(), breaker.tryAcquire()];
    await clock.advance(200);
    for (let call = 0; call < 2; call++) breaker.tryAcquire()?.success();
    for (const permit of slow) permit?.success();
    breaker.tryAcquire()?.ignore();
    expect(breaker.stats()).toMatchObject({ state: 'closed', slow: 2, inFlight: 0 });
    const third = breaker.tryAcquire();
    await clock.advance(101);
    third?.success();
    expect(breaker.state).toBe('open');
    breaker.close();
  });

  test('that end in any order leave nobody behind', async () => {
    const { breaker, clock } = fixture({
      slowCallMs: 100,
      trip: { kind: 'count', size: 99, minCalls: 99, slowRatio: 1 },
    });
    const [a, b, c, d] = [breaker.tryAcquire(), breaker.tryAcquire(), breaker.tryAcquire(), breaker.tryAcquire()];
    b?.success();
    d?.success();
    await clock.advance(101);
    breaker.tryAcquire()?.success();
    a?.failure(down);
    c?.ignore();
    expect(breaker.stats()).toMatchObject({ inFlight: 0, slow: 1, ignored: 1 });
  });

  test('are found as a plain list would find them, over 5,000 random steps', () => {
    const random = seededRandom('in flight');
    const issuer = { returned() {}, threw() {}, ignored() {} };
    const calls = new InFlightCalls(100);
    const model: TimedPermit[] = [];
    for (let nowMs = 0; nowMs < 50_000; nowMs += random.integer(20)) {
      const [ended] = model.length > 0 && random.chance(0.5) ? model.splice(random.integer(model.length), 1) : [];
      if (ended !== undefined) calls.remove(ended);
      const begun = new TimedPermit(issuer, 0, nowMs);
      if (model.length < 30) model.push(begun);
      if (model.at(-1) === begun) calls.add(begun);
      expect(calls.overdueAt(nowMs)).toBe(model.filter(({ startedMs }) => nowMs - startedMs > 100).length);
    }
  });

  test('a slow probe is a failed probe', async () => {
    const { breaker, clock, events } = fixture(slowAtHalf);
    breaker.open(10);
    await clock.advance(10);
    const probe = breaker.tryAcquire();
    await clock.advance(101);
    probe?.success();
    expect(breaker.state).toBe('open');
    expect(events.at(-1)).toMatchObject({ reason: 'probe-slow' });
    breaker.close();
  });

  test('open by default at half of 20 calls in 10 s when slowCallMs is given without rules', async () => {
    const clock = new VirtualClock();
    const breaker = new CircuitBreaker({ name: 'x', clock, slowCallMs: 100 });
    const permits = Array.from({ length: 10 }, () => breaker.tryAcquire());
    for (let call = 0; call < 10; call++) breaker.tryAcquire()?.success();
    await clock.advance(101);
    for (const permit of permits) permit?.success();
    expect(breaker.state).toBe('open');
    breaker.dispose();
  });
});

describe('the ramp', () => {
  test('lets a growing share back in after half-open, by a fixed pattern, and all when it is over', async () => {
    const { breaker, clock } = fixture({ ramp: { overMs: 1_000, from: 0.2 } });
    breaker.open(10);
    await clock.advance(10);
    await breaker.run(working);
    expect(breaker.state).toBe('closed');
    const share = (asks: number) => {
      const before = breaker.stats().successes;
      for (let ask = 0; ask < asks; ask++) breaker.tryAcquire()?.success();
      return breaker.stats().successes - before;
    };
    expect(share(100)).toBeGreaterThanOrEqual(20);
    expect(share(100)).toBeLessThanOrEqual(21);
    const refused = await breaker.run(working).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'HOLDFAST_CIRCUIT_OPEN', retryAfterMs: 100 });
    await clock.advance(500);
    expect(share(100)).toBe(60);
    await clock.advance(499.5);
    expect(breaker.retryAfterMs).toBe(1);
    await clock.advance(0.5);
    expect(share(100)).toBe(100);
    expect(breaker.retryAfterMs).toBe(0);
  });

  test('is not there after closing by hand, and ends when the circuit opens', async () => {
    const { breaker, clock, fail } = fixture({ ramp: { overMs: 1_000 }, trip: { kind: 'consecutive', failures: 1 } });
    breaker.open(10);
    breaker.close();
    expect([breaker.tryAcquire(), breaker.tryAcquire()]).not.toContain(undefined);
    breaker.open(10);
    await clock.advance(10);
    await breaker.run(working);
    await fail(1);
    expect(breaker.state).toBe('open');
    expect(breaker.retryAfterMs).toBe(1_000);
    breaker.close();
  });
});

describe('by hand', () => {
  test('open for a time, and anew when opened again', async () => {
    const { breaker, clock } = fixture();
    breaker.open(500);
    await clock.advance(400);
    breaker.open(500);
    await clock.advance(499);
    expect(breaker.state).toBe('open');
    await clock.advance(1);
    expect(breaker.state).toBe('half-open');
    expect(breaker.stats().openings).toBe(2);
  });

  test.each([-1, Number.NaN, Number.POSITIVE_INFINITY, 'soon'])('open refuses %s as a time', (forMs) => {
    const { breaker } = fixture();
    expect(() => breaker.open(forMs as number)).toThrow(expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT' }));
    expect(breaker.state).toBe('closed');
  });

  test('isolated refuses until it is closed, however long that takes', async () => {
    const { breaker, clock, events, fail } = fixture();
    await fail(2);
    breaker.isolate();
    breaker.isolate();
    await clock.advance(86_400_000);
    const error = await breaker.run(working).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      retryAfterMs: Number.POSITIVE_INFINITY,
      message: expect.stringContaining('isolated'),
    });
    expect(events.slice(1)).toEqual([
      { type: 'circuit.isolated', circuit: 'bank' },
      { type: 'circuit.rejected', circuit: 'bank' },
    ]);
    breaker.close();
    await expect(breaker.run(working)).resolves.toBe('fine');
    expect(clock.pending).toBe(0);
  });

  test('disabled lets all through and counts nothing', async () => {
    const { breaker, events, fail } = fixture();
    breaker.disable();
    breaker.disable();
    await fail(5);
    await breaker.run(working);
    breaker.tryAcquire()?.ignore();
    expect(breaker.stats()).toMatchObject({ state: 'disabled', calls: 0, failures: 0, isMeasuring: false });
    expect(events).toEqual([{ type: 'circuit.disabled', circuit: 'bank', isMeasuring: false }]);
    breaker.close();
    await fail(1);
    expect(breaker.state).toBe('closed');
  });

  test('metricsOnly lets all through and counts, but never opens', async () => {
    const { breaker, fail } = fixture();
    breaker.metricsOnly();
    await fail(5);
    expect(breaker.stats()).toMatchObject({ state: 'disabled', calls: 5, failures: 5, isMeasuring: true });
    breaker.close();
    await fail(1);
    expect(breaker.stats()).toMatchObject({ state: 'closed', isMeasuring: true });
  });

  test('close forgets how often it was open', async () => {
    const { breaker, fail } = fixture({ openMs: { kind: 'exponential', baseMs: 100, jitter: 'none' } });
    await fail(2);
    breaker.close();
    await fail(2);
    expect(breaker.retryAfterMs).toBe(100);
    breaker.close();
  });

  test('close says nothing when it is closed, but forgets the failures', async () => {
    const { breaker, fail, events } = fixture();
    await fail(1);
    breaker.close();
    await fail(1);
    expect(breaker.state).toBe('closed');
    expect(events).toEqual([]);
  });
});

describe('events', () => {
  test('are flat, JSON-safe facts in order', async () => {
    const { breaker, fail, clock, events } = fixture();
    await fail(3);
    await clock.advance(1_000);
    await breaker.run(working);
    expect(events).toEqual([
      {
        type: 'circuit.opened',
        circuit: 'bank',
        openForMs: 1_000,
        reason: 'consecutive-failures',
        error: 'down',
      },
      { type: 'circuit.rejected', circuit: 'bank', retryAfterMs: 1_000 },
      { type: 'circuit.half-opened', circuit: 'bank' },
      { type: 'circuit.closed', circuit: 'bank' },
    ]);
    expect(JSON.parse(JSON.stringify(events))).toEqual(events);
  });

  test('of a failure without words are told all the same', async () => {
    const { breaker, events } = fixture({ trip: { kind: 'consecutive', failures: 1 } });
    await breaker.run(() => Promise.reject(Object.create(null))).catch(() => undefined);
    expect(events[0]).toMatchObject({ error: '[Object: null prototype] {}' });
    breaker.close();
  });

  test('reach a listener that throws without harm to the call', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const { breaker } = fixture({
      trip: { kind: 'consecutive', failures: 1 },
      emit: () => {
        throw new Error('deaf');
      },
    });
    await expect(breaker.run(failing)).rejects.toBe(down);
    await expect(breaker.run(working)).rejects.toThrow(CircuitOpenError);
    expect(warn).toHaveBeenCalledTimes(2);
    breaker.close();
    warn.mockRestore();
  });
});

describe('a snapshot', () => {
  test('of an open circuit waits only for what was left', async () => {
    const before = fixture();
    await before.fail(2);
    await before.clock.advance(700);
    const snapshot = JSON.parse(JSON.stringify(before.breaker.snapshot()));
    const after = fixture();
    await after.clock.advance(50_000);
    after.breaker.restore(snapshot);
    expect(after.breaker.retryAfterMs).toBe(300);
    expect(after.events).toEqual([{ type: 'circuit.opened', circuit: 'bank', openForMs: 300, reason: 'restored' }]);
    expect(after.breaker.stats().openings).toBe(0);
    await after.clock.advance(300);
    expect(after.breaker.state).toBe('half-open');
    before.breaker.dispose();
  });

  test('of a half-open circuit lets the next caller try', async () => {
    const before = fixture();
    await before.fail(2);
    await before.clock.advance(1_000);
    before.breaker.tryAcquire();
    const after = fixture();
    after.breaker.restore(before.breaker.snapshot());
    await expect(after.breaker.run(working)).resolves.toBe('fine');
    expect(after.breaker.state).toBe('closed');
  });

  test('keeps the openings in a row', async () => {
    const openMs = { kind: 'exponential', baseMs: 100, jitter: 'none' } as const;
    const before = fixture({ openMs });
    await before.fail(2);
    await before.clock.advance(100);
    await before.breaker.run(working);
    const after = fixture({ openMs });
    after.breaker.restore(before.breaker.snapshot());
    await after.fail(2);
    expect(after.breaker.retryAfterMs).toBe(200);
    after.breaker.dispose();
  });

  test.each(['isolate', 'disable', 'metricsOnly', 'close'] as const)('keeps what %s did', (act) => {
    const before = fixture();
    before.breaker[act]();
    const after = fixture();
    after.breaker.restore(before.breaker.snapshot());
    expect(after.breaker.snapshot()).toEqual(before.breaker.snapshot());
  });

  test.each([undefined, null, 7, 'open', {}, { version: 2 }, { version: 1, name: 'bank', state: 'ajar' }])(
    'that is %j is refused, and nothing changes',
    (garbage) => {
      const { breaker } = fixture();
      expect(() => breaker.restore(garbage as never)).toThrow(
        expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT' }),
      );
      expect(breaker.state).toBe('closed');
    },
  );
});

describe('health checks', () => {
  test('open a closed circuit when one fails, do nothing while it is open, and close it again', async () => {
    const { breaker, clock, events } = fixture();
    let isWell = false;
    const check = vi.fn(() => {
      if (!isWell) throw down;
    });
    const stop = breaker.healthCheck(check, 300);
    await clock.advance(299);
    expect(check).not.toHaveBeenCalled();
    await clock.advance(1);
    expect(events).toEqual([
      { type: 'circuit.opened', circuit: 'bank', openForMs: 1_000, reason: 'health-check', error: 'down' },
    ]);
    await clock.advance(900);
    expect(check).toHaveBeenCalledTimes(1);
    await clock.advance(300);
    expect(breaker.state).toBe('open');
    isWell = true;
    await clock.advance(1_200);
    expect(breaker.state).toBe('closed');
    await clock.advance(300);
    expect(breaker.state).toBe('closed');
    stop();
    await clock.advance(0);
    expect(clock.pending).toBe(0);
  });

  test('never overlap; one that hangs counts as failed after halfOpen.maxMs and its signal aborts', async () => {
    const { breaker, clock, events } = fixture({ halfOpen: { maxMs: 400 } });
    const hung = pendingCall<void>();
    const signals: AbortSignal[] = [];
    const stop = breaker.healthCheck((signal) => {
      signals.push(signal);
      return hung.promise;
    }, 100);
    await clock.advance(499);
    expect(breaker.state).toBe('closed');
    expect(signals[0]?.aborted).toBe(false);
    await clock.advance(1);
    expect(events[0]).toMatchObject({
      reason: 'health-check',
      error: expect.stringContaining('did not end within 400 ms'),
    });
    expect(signals[0]?.aborted).toBe(true);
    await clock.advance(10_000);
    expect(signals).toHaveLength(1);
    hung.resolve();
    await clock.advance(100);
    expect(signals).toHaveLength(2);
    stop();
    breaker.close();
    await clock.advance(0);
    expect(clock.pending).toBe(0);
  });

  test('are stopped by dispose, in the middle of one, and say nothing more', async () => {
    const { breaker, clock } = fixture();
    const running = pendingCall();
    let signal: AbortSignal | undefined;
    breaker.healthCheck((given) => {
      signal = given;
      return running.promise;
    }, 100);
    expect(breaker.isAtRest).toBe(false);
    await clock.advance(100);
    breaker.dispose();
    expect(signal?.aborted).toBe(true);
    running.reject(down);
    await clock.advance(1_000);
    expect(breaker.state).toBe('closed');
    expect(breaker.isAtRest).toBe(true);
    expect(clock.pending).toBe(0);
  });

  test('that fail after the circuit changed have no say', async () => {
    const { breaker, clock } = fixture();
    const running = pendingCall();
    breaker.healthCheck(() => running.promise, 100);
    await clock.advance(100);
    breaker.close();
    running.reject(down);
    await clock.advance(0);
    expect(breaker.state).toBe('closed');
    breaker.dispose();
  });

  test('may be several, each with its own stop', async () => {
    const { breaker, clock } = fixture();
    const checks = [vi.fn(), vi.fn()];
    const [stop] = checks.map((check) => breaker.healthCheck(check, 100));
    stop?.();
    stop?.();
    await clock.advance(100);
    expect(checks.map((check) => check.mock.calls.length)).toEqual([0, 1]);
    expect(breaker.isAtRest).toBe(false);
    breaker.dispose();
    await clock.advance(0);
    expect(clock.pending).toBe(0);
  });

  test('find no place while another probe is under way', async () => {
    const { breaker, clock } = fixture();
    const check = vi.fn();
    const stop = breaker.healthCheck(check, 100);
    breaker.open(50);
    await clock.advance(60);
    const probe = breaker.tryAcquire();
    await clock.advance(100);
    expect(check).not.toHaveBeenCalled();
    probe?.success();
    expect(breaker.state).toBe('closed');
    stop();
  });

  test('need a function and a pace', () => {
    const { breaker } = fixture();
    expect(() => breaker.healthCheck(undefined as never, 5)).toThrow(TypeError);
    expect(() => breaker.healthCheck(working, 0)).toThrow(expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT' }));
  });
});

describe('a disposed circuit', () => {
  test('works on without timers', async () => {
    const { breaker, fail, clock } = fixture();
    await fail(2);
    breaker.dispose();
    expect(breaker.isDisposed).toBe(true);
    expect(clock.pending).toBe(0);
    await clock.advance(1_000);
    await breaker.run(working);
    await fail(2);
    expect(clock.pending).toBe(0);
    expect(breaker.state).toBe('open');
  });
});

describe('options', () => {
  test.each([
    [{}, 'options.name'],
    [{ name: '' }, 'options.name'],
    [{ name: 'x', tripp: 1 }, 'options.tripp'],
    [{ name: 'x', trip: { kind: 'consecutive', failures: 0 } }, 'options.trip.0.failures'],
    [{ name: 'x', trip: [] }, 'options.trip'],
    [{ name: 'x', trip: { kind: 'sometimes' } }, 'options.trip.0.kind'],
    [{ name: 'x', trip: { kind: 'count', size: 5, minCalls: 6 } }, 'options.trip.0.minCalls'],
    [{ name: 'x', trip: { kind: 'time', windowMs: 5, slowRatio: 0.5 } }, 'options.slowCallMs'],
    [{ name: 'x', trip: { kind: 'time', windowMs: 5 }, slowCallMs: 5 }, 'options.slowCallMs'],
    [{ name: 'x', openMs: -1 }, 'options.openMs'],
    [{ name: 'x', openMs: () => 5 }, 'options.openMs'],
    [{ name: 'x', openMs: { kind: 'exponential', baseMs: -1 } }, 'options.openMs.baseMs'],
    [{ name: 'x', halfOpen: { permits: 0 } }, 'options.halfOpen.permits'],
    [{ name: 'x', ramp: { overMs: 100, from: 0 } }, 'options.ramp.from'],
    [{ name: 'x', classify: 'strictly' }, 'options.classify'],
    [{ name: 'x', clock: 5 }, 'options.clock'],
  ])('%j is refused, naming %s', (options, path) => {
    const make = () => new CircuitBreaker(options as never);
    expect(make).toThrow(expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT', path }));
  });

  test('slowCallMs is allowed with a custom rule, which sees what is slow', () => {
    const create = () => ({ record: () => false, reset: () => undefined });
    expect(() => new CircuitBreaker({ name: 'x', slowCallMs: 5, trip: { kind: 'custom', create } })).not.toThrow();
  });

  test('of the context leave no timer and no listener behind', async () => {
    const { breaker, clock } = fixture();
    const { signal } = new AbortController();
    const add = vi.spyOn(signal, 'addEventListener');
    const remove = vi.spyOn(signal, 'removeEventListener');
    const context = { attempt: 1, operationId: 'id', signal, deadlineAtMs: clock.now() + 5_000 };
    await expect(breaker.run(({ deadlineAtMs }) => deadlineAtMs, context)).resolves.toBe(context.deadlineAtMs);
    expect(clock.pending).toBe(0);
    expect(remove).toHaveBeenCalledTimes(add.mock.calls.length);
  });

  test('are neither changed nor kept', async () => {
    const trip = { kind: 'consecutive', failures: 1 } as { kind: 'consecutive'; failures: number };
    const options = Object.freeze({ name: 'x', trip, clock: new VirtualClock() });
    const breaker = new CircuitBreaker(options);
    trip.failures = 9;
    await breaker.run(failing).catch(() => undefined);
    expect(breaker.state).toBe('open');
    breaker.dispose();
  });

  test('circuitBreaker makes one, or returns the one it was given', async () => {
    const { breaker } = fixture();
    expect(circuitBreaker(breaker)).toBe(breaker);
    const made = circuitBreaker({ name: 'made' });
    expect(made).toBeInstanceOf(CircuitBreaker);
    await expect(compose(made, breaker).run(working)).resolves.toBe('fine');
  });
});

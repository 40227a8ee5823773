import { getEventListeners } from 'node:events';
import { describe, expect, test, vi } from 'vitest';
import { ClosedError, InvalidInputError } from '../../src/base/errors.js';
import { onSignalAbort } from '../../src/policies/abort-hub.js';
import type { Attempt, AttemptFailure, Call } from '../../src/policies/attempt.js';
import { bulkhead } from '../../src/policies/bulkhead.js';
import { CallScope } from '../../src/policies/call-scope.js';
import { CircuitBreaker } from '../../src/policies/circuit-breaker.js';
import type { CircuitEvent } from '../../src/policies/circuit-event.js';
import { Latencies } from '../../src/policies/hedge.js';
import { inWords } from '../../src/policies/in-words.js';
import { compose, type Policy } from '../../src/policies/policy.js';
import { RecentPlans } from '../../src/policies/recent-plans.js';
import { retry } from '../../src/policies/retry.js';
import { RetryBudget } from '../../src/policies/retry-budget.js';
import type { RetryError } from '../../src/policies/retry-error.js';
import type { RetryEvent } from '../../src/policies/retry-event.js';
import { RetryManager, type RetryManagerOptions } from '../../src/policies/retry-manager.js';
import type { RetryOptions, RetryPolicyOptions, Verdict } from '../../src/policies/retry-options.js';
import type { RetryPlan } from '../../src/policies/retry-plan.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { deferred, rejectionOf } from '../support/deferred.js';

/** A policy on a clock of its own whose waits are 100 ms each, exactly, and what it tells. */
function scene(options: RetryPolicyOptions = {}) {
  const clock = new VirtualClock();
  const events: RetryEvent[] = [];
  const policy = retry({ clock, backoff: () => 100, emit: (event) => void events.push(event), ...options });
  return { clock, policy, events };
}

/** A call that throws `errors` one after the other, then returns 'done'. */
function failing(...errors: unknown[]) {
  return vi.fn((_attempt: Attempt): string => {
    if (errors.length > 0) throw errors.shift();
    return 'done';
  });
}

const busy = new Error('busy');
const always = (): never => {
  throw busy;
};
const never = () => new Promise<never>(() => {});
const noTokens = (clock: VirtualClock, ratio = 0) => new RetryBudget({ clock, ratio, minPerSecond: 0 });

describe('the budget of a policy of its own', () => {
  test('is there by default, for all its runs together: 10 a second over 10 s, and a tenth of the calls', async () => {
    const { clock, policy } = scene({ maxRetries: 1, backoff: () => 1 });
    const ends = Promise.all(Array.from({ length: 200 }, () => rejectionOf(policy.run(always))));
    await clock.advance(1);
    const reasons = (await ends).map((error) => (error as { reason: string }).reason);
    expect(reasons.filter((reason) => reason === 'exhausted')).toHaveLength(120);
    expect(reasons.filter((reason) => reason === 'budget')).toHaveLength(80);
  });

  test('is the one that is given', async () => {
    const clock = new VirtualClock();
    const { policy } = scene({ clock, budget: noTokens(clock) });
    await expect(policy.run(always)).rejects.toMatchObject({ reason: 'budget', cause: busy });
  });

  test('has each run under a deadline for a call, and each without one', async () => {
    const clock = new VirtualClock();
    const budget = noTokens(clock, 1);
    const guarded = scene({ clock, budget, deadlineMs: 1_000 }).policy.run(failing(busy));
    const plain = scene({ clock, budget }).policy.run(failing(busy));
    await clock.advance(100);
    await expect(Promise.all([guarded, plain])).resolves.toEqual(['done', 'done']);
    expect(budget.balance).toBe(0);
  });

  test('that is spent ends a run at once, without a wait that would be in vain', async () => {
    const clock = new VirtualClock();
    const onRetry = vi.fn();
    const { policy, events } = scene({ clock, onRetry, budget: noTokens(clock) });
    await expect(policy.run(always)).rejects.toMatchObject({ reason: 'budget', attempts: [{ delayMs: 0 }] });
    expect([onRetry.mock.calls.length, clock.monotonicMs()]).toEqual([0, 0]);
    expect(events.map(({ type }) => type)).toEqual(['attempt.failed', 'retry.gave-up']);
  });

  test('that is spent leaves a slow call without a copy', async () => {
    const clock = new VirtualClock();
    const { policy, events } = scene({ clock, hedge: { delayMs: 50 }, budget: noTokens(clock) });
    const call = vi.fn(() => clock.sleep(500));
    const result = policy.run(call);
    await clock.advance(500);
    await result;
    expect(call).toHaveBeenCalledTimes(1);
    expect(events.map(({ type }) => type)).toEqual(['attempt.succeeded']);
  });

  test('loses no token to a run that ended while it waited', async () => {
    const clock = new VirtualClock();
    const budget = new RetryBudget({ clock, ratio: 0, minPerSecond: 1 });
    const controller = new AbortController();
    const end = rejectionOf(scene({ clock, budget, signal: controller.signal }).policy.run(always));
    await clock.advance(50);
    controller.abort('enough');
    expect(await end).toBe('enough');
    expect(budget.balance).toBe(10);
  });
});

describe('the circuit of a run', () => {
  const circuit = (clock: VirtualClock, failures = 1) =>
    new CircuitBreaker({ name: 'db', clock, trip: { kind: 'consecutive', failures } });

  test('hears of a success at the first attempt', async () => {
    const clock = new VirtualClock();
    const gate = circuit(clock);
    await scene({ clock, circuit: gate }).policy.run(failing());
    expect(gate.stats()).toMatchObject({ calls: 1, successes: 1, inFlight: 0 });
  });

  test('hears of success and of failure, on the plain way as under a deadline', async () => {
    const clock = new VirtualClock();
    const gates = [circuit(clock, 9), circuit(clock, 9)] as const;
    const plain = scene({ clock, circuit: gates[0] }).policy.run(failing(busy));
    const guarded = scene({ clock, circuit: gates[1], deadlineMs: 1_000 }).policy.run(failing(busy));
    await clock.advance(100);
    await Promise.all([plain, guarded]);
    const counted = { calls: 2, successes: 1, failures: 1, inFlight: 0 };
    expect(gates.map((gate) => gate.stats())).toEqual([
      expect.objectContaining(counted),
      expect.objectContaining(counted),
    ]);
  });

  test.each([{}, { deadlineMs: 1_000 }])(
    'that refuses the first attempt is the error itself, with %j',
    async (more) => {
      const clock = new VirtualClock();
      const gate = circuit(clock);
      gate.isolate();
      const error = await rejectionOf(scene({ clock, circuit: gate, ...more }).policy.run(always));
      expect(error).toMatchObject({ code: 'HOLDFAST_CIRCUIT_OPEN', circuit: 'db' });
    },
  );

  test.each([{}, { deadlineMs: 1_000 }])(
    'that opens meanwhile ends it: the one attempt is told, with %j',
    async (more) => {
      const clock = new VirtualClock();
      const end = rejectionOf(scene({ clock, circuit: circuit(clock), ...more }).policy.run(always));
      await clock.advance(100);
      expect(await end).toMatchObject({ reason: 'circuit-open', cause: busy, attempts: [{ attempt: 1, error: busy }] });
    },
  );

  test('is not blamed for another error of ours that is not worth a retry', async () => {
    const wrong = new InvalidInputError('no', 'x');
    const { clock, policy } = scene();
    const end = rejectionOf(policy.run(failing(busy, wrong)));
    await clock.advance(100);
    expect(await end).toBe(wrong);
  });
});

describe('a parent', () => {
  test('among the options of a policy holds for its runs', async () => {
    const { clock, policy } = scene({ parent: { signal: AbortSignal.abort('over') } as unknown as Attempt });
    const call = failing();
    await expect(policy.run(call)).rejects.toBe('over');
    expect([call.mock.calls.length, clock.pending]).toEqual([0, 0]);
  });

  test('among the options gives way to the attempt that a run is called in', async () => {
    const { policy } = scene({ parent: { signal: AbortSignal.abort('over') } as unknown as Attempt });
    await expect(retry({ clock: new VirtualClock() }).run((attempt) => policy.run(failing(), attempt))).resolves.toBe(
      'done',
    );
  });

  test('that is none of ours keeps neither a listener nor a timer of a run that is over', async () => {
    const { clock, policy } = scene();
    const { signal } = new AbortController();
    const parent = { attempt: 1, operationId: 'x', signal, deadlineAtMs: clock.now() + 1_000 };
    await expect(policy.run(() => 'done', parent)).resolves.toBe('done');
    expect([getEventListeners(signal, 'abort').length, clock.pending]).toEqual([0, 0]);
  });

  test('keeps its own time limit when a run inside it is over', async () => {
    const { clock, policy } = scene();
    const outer = retry({ clock, attemptTimeoutMs: 50, classify: () => 'fail' });
    const end = rejectionOf(outer.run((attempt) => policy.run(() => 'done', attempt).then(never)));
    await clock.advance(50);
    expect(await end).toMatchObject({ code: 'HOLDFAST_TIMEOUT' });
  });
});

describe('a caller who gives up', () => {
  test('before the start makes no attempt', async () => {
    const { policy, events } = scene({ signal: AbortSignal.abort('enough') });
    const call = failing();
    await expect(policy.run(call)).rejects.toBe('enough');
    expect(call).not.toHaveBeenCalled();
    expect(events.map(({ type }) => type)).not.toContain('attempt.failed');
  });

  test('ends the wait of a run that has a deadline too', async () => {
    const controller = new AbortController();
    const { clock, policy } = scene({ deadlineMs: 1_000, signal: controller.signal });
    const end = rejectionOf(policy.run(always));
    await clock.advance(50);
    controller.abort('enough');
    expect(await end).toBe('enough');
    expect(clock.pending).toBe(0);
  });

  test('during an attempt ends the run without asking classify about it', async () => {
    const controller = new AbortController();
    const classify = vi.fn((): Verdict => 'retry');
    const { clock, policy } = scene({ classify, signal: controller.signal });
    const end = rejectionOf(policy.run(never));
    await clock.advance(0);
    controller.abort('enough');
    expect(await end).toBe('enough');
    expect(classify).not.toHaveBeenCalled();
  });

  test('leaves the line of a full bulkhead at once', async () => {
    const controller = new AbortController();
    const places = bulkhead({ maxRunning: 1, maxWaiting: 1 });
    const { clock, policy } = scene({ bulkhead: places, signal: controller.signal });
    void places.run(never);
    const end = rejectionOf(policy.run(failing()));
    await clock.advance(0);
    expect(places.stats().waiting).toBe(1);
    controller.abort('enough');
    expect(await end).toBe('enough');
    expect(places.stats().waiting).toBe(0);
  });

  test('while a bulkhead of the host lets nobody in has the call never made', async () => {
    const controller = new AbortController();
    const entry = deferred();
    const slow: Policy = {
      run: async (call: Call<never>, attempt?: Attempt) => entry.promise.then(() => call(attempt as Attempt)),
    };
    const { clock, policy } = scene({ bulkhead: slow, signal: controller.signal });
    const call = failing();
    const end = rejectionOf(policy.run(call));
    await clock.advance(0);
    controller.abort('enough');
    entry.resolve();
    expect(await end).toBe('enough');
    expect(call).not.toHaveBeenCalled();
  });

  test('does not abort the signal of an attempt that was over before', async () => {
    const controller = new AbortController();
    const signals: (AbortSignal | undefined)[] = [];
    const refusing: Policy = {
      run: (_call: Call<never>, attempt?: Attempt) => {
        signals.push(attempt?.signal);
        return Promise.reject(busy);
      },
    };
    const { clock, policy } = scene({ bulkhead: refusing, signal: controller.signal });
    const end = rejectionOf(policy.run(failing()));
    await clock.advance(50);
    controller.abort('enough');
    expect(await end).toBe('enough');
    expect(signals.map((signal) => signal?.aborted)).toEqual([false]);
  });
});

describe('closing the manager', () => {
  test('during a wait: nothing is called again', async () => {
    const clock = new VirtualClock();
    const retries = new RetryManager({ clock, defaults: { backoff: () => 100 } });
    const call = vi.fn(always);
    const end = rejectionOf(retries.run(call));
    await clock.advance(50);
    await retries.close();
    expect(await end).toBeInstanceOf(ClosedError);
    await clock.advance(1_000);
    expect(call).toHaveBeenCalledTimes(1);
  });

  test('during an attempt that then fails: no retry is spoken of', async () => {
    const clock = new VirtualClock();
    const events: (RetryEvent | CircuitEvent)[] = [];
    const onRetry = vi.fn();
    const retries = new RetryManager({ clock, emit: (event) => void events.push(event) });
    const underWay = deferred();
    const end = rejectionOf(retries.run(() => underWay.promise, { onRetry }));
    await retries.close();
    underWay.reject(busy);
    expect(await end).toBeInstanceOf(ClosedError);
    expect(onRetry).not.toHaveBeenCalled();
    expect(events.map(({ type }) => type)).not.toContain('retry.scheduled');
  });
});

describe('closing the manager while classify thinks', () => {
  test('begins no wait', async () => {
    const clock = new VirtualClock();
    const answer = deferred<Verdict>();
    const retries = new RetryManager({ clock, defaults: { classify: () => answer.promise } });
    const end = rejectionOf(retries.run(always));
    await clock.advance(0);
    await retries.close();
    answer.resolve('retry');
    expect(await end).toBeInstanceOf(ClosedError);
    expect(clock.pending).toBe(0);
  });
});

describe('classify', () => {
  const answers =
    (...verdicts: unknown[]) =>
    () =>
      verdicts.shift() as Verdict;

  test('may grant a free attempt when no retries are left', async () => {
    const { clock, policy } = scene({ maxRetries: 1, classify: answers('retry', { retry: true, free: true }) });
    const result = policy.run(failing(busy, busy));
    await clock.advance(200);
    await expect(result).resolves.toBe('done');
  });

  test('may ask for no wait at all', async () => {
    const { policy } = scene({ classify: answers({ retry: true, delayMs: 0 }) });
    await expect(policy.run(failing(busy))).resolves.toBe('done');
  });

  test('chooses a wait that nothing is added to: the back-off is not asked, Retry-After not heeded', async () => {
    const backoff = vi.fn(() => 100);
    const { clock, policy } = scene({ backoff, classify: answers({ retry: true, delayMs: 10 }) });
    const result = policy.run(failing(Object.assign(new Error('later'), { retryAfterMs: 500_000 })));
    await clock.advance(10);
    await expect(result).resolves.toBe('done');
    expect(backoff).not.toHaveBeenCalled();
  });

  test.each([{ retry: false, delayMs: 5 }, {}, 'nonsense', 5, true])('that answers %j ends the run', async (answer) => {
    const { policy } = scene({ classify: answers(answer) });
    await expect(policy.run(always)).rejects.toMatchObject({
      reason: 'decision-failed',
      cause: { path: 'options.classify' },
    });
  });
});

describe('Retry-After', () => {
  const asking = (retryAfterMs: number) => Object.assign(new Error('later'), { retryAfterMs });

  test('of exactly as much as is allowed is waited for, of more it is not', async () => {
    const { clock, policy } = scene();
    const result = policy.run(failing(asking(60_000)));
    await clock.advance(60_000);
    await expect(result).resolves.toBe('done');
    await expect(policy.run(failing(asking(60_001)))).rejects.toMatchObject({ reason: 'retry-after' });
  });

  test('that is capped is spread beyond the cap, so that clients do not come back together', async () => {
    const retryAfter = { maxMs: 1_000, beyond: 'cap' } as const;
    const { clock, policy } = scene({ retryAfter, backoff: { kind: 'exponential' }, random: () => 0.5 });
    const result = policy.run(failing(asking(9_000)));
    const call = failing(asking(9_000));
    const again = policy.run(call);
    await clock.advance(1_049);
    expect(call).toHaveBeenCalledTimes(1);
    await clock.advance(1);
    await expect(Promise.all([result, again])).resolves.toEqual(['done', 'done']);
  });

  test('that nobody asked for is not in the failure', async () => {
    const failures: AttemptFailure[] = [];
    const { clock, policy } = scene({ onRetry: (failure) => void failures.push(failure) });
    const result = policy.run(failing(busy, asking(5)));
    await clock.advance(200);
    await result;
    expect(failures.map((failure) => 'retryAfterMs' in failure)).toEqual([false, true]);
  });
});

describe('by default', () => {
  test.each(['HOLDFAST_INVALID_INPUT', 'HOLDFAST_CLOSED', 'HOLDFAST_CIRCUIT_OPEN'])(
    'an error with the code %s of any copy of the package is thrown as it is',
    async (code) => {
      const foreign = Object.assign(new Error('x'), { [Symbol.for('holdfast.error')]: true, code });
      await expect(scene().policy.run(failing(foreign))).rejects.toBe(foreign);
    },
  );
});

describe('a time limit for each attempt', () => {
  test('leaves no timer of a call that throws, at once or later', async () => {
    const { clock, policy } = scene({ attemptTimeoutMs: 1_000, classify: () => 'fail' });
    await expect(policy.run(always)).rejects.toBe(busy);
    await expect(policy.run(async () => always())).rejects.toBe(busy);
    expect(clock.pending).toBe(0);
  });

  test('leaves the place in the bulkhead taken until a call that does not listen has really ended', async () => {
    const places = bulkhead({ maxRunning: 1 });
    const underWay = deferred();
    const { clock, policy } = scene({ bulkhead: places, attemptTimeoutMs: 50, classify: () => 'fail' });
    const end = rejectionOf(policy.run(() => underWay.promise));
    await clock.advance(50);
    expect(await end).toMatchObject({ code: 'HOLDFAST_TIMEOUT' });
    expect(places.stats().running).toBe(1);
    underWay.resolve();
    await clock.advance(0);
    expect(places.stats().running).toBe(0);
  });

  test('holds for what only looks like a promise', async () => {
    const { clock, policy } = scene({ attemptTimeoutMs: 50, classify: () => 'fail' });
    // biome-ignore lint/suspicious/noThenProperty: the thenables of other libraries are what this is about.
    const end = rejectionOf(policy.run(() => ({ then() {} }) as unknown as PromiseLike<never>));
    await clock.advance(50);
    expect(await end).toMatchObject({ code: 'HOLDFAST_TIMEOUT' });
  });
});

describe('a copy of a slow call', () => {
  test('is one, unless more are asked for, and has its number in the event', async () => {
    const { clock, policy, events } = scene({ hedge: { delayMs: 50 } });
    const call = vi.fn(() => clock.sleep(500));
    const result = policy.run(call);
    await clock.advance(500);
    await result;
    expect(call).toHaveBeenCalledTimes(2);
    expect(events).toMatchObject([{ type: 'attempt.hedged', copy: 1 }, { type: 'attempt.succeeded' }]);
  });

  test('is not begun, and no timer is left, once the call has failed', async () => {
    const { clock, policy } = scene({ hedge: { delayMs: 50 }, classify: () => 'fail' });
    const call = vi.fn(always);
    await expect(policy.run(call)).rejects.toBe(busy);
    expect([call.mock.calls.length, clock.pending]).toEqual([1, 0]);
  });

  test('that has failed is not aborted with the one that still runs', async () => {
    const controller = new AbortController();
    const signals: AbortSignal[] = [];
    const uneven: Policy = {
      run: (_call: Call<never>, attempt?: Attempt) => {
        signals.push((attempt as Attempt).signal);
        return signals.length === 1 ? clock.sleep(60).then(always) : never();
      },
    };
    const { clock, policy } = scene({ bulkhead: uneven, hedge: { delayMs: 50 }, signal: controller.signal });
    void policy.run(failing()).catch(() => undefined);
    await clock.advance(70);
    controller.abort('enough');
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, true]);
  });

  test('is told what its attempt is told: number, id and the failure before', async () => {
    const { clock, policy } = scene({ hedge: { delayMs: 50 } });
    const told: Attempt[] = [];
    const result = policy.run(async (attempt) => {
      told.push(attempt);
      if (told.length === 1) throw busy;
      await clock.sleep(80);
    });
    await clock.advance(200);
    await result;
    expect(told.map(({ attempt, previous }) => [attempt, previous?.error])).toEqual([
      [1, undefined],
      [2, busy],
      [2, busy],
    ]);
    expect(new Set(told.map(({ operationId }) => operationId)).size).toBe(1);
  });
});

describe('a clock that is broken', () => {
  const broken = new Error('no time');
  const brokenAfter = (readings: number) => {
    const clock = new VirtualClock();
    vi.spyOn(clock, 'monotonicMs').mockImplementation(() => {
      if (readings-- > 0) return 0;
      throw broken;
    });
    return clock;
  };

  test('is not taken for a failure of the call', async () => {
    const { policy, events } = scene({ clock: brokenAfter(0), budget: false, operationId: 'x' });
    await expect(policy.run(failing())).rejects.toBe(broken);
    expect(events).toEqual([]);
  });
});

describe('what 95 % of calls stayed under', () => {
  const p95After = (durations: readonly number[]) => {
    const latencies = new Latencies();
    for (const durationMs of durations) latencies.record(durationMs);
    return latencies.p95Ms;
  };

  test('does not depend on the order they came in', () => {
    expect(p95After(Array.from({ length: 20 }, (_, n) => 20 - n))).toBe(20);
  });

  test('looks back at the last 256 calls', () => {
    const quick = Array<number>(240).fill(10);
    expect(p95After([...Array<number>(16).fill(1_000), ...quick])).toBe(1_000);
    expect(p95After([...Array<number>(16).fill(1_000), ...quick, ...quick.slice(0, 16)])).toBe(10);
  });
});

describe('one option alone is enough to be heeded', () => {
  test('operationId', async () => {
    await expect(scene({ operationId: 'order 7' }).policy.run(({ operationId }) => operationId)).resolves.toBe(
      'order 7',
    );
  });

  test('bulkhead', async () => {
    const places = bulkhead({ maxRunning: 1 });
    void places.run(never);
    await expect(scene({ bulkhead: places, classify: () => 'fail' }).policy.run(failing())).rejects.toMatchObject({
      code: 'HOLDFAST_BULKHEAD_FULL',
    });
  });

  test('retryResult', async () => {
    const { clock, policy } = scene({ retryResult: (value) => value === 1 });
    let calls = 0;
    const result = policy.run(() => ++calls);
    await clock.advance(100);
    await expect(result).resolves.toBe(2);
  });
});

describe('endless retries', () => {
  const endless = { clock: new VirtualClock(), maxRetries: Number.POSITIVE_INFINITY };
  const { signal } = new AbortController();
  const parent = new CallScope(1);

  test.each<RetryPolicyOptions>([{ signal }, { parent }, { deadlineMs: 5 }])('have an end with %o', (end) => {
    expect(() => retry({ ...endless, ...end })).not.toThrow();
    expect(() => new RetryManager().policy({ maxRetries: Number.POSITIVE_INFINITY, ...end })).not.toThrow();
  });

  test.each<RetryOptions>([{ signal }, { parent }, { deadlineMs: 5 }])(
    'of one run have an end with %o',
    async (end) => {
      const retries = new RetryManager();
      const run = retries.run(failing(), { maxRetries: Number.POSITIVE_INFINITY, ...end });
      await expect(run).resolves.toBe('done');
    },
  );

  test('have none without', async () => {
    const options = { maxRetries: Number.POSITIVE_INFINITY };
    const path = 'options.maxRetries';
    expect(() => retry(options)).toThrow(expect.objectContaining({ path }));
    expect(() => new RetryManager().policy(options)).toThrow(expect.objectContaining({ path }));
    await expect(new RetryManager().run(failing(), options)).rejects.toMatchObject({ path });
  });
});

describe('a manager', () => {
  const managed = (options: RetryManagerOptions = {}) => {
    const clock = new VirtualClock();
    return { clock, retries: new RetryManager({ clock, ...options }) };
  };
  const circuitOf = (name: string) =>
    new CircuitBreaker({ name, trip: { kind: 'consecutive', failures: 100_000 }, clock: new VirtualClock() });

  test('gives the circuits it makes its clock, its random and its sink', async () => {
    const events: (RetryEvent | CircuitEvent)[] = [];
    const random = vi.fn(() => 0.5);
    const emit = (event: RetryEvent | CircuitEvent) => void events.push(event);
    const { clock, retries } = managed({ emit, random });
    const circuit = retries.circuits.get('db');
    circuit.open();
    expect(random).toHaveBeenCalled();
    expect(events).toMatchObject([{ type: 'circuit.opened', circuit: 'db' }]);
    await clock.advance(60_000);
    expect(circuit.state).toBe('half-open');
    retries.circuits.dispose();
  });

  test('sends all runs through the circuit among its defaults, unless another one is named', async () => {
    const { retries } = managed({ defaults: { circuit: 'usual' } });
    await retries.run(failing());
    await retries.policy().run(failing());
    await retries.run(failing(), { circuit: 'special' });
    await retries.policy({ circuit: 'special' }).run(failing());
    expect(['usual', 'special'].map((name) => retries.circuits.get(name).callsLetIn)).toEqual([2, 2]);
  });

  test.each([
    { signal: AbortSignal.abort('over') },
    { parent: { signal: AbortSignal.abort('over') } as unknown as Attempt },
  ])('ends all runs with what is among its defaults: %o', async (defaults) => {
    const { retries } = managed({ defaults });
    await expect(retries.run(failing())).rejects.toBe('over');
    await expect(retries.policy().run(failing())).rejects.toBe('over');
  });

  test('has one budget for all runs through one circuit, on its own clock', async () => {
    const { clock, retries } = managed({ defaults: { maxRetries: 1, backoff: () => 0, circuit: circuitOf('db') } });
    const reasonsOf200 = async () => {
      const ends = await Promise.all(Array.from({ length: 200 }, () => rejectionOf(retries.run(always))));
      return ends.filter((error) => (error as RetryError).reason === 'budget').length;
    };
    await expect(reasonsOf200()).resolves.toBe(80);
    await clock.advance(20_000);
    await expect(reasonsOf200()).resolves.toBe(80);
  });

  test('keeps a default where an option is undefined, also beside one that is given', async () => {
    const { retries } = managed({ defaults: { maxRetries: 1 } });
    const options = { maxRetries: undefined, backoff: () => 0 } as unknown as RetryOptions;
    await expect(retries.run(always, options)).rejects.toMatchObject({ attempts: { length: 2 } });
  });

  test.each([{ backoff: null }, { retryAfter: null }])('refuses %j and names it', async (options) => {
    const run = managed().retries.run(failing(), options as never);
    await expect(run).rejects.toBeInstanceOf(InvalidInputError);
  });

  test('waits 100 ms in the plain form, then twice as long each time, up to 30 s, three times', async () => {
    const { clock, retries } = managed();
    const startedMs: number[] = [];
    const call = () => {
      startedMs.push(clock.monotonicMs());
      return always();
    };
    const end = rejectionOf(retries.retryWithBackoff(call, { jitter: false }));
    await clock.advance(700);
    expect(await end).toMatchObject({ reason: 'exhausted' });
    expect(startedMs).toEqual([0, 100, 300, 700]);
  });

  test('waits at most 30 s in the plain form, and as often as it is told', async () => {
    const { clock, retries } = managed();
    const call = vi.fn(always);
    const end = rejectionOf(retries.retryWithBackoff(call, { jitter: false, exponentialBase: 1_000, maxRetries: 2 }));
    await clock.advance(30_099);
    expect(call).toHaveBeenCalledTimes(2);
    await clock.advance(1);
    expect(await end).toMatchObject({ reason: 'exhausted', attempts: { length: 3 } });
  });

  test('waits at least half as long in the plain form, however chance has it', async () => {
    const { clock, retries } = managed({ random: () => 0 });
    const call = vi.fn(always);
    const end = rejectionOf(retries.retryWithBackoff(call, { maxRetries: 1 }));
    await clock.advance(49);
    expect(call).toHaveBeenCalledTimes(1);
    await clock.advance(1);
    await end;
    expect(call).toHaveBeenCalledTimes(2);
  });
});

describe('plans of options seen lately', () => {
  /** Counts how often plans are compiled. */
  function plans() {
    const compile = vi.fn((options: Readonly<Record<string, unknown>>) => ({ ...options }) as unknown as RetryPlan);
    return { compile, recent: new RecentPlans(compile) };
  }

  test('are compiled once for options alike, whatever run they are for', () => {
    const { compile, recent } = plans();
    const first = recent.of({ maxRetries: 1, backoff: { kind: 'constant', baseMs: 1 }, circuit: 'a' });
    const again = { maxRetries: 1, backoff: { kind: 'constant', baseMs: 1 }, circuit: 'b', signal: 1, parent: 1 };
    expect(recent.of(again)).toBe(first);
    expect(recent.of({ ...again, deadlineMs: undefined })).toBe(first);
    expect(compile.mock.calls).toEqual([[{ maxRetries: 1, backoff: { kind: 'constant', baseMs: 1 } }]]);
  });

  test.each([
    ['more', { a: 1 }, { a: 1, b: 2 }],
    ['fewer', { a: 1, b: 2 }, { a: 1 }],
    ['others', { a: 1 }, { b: 1 }],
    ['others inside', { a: { x: 1, y: 2 } }, { a: { x: 1, y: 3 } }],
    ['more inside', { a: { x: 1 } }, { a: { x: 1, y: 2 } }],
    ['fewer inside', { a: { x: 1, y: 2 } }, { a: { x: 1 } }],
    ['an empty object where a map was', { a: new Map() }, { a: {} }],
    ['a map where an empty object was', { a: {} }, { a: new Map() }],
    ['null where an object was', { a: {} }, { a: null }],
  ])('are not used for %s', (_name, known, options) => {
    const { compile, recent } = plans();
    const first = recent.of(known);
    expect(recent.of(options)).not.toBe(first);
    expect(compile).toHaveBeenCalledTimes(2);
  });

  test('are sixteen: the seventeenth takes the place of the oldest', () => {
    const { compile, recent } = plans();
    for (let n = 0; n < 16; n++) recent.of({ n });
    for (let n = 0; n < 16; n++) recent.of({ n });
    expect(compile).toHaveBeenCalledTimes(16);
    recent.of({ n: 16 });
    recent.of({ n: 1 });
    expect(compile).toHaveBeenCalledTimes(17);
    recent.of({ n: 0 });
    expect(compile).toHaveBeenCalledTimes(18);
  });
});

describe('the error of a run that gave up', () => {
  test('counts its attempts in words, and knows what was asked for last', async () => {
    const { clock, policy } = scene({ maxRetries: 1 });
    const end = rejectionOf(policy.run(failing(Object.assign(new Error('a'), { retryAfterMs: 5 }), busy)));
    await clock.advance(100);
    const error = (await end) as RetryError;
    expect(error.message).toMatch(/^Gave up after 2 attempts: /);
    expect(error.retryAfterMs).toBeUndefined();
    const once = await rejectionOf(policy.run(failing(Object.assign(new Error('a'), { retryAfterMs: 90_000 }))));
    expect(once).toMatchObject({ message: expect.stringMatching(/^Gave up after 1 attempt: /), retryAfterMs: 90_000 });
  });
});

describe('what was thrown, in words,', () => {
  test('is cut after 500 characters, not before', () => {
    expect(inWords('x'.repeat(500))).toBe('x'.repeat(500));
    expect(inWords('x'.repeat(501))).toBe(`${'x'.repeat(500)}…`);
  });

  test('shows an object on one line, one level deep, and its beginnings', () => {
    expect(inWords({ a: { b: { c: 1 } } })).toBe('{ a: { b: [Object] } }');
    expect(inWords(Array(11).fill(1))).toContain('... 1 more item');
    expect(inWords({ a: 'x'.repeat(201) })).toBe(`{ a: '${'x'.repeat(200)}'... 1 more character }`);
    expect(inWords({ a: 'x'.repeat(60), b: 'y'.repeat(60) })).not.toContain('\n');
  });

  test('is not what a method of its own makes of it', () => {
    expect(inWords({ [Symbol.for('nodejs.util.inspect.custom')]: () => 'shown' })).not.toBe('shown');
  });
});

describe('a scope', () => {
  test('tells all who listen, and none who stopped', () => {
    const scope = new CallScope(1);
    const told: string[] = [];
    const stops = ['first', 'second', 'third', 'fourth'].map((name) => scope.onAbort(() => told.push(name)));
    stops[2]?.();
    scope.abort('over');
    expect(told).toEqual(['first', 'second', 'fourth']);
  });

  test('whose time is over already is aborted at once, without a timer', () => {
    const clock = new VirtualClock();
    const scope = new CallScope(1);
    scope.limit(clock, 0, () => 'over');
    expect([scope.isAborted, scope.reason, clock.pending]).toEqual([true, 'over', 0]);
  });

  test('counts nothing as left behind when it is aborted after a race that the promise lost by itself', async () => {
    const scope = new CallScope(1);
    await rejectionOf(scope.race(Promise.reject(busy)));
    scope.abort('late');
    const act = vi.fn();
    scope.whenQuiet(act);
    expect(act).toHaveBeenCalledTimes(1);
  });

  test('does what waits for quiet once, however often it gets quiet', async () => {
    const scope = new CallScope(1);
    const act = vi.fn();
    const calls = [deferred(), deferred()] as const;
    for (const call of calls) {
      scope.leaveBehind(call.promise);
      scope.whenQuiet(call === calls[0] ? act : () => undefined);
      call.resolve();
      await call.promise;
    }
    expect(act).toHaveBeenCalledTimes(1);
  });
});

describe('who listens to a signal', () => {
  test('may listen again after the last one stopped', () => {
    const controller = new AbortController();
    const act = vi.fn();
    onSignalAbort(controller.signal, act)();
    onSignalAbort(controller.signal, act);
    controller.abort();
    expect(act).toHaveBeenCalledTimes(1);
  });

  test('may listen twice, and stops once for each', () => {
    const controller = new AbortController();
    const act = vi.fn();
    const stop = onSignalAbort(controller.signal, act);
    onSignalAbort(controller.signal, act);
    stop();
    stop();
    controller.abort();
    expect(act).toHaveBeenCalledTimes(1);
  });
});

describe('a stack', () => {
  test('says what it was given in place of a call, also where its policies do not', async () => {
    const careless: Policy = { run: async (call: Call<never>) => call(new CallScope(1)) };
    await expect(compose().run('x' as never)).rejects.toThrow('call must be a function, not string.');
    await expect(compose(careless).run('x' as never)).rejects.toThrow('call must be a function, not string.');
  });
});

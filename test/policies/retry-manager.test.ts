import { describe, expect, test } from 'vitest';
import { ClosedError, InvalidInputError } from '../../src/base/errors.js';
import { CircuitBreaker } from '../../src/policies/circuit-breaker.js';
import { CircuitRegistry } from '../../src/policies/circuit-registry.js';
import { RetryBudget } from '../../src/policies/retry-budget.js';
import type { RetryError } from '../../src/policies/retry-error.js';
import { RetryManager, type RetryManagerOptions } from '../../src/policies/retry-manager.js';
import type { RetryOptions } from '../../src/policies/retry-options.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

/** A manager on a clock of its own whose waits are 100 ms each, exactly. */
function scene(options: RetryManagerOptions = {}) {
  const clock = new VirtualClock();
  const { defaults, ...rest } = options;
  const retries = new RetryManager({ clock, defaults: { backoff: () => 100, ...defaults }, ...rest });
  return { clock, retries };
}

/** What a promise was rejected with. */
const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => expect.fail(`resolved with ${String(value)}`),
    (error: unknown) => error,
  );

/** Fails `times` times, then returns how often it was called. */
function failingTimes(times: number) {
  let calls = 0;
  return () => (++calls <= times ? Promise.reject(new Error(`failure ${calls}`)) : Promise.resolve(calls));
}

describe('run', () => {
  test('tries again by the defaults of the manager', async () => {
    const { clock, retries } = scene({ defaults: { maxRetries: 1 } });
    const ended = rejection(retries.run(failingTimes(9)));
    await clock.advance(1_000);
    expect(((await ended) as RetryError).attempts).toHaveLength(2);
  });

  test('tries again as its options say, which go before the defaults', async () => {
    const { clock, retries } = scene({ defaults: { maxRetries: 1 } });
    const result = retries.run(failingTimes(4), { maxRetries: 4, backoff: { kind: 'list', delaysMs: [10] } });
    await clock.advance(40);
    await expect(result).resolves.toBe(5);
  });

  test('an option that is undefined is one that is not given', async () => {
    const { clock, retries } = scene({ defaults: { maxRetries: 1 } });
    const ended = rejection(retries.run(failingTimes(9), { maxRetries: undefined } as unknown as RetryOptions));
    await clock.advance(1_000);
    expect(((await ended) as RetryError).attempts).toHaveLength(2);
  });

  test('sees when the same options object was changed, also inside', async () => {
    const { clock, retries } = scene();
    const backoff = { kind: 'constant' as const, baseMs: 10, jitter: 'none' as const };
    const options = { maxRetries: 1, backoff };
    const first = rejection(retries.run(failingTimes(9), options));
    await clock.advance(10);
    expect(((await first) as RetryError).attempts).toHaveLength(2);
    options.maxRetries = 2;
    backoff.baseMs = 500;
    const second = rejection(retries.run(failingTimes(9), options));
    await clock.advance(999);
    expect(clock.pending).toBe(1);
    await clock.advance(1);
    expect(((await second) as RetryError).attempts).toHaveLength(3);
  });

  test('sees when a list of delays was changed', async () => {
    const { clock, retries } = scene();
    const delaysMs = [10];
    const options: RetryOptions = { backoff: { kind: 'list', delaysMs } };
    const first = retries.run(failingTimes(1), options);
    await clock.advance(10);
    await first;
    delaysMs[0] = 70;
    const second = retries.run(failingTimes(1), options);
    await clock.advance(69);
    expect(clock.pending).toBe(1);
    await clock.advance(1);
    await expect(second).resolves.toBe(2);
  });

  test('keeps many different options apart', async () => {
    const { clock, retries } = scene({ defaults: { budget: false } });
    for (const maxRetries of [...Array(20).keys(), ...Array(20).keys()]) {
      const result = retries.run(failingTimes(maxRetries), { maxRetries });
      await clock.advance(100 * maxRetries);
      await expect(result).resolves.toBe(maxRetries + 1);
    }
  });

  test.each([
    ['an unknown name', { retries: 3 }, 'retries'],
    ['a circuit that is none', { circuit: {} }, 'options.circuit'],
    ['an empty name of a circuit', { circuit: '' }, 'options.circuit'],
    ['a signal that is none', { signal: {} }, 'options.signal'],
    ['a parent that is none', { parent: 'attempt' }, 'options.parent'],
    ['a copy of a parent, which has lost its signal', { parent: { attempt: 1 } }, 'options.parent'],
    ['endless retries', { maxRetries: Number.POSITIVE_INFINITY }, 'options.maxRetries'],
    ['options that are no object', 5, 'options'],
  ])('%s is refused with its path, as a rejection, and nothing is called', async (_name, options, path) => {
    const { retries } = scene();
    let calls = 0;
    const error = await rejection(retries.run(() => ++calls, options as RetryOptions));
    expect(error).toBeInstanceOf(InvalidInputError);
    expect((error as InvalidInputError).message).toContain(path);
    expect(calls).toBe(0);
  });

  test('endless retries are refused also after the same were allowed under a signal', async () => {
    const { retries } = scene();
    const { signal } = new AbortController();
    const maxRetries = Number.POSITIVE_INFINITY;
    await expect(retries.run(() => 1, { maxRetries, signal })).resolves.toBe(1);
    await expect(retries.run(() => 1, { maxRetries })).rejects.toThrow(InvalidInputError);
  });

  test('a parent hands on its signal', async () => {
    const { clock, retries } = scene();
    const controller = new AbortController();
    const ended = rejection(
      retries.run((parent) => retries.run(failingTimes(9), { parent }), { signal: controller.signal }),
    );
    await clock.advance(50);
    controller.abort('enough');
    await expect(ended).resolves.toBe('enough');
    await clock.advance(0);
    expect(clock.pending).toBe(0);
  });

  test('a parent that is none of ours, but looks like one, is taken at its word', async () => {
    const { clock, retries } = scene();
    const controller = new AbortController();
    const parent = { attempt: 1, operationId: 'theirs', signal: controller.signal, deadlineAtMs: clock.now() + 150 };
    const ended = rejection(retries.run(failingTimes(9), { parent }));
    await clock.advance(150);
    expect(await ended).toMatchObject({ reason: 'deadline' }); // A second wait would outlast it.
    expect(clock.pending).toBe(0);
  });
});

describe('fallback', () => {
  test('is given in place of an error', async () => {
    const { clock, retries } = scene();
    const result = retries.run<number, string>(failingTimes(9), { fallback: 'n/a' });
    await clock.advance(1_000);
    await expect(result).resolves.toBe('n/a');
  });

  test('may be a function of the error', async () => {
    const { clock, retries } = scene();
    const result = retries.run(failingTimes(9), { fallback: (error) => (error as RetryError).attempts.length });
    await clock.advance(1_000);
    await expect(result).resolves.toBe(4);
  });

  test('is not given when the caller gave up', async () => {
    const { clock, retries } = scene();
    const controller = new AbortController();
    const ended = rejection(retries.run(failingTimes(9), { fallback: 'n/a', signal: controller.signal }));
    await clock.advance(50);
    controller.abort('enough');
    await expect(ended).resolves.toBe('enough');
  });

  test('is given when the deadline passed', async () => {
    const { clock, retries } = scene();
    const result = retries.run<number, string>(() => new Promise(() => {}), { fallback: 'late', deadlineMs: 80 });
    await clock.advance(80);
    await expect(result).resolves.toBe('late');
  });
});

describe('circuits', () => {
  test('of one name are one, and refuse without a call once open', async () => {
    const { clock, retries } = scene();
    let calls = 0;
    const call = () => Promise.reject(new Error(`${++calls}`));
    const first = rejection(retries.run(call, { circuit: 'db', maxRetries: 9 }));
    await clock.advance(1_000);
    expect(await first).toMatchObject({ reason: 'circuit-open', cause: { message: '5' } });
    expect(((await first) as RetryError).attempts).toHaveLength(5);
    const refused = await rejection(retries.run(call, { circuit: 'db' }));
    expect(refused).toMatchObject({ code: 'HOLDFAST_CIRCUIT_OPEN', circuit: 'db' });
    expect(calls).toBe(5);
    expect(retries.circuits.get('db').state).toBe('open');
    await expect(retries.run(() => 'other', { circuit: 'other' })).resolves.toBe('other');
  });

  test('are shared between managers through their registry, and may be given themselves', async () => {
    const clock = new VirtualClock();
    const circuits = new CircuitRegistry({ clock });
    const [one, two] = [new RetryManager({ clock, circuits }), new RetryManager({ clock, circuits })];
    circuits.get('db').isolate();
    await expect(one.run(() => 1, { circuit: 'db' })).rejects.toThrow('db');
    await expect(two.run(() => 1, { circuit: circuits.get('db') })).rejects.toThrow('db');
  });

  test('that the registry dropped are asked for anew', async () => {
    const { clock } = scene();
    const circuits = new CircuitRegistry({ clock, maxCircuits: 1 });
    const retries = new RetryManager({ clock, circuits });
    const policy = retries.policy({ circuit: 'one' });
    await retries.run(() => 1, { circuit: 'one' });
    await policy.run(() => 1);
    circuits.get('two');
    circuits.get('one').isolate();
    await expect(retries.run(() => 1, { circuit: 'one' })).rejects.toThrow('one');
    await expect(policy.run(() => 1)).rejects.toThrow('one');
  });

  test('that opened end a run at once: it does not wait to be refused', async () => {
    const { clock, retries } = scene();
    const circuit = new CircuitBreaker({
      name: 'db',
      clock,
      trip: { kind: 'consecutive', failures: 2 },
      openMs: 60_000,
    });
    const ended = rejection(retries.run(failingTimes(9), { circuit, backoff: () => 30_000 }));
    await clock.advance(30_000);
    const error = (await ended) as RetryError;
    expect(error).toMatchObject({ reason: 'circuit-open', cause: { message: 'failure 2' } });
    expect(error.attempts.map(({ delayMs }) => delayMs)).toEqual([30_000, 0]);
    circuit.close();
  });

  test('that open for less than the wait do not end it', async () => {
    const { clock, retries } = scene();
    const circuit = new CircuitBreaker({
      name: 'db',
      clock,
      trip: { kind: 'consecutive', failures: 2 },
      openMs: 1_000,
    });
    const result = retries.run(failingTimes(2), { circuit, backoff: () => 2_000 });
    await clock.advance(4_000);
    await expect(result).resolves.toBe(3);
  });

  test('count refused results as failures', async () => {
    const { clock, retries } = scene();
    const circuit = new CircuitBreaker({ name: 'http', clock, trip: { kind: 'consecutive', failures: 2 } });
    const ended = rejection(
      retries.run(() => ({ status: 503 }), { circuit, retryResult: ({ status }) => status > 500 }),
    );
    await clock.advance(1_000);
    expect(await ended).toMatchObject({ reason: 'circuit-open', cause: { code: 'HOLDFAST_RESULT_REFUSED' } });
  });

  test('count attempts that took too long as failures, and those the caller ended as nothing', async () => {
    const { clock, retries } = scene();
    const circuit = new CircuitBreaker({ name: 'http', clock });
    const late = rejection(retries.run(() => new Promise(() => {}), { circuit, attemptTimeoutMs: 50, maxRetries: 0 }));
    await clock.advance(50);
    await late;
    expect(circuit.stats().failures).toBe(1);
    const controller = new AbortController();
    const left = rejection(retries.run(() => new Promise(() => {}), { circuit, signal: controller.signal }));
    controller.abort('enough');
    await left;
    expect(circuit.stats()).toMatchObject({ failures: 1, ignored: 1 });
  });

  test('hundreds of names work, with more than are remembered', async () => {
    const { retries } = scene();
    for (let name = 0; name < 1_100; name++)
      await expect(retries.run(() => name, { circuit: `tenant ${name}` })).resolves.toBe(name);
    expect(retries.circuits.size).toBe(1_100);
  });
});

describe('the retry budget', () => {
  /** Makes `count` runs that fail for good, all together; how many attempts were made in all. */
  async function storm(retries: RetryManager, clock: VirtualClock, options: RetryOptions & { count: number }) {
    const { count, ...rest } = options;
    let calls = 0;
    const call = () => Promise.reject(new Error(`${++calls}`));
    const ended = Promise.allSettled(
      Array.from({ length: count }, () => retries.run(call, { ...rest, backoff: () => 100 })),
    );
    await clock.advance(1_000);
    const reasons = (await ended).map((outcome) => (outcome as PromiseRejectedResult).reason.reason);
    return { calls, reasons: new Set(reasons) };
  }

  test('is on by default and shared by all runs, also when all wait together', async () => {
    const { clock, retries } = scene();
    const { calls, reasons } = await storm(retries, clock, { count: 500 });
    expect(calls).toBe(500 + 100 + 50); // 10 a second for 10 s, and a tenth of the calls.
    expect(reasons).toContain('budget');
  });

  test('of one circuit is not spent by another', async () => {
    const clock = new VirtualClock();
    const circuits = new CircuitRegistry({ clock, defaults: { trip: { kind: 'consecutive', failures: 1e6 } } });
    const retries = new RetryManager({ clock, circuits });
    await storm(retries, clock, { count: 500, circuit: 'one' });
    const { calls } = await storm(retries, clock, { count: 10, circuit: 'two' });
    expect(calls).toBe(40);
  });

  test('can be one that is given, and none', async () => {
    const { clock, retries } = scene();
    const budget = new RetryBudget({ clock, ratio: 0, minPerSecond: 0 });
    await expect(storm(retries, clock, { count: 5, budget })).resolves.toMatchObject({ calls: 5 });
    await expect(storm(retries, clock, { count: 500, budget: false })).resolves.toMatchObject({ calls: 2_000 });
  });
});

describe('wrap', () => {
  test('keeps parameters, this and the result', async () => {
    const { clock, retries } = scene();
    const api = {
      base: 10,
      add: retries.wrap(async function (this: { base: number }, one: number, two: number) {
        return this.base + one + two;
      }),
    };
    await expect(api.add(1, 2)).resolves.toBe(13);
    const flaky = failingTimes(1);
    const result = retries.wrap(flaky, { backoff: () => 10 })();
    await clock.advance(10);
    await expect(result).resolves.toBe(2);
  });

  test('of something that is no function is a TypeError, at once', () => {
    const { retries } = scene();
    expect(() => retries.wrap('f' as never)).toThrow(TypeError);
    expect(() => retries.wrap(() => 1, { maxRetries: -1 })).toThrow(InvalidInputError);
  });
});

describe('policy', () => {
  test('is checked where it is made', () => {
    const { retries } = scene();
    expect(() => retries.policy({ maxRetries: Number.POSITIVE_INFINITY })).toThrow('deadlineMs');
    expect(() => retries.policy({ nested: 'sometimes' } as never)).toThrow('options.nested');
  });

  test('has the defaults of its manager', async () => {
    const { clock, retries } = scene({ defaults: { maxRetries: 1 } });
    const ended = rejection(retries.policy().run(failingTimes(9)));
    await clock.advance(100);
    expect(((await ended) as RetryError).attempts).toHaveLength(2);
  });
});

describe('retryWithBackoff', () => {
  test('waits longer each time', async () => {
    const { clock, retries } = scene();
    const options = { maxRetries: 3, initialDelayMs: 10, exponentialBase: 10, maxDelayMs: 500, jitter: false };
    const result = retries.retryWithBackoff(failingTimes(3), options);
    await clock.advance(10 + 100 + 500);
    await expect(result).resolves.toBe(4);
  });

  test('is jittered unless told otherwise', async () => {
    const { clock, retries } = scene({ random: () => 0 });
    const result = retries.retryWithBackoff(failingTimes(1), { initialDelayMs: 100 });
    await clock.advance(50);
    await expect(result).resolves.toBe(2);
  });

  test('goes through the circuit of the key', async () => {
    const { retries } = scene();
    retries.circuits.get('db').isolate();
    await expect(retries.retryWithBackoff(() => 1, { circuitBreakerKey: 'db' })).rejects.toThrow('db');
  });

  test.each([
    ['maxRetries', -1],
    ['initialDelayMs', Number.NaN],
    ['exponentialBase', 0.5],
    ['jitter', 'full'],
    ['max_retries', 3],
  ])('refuses %s: %s', async (name, value) => {
    const { retries } = scene();
    await expect(retries.retryWithBackoff(() => 1, { [name]: value })).rejects.toThrow(name);
  });
});

describe('close', () => {
  test('ends waits at once and refuses new runs', async () => {
    const { clock, retries } = scene();
    const waiting = rejection(retries.run(failingTimes(9)));
    await clock.advance(50);
    await retries.close();
    expect(await waiting).toBeInstanceOf(ClosedError);
    await expect(retries.run(() => 1)).rejects.toThrow(ClosedError);
    await expect(retries.policy().run(() => 1)).rejects.toThrow(ClosedError);
    await expect(retries.wrap(() => 1)()).rejects.toThrow(ClosedError);
    expect(clock.pending).toBe(0);
  });

  test('lets an attempt that is under way finish, and does not repeat it', async () => {
    const { clock, retries } = scene();
    const fine = retries.run(() => clock.sleep(50).then(() => 'fine'));
    const bad = rejection(retries.run(() => clock.sleep(50).then(() => Promise.reject(new Error('bad')))));
    await retries.close();
    await retries.close();
    await clock.advance(50);
    await expect(fine).resolves.toBe('fine');
    expect(await bad).toBeInstanceOf(ClosedError);
  });
});

describe('bad options of the manager', () => {
  test.each([
    ['an unknown name', { circuit: 'x' }, 'circuit'],
    ['circuits that are none', { circuits: {} }, 'options.circuits'],
    ['wrong defaults', { defaults: { maxRetries: -1 } }, 'options.defaults.maxRetries'],
    ['a random that is none', { random: 4 }, 'options.random'],
  ])('%s are refused', (_name, options, path) => {
    expect(() => new RetryManager(options as RetryManagerOptions)).toThrow(InvalidInputError);
    expect(() => new RetryManager(options as RetryManagerOptions)).toThrow(path);
  });
});

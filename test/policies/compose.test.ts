import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { ClosedError } from '../../src/base/errors.js';
import type { Attempt, Call } from '../../src/policies/attempt.js';
import { bulkhead } from '../../src/policies/bulkhead.js';
import { CallScope } from '../../src/policies/call-scope.js';
import { fallback } from '../../src/policies/fallback.js';
import { compose, type Policy } from '../../src/policies/policy.js';
import { rateLimit } from '../../src/policies/rate-limit.js';
import { retry } from '../../src/policies/retry.js';
import { RetryManager } from '../../src/policies/retry-manager.js';
import { staleIfError } from '../../src/policies/stale-if-error.js';
import { timeout } from '../../src/policies/timeout.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { rejectionOf } from '../support/deferred.js';

/** A policy of the host's own, that notes when it is gone through. */
class Noting implements Policy {
  readonly #name: string;
  readonly #notes: string[];
  constructor(name: string, notes: string[]) {
    this.#name = name;
    this.#notes = notes;
  }
  async run<T>(call: Call<T>, context?: Attempt): Promise<T> {
    this.#notes.push(`${this.#name} in`);
    try {
      return await call(context as Attempt);
    } finally {
      this.#notes.push(`${this.#name} out`);
    }
  }
}

describe('a signal in the context', () => {
  test.each([
    ['a bare call', compose()],
    ['a fallback around retries', compose(fallback('stand-in'), retry({ backoff: () => 60_000 }))],
    ['a bulkhead', compose(bulkhead({}))],
  ])('ends %s at once, and nothing stands in', async (_name, stack) => {
    const controller = new AbortController();
    const ended = stack.run(() => new Promise(() => {}), { signal: controller.signal });
    controller.abort('enough');
    await expect(ended).rejects.toBe('enough');
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  });

  test('that was aborted before keeps the call from being made', async () => {
    let calls = 0;
    const signal = AbortSignal.abort('enough');
    await expect(compose(fallback('stand-in')).run(() => ++calls, { signal })).rejects.toBe('enough');
    expect(calls).toBe(0);
  });
});

test('nothing stands in for a part that its host closed', async () => {
  const retries = new RetryManager();
  const stack = compose(fallback('stand-in'), staleIfError({ maxAgeMs: 1_000 }), retries.policy());
  await expect(stack.run(() => 'fine')).resolves.toBe('fine');
  await retries.close();
  await expect(stack.run(() => 'fine')).rejects.toThrow(ClosedError);
});

describe('the order', () => {
  test('is the order on the stack: the first is outermost', async () => {
    const notes: string[] = [];
    const stack = compose(new Noting('a', notes), new Noting('b', notes));
    await stack.run(() => notes.push('call'));
    expect(notes).toEqual(['a in', 'b in', 'call', 'b out', 'a out']);
  });

  test('is kept: a fallback outside a timeout answers for it, one inside does not', async () => {
    const clock = new VirtualClock();
    const never = () => new Promise<never>(() => {});
    const outside = compose(fallback('n/a'), timeout(50, { clock })).run(never);
    const within = rejectionOf(compose(timeout(50, { clock }), fallback('n/a')).run(never));
    await clock.advance(50);
    expect(await outside).toBe('n/a');
    expect(await within).toMatchObject({ code: 'HOLDFAST_TIMEOUT' });
  });

  test('of a stack within a stack is as written', async () => {
    const notes: string[] = [];
    const inner = compose(new Noting('b', notes), new Noting('c', notes));
    await compose(new Noting('a', notes), inner).run(() => {});
    expect(notes).toEqual(['a in', 'b in', 'c in', 'c out', 'b out', 'a out']);
  });
});

describe('the context', () => {
  const policies = [
    timeout(1_000),
    bulkhead(),
    rateLimit({ calls: 10, perMs: 1 }),
    fallback('n/a'),
    staleIfError<unknown>({ maxAgeMs: 1_000 }),
  ];

  test('reaches the call through all policies: number and id', async () => {
    const context = new CallScope(3, CallScope.operation(undefined, 'order-7'));
    const seen = await compose(...policies).run(({ attempt, operationId }) => [attempt, operationId], context);
    expect(seen).toEqual([3, 'order-7']);
  });

  test('is one for the whole stack if none is given: all see one id', async () => {
    const ids: string[] = [];
    const noteId: Policy = {
      run: async (call, context) => {
        ids.push((context as Attempt).operationId);
        return call(context as Attempt);
      },
    };
    await compose(noteId, ...policies, noteId).run(({ operationId }) => ids.push(operationId));
    expect([ids.length, new Set(ids).size]).toEqual([3, 1]);
  });

  test('is another one for every run', async () => {
    const stack = compose(...policies);
    const [one, other] = [await stack.run((a) => a.operationId), await stack.run((a) => a.operationId)];
    expect(one).not.toBe(other);
  });

  test('carries an abort from outside to the call, through all policies', async () => {
    const controller = new AbortController();
    const context: Attempt = { attempt: 1, operationId: 'op', signal: controller.signal };
    const outcome = rejectionOf(
      compose(...policies).run(
        ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
        context,
      ),
    );
    controller.abort('gone');
    expect(await outcome).toBe('gone');
  });
});

describe('a stack', () => {
  test('of nothing runs the call as it is', async () => {
    expect(await compose().run(({ attempt }) => attempt)).toBe(1);
    expect(await rejectionOf(compose().run(() => Promise.reject('plain')))).toBe('plain');
  });

  test.each([
    ['the call', compose()],
    [
      'a policy of the host',
      compose({
        run: () => {
          throw 'plain';
        },
      }),
    ],
  ])('turns what %s throws at once into a rejection', async (_who, stack) => {
    const call = () => {
      throw 'plain';
    };
    expect(await rejectionOf(stack.run(call))).toBe('plain');
  });

  test('of something that cannot be called is a TypeError, as a rejection', async () => {
    await expect(compose(timeout(50)).run('call' as unknown as () => string)).rejects.toThrow(TypeError);
    await expect(compose().run(undefined as unknown as () => string)).rejects.toThrow(TypeError);
  });

  test.each([[null], [undefined], [{}], ['timeout'], [() => 1]])('of %s is refused, naming the position', (given) => {
    const make = () => compose(timeout(50), given as unknown as Policy);
    expect(make).toThrow(TypeError);
    expect(make).toThrow(/argument 2/);
  });

  test('can be run many times, and at the same time', async () => {
    const stack = compose(bulkhead({ maxRunning: 2, maxWaiting: 10 }), timeout(1_000));
    const results = await Promise.all([1, 2, 3, 4, 5].map((value) => stack.run(async () => value)));
    expect(results).toEqual([1, 2, 3, 4, 5]);
  });

  test('gives a place to whoever waits when a call further in was given up on and has ended', async () => {
    const clock = new VirtualClock();
    const stack = compose(bulkhead({ maxRunning: 1, maxWaiting: 1 }), timeout(50, { clock }));
    const slow = rejectionOf(stack.run(() => clock.sleep(80)));
    const startedMs = stack.run(() => clock.monotonicMs());
    await clock.advance(100);
    expect(await slow).toMatchObject({ code: 'HOLDFAST_TIMEOUT' });
    expect(await startedMs).toBe(80);
  });
});

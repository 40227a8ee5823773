import { describe, expect, test } from 'vitest';
import { InvalidInputError } from '../../src/base/errors.js';
import type { Attempt } from '../../src/policies/attempt.js';
import { CallScope } from '../../src/policies/call-scope.js';
import { FallbackError, type FallbackEvent, fallback, fallbackWith } from '../../src/policies/fallback.js';
import { rejectionOf } from '../support/deferred.js';

const broken = new Error('broken');
const failing = () => Promise.reject(broken);

describe('a call that succeeds', () => {
  test('keeps its result, and no alternative is asked', async () => {
    let asked = 0;
    await expect(fallback(() => ++asked).run(() => 'fine')).resolves.toBe('fine');
    expect(asked).toBe(0);
  });

  test('keeps undefined', async () => {
    await expect(fallback('n/a').run(() => undefined)).resolves.toBeUndefined();
  });
});

describe('a call that fails', () => {
  test.each([
    ['a string', 'n/a'],
    ['undefined', undefined],
    ['null', null],
    ['a list', [1]],
  ])('is answered with %s', async (_kind, value) => {
    expect(await fallback(value).run(failing)).toBe(value);
  });

  test('is answered by a function, which is told the error and the attempt', async () => {
    const context = CallScope.operation(undefined, 'op');
    const answer = fallback(async (error, { operationId }) => [error, operationId]).run(failing, context);
    expect(await answer).toEqual([broken, 'op']);
  });

  test('is answered if it throws at once', async () => {
    const call = () => {
      throw broken;
    };
    expect(await fallback('n/a').run(call)).toBe('n/a');
  });

  test('is answered by the first alternative that does not throw, and no further one is asked', async () => {
    const asked: number[] = [];
    const answer = fallback(
      () => Promise.reject(asked.push(1)),
      () => {
        throw asked.push(2);
      },
      () => asked.push(3),
      () => asked.push(4),
    ).run(failing);
    expect([await answer, asked]).toEqual([3, [1, 2, 3]]);
  });

  test('fails with all errors if every alternative throws', async () => {
    const error = await rejectionOf(
      fallback(
        () => Promise.reject('one'),
        () => Promise.reject(new Error('two')),
      ).run(failing),
    );
    expect(error).toBeInstanceOf(FallbackError);
    expect(error).toMatchObject({
      name: 'FallbackError',
      code: 'HOLDFAST_FALLBACK_FAILED',
      cause: broken,
      errors: ['one', new Error('two')],
    });
    expect(String(error)).toContain('two');
  });
});

describe('when the caller gave up', () => {
  test('nothing is answered: the reason passes through', async () => {
    const context = new CallScope(1);
    let asked = 0;
    const outcome = fallback(() => ++asked).run(() => {
      context.abort('gone');
      throw broken;
    }, context);
    expect(await rejectionOf(outcome)).toBe('gone');
    expect(asked).toBe(0);
  });

  test('while an alternative is made, no further one is asked', async () => {
    const context = new CallScope(1);
    let asked = 0;
    const givesUp = () => {
      context.abort('gone');
      throw broken;
    };
    expect(await rejectionOf(fallback(givesUp, () => ++asked).run(failing, context))).toBe('gone');
    expect(asked).toBe(0);
  });

  test('nothing is answered in a context that is not ours either', async () => {
    const controller = new AbortController();
    const context: Attempt = { attempt: 1, operationId: 'op', signal: controller.signal };
    const call = () => {
      controller.abort('gone');
      throw broken;
    };
    expect(await rejectionOf(fallback('n/a').run(call, context))).toBe('gone');
  });

  test('not, the call is answered in a context that is not ours', async () => {
    const { signal } = new AbortController();
    expect(await fallback('n/a').run(failing, { attempt: 1, operationId: 'op', signal })).toBe('n/a');
    expect(await fallback('n/a').run(failing, { signal })).toBe('n/a');
  });
});

describe('when', () => {
  const isTimeout = (error: unknown) => error === 'timeout';

  test('chooses the failures that are answered', async () => {
    expect(await fallbackWith({ when: isTimeout }, 'n/a').run(() => Promise.reject('timeout'))).toBe('n/a');
  });

  test('lets the others pass through untouched', async () => {
    expect(await rejectionOf(fallbackWith({ when: isTimeout }, 'n/a').run(failing))).toBe(broken);
  });

  test('may throw: then the error of the call is the cause, and what it threw is in errors', async () => {
    const when = () => {
      throw 'no idea';
    };
    const error = await rejectionOf(fallbackWith({ when }, 'n/a').run(failing));
    expect(error).toMatchObject({ code: 'HOLDFAST_FALLBACK_FAILED', cause: broken, errors: ['no idea'] });
  });
});

describe('events', () => {
  test('say which alternative stood in, and why', async () => {
    const events: FallbackEvent[] = [];
    const policy = fallbackWith({ emit: (event) => events.push(event) }, () => Promise.reject('no'), 'n/a');
    await policy.run(failing, CallScope.operation(undefined, 'op'));
    expect(events).toEqual([{ type: 'call.fell-back', operationId: 'op', alternative: 1, error: 'broken' }]);
  });

  test('there is none if the call succeeded or nothing stood in', async () => {
    const events: FallbackEvent[] = [];
    const policy = fallbackWith({ emit: (event) => events.push(event) }, () => Promise.reject('no'));
    await policy.run(() => 'fine');
    await rejectionOf(policy.run(failing));
    expect(events).toEqual([]);
  });
});

describe('what is passed in', () => {
  test('no alternative at all is refused', () => {
    const none = fallback as unknown as () => void;
    expect(none).toThrow(InvalidInputError);
    expect(none).toThrow(/^alternatives: /);
  });

  test('an unknown or wrong option is refused', () => {
    expect(() => fallbackWith({ wen: failing } as object, 'n/a')).toThrow(/wen/);
    expect(() => fallbackWith({ when: 1 } as object, 'n/a')).toThrow(/options\.when/);
    expect(() => fallbackWith({ emit: 1 } as object, 'n/a')).toThrow(/options\.emit/);
  });

  test('something that cannot be called is a TypeError, as a rejection, and is not answered', async () => {
    await expect(fallback('n/a').run('call' as unknown as () => string)).rejects.toThrow(TypeError);
  });
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isCallersFault, propertyOf, statusOf } from '../../src/policies/http-failure.js';

const hostileProxy = (target: object) =>
  new Proxy(target, {
    get: () => {
      throw new Error('no');
    },
    has: () => {
      throw new Error('no');
    },
  });

const revoked = (): object => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};

class Thrower {
  get status(): number {
    throw new Error('no');
  }
  readonly statusCode = 503;
}

describe('the status', () => {
  test.each([
    ['a fetch Response', new Response('', { status: 503 })],
    ['status', Object.assign(new Error('x'), { status: 503 })],
    ['statusCode', { statusCode: 503 }],
    ['response.status', { response: { status: 503 } }],
    ['response.statusCode', { response: { statusCode: 503 } }],
    ['$metadata.httpStatusCode', { $metadata: { httpStatusCode: 503 } }],
    ['a function that carries it', Object.assign(() => {}, { status: 503 })],
    ['the next place when the first cannot be read', new Thrower()],
    ['the next place when the first is no status', { status: 'error', statusCode: 503 }],
  ])('is found in %s', (_where, error) => {
    expect(statusOf(error)).toBe(503);
  });

  test.each([
    ['99', { status: 99 }],
    ['600', { status: 600 }],
    ['a fraction', { status: 404.5 }],
    ['text', { status: '503' }],
    ['NaN', { status: Number.NaN }],
    ['nothing', undefined],
    ['null', null],
    ['a number', 503],
    ['the cause, which is another story', new Error('x', { cause: { status: 503 } })],
    ['a proxy that throws', hostileProxy({})],
    ['a revoked proxy', revoked()],
    ['a response that throws', { response: hostileProxy({}) }],
  ])('is not found in %s', (_what, error) => {
    expect(statusOf(error)).toBeUndefined();
  });

  test.each([100, 599])('%d is one', (status) => {
    expect(statusOf({ status })).toBe(status);
  });

  test('is a status or nothing, and never an error, whatever is asked', () => {
    const anything = fc.anything({ withNullPrototype: true, withBigInt: true, withDate: true });
    const places = fc.record({ status: anything, statusCode: anything, response: anything, $metadata: anything });
    const isAnswer = (status: number | undefined) => status === undefined || (status >= 100 && status <= 599);
    fc.assert(fc.property(fc.oneof(anything, places), (error) => isAnswer(statusOf(error))));
  });
});

describe("the caller's fault", () => {
  test.each([400, 401, 403, 404, 409, 422, 499])('%d is', (status) => {
    expect(isCallersFault({ status })).toBe(true);
  });

  test.each([200, 302, 399, 408, 425, 429, 500, 503, 599])('%d is not', (status) => {
    expect(isCallersFault({ status })).toBe(false);
  });

  test('an error without a status is not', () => {
    expect(isCallersFault(new TypeError('x'))).toBe(false);
  });
});

test('a property of what is no object, or cannot be read, is undefined', () => {
  expect(propertyOf('text', 'length')).toBeUndefined();
  expect(propertyOf(undefined, 'x')).toBeUndefined();
  expect(propertyOf(new Thrower(), 'status')).toBeUndefined();
  expect(propertyOf({ x: 1 }, 'x')).toBe(1);
});

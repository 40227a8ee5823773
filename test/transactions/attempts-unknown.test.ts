import { describe, expect, test } from 'vitest';
import { ClosedError } from '../../src/base/errors.js';
import { CallScope } from '../../src/policies/call-scope.js';
import { BusyError, FencedError } from '../../src/records/lease.js';
import { OutcomeUnknownError } from '../../src/storage/adapter.js';
import { RolledBackError, StuckError } from '../../src/transactions/transaction-errors.js';
import { isUnknownOutcome, wasInterrupted } from '../../src/transactions/unknown-outcome.js';
import { rejectionOf } from '../support/deferred.js';
import { TransactionWorld } from '../support/transaction-world.js';

function errorWith(fields: object, options?: ErrorOptions): Error {
  return Object.assign(new Error('failed', options), fields);
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function ring(): Error {
  const error = new Error('round');
  error.cause = new Error('and round', { cause: error });
  return error;
}

/** Its cause is another such error, for ever. */
function bottomless(): Error {
  return Object.defineProperty(new Error('deep'), 'cause', { get: bottomless });
}

/** An error that cannot be read at `name`. */
function unreadable(name: string): Error {
  const get = () => {
    throw new Error('hands off');
  };
  return Object.defineProperty(new Error('shy'), name, { get });
}

const late = () => errorWith({ name: 'TimeoutError' });
const rolledBack = { cause: late(), compensated: [], leftBehind: [] };

describe('an outcome is unknown', () => {
  test.each<[string, unknown]>([
    ['TimeoutError', new DOMException('late', 'TimeoutError')],
    ['AbortError', new DOMException('cut', 'AbortError')],
    ['HeadersTimeoutError', errorWith({ name: 'HeadersTimeoutError' })],
    ['CanceledError', errorWith({ name: 'CanceledError' })],
    ...[
      ...['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ECONNABORTED', 'ERR_CANCELED'],
      ...['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'UND_ERR_SOCKET'],
    ].map((code): [string, unknown] => [code, errorWith({ code })]),
    ['OutcomeUnknownError', new OutcomeUnknownError('accounts/7')],
    ['BusyError', new BusyError('transaction "child"', 'node')],
    ['StuckError', new StuckError('child', { reason: 'past-pivot' })],
    ['a cause', new TypeError('fetch failed', { cause: errorWith({ code: 'ECONNRESET' }) })],
    ['a cause far down', new Error('a', { cause: new Error('b', { cause: new Error('c', { cause: late() }) }) })],
    [
      'an earlier attempt',
      errorWith({ attempts: [{ result: 1 }, 'none', { error: late() }, { error: new Error('no') }] }),
    ],
    ['one of an aggregate', new AggregateError([new Error('no'), late()])],
    ['a revoked proxy', revoked()],
    ['a cause that is one', new Error('no', { cause: revoked() })],
    ['attempts that are one', errorWith({ attempts: revoked() })],
    ['a name that throws', unreadable('name')],
    ['a cause that throws', unreadable('cause')],
    ['causes without end', bottomless()],
    ['more errors than anybody reads', new AggregateError(Array.from({ length: 2_000 }, () => new Error('no')))],
  ])('%s', (_, error) => {
    expect(isUnknownOutcome(error, new CallScope(1))).toBe(true);
  });

  test.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['a string', 'ECONNRESET'],
    ['any other error', new Error('declined')],
    ['a name that is no string', errorWith({ name: 7 })],
    ['causes in a ring', ring()],
    ['lists that are none', errorWith({ attempts: 3, errors: 'ECONNRESET' })],
    ['a refused connection', errorWith({ code: 'ECONNREFUSED', syscall: 'connect' })],
    ['a connection that timed out', errorWith({ code: 'ETIMEDOUT', syscall: 'connect' })],
    [
      'several of them',
      Object.assign(new AggregateError([errorWith({ code: 'ETIMEDOUT', syscall: 'connect' })]), { code: 'ETIMEDOUT' }),
    ],
    ['ConnectTimeoutError', new TypeError('fetch failed', { cause: errorWith({ name: 'ConnectTimeoutError' }) })],
    ['UND_ERR_CONNECT_TIMEOUT', errorWith({ code: 'UND_ERR_CONNECT_TIMEOUT', cause: late() })],
    ['a transaction inside that was rolled back after a timeout', new RolledBackError('child', rolledBack)],
  ])('not with %s', (_, error) => {
    expect(isUnknownOutcome(error, new CallScope(1))).toBe(false);
  });

  test('with what the transaction was aborted with, also as a cause, and not before', () => {
    const scope = new CallScope(1);
    const reason = new Error('sold out');
    const thrown = [reason, new Error('fetch failed', { cause: reason })];
    expect(thrown.map((error) => isUnknownOutcome(error, scope))).toEqual([false, false]);
    scope.abort(reason);
    expect(thrown.map((error) => isUnknownOutcome(error, scope))).toEqual([true, true]);
  });
});

test.each<[boolean, string, unknown]>([
  [true, 'a ClosedError', new ClosedError('The pool')],
  [true, 'a FencedError as a cause', new Error('no', { cause: new FencedError('transaction "child"') })],
  [
    false,
    'a rollback because of one',
    new RolledBackError('child', { ...rolledBack, cause: new ClosedError('The pool') }),
  ],
  [false, 'the code of another', errorWith({ code: 'HOLDFAST_CLOSED' })],
  [false, 'a timeout', late()],
  [false, 'a revoked proxy', revoked()],
])('it is %s that %s says that something ended with this process', (isOne, _, error) => {
  expect(wasInterrupted(error)).toBe(isOne);
});

describe('whatever is thrown,', () => {
  test.each<[string, unknown]>([
    ['undefined', undefined],
    ['a revoked proxy', revoked()],
    ['an error with attempts that are one', errorWith({ attempts: revoked() })],
    ['an error whose cause throws', unreadable('cause')],
  ])('%s too, what stands is compensated', async (_, thrown) => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', async (tx) => {
      await tx.step('book', () => world.effect('book'), world.undo);
      await tx.step('pay', () => Promise.reject(thrown), { retry: 1 });
    });
    expect(await world.settled(rejectionOf(run))).toMatchObject({ compensated: ['book'] });
    expect(world.did).toEqual(['book', 'undo book']);
  });
});

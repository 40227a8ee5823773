import { describe, expect, test } from 'vitest';
import { OutcomeUnknownError } from '../../src/storage/adapter.js';
import type { StepOptions, Tx } from '../../src/transactions/transaction.js';
import { RolledBackError, StuckError } from '../../src/transactions/transaction-errors.js';
import { rejectionOf } from '../support/deferred.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

const hangs = () => never<string>();

/** Books, then pays; the calls of `pay` go as `answers` say, one after the other. */
async function pays(options: StepOptions<string>, ...answers: (() => string | Promise<string>)[]) {
  const world = new TransactionWorld();
  const process = world.process();
  const keys = new Set<string>();
  const run = process.transactions.run('1', async (tx: Tx) => {
    await tx.step('book', () => world.effect('book'), world.undo);
    const pay = (step: { key: string }) => {
      keys.add(step.key);
      world.effect('pay');
      return (answers.shift() ?? hangs)();
    };
    return tx.step<string>('pay', pay, { timeoutMs: 5_000, compensate: world.undo, ...options });
  });
  const error = await world.settled(rejectionOf(run));
  return { world, process, keys, error, result: error === undefined ? await run : undefined };
}

const paid = () => 'paid';
const refuses = () => Promise.reject(new Error('declined'));

describe('a call that timed out', () => {
  test('is made again with the same key if the step is idempotent and has retries', async () => {
    const { world, keys, result } = await pays({ retry: 1 }, hangs, paid);
    expect(result).toBe('paid');
    expect(world.did).toEqual(['book', 'pay', 'pay']);
    expect(keys.size).toBe(1);
  });

  test('is not made again if `verify` finds that it happened', async () => {
    const { world, result } = await pays({ retry: 3, verify: () => 'found' }, hangs, paid);
    expect(result).toBe('found');
    expect(world.did).toEqual(['book', 'pay']);
  });

  test('is made again if `verify` finds that it did not happen', async () => {
    const { world, result } = await pays({ retry: 3, verify: () => undefined, effect: 'once' }, hangs, paid);
    expect(result).toBe('paid');
    expect(world.did).toEqual(['book', 'pay', 'pay']);
  });

  test('is not made again if it may happen once and nothing can tell: the transaction is stuck', async () => {
    const { world, error } = await pays({ retry: 3, effect: 'once' }, hangs, paid);
    expect(error).toBeInstanceOf(StuckError);
    expect(error).toMatchObject({ reason: 'unknown-outcome', step: 'pay', cause: { name: 'TimeoutError' } });
    expect(world.did).toEqual(['book', 'pay']);
    expect(await world.view()).toMatchObject({ status: 'stuck', stuck: { reason: 'unknown-outcome', step: 'pay' } });
  });

  test('leaves the transaction stuck if `verify` cannot tell', async () => {
    const verify = () => Promise.reject(new Error('bank is closed'));
    const { world, error } = await pays({ verify }, hangs);
    expect(error).toMatchObject({ reason: 'unknown-outcome', step: 'pay', cause: { message: 'bank is closed' } });
    expect(world.did).toEqual(['book', 'pay']);
  });

  test('did not happen if `verify` says so: there is nothing to compensate', async () => {
    const { world, error } = await pays({ verify: () => undefined }, hangs);
    expect(error).toMatchObject({ compensated: ['book'], leftBehind: [], cause: { name: 'TimeoutError' } });
    expect((await world.view()).steps).toMatchObject([{ status: 'compensated' }, { name: 'pay', status: 'failed' }]);
  });

  test('of an idempotent step is made again on the way back, and compensated with what it gives', async () => {
    const { world, keys, error } = await pays({}, hangs, paid);
    expect(error).toBeInstanceOf(RolledBackError);
    expect(error).toMatchObject({ compensated: ['pay', 'book'], leftBehind: [], cause: { name: 'TimeoutError' } });
    expect(world.did).toEqual(['book', 'pay', 'pay', 'undo paid', 'undo book']);
    expect(keys.size).toBe(1);
  });

  test('and that fails when it is made again on the way back may have happened: stuck, nothing compensated', async () => {
    const { world, error } = await pays({ compensateRetry: 0 }, hangs, refuses);
    expect(error).toMatchObject({ reason: 'unknown-outcome', step: 'pay', cause: { message: 'declined' } });
    expect(world.did).toEqual(['book', 'pay', 'pay']);
  });

  test('of a step that only reads failed, and no more', async () => {
    const { world, error } = await pays({ effect: 'none' }, hangs);
    expect(error).toMatchObject({ compensated: ['book'], leftBehind: [] });
    expect((await world.view()).steps).toMatchObject([{ status: 'compensated' }, { name: 'pay', status: 'failed' }]);
  });

  test('is no end of the transaction if the body deals with it; it stays unknown', async () => {
    const world = new TransactionWorld();
    const run = world
      .process()
      .transactions.run('1', (tx) =>
        tx.step('mail', () => never<string>(), { timeoutMs: 100 }).catch((error: Error) => error.name),
      );
    expect(await world.settled(run)).toBe('TimeoutError');
    expect(await world.view()).toMatchObject({ status: 'done', steps: [{ name: 'mail', status: 'unknown' }] });
  });
});

describe('without a compensation, a call that timed out', () => {
  test('is left behind and not made again', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', async (tx) => {
      await tx.step('book', () => world.effect('book'), world.undo);
      await tx.step('pay', () => never(world.effect('pay')), { timeoutMs: 100 });
    });
    expect(await world.settled(rejectionOf(run))).toMatchObject({ compensated: ['book'], leftBehind: ['pay'] });
    expect(world.did).toEqual(['book', 'pay', 'undo book']);
  });
});

describe.each([
  ['an OutcomeUnknownError', new OutcomeUnknownError('accounts/7')],
  ['one that wraps a TimeoutError', new Error('no answer', { cause: new DOMException('late', 'TimeoutError') })],
  ['an AbortError', new DOMException('cut', 'AbortError')],
])('a step that rejects with %s', (_, thrown) => {
  test('has an unknown outcome', async () => {
    const { error } = await pays({ effect: 'once' }, () => Promise.reject(thrown));
    expect(error).toMatchObject({ reason: 'unknown-outcome', step: 'pay', cause: thrown });
  });
});

test('a step that rejects with any other error has failed, and nothing of it is compensated', async () => {
  const { world, error } = await pays({ effect: 'once' }, refuses);
  expect(error).toMatchObject({ cause: { message: 'declined' }, compensated: ['book'], leftBehind: [] });
  expect(world.did).toEqual(['book', 'pay', 'undo book']);
});

test('an attempt that failed for certain after one that timed out does not make the step a failure', async () => {
  const { error } = await pays({ retry: 1, compensateRetry: 0 }, hangs, refuses, refuses);
  expect(error).toMatchObject({ reason: 'unknown-outcome', step: 'pay' });
});

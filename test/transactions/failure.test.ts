import { describe, expect, test } from 'vitest';
import { RetryError } from '../../src/policies/retry-error.js';
import type { Tx } from '../../src/transactions/transaction.js';
import { RolledBackError } from '../../src/transactions/transaction-errors.js';
import { rejectionOf } from '../support/deferred.js';
import { TransactionWorld } from '../support/transaction-world.js';

const soldOut = (_after?: unknown) => Promise.reject(new Error('sold out'));

describe('a step that fails', () => {
  test('rejects with what its function threw, and fails the transaction with that as the cause', async () => {
    const world = new TransactionWorld();
    const thrown = new Error('sold out');
    let seen: unknown;
    const run = world.process().transactions.run('1', async (tx) => {
      await tx
        .step('book', () => Promise.reject(thrown))
        .catch((error: unknown) => {
          seen = error;
          throw error;
        });
    });
    const error = await rejectionOf(run);
    expect(seen).toBe(thrown);
    expect(error).toBeInstanceOf(RolledBackError);
    expect(error).toMatchObject({ transaction: '1', code: 'HOLDFAST_ROLLED_BACK', cause: thrown, compensated: [] });
  });

  test('is not tried again unless it has retries', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', (tx) => tx.step('book', () => soldOut(world.effect('try'))));
    await rejectionOf(run);
    expect(world.did).toEqual(['try']);
  });

  test('is tried again as often as its retries say, with one key, and then succeeds', async () => {
    const world = new TransactionWorld();
    const attempts: unknown[] = [];
    const run = world.process().transactions.run('1', (tx) =>
      tx.step(
        'book',
        ({ attempt, key, previous }) => {
          attempts.push([attempt, key, (previous?.error as Error | undefined)?.message]);
          return attempts.length < 3 ? soldOut() : 'booked';
        },
        { retry: 2 },
      ),
    );
    expect(await world.settled(run)).toBe('booked');
    const [[, key]] = attempts as [[number, string]];
    expect(attempts).toEqual([
      [1, key, undefined],
      [2, key, 'sold out'],
      [3, key, 'sold out'],
    ]);
    expect(await world.journal()).toEqual(['begun', 'done book', 'finished']);
  });

  test('and whose retries are used up fails the transaction once', async () => {
    const world = new TransactionWorld();
    const run = world
      .process()
      .transactions.run('1', (tx) => tx.step('book', () => soldOut(world.effect('try')), { retry: 2 }));
    expect(await world.settled(rejectionOf(run))).toMatchObject({ cause: expect.any(RetryError) });
    expect(world.did).toEqual(['try', 'try', 'try']);
  });

  test('is not tried again if `classify` says so', async () => {
    const world = new TransactionWorld();
    const retry = { classify: () => 'fail' as const };
    const run = world
      .process()
      .transactions.run('1', (tx) => tx.step('book', () => soldOut(world.effect('try')), { retry }));
    await world.settled(rejectionOf(run));
    expect(world.did).toEqual(['try']);
  });

  test('is no end of the transaction if the body catches it', async () => {
    const world = new TransactionWorld();
    const result = await world.process().transactions.run('1', async (tx: Tx) => {
      const hotel = await tx.step('ritz', soldOut).catch(() => undefined);
      return hotel ?? tx.step('plaza', () => 'plaza');
    });
    expect(result).toBe('plaza');
    expect(await world.journal()).toEqual(['begun', 'failed ritz', 'done plaza', 'finished']);
  });

  test('and throws synchronously fails like any other', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', (tx) =>
      tx.step('book', () => {
        throw new Error('sold out');
      }),
    );
    expect(await rejectionOf(run)).toMatchObject({ cause: { message: 'sold out' } });
  });
});

describe('a body that throws', () => {
  test('has its steps compensated in reverse order', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', async (tx) => {
      for (const what of ['flight', 'hotel', 'car']) await tx.step(what, () => world.effect(what), world.undo);
      throw new Error('changed my mind');
    });
    expect(await rejectionOf(run)).toMatchObject({
      cause: { message: 'changed my mind' },
      compensated: ['car', 'hotel', 'flight'],
      leftBehind: [],
    });
    expect(world.did).toEqual(['flight', 'hotel', 'car', 'undo car', 'undo hotel', 'undo flight']);
  });

  test('gives the same error, from the journal, when it is called again', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const trip = transactions.define('trip', async (tx) => {
      await tx.step('flight', () => world.effect('flight'), world.undo);
      throw Object.assign(new RangeError('changed my mind'), { code: 'E_MIND' });
    });
    const first = await rejectionOf(trip('1'));
    const second = await rejectionOf(trip('1'));
    expect(world.did).toEqual(['flight', 'undo flight']);
    expect(second).toMatchObject({ message: (first as Error).message, compensated: ['flight'], leftBehind: [] });
    expect((second as Error).cause).toMatchObject({ name: 'RangeError', message: 'changed my mind', code: 'E_MIND' });
  });
});

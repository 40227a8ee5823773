import { describe, expect, test } from 'vitest';
import type { Tx } from '../../src/transactions/transaction.js';
import { rejectionOf } from '../support/deferred.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

const slow = () => Promise.reject(Object.assign(new Error('slow'), { name: 'TimeoutError' }));
const misfit = { code: 'HOLDFAST_TRANSACTION_STATE' };

/** Stuck at `pay`, which may have happened, with `book` before it. */
async function stuckAtPay(world: TransactionWorld) {
  const { transactions } = world.process();
  const run = transactions.define('order', async (tx: Tx) => {
    await tx.step('book', () => world.effect('book'), world.undo);
    const paid = await tx.step('pay', slow as () => Promise<string>, { effect: 'once', compensate: world.undo });
    return tx.step('ship', () => world.effect(`ship ${paid}`));
  });
  expect(await rejectionOf(run('1'))).toMatchObject({ reason: 'unknown-outcome', step: 'pay' });
  return transactions;
}

describe('what a person decides', () => {
  test('going back from an unknown step says that it did not happen, or what it gave', async () => {
    const world = new TransactionWorld();
    const transactions = await stuckAtPay(world);
    const question = expect.stringContaining("{ do: 'rollback', step: 'pay' } if it did not happen");
    await expect(transactions.resolve('1', { do: 'rollback' })).rejects.toMatchObject({ ...misfit, message: question });
    expect(await transactions.resolve('1', { do: 'rollback', step: 'pay' })).toBe('rolled-back');
    expect(world.did).toEqual(['book', 'undo book']);
    expect((await world.view()).leftBehind).toEqual([]);

    const other = new TransactionWorld();
    const others = await stuckAtPay(other);
    expect(await others.resolve('1', { do: 'rollback', step: 'pay', result: 'p' })).toBe('rolled-back');
    expect(other.did).toEqual(['book', 'undo p', 'undo book']);
  });

  test('completing a step needs what it gave', async () => {
    const world = new TransactionWorld();
    const transactions = await stuckAtPay(world);
    const message = expect.stringContaining("{ do: 'complete', step: 'pay', result }");
    await expect(transactions.resolve('1', { do: 'complete' })).rejects.toMatchObject({ ...misfit, message });
    expect(await transactions.resolve('1', { do: 'complete', result: 'p' })).toBe('done');
    expect(world.did).toEqual(['book', 'ship p']);
  });

  test.each(['retry', 'complete', 'skip'] as const)('%s of a step that waits for nothing is refused', async (act) => {
    const world = new TransactionWorld();
    const transactions = await stuckAtPay(world);
    for (const step of ['book', 'nope']) {
      const message = expect.stringContaining('Waiting for a decision: "pay"');
      const refused = transactions.resolve('1', { do: act, step, result: 1 });
      await expect(refused).rejects.toMatchObject({ ...misfit, message });
    }
    expect((await world.view()).stuck).toEqual({ reason: 'unknown-outcome', step: 'pay' });
  });

  test('a pivot that was completed by hand is a pivot', async () => {
    const world = new TransactionWorld();
    const body = async (tx: Tx) => {
      await tx.step('book', () => world.effect('book'), world.undo);
      await tx.step('pay', never, { effect: 'once', pivot: true });
      await tx.step('ship', () => Promise.reject(new Error('no truck')));
    };
    await world.firstLife(body);
    const { process } = await world.nextLife(body);
    const complete = { do: 'complete', step: 'pay', result: 'by phone' } as const;
    expect(await world.settled(process.transactions.resolve('1', complete))).toBe('stuck');
    expect((await world.view()).stuck).toEqual({ reason: 'past-pivot', step: 'ship' });
    expect(world.did).toEqual(['book']);
  });

  test('trying again asks a verify that can tell by now, before anything runs', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    let isDown = true;
    const verify = () => (isDown ? Promise.reject(new Error('down')) : 'charge 1');
    const charge = () => {
      world.effect('charge');
      return slow();
    };
    const run = transactions.define('order', (tx: Tx) => tx.step<string>('charge', charge, { verify }));
    await rejectionOf(run('1'));
    isDown = false;
    expect(await transactions.resolve('1', { do: 'retry' })).toBe('done');
    expect(world.did).toEqual(['charge']);
  });

  test('one that was abandoned is not listed among those that wait, and still says why it was stuck', async () => {
    const world = new TransactionWorld();
    const transactions = await stuckAtPay(world);
    await transactions.resolve('1', { do: 'abandon' });
    const waiting: string[] = [];
    for await (const { id } of transactions.list({ status: 'stuck' })) waiting.push(id);
    expect(waiting).toEqual([]);
    expect(await world.view()).toMatchObject({ stuck: { reason: 'abandoned' }, error: { message: 'slow' } });
  });
});

describe('a step that may have happened and that the code no longer runs', () => {
  test.each([
    ['was announced', never, 'once'],
    ['was cut off', slow, 'idempotent'],
  ] as const)('is stuck if it %s', async (_, pay, effect) => {
    const world = new TransactionWorld();
    await world.firstLife(async (tx) => {
      await tx.step('pay', pay as () => Promise<unknown>, { effect }).catch(() => {});
      await tx.step('wait', never, { effect: 'none' });
    });
    const { report } = await world.nextLife(async (tx) => {
      await tx.step('wait', () => 1, { effect: 'none' });
    });
    expect(report.stuck).toEqual(['1']);
    expect((await world.view()).stuck).toEqual({ reason: 'steps-not-run', step: 'pay' });
  });
});

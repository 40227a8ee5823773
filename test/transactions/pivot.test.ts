import { describe, expect, test } from 'vitest';
import type { Tx } from '../../src/transactions/transaction.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

const soldOut = () => Promise.reject(new Error('sold out'));

/** Books, pays, which is the pivot, and sends. */
const order = (world: TransactionWorld, send: () => unknown, pay: () => unknown = () => world.effect('pay')) => {
  return async (tx: Tx) => {
    await tx.step('book', () => world.effect('book'), world.undo);
    await tx.step('pay', pay, { pivot: true, compensate: world.undo });
    return tx.step('send', send);
  };
};

describe('past its pivot', () => {
  test('a transaction that fails is stuck at the step that failed, and nothing is compensated', async () => {
    const world = new TransactionWorld();
    const error = await rejectionOf(world.process().transactions.run('1', order(world, soldOut)));
    expect(error).toMatchObject({ reason: 'past-pivot', step: 'send', cause: { message: 'sold out' } });
    expect(world.did).toEqual(['book', 'pay']);
    expect(await world.view()).toMatchObject({ status: 'stuck', stuck: { reason: 'past-pivot', step: 'send' } });
  });

  test('it is stuck at the step also when the body throws what was made of its error', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', async (tx) => {
      await tx.step('pay', () => 1, { pivot: true });
      await tx.step('send', soldOut).catch((cause: unknown) => {
        throw new Error('could not send', { cause });
      });
    });
    expect(await rejectionOf(run)).toMatchObject({ reason: 'past-pivot', step: 'send' });
  });

  test('it is stuck at no step when the body itself throws', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', async (tx) => {
      await tx.step('pay', () => 1, { pivot: true });
      throw new Error('changed my mind');
    });
    expect(await rejectionOf(run)).toMatchObject({ reason: 'past-pivot', step: undefined });
  });

  test('one that failed in a nest is stuck, too', async () => {
    const world = new TransactionWorld();
    const run = world
      .process()
      .transactions.run('1', (tx) => tx.nest('order', order(world, soldOut)).catch(() => 'caught'));
    expect(await rejectionOf(run)).toMatchObject({ reason: 'past-pivot', step: 'order/send' });
    expect(world.did).toEqual(['book', 'pay']);
  });

  test('one whose process died goes forward, whatever `onCrash` says', async () => {
    const world = new TransactionWorld();
    await world.firstLife(order(world, never), { onCrash: 'rollback' });
    const { report } = await world.nextLife(
      order(world, () => 'sent'),
      { onCrash: 'rollback' },
    );
    expect(report.resumed).toEqual(['1']);
    expect(await world.view()).toMatchObject({ status: 'done', result: 'sent' });
  });

  test('one whose process died in the pivot is stuck there, rather than going back past it', async () => {
    const world = new TransactionWorld();
    await world.firstLife(order(world, never, never), { onCrash: 'rollback' });
    const { report } = await world.nextLife(order(world, never), { onCrash: 'rollback' });
    expect(report.stuck).toEqual(['1']);
    expect((await world.view()).stuck).toEqual({ reason: 'unknown-outcome', step: 'pay' });
    expect(world.did).toEqual(['book']);
  });

  test('a pivot that a person says has happened keeps what came before it from being taken back', async () => {
    const world = new TransactionWorld();
    await world.firstLife(order(world, never, never), { onCrash: 'rollback' });
    const { process } = await world.nextLife(order(world, never), { onCrash: 'rollback' });
    const complete = { do: 'complete', step: 'pay', result: 'by phone' } as const;
    expect(await world.settled(process.transactions.resolve('1', complete))).toBe('stuck');
    expect((await world.view()).stuck).toEqual({ reason: 'past-pivot', step: 'pay' });
    expect(world.did).toEqual(['book']);
  });

  test('one that is stuck cannot be rolled back, but tried again', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const answers: (() => unknown)[] = [soldOut, soldOut, () => 'sent'];
    const run = transactions.define(
      'order',
      order(world, () => answers.shift()?.()),
    );
    await rejectionOf(run('1'));
    await expect(transactions.resolve('1', { do: 'rollback' })).rejects.toMatchObject({
      code: 'HOLDFAST_TRANSACTION_STATE',
      message: expect.stringContaining('past its pivot "pay"'),
    });
    expect(await transactions.resolve('1', { do: 'retry' })).toBe('stuck');
    expect(await transactions.resolve('1', { do: 'retry' })).toBe('done');
    expect(await run('1')).toBe('sent');
    expect(world.did).toEqual(['book', 'pay']);
  });

  test.each([
    [{ do: 'complete', result: 'by hand' }, 'by hand'],
    [{ do: 'skip' }, undefined],
  ] as const)('the step it is stuck at can be settled by hand: %o', async (resolution, result) => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const run = transactions.define('order', order(world, soldOut));
    await rejectionOf(run('1'));
    expect(await transactions.resolve('1', resolution)).toBe('done');
    expect(await run('1')).toBe(result);
  });
});

describe('before its pivot', () => {
  test('a transaction that fails is rolled back', async () => {
    const world = new TransactionWorld();
    const error = await rejectionOf(
      world.process().transactions.run(
        '1',
        order(world, () => 1, soldOut),
      ),
    );
    expect(error).toMatchObject({ code: 'HOLDFAST_ROLLED_BACK', compensated: ['book'] });
  });
});

describe('a pivot that was cut off', () => {
  const cutOff = async (found: string | undefined) => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', async (tx) => {
      await tx.step('book', () => world.effect('book'), world.undo);
      const pay = (step: { signal: AbortSignal }) =>
        new Promise<string>((_, reject) => {
          step.signal.addEventListener('abort', () => reject(step.signal.reason));
        });
      await Promise.all([tx.step('pay', pay, { pivot: true, verify: () => found }), tx.step('fast', soldOut)]);
    });
    return { world, error: await world.settled(rejectionOf(run)) };
  };

  test('and happened all the same leaves the transaction stuck: nothing is compensated', async () => {
    const { world, error } = await cutOff('paid');
    expect(error).toMatchObject({ reason: 'past-pivot', step: 'pay', cause: { message: 'sold out' } });
    expect(world.did).toEqual(['book']);
  });

  test('and did not happen does not keep the transaction from being rolled back', async () => {
    const { world, error } = await cutOff(undefined);
    expect(error).toMatchObject({ compensated: ['book'] });
    expect(world.did).toEqual(['book', 'undo book']);
  });

  test('by a crash, and happened, leaves it stuck when it was to go back', async () => {
    const world = new TransactionWorld();
    const body = (tx: Tx) =>
      tx
        .step('book', () => world.effect('book'), world.undo)
        .then(() => tx.step('pay', () => never<string>(), { pivot: true, verify: () => 'paid' }));
    await world.firstLife(body);
    const { report } = await world.nextLife(body, { onCrash: 'rollback' });
    expect(report.stuck).toEqual(['1']);
    expect(world.did).toEqual(['book']);
    expect(await world.view()).toMatchObject({ stuck: { reason: 'past-pivot', step: 'pay' } });
  });

  test('and completes while a cancel stops it leaves the transaction stuck, and that is recorded', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const begun = deferred();
    const gate = deferred();
    const body = order(
      world,
      () => 'sent',
      () => {
        begun.resolve();
        return gate.promise;
      },
    );
    const run = transactions.define('order', body);
    const outcome = rejectionOf(run('1'));
    await begun.promise;
    const cancelled = transactions.cancel('1', 'too slow');
    await world.clock.advance(0);
    gate.resolve();
    expect(await cancelled).toBe('stuck');
    expect(await outcome).toMatchObject({ reason: 'past-pivot', cause: { reason: 'too slow' } });
    expect(await transactions.resolve('1', { do: 'retry' })).toBe('done');
    expect(world.did).toEqual(['book']);
  });
});

import { describe, expect, test } from 'vitest';
import type { Resolution, Tx } from '../../src/transactions/transaction.js';
import { StuckError } from '../../src/transactions/transaction-errors.js';
import { rejectionOf } from '../support/deferred.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

const soldOut = () => Promise.reject(new Error('sold out'));

/** Booked; died while it paid, which may happen once: stuck. */
async function stuckPaying(onCrash: 'resume' | 'rollback' = 'resume') {
  const world = new TransactionWorld();
  const body = (pay: () => unknown) => async (tx: Tx) => {
    await tx.step('book', () => world.effect('book'), world.undo);
    const paid = await tx.step('pay', pay, { effect: 'once', compensate: world.undo });
    return `paid ${String(paid)}`;
  };
  await world.firstLife(body(never));
  const { process } = await world.nextLife(
    body(() => world.effect('pay')),
    { onCrash },
  );
  return { world, transactions: process.transactions };
}

/** Going back; the compensation of `hotel` fails. `repair` makes it work. */
async function stuckUndoing() {
  const world = new TransactionWorld();
  const { transactions } = world.process();
  let isBroken = true;
  const undoHotel = (result: unknown) => (isBroken ? soldOut() : world.undo(result));
  const run = transactions.define('trip', async (tx) => {
    await tx.step('flight', () => 'flight', world.undo);
    await tx.step('hotel', () => 'hotel', { compensate: undoHotel, compensateRetry: 0 });
    throw new Error('changed my mind');
  });
  await rejectionOf(run('1'));
  const repair = () => {
    isBroken = false;
  };
  return { world, transactions, run, repair };
}

describe('a transaction that is stuck', () => {
  test('gives the same error when it is called again, and recover leaves it alone', async () => {
    const { world, transactions, run } = await stuckUndoing();
    const error = await rejectionOf(run('1'));
    expect(error).toBeInstanceOf(StuckError);
    expect(error).toMatchObject({ reason: 'compensation-failed', step: 'hotel', cause: { message: 'sold out' } });
    expect(await transactions.recover()).toMatchObject({ stuck: ['1'], busy: [], failed: [] });
    expect(world.did).toEqual([]);
  });

  test('is held by nobody: any process may decide', async () => {
    const { world } = await stuckUndoing();
    expect((await world.view()).owner).toBeUndefined();
    const other = world.process();
    expect(await other.transactions.resolve('1', { do: 'retry' })).toBe('compensating');
    expect(await other.transactions.recover()).toMatchObject({ unknown: ['1'] });
  });
});

describe('of an unknown outcome, going forward,', () => {
  test('`retry` runs the step again', async () => {
    const { world, transactions } = await stuckPaying();
    expect(await transactions.resolve('1', { do: 'retry' })).toBe('done');
    expect(world.did).toEqual(['book', 'pay']);
    expect(await world.view()).toMatchObject({ status: 'done', result: 'paid pay' });
  });

  test('`complete` gives the step its result', async () => {
    const { world, transactions } = await stuckPaying();
    expect(await transactions.resolve('1', { do: 'complete', result: 'in cash' })).toBe('done');
    expect(world.did).toEqual(['book']);
    expect(await world.view()).toMatchObject({ result: 'paid in cash' });
  });

  test('`skip` goes on without the step', async () => {
    const { world, transactions } = await stuckPaying();
    expect(await transactions.resolve('1', { do: 'skip' })).toBe('done');
    expect(await world.view()).toMatchObject({ result: 'paid undefined', steps: [{}, { status: 'skipped' }] });
  });

  test('`rollback` does not fit before somebody says what happened', async () => {
    const { world, transactions } = await stuckPaying();
    const before = await world.journal();
    await expect(transactions.resolve('1', { do: 'rollback' })).rejects.toMatchObject({
      code: 'HOLDFAST_TRANSACTION_STATE',
      status: 'stuck',
      message: expect.stringContaining("{ do: 'rollback', step: 'pay', result } if it did"),
    });
    expect(await world.journal()).toEqual(before);
  });

  test('`abandon` ends it as it stands', async () => {
    const { world, transactions } = await stuckPaying();
    expect(await transactions.resolve('1', { do: 'abandon' })).toBe('stuck');
    expect(await world.view()).toMatchObject({ stuck: { reason: 'abandoned', step: 'pay' } });
    expect(world.did).toEqual(['book']);
    expect(await transactions.recover()).toMatchObject({ stuck: [] });
    await expect(transactions.resolve('1', { do: 'retry' })).rejects.toMatchObject({
      code: 'HOLDFAST_TRANSACTION_STATE',
    });
  });

  test('two steps are told one after the other, and neither runs again or fails the transaction', async () => {
    const world = new TransactionWorld();
    const both = (run: () => unknown) => (tx: Tx) =>
      Promise.all(['a', 'b'].map((name) => tx.step(name, run, { effect: 'once' })));
    await world.firstLife(both(never));
    const { process } = await world.nextLife(both(() => world.effect('again')));
    expect(await process.transactions.resolve('1', { do: 'complete', step: 'b', result: 2 })).toBe('stuck');
    expect((await world.view()).stuck).toEqual({ reason: 'unknown-outcome', step: 'a' });
    expect(await process.transactions.resolve('1', { do: 'complete', result: 1 })).toBe('done');
    expect(await world.view()).toMatchObject({ result: [1, 2] });
    expect(world.did).toEqual([]);
  });
});

describe('of an unknown outcome, going back,', () => {
  test('`complete` has it compensated with the result', async () => {
    const { world, transactions } = await stuckPaying('rollback');
    expect(await world.settled(transactions.resolve('1', { do: 'complete', result: 'in cash' }))).toBe('rolled-back');
    expect(world.did).toEqual(['book', 'undo in cash', 'undo book']);
  });

  test('`skip` says that it did not happen', async () => {
    const { world, transactions } = await stuckPaying('rollback');
    expect(await world.settled(transactions.resolve('1', { do: 'skip' }))).toBe('rolled-back');
    expect(world.did).toEqual(['book', 'undo book']);
    expect(await world.view()).toMatchObject({ leftBehind: [], steps: [{}, { name: 'pay', status: 'failed' }] });
  });

  test('`retry` asks once more, and does not run it again', async () => {
    const { world, transactions } = await stuckPaying('rollback');
    expect(await world.settled(transactions.resolve('1', { do: 'retry' }))).toBe('stuck');
    expect(await world.view()).toMatchObject({ stuck: { reason: 'unknown-outcome', step: 'pay' } });
    expect(world.did).toEqual(['book']);
  });

  test('`rollback` does not fit: it goes back already', async () => {
    const { transactions } = await stuckPaying('rollback');
    await expect(transactions.resolve('1', { do: 'rollback' })).rejects.toMatchObject({
      message: expect.stringContaining('it is going back already'),
    });
  });
});

describe('of a compensation that failed,', () => {
  test('`retry` tries it again, then the others', async () => {
    const { world, transactions, run, repair } = await stuckUndoing();
    expect(await transactions.resolve('1', { do: 'retry' })).toBe('stuck');
    repair();
    expect(await transactions.resolve('1', { do: 'retry' })).toBe('rolled-back');
    expect(world.did).toEqual(['undo hotel', 'undo flight']);
    expect(await rejectionOf(run('1'))).toMatchObject({ compensated: ['hotel', 'flight'], leftBehind: [] });
  });

  test('`complete` says that it was compensated by hand', async () => {
    const { world, transactions } = await stuckUndoing();
    expect(await transactions.resolve('1', { do: 'complete' })).toBe('rolled-back');
    expect(world.did).toEqual(['undo flight']);
    expect(await world.view()).toMatchObject({ compensated: ['hotel', 'flight'], leftBehind: [] });
  });

  test('`skip` leaves its effect as it is, and says so', async () => {
    const { world, transactions } = await stuckUndoing();
    expect(await transactions.resolve('1', { do: 'skip' })).toBe('rolled-back');
    expect(await world.view()).toMatchObject({ compensated: ['flight'], leftBehind: ['hotel'] });
  });

  test.each<Resolution>([{ do: 'rollback' }, { do: 'complete', step: 'flight' }, { do: 'skip', step: 'nonsense' }])(
    '%o does not fit, and changes nothing',
    async (resolution) => {
      const { world, transactions } = await stuckUndoing();
      const before = await world.view();
      await expect(transactions.resolve('1', resolution)).rejects.toMatchObject({ code: 'HOLDFAST_TRANSACTION_STATE' });
      expect(await world.view()).toEqual(before);
    },
  );

  test('is recorded as stuck also when a cancel had it compensated', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const run = transactions.define('trip', async (tx) => {
      await tx.step('hotel', () => 'hotel', { compensate: soldOut, compensateRetry: 0 });
      await tx.step('wait', () => world.clock.sleep(1_000));
    });
    const outcome = rejectionOf(run('1'));
    await world.clock.advance(1);
    expect(await world.settled(transactions.cancel('1', 'too slow'))).toBe('stuck');
    expect(await outcome).toMatchObject({ reason: 'compensation-failed', step: 'hotel' });
    expect(await world.view()).toMatchObject({ status: 'stuck', stuck: { step: 'hotel' } });
  });
});

describe('resolve', () => {
  test('of a transaction that is unknown, running or done does not fit', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    await expect(transactions.resolve('1', { do: 'retry' })).rejects.toMatchObject({ status: undefined });
    const running = transactions.run('1', () => world.clock.sleep(10));
    await world.clock.advance(0);
    await expect(transactions.resolve('1', { do: 'retry' })).rejects.toMatchObject({ status: 'running' });
    await expect(transactions.resolve('1', { do: 'abandon' })).rejects.toMatchObject({ code: 'HOLDFAST_BUSY' });
    await world.settled(running);
    await expect(transactions.resolve('1', { do: 'abandon' })).rejects.toMatchObject({ status: 'done' });
    expect(await world.journal()).toEqual(['begun', 'finished']);
  });

  test('abandons one that nobody holds and whose code is gone', async () => {
    const world = new TransactionWorld();
    await world.firstLife((tx) => tx.step('pay', never));
    const { transactions } = world.process();
    await transactions.recover();
    await expect(transactions.resolve('1', { do: 'abandon' })).rejects.toMatchObject({ code: 'HOLDFAST_BUSY' });
    await world.clock.advance(20_000);
    expect(await transactions.resolve('1', { do: 'abandon' })).toBe('stuck');
    expect(await world.view()).toMatchObject({ stuck: { reason: 'abandoned' } });
  });

  test('is durable first: a crash afterwards leaves the rest to recover', async () => {
    const { world, repair } = await stuckUndoing();
    repair();
    const other = world.process();
    await other.transactions.resolve('1', { do: 'complete' }); // It does not know the definition.
    const { report } = await world.nextLife(async (tx) => {
      await tx.step('flight', () => 'flight', world.undo);
      await tx.step('hotel', () => 'hotel', world.undo);
    });
    expect(report.rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['undo flight']);
  });
});

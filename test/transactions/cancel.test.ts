import { describe, expect, test } from 'vitest';
import type { Tx } from '../../src/transactions/transaction.js';
import { CancelledError } from '../../src/transactions/transaction-errors.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { LEASE_MS, never, TransactionWorld } from '../support/transaction-world.js';

/** Books, then waits for an hour, then pays. */
const slowTrip = (world: TransactionWorld) => async (tx: Tx) => {
  await tx.step('book', () => world.effect('book'), world.undo);
  await tx.step('wait', ({ signal }) => world.clock.sleep(3_600_000, { signal }), { effect: 'none' });
  await tx.step('pay', () => world.effect('pay'), world.undo);
};

describe('a cancel', () => {
  test('aborts what runs, rolls back, and resolves when that is done', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const outcome = rejectionOf(transactions.run('1', slowTrip(world)));
    await world.clock.advance(0);
    expect(await transactions.cancel('1', 'too slow')).toBe('rolled-back');
    const error = await outcome;
    expect(error).toMatchObject({ compensated: ['book'], cause: { transaction: '1', reason: 'too slow' } });
    expect((error as Error).cause).toBeInstanceOf(CancelledError);
    expect(world.did).toEqual(['book', 'undo book']);
    expect(await world.view()).toMatchObject({ status: 'rolled-back', cancelled: 'too slow' });
  });

  test('that comes at the very beginning is heard', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const outcome = rejectionOf(transactions.run('1', slowTrip(world)));
    expect(await transactions.cancel('1', 'too slow')).toBe('rolled-back');
    expect(await outcome).toMatchObject({ cause: { reason: 'too slow' } });
    expect(world.did).not.toContain('pay');
  });

  test('does not wait for a body that waits for something else', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const outcome = rejectionOf(transactions.run('1', () => never()));
    await world.clock.advance(0);
    expect(await transactions.cancel('1', 'too slow')).toBe('rolled-back');
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_ROLLED_BACK' });
  });

  test('from another process is noticed within a third of the lease', async () => {
    const world = new TransactionWorld();
    const owner = world.process();
    const outcome = rejectionOf(owner.transactions.run('1', slowTrip(world)));
    await world.clock.advance(0);
    expect(await world.process().transactions.cancel('1', 'too slow')).toBe('running');
    await world.clock.advance(LEASE_MS / 3);
    expect(await outcome).toMatchObject({ cause: { reason: 'too slow' }, compensated: ['book'] });
  });

  test('from another process is noticed by the next write', async () => {
    const world = new TransactionWorld();
    const gate = deferred();
    const run = world.process().transactions.run('1', async (tx) => {
      await tx.step(
        'book',
        () => gate.promise,
        () => world.effect('undo book'),
      );
      await tx.step('pay', () => world.effect('pay'));
    });
    const outcome = rejectionOf(run);
    await world.clock.advance(0);
    await world.process().transactions.cancel('1', 'too slow');
    gate.resolve();
    expect(await outcome).toMatchObject({ cause: { reason: 'too slow' }, compensated: ['book'] });
    expect(world.did).toEqual(['undo book']);
  });

  test('of one that nobody holds rolls it back here, if its code is known', async () => {
    const world = new TransactionWorld();
    const first = world.process();
    const body = async (tx: Tx) => {
      await tx.step('book', () => world.clock.sleep(10).then(() => world.effect('book')), world.undo);
      await tx.step('pay', () => world.effect('pay'));
    };
    void rejectionOf(first.transactions.define('trip', body)('1'));
    await world.clock.advance(0);
    await world.settled(first.transactions.close());
    const second = world.process();
    second.transactions.define('trip', body);
    const status = await world.settled(second.transactions.cancel('1', 'too slow'));
    expect(status).toBe('rolled-back');
    expect(await world.view()).toMatchObject({ compensated: ['book'], error: { reason: 'too slow' } });
    expect(second.types).toContain('transaction.cancelled');
  });

  test('is kept across a crash: whoever recovers rolls back', async () => {
    const world = new TransactionWorld();
    await world.firstLife(slowTrip(world));
    expect(await world.process().transactions.cancel('1', 'too slow')).toBe('running');
    const { report } = await world.nextLife(slowTrip(world));
    expect(report.rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['book', 'undo book']);
    expect(await world.view()).toMatchObject({ error: { reason: 'too slow' } });
  });

  test('of one that goes back already changes nothing about that', async () => {
    const world = new TransactionWorld();
    await world.firstLife(async (tx) => {
      await tx.step(
        'book',
        () => world.effect('book'),
        () => never(),
      );
      throw new Error('sold out');
    });
    expect(await world.process().transactions.cancel('1', 'too slow')).toBe('compensating');
    await world.nextLife((tx) => tx.step('book', () => 1, world.undo));
    expect(await world.view()).toMatchObject({ status: 'rolled-back', error: { message: 'sold out' } });
    expect(await world.process().transactions.cancel('1', 'again')).toBe('rolled-back');
  });
});

describe('it is too late to cancel a transaction', () => {
  const late = { code: 'HOLDFAST_TRANSACTION_STATE' };

  test('that is past its pivot, here', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const run = transactions.run('1', async (tx) => {
      await tx.step('pay', () => 1, { pivot: true });
      await tx.step('send', () => world.clock.sleep(100));
      return 'sent';
    });
    await world.clock.advance(0);
    await expect(transactions.cancel('1', 'too slow')).rejects.toMatchObject({ ...late, status: 'running' });
    await expect(world.process().transactions.cancel('1', 'too slow')).rejects.toMatchObject(late);
    expect(await world.settled(run)).toBe('sent');
    expect(await world.journal()).not.toContain('cancel-requested');
  });

  test('that is done, stuck, or was never begun', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    await transactions.run('done', () => 1);
    await rejectionOf(
      transactions.run('stuck', async (tx) => {
        await tx.step('pay', () => 1, { pivot: true });
        throw new Error('sold out');
      }),
    );
    await expect(transactions.cancel('done', 'x')).rejects.toMatchObject({ ...late, status: 'done' });
    await expect(transactions.cancel('stuck', 'x')).rejects.toMatchObject({ ...late, status: 'stuck' });
    await expect(transactions.cancel('never', 'x')).rejects.toMatchObject({ ...late, status: undefined });
  });

  test('whose end is being written', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    const begun = deferred();
    const gate = deferred();
    process.obstacle = (call) => {
      if (call !== 'batch' || process.writes.length === 0) return undefined;
      begun.resolve();
      return gate.promise;
    };
    const run = process.transactions.run('1', () => 'result');
    await begun.promise;
    const cancelled = rejectionOf(process.transactions.cancel('1', 'too slow'));
    await world.clock.advance(0);
    gate.resolve();
    expect(await cancelled).toMatchObject({ ...late, status: 'done' });
    expect(await run).toBe('result');
  });
});

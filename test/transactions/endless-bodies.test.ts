import { describe, expect, test } from 'vitest';
import type { Tx } from '../../src/transactions/transaction.js';
import { rejectionOf } from '../support/deferred.js';
import { never, TransactionWorld, type TransactionWorld as World } from '../support/transaction-world.js';

/** Asks for one step after the other, whatever becomes of them, and counts refusals. */
const polling = (world: World, seen: { refusals: number }) => async (tx: Tx) => {
  for (let at = 0; at < 100_000; at++) {
    const isDone = await tx
      .step(`poll ${at}`, () => world.clock.sleep(1_000).then(() => false), { effect: 'none' })
      .catch(() => {
        seen.refusals++;
        return false;
      });
    if (isDone) return;
  }
};

describe('a body that does not end', () => {
  test.each(['cancel', 'close'] as const)('does not keep the process from anything else after %s', async (act) => {
    const world = new TransactionWorld();
    const seen = { refusals: 0 };
    const { transactions } = world.process();
    const outcome = rejectionOf(transactions.define('trip', polling(world, seen))('1'));
    await world.clock.advance(0);
    let turnedAfter = -1;
    setImmediate(() => {
      turnedAfter = seen.refusals;
    });
    const acting = act === 'cancel' ? transactions.cancel('1', 'enough') : transactions.close();
    await world.settled(Promise.allSettled([acting, outcome]));
    expect(turnedAfter).toBeLessThan(10);
    await world.clock.advance(60_000);
    expect(seen.refusals).toBeLessThan(5_000);
  });

  test('can be cancelled in a later life, and rolls back what is recorded', async () => {
    const world = new TransactionWorld();
    const body = async (tx: Tx) => {
      await tx.step('book', () => world.effect('book'), world.undo);
      await never();
    };
    await world.firstLife(body);
    const { transactions } = world.process();
    transactions.define('trip', body);
    const recovering = transactions.recover({ waitMs: 60_000 });
    await world.clock.advance(30_000);
    expect(await world.settled(transactions.cancel('1', 'enough'))).toBe('rolled-back');
    expect((await recovering).rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['book', 'undo book']);
  });

  test('can be closed on its way back, and is left to others', async () => {
    const world = new TransactionWorld();
    const body = (isSecond: boolean) => async (tx: Tx) => {
      await tx.step('a', () => world.effect('a'), world.undo);
      if (isSecond) await never();
      await tx.step('b', () => world.effect('b'), isSecond ? world.undo : never);
      throw new Error('no');
    };
    await world.firstLife(body(false));
    const { transactions } = world.process();
    transactions.define('trip', body(true));
    const recovering = transactions.recover({ waitMs: 60_000 });
    await world.clock.advance(20_000);
    await world.settled(transactions.close());
    expect((await recovering).failed).toMatchObject([{ id: '1', error: { code: 'HOLDFAST_CLOSED' } }]);
    expect(await world.view()).toMatchObject({ status: 'compensating' });
    expect((await world.view()).owner).toBeUndefined();
  });

  test('of which a recorded step is missing is stuck there in the end', async () => {
    const world = new TransactionWorld();
    const body = (isSecond: boolean) => async (tx: Tx) => {
      if (isSecond) await never();
      await tx.step('b', () => world.effect('b'), never);
      throw new Error('no');
    };
    await world.firstLife(body(false));
    expect((await world.nextLife(body(true))).report.stuck).toEqual(['1']);
    expect((await world.view()).stuck).toEqual({ reason: 'steps-not-run', step: 'b' });
  });

  test('tells its caller of a loss also while an unknown step is settled', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    let runs = 0;
    const charge = () => {
      if (++runs > 1) return never();
      throw Object.assign(new Error('slow'), { name: 'TimeoutError' });
    };
    const outcome = rejectionOf(process.transactions.run('1', (tx) => tx.step('charge', charge, world.undo)));
    await world.clock.advance(0);
    process.die();
    await world.clock.advance(60_000);
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_FENCED' });
  });
});

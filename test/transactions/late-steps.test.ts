import { describe, expect, test } from 'vitest';
import type { Tx } from '../../src/transactions/transaction.js';
import { rejectionOf } from '../support/deferred.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

describe('steps that nobody waits for', () => {
  test('and that fail when their nest has ended fail that nest, not the one beside it', async () => {
    const world = new TransactionWorld();
    const { clock } = world;
    const { transactions } = world.process();
    const failed = (name: string) => (error: Error) => `${name} failed: ${error.message}`;
    const run = transactions.run('1', (tx) =>
      Promise.all([
        tx
          .nest('a', async (nest) => {
            await nest.step('x', () => clock.sleep(500), world.undo);
            return 'a fine';
          })
          .catch(failed('a')),
        tx
          .nest('b', async (nest) => {
            void nest.step('bad', () => clock.sleep(10).then(() => Promise.reject(new Error('sold out'))));
            void nest.step('slow', () => clock.sleep(1_000));
            return 'b fine';
          })
          .catch(failed('b')),
      ]),
    );
    expect(await world.settled(run)).toEqual(['a fine', 'b failed: sold out']);
    expect(world.did).toEqual([]);
  });

  test('in a nest that nobody waits for either, and that the end cuts off, roll the whole back', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const run = transactions.run('1', async (tx) => {
      void tx.nest('mail', async (nest) => {
        await nest.step('write', () => world.effect('write'), world.undo);
        await nest.step('send', () => world.effect('send'));
      });
    });
    expect(await rejectionOf(world.settled(run))).toMatchObject({ code: 'HOLDFAST_ROLLED_BACK' });
    expect(world.did).toEqual(['write', 'undo write']);
  });

  test('and that come after the end do not run: they are refused, and that is reported', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    let kept: Tx | undefined;
    await process.transactions.run('1', (tx) => {
      kept = tx;
    });
    const refusal = { code: 'HOLDFAST_INVALID_INPUT', message: expect.stringContaining('transaction "1" has ended') };
    expect(await rejectionOf((kept as Tx).step('late', () => world.effect('late')))).toMatchObject(refusal);
    const nest = (kept as Tx).nest('late nest', async () => world.effect('late nest'));
    expect(await rejectionOf(nest)).toMatchObject(refusal);
    expect(world.did).toEqual([]);
    expect(process.events).toContainEqual(expect.objectContaining({ type: 'step.refused', step: 'late' }));
  });

  test('found while a way back is sealed are settled before it', async () => {
    const world = new TransactionWorld();
    const body = (isSecond: boolean) => async (tx: Tx) => {
      const late = async () => {
        world.effect('late');
        if (!isSecond) return never();
        await world.clock.sleep(100);
        return 'late';
      };
      await tx.step('base', () => world.effect('base'), world.undo);
      const branch = async () => {
        await world.clock.sleep(isSecond ? 1_500 : 0);
        return Promise.all([
          tx.step('late', late, world.undo),
          tx.step('known', () => world.effect('known'), world.undo),
        ]);
      };
      return Promise.all([tx.step('quick', () => (isSecond ? 1 : never()), world.undo), branch()]);
    };
    await world.firstLife(body(false), { onCrash: 'rollback' });
    await world.nextLife(body(true), { onCrash: 'rollback' });
    expect(world.did.filter((did) => did === 'undo late')).toHaveLength(1);
    expect((await world.view()).status).toBe('rolled-back');
  });
});

import { describe, expect, test } from 'vitest';
import { StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { chaosStorage } from '../../src/testing/chaos-storage.js';
import type { Tx } from '../../src/transactions/transaction.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { LEASE_MS, TransactionWorld } from '../support/transaction-world.js';

const trip = (world: TransactionWorld) => async (tx: Tx) => {
  for (const what of ['flight', 'hotel', 'car']) await tx.step(what, () => world.effect(what), world.undo);
  return 'booked';
};

describe('a store that fails for a while', () => {
  test('delays a step, which is not run again, and then all goes on', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    let failures = 0;
    process.obstacle = () => {
      if (process.writes.length === 1 && failures++ < 5) throw new StorageError('no connection');
    };
    expect(await world.settled(process.transactions.run('1', trip(world)))).toBe('booked');
    expect(world.did).toEqual(['flight', 'hotel', 'car']);
    const delays = process.events.filter(({ type }) => type === 'journal.delayed');
    expect(delays).toMatchObject([1, 2, 3, 4, 5].map((attempt) => ({ attempt, error: 'no connection' })));
  });

  test('delays a compensation, which is not run again', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    let failures = 0;
    const run = process.transactions.run('1', async (tx) => {
      await trip(world)(tx);
      process.obstacle = () => {
        if (failures++ < 3) throw new StorageError('no connection');
      };
      throw new Error('changed my mind');
    });
    expect(await world.settled(rejectionOf(run))).toMatchObject({ compensated: ['car', 'hotel', 'flight'] });
    expect(world.did.slice(3)).toEqual(['undo car', 'undo hotel', 'undo flight']);
  });

  test('for longer than the lease ends the run here: nothing more starts, and others go on', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    process.obstacle = () => {
      if (process.writes.length < 2) return;
      process.stopBeating();
      throw new StorageError('no connection');
    };
    const outcome = rejectionOf(process.transactions.define('trip', trip(world))('1'));
    await world.clock.advance(LEASE_MS);
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_FENCED' });
    expect(world.did).toEqual(['flight', 'hotel']);
    const { report } = await world.nextLife(trip(world));
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['flight', 'hotel', 'hotel', 'car']);
  });

  test('at the beginning fails the call: nothing was begun', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    process.obstacle = () => {
      throw new StorageError('no connection');
    };
    await expect(process.transactions.run('1', trip(world))).rejects.toMatchObject({ message: 'no connection' });
    process.obstacle = undefined;
    expect(await process.transactions.get('1')).toBeUndefined();
    expect(await process.transactions.run('1', trip(world))).toBe('booked');
    expect(world.did).toEqual(['flight', 'hotel', 'car']);
  });
});

test.each([1, 2, 3, 4, 5, 6, 7, 8])('in bad weather %i each step runs once, forward and back', async (seed) => {
  const storage = chaosStorage(memoryStorage(), seed, { failAfter: 0.2, failUnknown: 0.2 });
  storage.calm();
  const world = new TransactionWorld(storage);
  const { transactions } = world.process();
  const good = transactions.define('good', trip(world));
  const bad = transactions.define('bad', (tx) => trip(world)(tx).then(() => Promise.reject(new Error('no'))));
  const begun = deferred();
  const starts = transactions.define('starts', (tx) => tx.step('a', () => begun.resolve()));
  await starts('0'); // Its node has joined.
  storage.storm();
  expect(await world.settled(untilBegun(() => good('1')))).toBe('booked');
  expect(await world.settled(rejectionOf(untilBegun(() => bad('2'))))).toMatchObject({ code: 'HOLDFAST_ROLLED_BACK' });
  expect(world.did).toEqual([
    ...['flight', 'hotel', 'car'],
    ...['flight', 'hotel', 'car', 'undo car', 'undo hotel', 'undo flight'],
  ]);
});

/** Whoever begins in bad weather may have to ask again: the id makes that safe. */
async function untilBegun<Result>(run: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await run();
    } catch (error) {
      const { code } = error as { code?: string };
      if (attempt === 20 || !['HOLDFAST_STORAGE', 'HOLDFAST_OUTCOME_UNKNOWN', 'HOLDFAST_NO_SPACE'].includes(code ?? ''))
        throw error;
    }
  }
}

import { describe, expect, test } from 'vitest';
import { rejectionOf } from '../support/deferred.js';
import { LEASE_MS, never, TransactionWorld } from '../support/transaction-world.js';

describe('a list of steps', () => {
  test('runs one after the other, each given the results before it and its context, and gives all results', async () => {
    const world = new TransactionWorld();
    const given: unknown[] = [];
    const results = await world
      .process()
      .transactions.execute('1', [
        { name: 'reserve', run: async () => ({ id: 7 }) },
        { run: (hold, step) => `${step.step} of ${hold.id}` },
        { name: 'label', run: (...all) => given.push(...all.slice(0, 2)) },
      ]);
    expect(results).toEqual([{ id: 7 }, 'step 2 of 7', 2]);
    expect(given).toEqual([{ id: 7 }, 'step 2 of 7']);
    expect(await world.journal()).toEqual(['begun', 'done reserve', 'done step 2', 'done label', 'finished']);
  });

  test('is compensated in reverse order, each with its result', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.execute('1', [
      { run: () => 'a', compensate: world.undo },
      { run: () => 'b', compensate: world.undo },
      { run: () => Promise.reject(new Error('sold out')), compensate: world.undo },
    ]);
    expect(await rejectionOf(run)).toMatchObject({ compensated: ['step 2', 'step 1'], cause: { message: 'sold out' } });
    expect(world.did).toEqual(['undo b', 'undo a']);
  });

  test('runs functions as methods of their step', async () => {
    const world = new TransactionWorld();
    class Seat {
      get price() {
        return 7;
      }
      run() {
        return this.price;
      }
      compensate(paid: number) {
        world.undo(`${paid} of ${this.price}`);
      }
    }
    const steps = [new Seat(), { run: () => Promise.reject(new Error('sold out')) }] as const;
    const run = world.process().transactions.execute('1', [...steps]);
    expect(await rejectionOf(run)).toMatchObject({ compensated: ['step 1'] });
    expect(world.did).toEqual(['undo 7 of 7']);
  });

  test('that is empty gives nothing', async () => {
    expect(await new TransactionWorld().process().transactions.execute('1', [])).toEqual([]);
  });

  test('is gone on with after a crash by a call with the same id', async () => {
    const world = new TransactionWorld();
    const dead = world.process();
    void rejectionOf(dead.transactions.execute('1', [{ run: () => world.effect('a') }, { run: () => never() }]));
    await world.clock.advance(0);
    dead.die();
    const { transactions } = world.process();
    expect(await transactions.recover()).toMatchObject({ unknown: ['1'] });
    const steps = [{ run: () => world.effect('a') }, { run: (a: string) => world.effect(`after ${a}`) }] as const;
    const run = transactions.execute('1', [steps[0], steps[1]], { waitMs: 2 * LEASE_MS });
    expect(await world.settled(run)).toEqual(['a', 'after a']);
    expect(world.did).toEqual(['a', 'after a']);
  });

  test('with a compensation that is no function is refused', async () => {
    const { transactions } = new TransactionWorld().process();
    const refusal = { code: 'HOLDFAST_INVALID_INPUT', path: 'step "step 1".compensate' };
    await expect(transactions.execute('1', [{ run: () => 1, compensate: 7 as never }])).rejects.toMatchObject(refusal);
    expect(await transactions.get('1')).toBeUndefined();
  });

  test('with a name that is used twice is refused before anything is begun', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const steps = [1, 2].map(() => ({ name: 'book', run: () => world.effect('book') }));
    const refusal = { code: 'HOLDFAST_INVALID_INPUT', path: 'step "book"' };
    await expect(transactions.execute('1', steps)).rejects.toMatchObject(refusal);
    expect([world.did, await transactions.get('1')]).toEqual([[], undefined]);
  });

  test('that is none is refused with the place', async () => {
    const { transactions } = new TransactionWorld().process();
    await expect(transactions.execute('1', 7 as never)).rejects.toMatchObject({ code: 'HOLDFAST_INVALID_INPUT' });
    const path = { code: 'HOLDFAST_INVALID_INPUT', path: 'steps.1.run' };
    await expect(transactions.execute('2', [{ run: () => 1 }, { run: 7 as never }])).rejects.toMatchObject(path);
    expect(await transactions.get('2')).toBeUndefined();
  });
});

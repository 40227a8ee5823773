import { describe, expect, test } from 'vitest';
import type { Tx } from '../../src/transactions/transaction.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

const soldOut = () => Promise.reject(new Error('sold out'));

/** A step around, two in the nest, which fails; `caught` is what the body around makes of that. */
const trip =
  (world: TransactionWorld, caught: (error: unknown) => unknown, undoRoom = world.undo) =>
  async (tx: Tx) => {
    await tx.step('flight', () => world.effect('flight'), world.undo);
    const stay = await tx
      .nest('hotel', async (hotel) => {
        await hotel.step('room', () => world.effect('room'), undoRoom);
        await hotel.step('deposit', () => world.effect('deposit'), world.undo);
        throw new Error('no breakfast');
      })
      .catch(caught);
    return tx.step('end', () => `${String(stay)} ended`);
  };

const rethrow = (error: unknown) => {
  throw error;
};

describe('a nest', () => {
  test('gives what its body gives, and its steps go by its name', async () => {
    const world = new TransactionWorld();
    const steps: string[] = [];
    const result = await world
      .process()
      .transactions.run('1', (tx) =>
        tx.nest('hotel', (hotel) => hotel.nest('desk', (desk) => desk.step('deposit', ({ step }) => steps.push(step)))),
      );
    expect(result).toBe(1);
    expect(steps).toEqual(['hotel/desk/deposit']);
    expect((await world.view()).steps).toMatchObject([{ name: 'hotel/desk/deposit', status: 'done' }]);
  });

  test('has names and keys of its own', async () => {
    const world = new TransactionWorld();
    const keys = new Set<string>();
    await world.process().transactions.run('1', async (tx) => {
      await tx.step('pay', ({ key }) => keys.add(key).size);
      await tx.nest('a', (a) => a.step('pay', ({ key }) => keys.add(key).size));
      await tx.nest('b', (b) => b.step('pay', ({ key }) => keys.add(key).size));
    });
    expect(keys.size).toBe(3);
  });

  test('that fails and is caught is taken back alone, and the transaction goes on', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const result = await transactions.run(
      '1',
      trip(world, (error) => (error as Error).message),
    );
    expect(result).toBe('no breakfast ended');
    expect(world.did).toEqual(['flight', 'room', 'deposit', 'undo deposit', 'undo room']);
    expect(await world.view()).toMatchObject({ status: 'done', steps: [{ status: 'done' }, {}, {}, {}] });
  });

  test('that fails and is not caught takes the transaction back, each step once', async () => {
    const world = new TransactionWorld();
    const error = await rejectionOf(world.process().transactions.run('1', trip(world, rethrow)));
    expect(error).toMatchObject({ compensated: ['hotel/deposit', 'hotel/room', 'flight'] });
    expect(world.did).toEqual(['flight', 'room', 'deposit', 'undo deposit', 'undo room', 'undo flight']);
  });

  test('that was done is taken back when the transaction fails later', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', async (tx) => {
      await tx.nest('hotel', (hotel) => hotel.step('room', () => 'room', world.undo));
      await tx.step('fails', soldOut);
    });
    expect(await rejectionOf(run)).toMatchObject({ compensated: ['hotel/room'] });
  });

  test('that fails with a step that nobody waits for fails, and who catches that has dealt with it', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', (tx) =>
      tx
        .nest('hotel', async (hotel) => {
          void hotel.step('room', () => world.clock.sleep(10).then(soldOut));
        })
        .catch((error: Error) => error.message),
    );
    expect(await world.settled(run)).toBe('sold out');
    expect(await world.view()).toMatchObject({ status: 'done' });
  });

  test('is told when the transaction around fails, and is taken back with it', async () => {
    const world = new TransactionWorld();
    let signal: AbortSignal | undefined;
    const run = world.process().transactions.run('1', async (tx) => {
      const stay = tx.nest('hotel', async (hotel) => {
        signal = hotel.signal;
        await hotel.step('room', () => 'room', world.undo);
        await world.clock.sleep(3_600_000);
      });
      await Promise.all([stay, world.clock.sleep(10).then(() => tx.step('fails', soldOut))]);
    });
    expect(await world.settled(rejectionOf(run))).toMatchObject({ compensated: ['hotel/room'] });
    expect(signal?.reason).toMatchObject({ message: 'sold out' });
    expect(await world.journal()).not.toContain('nest-rolled-back');
  });

  test('tells its own steps, not those around, when it fails', async () => {
    const world = new TransactionWorld();
    const gate = deferred<string>();
    let signal: AbortSignal | undefined;
    const run = world.process().transactions.run('1', async (tx) => {
      const outside = tx.step('outside', (step) => {
        signal = step.signal;
        return gate.promise;
      });
      await tx.nest('hotel', (hotel) => hotel.step('room', soldOut)).catch(() => undefined);
      gate.resolve('fine');
      return outside;
    });
    expect(await run).toBe('fine');
    expect(signal?.aborted).toBe(false);
  });

  test('that fails aborts its other steps and waits for them before it compensates any', async () => {
    const world = new TransactionWorld();
    const gate = deferred<string>();
    const run = world.process().transactions.run('1', (tx) =>
      tx
        .nest('hotel', async (hotel) => {
          await hotel.step('room', () => world.effect('room'), world.undo);
          await Promise.all([hotel.step('slow', () => gate.promise, world.undo), hotel.step('fast', soldOut)]);
        })
        .catch(() => 'caught'),
    );
    await world.clock.advance(60_000);
    expect(world.did).toEqual(['room']);
    gate.resolve('slow');
    expect(await run).toBe('caught');
    expect(world.did).toEqual(['room', 'undo slow', 'undo room']);
  });

  test('does not start steps after it has ended', async () => {
    const world = new TransactionWorld();
    let leaked: Tx | undefined;
    const run = world.process().transactions.run('1', async (tx) => {
      await tx.nest('hotel', async (hotel) => {
        leaked = hotel;
      });
      await leaked?.step('late', () => world.effect('late'));
    });
    expect(await rejectionOf(run)).toMatchObject({ cause: { code: 'HOLDFAST_INVALID_INPUT' } });
    expect(world.did).toEqual([]);
  });
});

describe('after a crash', () => {
  test('a nest that was being taken back is taken back to its end, and its error is thrown again', async () => {
    const world = new TransactionWorld();
    await world.firstLife(trip(world, rethrow, () => never(world.effect('undo room'))));
    const { report } = await world.nextLife(trip(world, (error) => (error as Error).message));
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['flight', 'room', 'deposit', 'undo deposit', 'undo room', 'undo room']);
    expect(await world.view()).toMatchObject({ result: 'no breakfast ended' });
  });

  test('a nest that was being taken back runs nothing forward any more', async () => {
    const world = new TransactionWorld();
    await world.firstLife(trip(world, rethrow, () => never()));
    world.did.length = 0;
    await world.nextLife(async (tx) => {
      await tx.step('flight', () => 'flight', world.undo);
      await tx
        .nest('hotel', async (hotel) => {
          await hotel.step('room', () => 'room', world.undo);
          await hotel.step('deposit', () => 'deposit', world.undo);
          await hotel.step('more', () => world.effect('more'), world.undo);
        })
        .catch(() => undefined);
    });
    expect(world.did).toEqual(['undo room']);
  });

  test('a nest that was taken back is not entered again: it throws what it threw', async () => {
    const world = new TransactionWorld();
    const body = (end: () => unknown) => async (tx: Tx) => {
      const message = await tx
        .nest('hotel', async (hotel) => {
          world.effect('entered');
          await hotel.step('look', () => 1, { effect: 'none' });
          await hotel.step('mail', () => 2);
          throw new RangeError('no breakfast');
        })
        .catch((error: Error) => `${error.name}: ${error.message}`);
      await tx.step('end', end);
      return message;
    };
    await world.firstLife(body(never));
    const { report } = await world.nextLife(body(() => 1));
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['entered']);
    expect(await world.view()).toMatchObject({ status: 'done', result: 'RangeError: no breakfast' });
  });

  test('what a nest that was taken back has left is left behind when the whole goes back', async () => {
    const world = new TransactionWorld();
    const body = (end: () => unknown) => async (tx: Tx) => {
      const stay = tx.nest('hotel', async (hotel) => {
        await hotel.step('mail', () => 2);
        await hotel.step('call', () => never(), { timeoutMs: 10 });
      });
      await stay.catch(() => undefined);
      await tx.step('end', end);
    };
    const dead = world.process();
    void dead.transactions
      .define(
        'trip',
        body(never),
      )('1')
      .catch(() => {});
    await world.clock.advance(100);
    dead.die();
    const { report } = await world.nextLife(body(soldOut));
    expect(report.rolledBack).toEqual(['1']);
    expect(await world.view()).toMatchObject({ compensated: [], leftBehind: ['hotel/mail', 'hotel/call'] });
  });
});

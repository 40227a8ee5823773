import { describe, expect, test } from 'vitest';
import type { Tx } from '../../src/transactions/transaction.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { LEASE_MS, never, TransactionWorld } from '../support/transaction-world.js';

const trip = (world: TransactionWorld, book: () => unknown) => async (tx: Tx) => {
  await tx.step('book', book, world.undo);
  await tx.step('pay', () => world.effect('pay'), world.undo);
  return 'result';
};

describe('the same id', () => {
  test('joins the one that runs in this process: one run, one result', async () => {
    const world = new TransactionWorld();
    const gate = deferred();
    const run = world.process().transactions.define(
      'trip',
      trip(world, () => gate.promise),
    );
    const both = [run('1'), run('1')];
    await world.clock.advance(0);
    gate.resolve();
    expect(await Promise.all(both)).toEqual(['result', 'result']);
    expect(world.did).toEqual(['pay']);
  });

  test('gives the same result after the end, in this process and in any other', async () => {
    const world = new TransactionWorld();
    const body = async (tx: Tx) => ({ at: await tx.step('book', () => new Date(0)), seats: new Set([7]) });
    const first = world.process().transactions.define('trip', body);
    const result = await first('1');
    const second = world.process().transactions.define('trip', () => never());
    expect(await first('1')).toEqual(result);
    expect(await second('1')).toEqual(result);
  });

  test('of one that another process holds is busy, and nothing is run', async () => {
    const world = new TransactionWorld();
    void rejectionOf(world.process().transactions.define('trip', trip(world, never))('1'));
    await world.clock.advance(0);
    const { owner } = await world.view();
    const error = await rejectionOf(
      world.process().transactions.define(
        'trip',
        trip(world, () => 1),
      )('1'),
    );
    expect(error).toMatchObject({ code: 'HOLDFAST_BUSY', what: 'transaction "1"', holder: owner });
    expect(world.did).toEqual([]);
  });

  test('waits for one that another process holds, if told to, and gives its result', async () => {
    const world = new TransactionWorld();
    const gate = deferred();
    const first = world.process().transactions.define(
      'trip',
      trip(world, () => gate.promise),
    )('1');
    await world.clock.advance(0);
    const second = world.process().transactions.define('trip', trip(world, never));
    const waiting = second('1', undefined, { waitMs: 10_000 });
    await world.clock.advance(5_000);
    gate.resolve();
    expect(await world.settled(waiting)).toBe('result');
    expect(await first).toBe('result');
    expect(world.did).toEqual(['pay']);
  });

  test('gives up waiting when the time is over', async () => {
    const world = new TransactionWorld();
    void rejectionOf(world.process().transactions.define('trip', trip(world, never))('1'));
    await world.clock.advance(0);
    const run = world.process().transactions.define('trip', trip(world, never));
    const outcome = rejectionOf(run('1', undefined, { waitMs: 10_000 }));
    await world.clock.advance(9_999);
    const early = await Promise.race([outcome, 'still waiting']);
    await world.clock.advance(1);
    expect(early).toBe('still waiting');
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_BUSY' });
  });

  test('goes on with one whose process died', async () => {
    const world = new TransactionWorld();
    await world.firstLife(async (tx) => {
      await tx.step('book', () => world.effect('book'));
      await never();
    });
    const run = world.process().transactions.define('trip', trip(world, never));
    expect(await world.settled(run('1', undefined, { waitMs: 60_000 }))).toBe('result');
    expect(world.did).toEqual(['book', 'pay']);
    expect(await world.journal()).toEqual(['begun', 'done book', 'taken-over', 'done pay', 'finished']);
  });

  test('of one without a definition goes on with it after a crash', async () => {
    const world = new TransactionWorld();
    const dead = world.process();
    void rejectionOf(dead.transactions.run('1', trip(world, never)));
    await world.clock.advance(0);
    dead.die();
    const { transactions } = world.process();
    const run = transactions.run(
      '1',
      trip(world, () => 1),
      { waitMs: 60_000 },
    );
    expect(await world.settled(run)).toBe('result');
  });
});

describe('a process that was stopped and goes on after another took over', () => {
  /** `zombie` stands still in its first step while another process finishes the transaction. */
  async function takenOver() {
    const world = new TransactionWorld();
    const gate = deferred();
    const fences: number[] = [];
    const signals: (AbortSignal | undefined)[] = [];
    const zombie = world.process();
    let isFrozen = false;
    // Its heartbeats and writes come late: when it goes on.
    const thaw = deferred();
    zombie.obstacle = () => (isFrozen ? thaw.promise : undefined);
    const body = (book: () => unknown) => async (tx: Tx) => {
      fences.push(tx.fence);
      signals.push(tx.signal);
      await tx.step('book', (step) => {
        signals.push(step.signal);
        return book();
      });
      await tx.step('pay', () => world.effect(`pay ${tx.fence}`));
      return 'result';
    };
    const outcome = rejectionOf(
      zombie.transactions.define(
        'trip',
        body(() => gate.promise),
      )('1'),
    );
    await world.clock.advance(0);
    isFrozen = true;
    zombie.stopBeating();
    const { report } = await world.nextLife(body(() => 1));
    gate.resolve();
    thaw.resolve();
    await world.clock.advance(100);
    return { world, zombie, outcome, report, fences, signals };
  }

  test('is told, starts no further step, and writes nothing more', async () => {
    const { world, outcome, report, fences } = await takenOver();
    expect(report.resumed).toEqual(['1']);
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_FENCED' });
    expect(world.did).toEqual(['pay 2']);
    expect(fences).toEqual([1, 2]);
    expect(await world.journal()).toEqual(['begun', 'taken-over', 'done book', 'done pay', 'finished']);
  });

  test('has its signals aborted, that of the transaction and those of steps, and says so in an event', async () => {
    const { outcome, signals, zombie } = await takenOver();
    const error = await outcome;
    expect(signals.slice(0, 2).map((signal) => signal?.reason)).toEqual([error, error]);
    expect(zombie.types).toContain('transaction.fenced');
  });
});

test('a process that cannot show that it is alive stands down before another may take over', async () => {
  const world = new TransactionWorld();
  const process = world.process();
  const outcome = rejectionOf(process.transactions.run('1', (tx) => tx.step('book', never)));
  await world.clock.advance(0);
  process.die();
  await world.clock.advance(0.95 * LEASE_MS);
  expect(await Promise.race([outcome, 'still running'])).toMatchObject({ code: 'HOLDFAST_FENCED' });
});

test('a process that slept through its lease starts no step, though no timer has told it', async () => {
  const world = new TransactionWorld();
  const run = world.process().transactions.run('1', (tx) => {
    world.clock.jumpWall(LEASE_MS);
    return tx.step('book', () => world.effect('book'));
  });
  expect(await rejectionOf(run)).toMatchObject({ code: 'HOLDFAST_FENCED' });
  expect(world.did).toEqual([]);
});

test('a process that slept through its lease starts no compensation', async () => {
  const world = new TransactionWorld();
  const process = world.process();
  const run = process.transactions.run('1', async (tx) => {
    await tx.step('first', () => 'first', world.undo);
    await tx.step(
      'second',
      () => 'second',
      () => world.clock.jumpWall(LEASE_MS),
    );
    throw new Error('changed my mind');
  });
  expect(await rejectionOf(run)).toMatchObject({ code: 'HOLDFAST_FENCED' });
  expect(world.did).toEqual([]);
});

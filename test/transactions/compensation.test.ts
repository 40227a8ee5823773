import { describe, expect, test } from 'vitest';
import type { CompensationContext, Tx } from '../../src/transactions/transaction.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

const soldOut = (_after?: unknown) => Promise.reject(new Error('sold out'));

describe('compensations', () => {
  test('come in the reverse of the order in which steps completed, not in which they began', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      const slow = tx.step('slow', () => world.clock.sleep(20).then(() => 'slow'), world.undo);
      const fast = tx.step('fast', () => world.clock.sleep(10).then(() => 'fast'), world.undo);
      await Promise.all([slow, fast]);
      await tx.step('fails', soldOut);
    });
    expect(await world.settled(rejectionOf(run))).toMatchObject({ compensated: ['slow', 'fast'] });
    expect(world.did).toEqual(['undo slow', 'undo fast']);
  });

  test('are given the result as it was recorded, also when the body has changed it since', async () => {
    const world = new TransactionWorld();
    const given: unknown[] = [];
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      const booking = await tx.step(
        'book',
        () => ({ seats: [7] }),
        (result) => given.push(result),
      );
      booking.seats.push(8);
      throw new Error('changed my mind');
    });
    await rejectionOf(run);
    expect(given).toEqual([{ seats: [7] }]);
  });

  test('are told the cause, whose they are, and a key of their own that stays the same', async () => {
    const world = new TransactionWorld();
    const keys: string[] = [];
    const told: CompensationContext[] = [];
    const compensate = (_: unknown, context: CompensationContext) => {
      told.push(context);
      return told.length < 3 ? soldOut() : undefined;
    };
    const cause = new Error('changed my mind');
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      await tx.step('book', ({ key }) => keys.push(key), compensate);
      throw cause;
    });
    await world.settled(rejectionOf(run));
    expect(told).toMatchObject([
      { attempt: 1 },
      { attempt: 2 },
      { attempt: 3, transaction: '1', step: 'book', fence: 1 },
    ]);
    expect(told.every((context) => context.cause === cause)).toBe(true);
    const [first, ...others] = told.map(({ key }) => key);
    expect(others).toEqual([first, first]);
    expect(keys).not.toContain(first);
  });

  test('are tried three times more, then the transaction is stuck and those before are not compensated', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      await tx.step('first', () => 'first', world.undo);
      await tx.step(
        'second',
        () => 'second',
        () => soldOut(world.effect('try')),
      );
      throw new Error('changed my mind');
    });
    expect(await world.settled(rejectionOf(run))).toMatchObject({
      code: 'HOLDFAST_STUCK',
      reason: 'compensation-failed',
      step: 'second',
    });
    expect(world.did).toEqual(['try', 'try', 'try', 'try']);
    expect(await world.view()).toMatchObject({
      status: 'stuck',
      stuck: { reason: 'compensation-failed', step: 'second' },
      steps: [{ status: 'done' }, { status: 'done' }],
    });
  });

  test('are tried as often as `compensateRetry` says', async () => {
    const world = new TransactionWorld();
    const compensate = () => soldOut(world.effect('try'));
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      await tx.step('book', () => 1, { compensate, compensateRetry: { maxRetries: 1 } });
      throw new Error('changed my mind');
    });
    await world.settled(rejectionOf(run));
    expect(world.did).toEqual(['try', 'try']);
  });

  test('that take too long are cut off and tried again', async () => {
    const world = new TransactionWorld();
    const answers = [never, world.undo];
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      await tx.step('book', () => 'book', { compensate: (result) => answers.shift()?.(result), timeoutMs: 100 });
      throw new Error('changed my mind');
    });
    expect(await world.settled(rejectionOf(run))).toMatchObject({ compensated: ['book'] });
    expect(world.did).toEqual(['undo book']);
  });

  test('are not aborted by a cancel', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const begun = deferred<AbortSignal>();
    const gate = deferred();
    const run = transactions.run('1', async (tx: Tx) => {
      const compensate = async (_: unknown, { signal }: CompensationContext) => {
        begun.resolve(signal);
        await gate.promise;
      };
      await tx.step('book', () => 1, compensate);
      throw new Error('changed my mind');
    });
    const outcome = rejectionOf(run);
    const signal = await begun.promise;
    const cancelled = transactions.cancel('1', 'too slow');
    await world.clock.advance(0);
    expect(signal.aborted).toBe(false);
    gate.resolve();
    expect(await cancelled).toBe('rolled-back');
    expect(await outcome).toMatchObject({ cause: { message: 'changed my mind' }, compensated: ['book'] });
  });

  test('of steps that only read, or failed, there are none', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      await tx.step('look', () => 'look', { compensate: world.undo, effect: 'none' });
      await tx.step('fails', soldOut, world.undo);
    });
    expect(await rejectionOf(run)).toMatchObject({ compensated: [], leftBehind: [] });
    expect(world.did).toEqual([]);
  });

  test('that are missing are said: those steps are left behind', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      await tx.step('book', () => 'book', world.undo);
      await tx.step('mail', () => 'mail');
      throw new Error('changed my mind');
    });
    expect(await rejectionOf(run)).toMatchObject({ compensated: ['book'], leftBehind: ['mail'] });
    expect(await world.view()).toMatchObject({ compensated: ['book'], leftBehind: ['mail'] });
  });
});

describe('after a crash on the way back', () => {
  const back = (world: TransactionWorld, undoSecond: (result: unknown) => unknown) => async (tx: Tx) => {
    await tx.step('first', () => 'first', world.undo);
    await tx.step('second', () => 'second', undoSecond);
    await tx.step('third', () => 'third', world.undo);
    throw new Error('changed my mind');
  };

  test('what was compensated is not compensated again, and what was under way is', async () => {
    const world = new TransactionWorld();
    await world.firstLife(back(world, () => never(world.effect('undo second'))));
    const { report } = await world.nextLife(back(world, world.undo));
    expect(report.rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['undo third', 'undo second', 'undo second', 'undo first']);
    expect(await world.view()).toMatchObject({ compensated: ['third', 'second', 'first'] });
  });

  test('the cause is an Error of the same name, message and code', async () => {
    const world = new TransactionWorld();
    const thrown = Object.assign(new TypeError('changed my mind'), { code: 'E_MIND' });
    const causes: unknown[] = [];
    const body = (undo: (cause: unknown) => unknown) => async (tx: Tx) => {
      await tx.step(
        'book',
        () => 1,
        (_, { cause }) => undo(cause),
      );
      throw thrown;
    };
    await world.firstLife(body(never));
    await world.nextLife(body((cause) => causes.push(cause)));
    expect(causes).toMatchObject([{ name: 'TypeError', message: 'changed my mind', code: 'E_MIND' }]);
    expect(causes[0]).toBeInstanceOf(Error);
    expect(causes[0]).not.toBe(thrown);
  });

  test('it never goes forward again, even if nothing would fail now', async () => {
    const world = new TransactionWorld();
    await world.firstLife(back(world, never));
    const { report } = await world.nextLife(async (tx) => {
      await tx.step('first', () => 'first', world.undo);
      await tx.step('second', () => 'second', world.undo);
      await tx.step('third', () => 'third', world.undo);
      await tx.step('fourth', () => world.effect('fourth'));
    });
    expect(report.rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['undo third', 'undo second', 'undo first']);
  });

  test('steps that were never begun are not run to be compensated', async () => {
    const world = new TransactionWorld();
    const body = (undo: (result: unknown) => unknown) => async (tx: Tx) => {
      await tx.step('first', () => 'first', undo);
      await Promise.all([soldOut(), world.clock.sleep(1).then(() => tx.step('late', () => world.effect('late')))]);
    };
    await world.firstLife(body(never));
    await world.nextLife(body(world.undo));
    expect(world.did).toEqual(['undo first']);
  });
});

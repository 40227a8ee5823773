import { describe, expect, test } from 'vitest';
import type { StepContext, Tx } from '../../src/transactions/transaction.js';
import { RolledBackError } from '../../src/transactions/transaction-errors.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { TransactionWorld } from '../support/transaction-world.js';

const soldOut = () => Promise.reject(new Error('sold out'));

/** Rejects as `abandon` makes it, when the step is told to stop. */
const stopsWith = (abandon: (signal: AbortSignal) => unknown) => (step: StepContext) =>
  new Promise<string>((_, reject) => {
    step.signal.addEventListener('abort', () => reject(abandon(step.signal)));
  });

/** One branch fails; the other is told and ends as `slow` does. `again` is what its step gives on the way back. */
async function failsBeside(slow: (step: StepContext) => Promise<string>, again = 'again') {
  const world = new TransactionWorld();
  let calls = 0;
  const slowStep = (step: StepContext) => (++calls === 1 ? slow(step) : world.effect(again));
  const run = world.process().transactions.run('1', async (tx: Tx) => {
    await tx.step('book', () => world.effect('book'), world.undo);
    await Promise.all([tx.step('slow', slowStep, world.undo), tx.step('fast', soldOut)]);
  });
  const error = await world.settled(rejectionOf(run));
  return { world, error, calls };
}

describe('when one of several steps at once fails', () => {
  test('the others are told by their signal, with the error', async () => {
    let reason: unknown;
    const stops = stopsWith((signal) => {
      reason = signal.reason;
      return new Error('stopped');
    });
    const { error } = await failsBeside(stops);
    expect(reason).toMatchObject({ message: 'sold out' });
    expect((error as RolledBackError).cause).toBe(reason);
  });

  test('nothing is compensated before the others have ended, and one that succeeds all the same is, too', async () => {
    const world = new TransactionWorld();
    const gate = deferred<string>();
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      await tx.step('book', () => world.effect('book'), world.undo);
      await Promise.all([tx.step('slow', () => gate.promise, world.undo), tx.step('fast', soldOut)]);
    });
    const outcome = rejectionOf(run);
    await world.clock.advance(60_000);
    expect(world.did).toEqual(['book']);
    gate.resolve('slow');
    expect(await outcome).toMatchObject({ compensated: ['slow', 'book'], cause: { message: 'sold out' } });
    expect(world.did).toEqual(['book', 'undo slow', 'undo book']);
  });

  test('one that rejects with what it was aborted with may have happened: it is asked again, then compensated', async () => {
    const { world, error } = await failsBeside(stopsWith((signal) => signal.reason));
    expect(error).toMatchObject({ compensated: ['slow', 'book'], cause: { message: 'sold out' } });
    expect(world.did).toEqual(['book', 'again', 'undo again', 'undo book']);
  });

  test('one that rejects with an AbortError may have happened', async () => {
    const { world } = await failsBeside(stopsWith(() => new DOMException('cut', 'AbortError')));
    expect(world.did).toEqual(['book', 'again', 'undo again', 'undo book']);
  });

  test('one that rejects with an error of its own has failed: it is neither asked again nor compensated', async () => {
    const { world, calls } = await failsBeside(stopsWith(() => new Error('I stopped in time')));
    expect(calls).toBe(1);
    expect(world.did).toEqual(['book', 'undo book']);
    expect((await world.view()).steps).toMatchObject([
      { name: 'book', status: 'compensated' },
      { name: 'fast', status: 'failed' },
      { name: 'slow', status: 'failed', error: { message: 'I stopped in time' } },
    ]);
  });

  test('one that may happen once and was cut off leaves the transaction stuck, nothing compensated', async () => {
    const world = new TransactionWorld();
    const slow = stopsWith((signal) => signal.reason);
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      await tx.step('book', () => world.effect('book'), world.undo);
      const fails = world.clock.sleep(10).then(() => tx.step('fast', soldOut));
      await Promise.all([tx.step('slow', slow, { effect: 'once', compensate: world.undo }), fails]);
    });
    const error = await world.settled(rejectionOf(run));
    expect(error).toMatchObject({ reason: 'unknown-outcome', step: 'slow', cause: { message: 'sold out' } });
    expect(world.did).toEqual(['book']);
    expect(await world.view()).toMatchObject({ status: 'stuck', stuck: { step: 'slow' } });
  });

  test('the wait of another for its next attempt ends at once', async () => {
    const world = new TransactionWorld();
    const retry = { maxRetries: 5, backoff: { kind: 'constant', baseMs: 3_600_000 } } as const;
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      const waits = tx.step('waits', soldOut, { retry });
      await Promise.all([waits, world.clock.sleep(10).then(() => tx.step('fast', soldOut))]);
    });
    const outcome = rejectionOf(run);
    await world.clock.advance(11);
    expect(await outcome).toBeInstanceOf(RolledBackError);
  });

  test('no other step starts any more, and one that is asked for rejects with the error', async () => {
    const world = new TransactionWorld();
    const late = deferred<unknown>();
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      const branch = async () => {
        await world.clock.sleep(100);
        await tx.step('late', () => world.effect('late')).catch(late.resolve);
      };
      await Promise.all([branch(), tx.step('fast', soldOut)]);
    });
    const outcome = rejectionOf(run);
    await world.clock.advance(100);
    expect(await late.promise).toBe(((await outcome) as RolledBackError).cause);
    expect(world.did).toEqual([]);
    expect(await world.journal()).toEqual(['begun', 'failed fast', 'compensating', 'rolled-back']);
  });

  test('one that may happen once and was only announced never runs', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    let writes = 0;
    process.obstacle = () => (++writes === 2 ? world.clock.sleep(10) : undefined); // `announced pay` takes its time.
    const run = process.transactions.run('1', async (tx: Tx) => {
      const pay = tx.step('pay', () => world.effect('pay'), { effect: 'once' });
      await Promise.all([pay, soldOut()]);
    });
    expect(await world.settled(rejectionOf(run))).toMatchObject({ compensated: [], leftBehind: [] });
    expect(world.did).toEqual([]);
  });
});

describe('steps that nobody waits for', () => {
  test('are waited for before the transaction is done', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      void tx.step('slow', () => world.clock.sleep(100).then(() => world.effect('slow')));
      return 'result';
    });
    expect(await world.settled(run)).toBe('result');
    expect(await world.journal()).toEqual(['begun', 'done slow', 'finished']);
  });

  test('and that fail after the body has returned fail the transaction', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      await tx.step('book', () => world.effect('book'), world.undo);
      void tx.step('slow', () => world.clock.sleep(100).then(soldOut));
      return 'result';
    });
    expect(await world.settled(rejectionOf(run))).toMatchObject({ cause: { message: 'sold out' } });
    expect(world.did).toEqual(['book', 'undo book']);
  });

  test('and that are asked for after the body has returned do not start', async () => {
    const world = new TransactionWorld();
    const late = deferred<unknown>();
    const run = world.process().transactions.run('1', async (tx: Tx) => {
      const slow = tx.step('slow', () => world.clock.sleep(100));
      void slow.then(() => tx.step('late', () => world.effect('late')).catch(late.resolve));
      return 'result';
    });
    expect(await world.settled(run)).toBe('result');
    expect(await late.promise).toMatchObject({ message: expect.stringContaining('await its steps inside it') });
    expect(world.did).toEqual([]);
  });
});

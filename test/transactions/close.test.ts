import { describe, expect, test } from 'vitest';
import type { Tx } from '../../src/transactions/transaction.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

describe('close', () => {
  test('waits for the steps under way and records them; none start any more; others can go on at once', async () => {
    const world = new TransactionWorld();
    const first = world.process();
    const gate = deferred<string>();
    const body = (book: () => unknown) => async (tx: Tx) => {
      const booked = await tx.step('book', book);
      await tx.step('pay', () => world.effect('pay'));
      return booked;
    };
    const outcome = rejectionOf(
      first.transactions.define(
        'trip',
        body(() => gate.promise),
      )('1'),
    );
    await world.clock.advance(0);
    let isClosed = false;
    const closing = first.transactions.close().then(() => {
      isClosed = true;
    });
    await world.clock.advance(1_000);
    expect(isClosed).toBe(false);
    gate.resolve('booked');
    await closing;
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_CLOSED' });
    expect(world.did).toEqual([]);
    expect(await world.journal()).toEqual(['begun', 'done book', 'released']);

    const second = world.process();
    const run = second.transactions.define('trip', body(never));
    expect(await run('1')).toBe('booked'); // Without a wait.
    expect(world.did).toEqual(['pay']);
    expect((await world.view()).fence).toBe(2);
  });

  test('on the way back of one that was cancelled ends it after the compensation under way; others go on', async () => {
    const world = new TransactionWorld();
    const first = world.process();
    const refunding = deferred();
    const body = (refund: () => unknown) => async (tx: Tx) => {
      await tx.step(
        'book',
        () => 'b',
        () => world.effect('undo book'),
      );
      await tx.step('pay', () => 'p', refund);
      await tx.step('wait', (step) => new Promise((_, reject) => step.signal.addEventListener('abort', reject)));
    };
    const outcome = rejectionOf(
      first.transactions.define(
        'trip',
        body(() => refunding.promise),
      )('1'),
    );
    await world.clock.advance(0);
    const cancelling = first.transactions.cancel('1', 'changed my mind');
    await world.clock.advance(0);
    const closing = first.transactions.close();
    refunding.resolve();
    await Promise.all([cancelling, closing]);
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_CLOSED' });
    expect(world.did).toEqual([]);

    const second = world.process();
    second.transactions.define('trip', body(never));
    expect((await second.transactions.recover()).rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['undo book']);
  });

  test('is no failure: nothing is compensated, also if the body deals with the error', async () => {
    const world = new TransactionWorld();
    const first = world.process();
    const gate = deferred();
    const body = async (tx: Tx) => {
      await tx.step(
        'book',
        () => gate.promise,
        () => world.effect('undo'),
      );
      const nest = tx.nest('nest', (inner) => inner.step('pay', () => world.effect('pay')));
      await nest.catch(() => tx.step('plan b', () => world.effect('plan b')));
    };
    const outcome = rejectionOf(first.transactions.run('1', body));
    await world.clock.advance(0);
    const closing = first.transactions.close();
    gate.resolve();
    await closing;
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_CLOSED' });
    expect(world.did).toEqual([]);
    expect(await world.journal()).toEqual(['begun', 'done book', 'released']);
  });

  test('on the way back finishes the compensation under way and leaves the others', async () => {
    const world = new TransactionWorld();
    const first = world.process();
    const begun = deferred();
    const gate = deferred();
    const body = (undoHotel: (result: unknown) => unknown) => async (tx: Tx) => {
      await tx.step('flight', () => 'flight', world.undo);
      await tx.step('hotel', () => 'hotel', undoHotel);
      throw new Error('changed my mind');
    };
    const slowly = async (result: unknown) => {
      begun.resolve();
      await gate.promise;
      world.undo(result);
    };
    const outcome = rejectionOf(first.transactions.define('trip', body(slowly))('1'));
    await begun.promise;
    const closing = first.transactions.close();
    gate.resolve();
    await closing;
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_CLOSED' });
    expect(world.did).toEqual(['undo hotel']);
    const { report } = await world.nextLife(body(never));
    expect(report.rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['undo hotel', 'undo flight']);
  });

  test('does not make a failure of a `once` step that was about to run', async () => {
    const world = new TransactionWorld();
    const first = world.process();
    const body = (tx: Tx) => tx.step('pay', () => world.effect('pay'), { effect: 'once' });
    const begun = deferred();
    const gate = deferred();
    first.obstacle = () => {
      if (first.writes.length === 0) return undefined;
      begun.resolve();
      return gate.promise;
    };
    void rejectionOf(first.transactions.define('trip', body)('1'));
    await begun.promise; // `announced pay` is on its way.
    const closing = first.transactions.close();
    gate.resolve();
    await closing;
    const { report } = await world.nextLife(body);
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['pay']);
  });

  test('does not wait for a body that waits for something else, also in a later life', async () => {
    const world = new TransactionWorld();
    await world.firstLife(() => never());
    const second = world.process();
    second.transactions.define('trip', () => never(), { onCrash: 'rollback' });
    const recovered = second.transactions.recover({ waitMs: 60_000 });
    await world.clock.advance(30_000);
    expect(await world.view()).toMatchObject({ status: 'compensating' });
    await world.settled(second.transactions.close());
    expect(await recovered).toMatchObject({ failed: [{ id: '1', error: { code: 'HOLDFAST_CLOSED' } }] });
    expect(await world.journal()).toEqual(['begun', 'taken-over', 'compensating', 'released']);
  });

  test('refuses everything that would begin, and is the same whoever calls it', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const run = transactions.define('trip', () => 1);
    const closing = transactions.close();
    expect(transactions.close()).toBe(closing);
    await transactions[Symbol.asyncDispose]();
    const closed = { code: 'HOLDFAST_CLOSED' };
    await expect(run('1')).rejects.toMatchObject(closed);
    await expect(transactions.run('1', () => 1)).rejects.toMatchObject(closed);
    await expect(transactions.recover()).rejects.toMatchObject(closed);
    await expect(transactions.cancel('1', 'x')).rejects.toMatchObject(closed);
    await expect(transactions.resolve('1', { do: 'retry' })).rejects.toMatchObject(closed);
    expect(await transactions.get('1')).toBeUndefined();
  });

  test('while a transaction is being begun lets go of it before its first step', async () => {
    const world = new TransactionWorld();
    const first = world.process();
    const { release, began } = first.hold();
    const outcome = rejectionOf(first.transactions.run('1', (tx) => tx.step('book', () => world.effect('book'))));
    await began;
    const closing = first.transactions.close();
    release();
    await closing;
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_CLOSED' });
    expect(world.did).toEqual([]);
    expect(await world.journal()).toEqual(['begun', 'released']);
  });
});

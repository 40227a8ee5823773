import { describe, expect, test } from 'vitest';
import type { StepOptions, Tx } from '../../src/transactions/transaction.js';
import { rejectionOf } from '../support/deferred.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

class Ticket {
  constructor(readonly seat: number) {}
}

/** Of a class that the codec does not know, unless it is told. */
const ticket = () => new Ticket(7);
const codec = {
  tag: 'ticket',
  is: (value: unknown) => value instanceof Ticket,
  encode: (value: unknown) => (value as Ticket).seat,
  decode: (seat: unknown) => new Ticket(seat as number),
};
const undoTicket = (world: TransactionWorld) => (result: Ticket) => world.undo(result.seat);

describe('a step whose result could not be kept', () => {
  /** Its process died while it was compensated. */
  const diedUndoing = async (run: () => Ticket, options: Omit<StepOptions<Ticket>, 'compensate'> = {}) => {
    const world = new TransactionWorld();
    await world.firstLife((tx) => tx.step('book', ticket, () => never()));
    const { report } = await world.nextLife((tx) =>
      tx.step('book', run, { ...options, compensate: undoTicket(world) }),
    );
    return { world, report };
  };

  test('is run again after a crash, if it is idempotent, and compensated with what it gives', async () => {
    const { world, report } = await diedUndoing(() => new Ticket(8));
    expect(report.rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['undo 8']);
  });

  test('is asked for by `verify` after a crash', async () => {
    const { world } = await diedUndoing(ticket, { verify: () => new Ticket(9) });
    expect(world.did).toEqual(['undo 9']);
  });

  test('leaves the transaction stuck if nothing is known of it any more', async () => {
    const { world, report } = await diedUndoing(ticket, { verify: () => undefined });
    expect(report.stuck).toEqual(['1']);
    expect(world.did).toEqual([]);
    expect((await world.view()).stuck).toEqual({ reason: 'unknown-outcome', step: 'book' });
  });

  test('fails again when the body that dealt with it runs again', async () => {
    const world = new TransactionWorld();
    const body = (end: () => unknown) => async (tx: Tx) => {
      const message = await tx.step('book', ticket).catch((error: Error) => error.name);
      await tx.step('end', end);
      return message;
    };
    await world.firstLife(body(never));
    const { report } = await world.nextLife(body(() => 1));
    expect(report.resumed).toEqual(['1']);
    expect((await world.view()).result).toBe('UnserializableError');
  });
});

describe('what a process cannot read because a codec is missing', () => {
  test('is no failure of the transaction: it is left to those who can', async () => {
    const world = new TransactionWorld();
    const body = (end: () => unknown) => async (tx: Tx) => {
      const { seat } = await tx.step('book', ticket, undoTicket(world));
      await tx.step('end', end);
      return seat;
    };
    const first = world.process({ codecs: [codec] });
    void rejectionOf(first.transactions.define('trip', body(never))('1'));
    await world.clock.advance(0);
    first.die();
    const { report } = await world.nextLife(body(() => 1));
    expect(report).toMatchObject({ failed: [{ id: '1' }] });
    expect(world.did).toEqual([]);
    const able = world.process({ codecs: [codec] });
    able.transactions.define(
      'trip',
      body(() => 1),
    );
    expect(await world.recoverBy(able)).toMatchObject({ resumed: ['1'] });
    expect(await able.transactions.get('1')).toMatchObject({ status: 'done', result: 7 });
  });
});

describe('what a step threw', () => {
  const thrownAgain = async (thrown: unknown) => {
    const world = new TransactionWorld();
    const seen: unknown[] = [];
    const body = (end: () => unknown) => async (tx: Tx) => {
      await tx.step('book', () => Promise.reject(thrown)).catch((error: unknown) => seen.push(error));
      await tx.step('end', end);
    };
    await world.firstLife(body(never));
    await world.nextLife(body(() => 1));
    return seen;
  };

  test.each([['a string'], [7], [{ code: 'E' }], [null], [undefined]])(
    'is thrown again as it was: %j',
    async (thrown) => {
      expect(await thrownAgain(thrown)).toEqual([thrown, thrown]);
    },
  );

  test('keeps its name, message, code, plain fields and causes', async () => {
    class SoldOutError extends Error {
      override name = 'SoldOutError';
      readonly code = 'E_SOLD_OUT';
      readonly left = 0;
      readonly socket = () => undefined;
    }
    const [, again] = await thrownAgain(
      new SoldOutError('no seats', { cause: new SoldOutError('no train', { cause: 7 }) }),
    );
    expect(again).toMatchObject({
      name: 'SoldOutError',
      message: 'no seats',
      code: 'E_SOLD_OUT',
      left: 0,
      cause: { message: 'no train', cause: 7 },
    });
    expect(again).toBeInstanceOf(Error);
  });

  test('is told in words if nothing else of it can be kept', async () => {
    const hostile = {
      get message() {
        throw new Error('no');
      },
      act: () => undefined,
    };
    const [, again] = await thrownAgain(hostile);
    expect(again).toBeInstanceOf(Error);
    const [, symbol] = await thrownAgain(Symbol('x'));
    expect(symbol).toBeInstanceOf(Error);
  });

  test('is cut short if it is huge', async () => {
    const [, again] = await thrownAgain(Object.assign(new Error('no seats'), { page: 'x'.repeat(1_000_000) }));
    expect(again).toMatchObject({ message: 'no seats' });
    expect(again).not.toHaveProperty('page');
  });

  test('does not end if its causes do not', async () => {
    const endless = new Error('a');
    endless.cause = endless;
    const [, again] = await thrownAgain(endless);
    expect(again).toMatchObject({ message: 'a', cause: { message: 'a' } });
  });
});

describe('settled by hand on the way back,', () => {
  test('a step that did not happen throws when the body asks for it again', async () => {
    const world = new TransactionWorld();
    let seen: unknown;
    const body = (undo: (result: unknown) => unknown) => async (tx: Tx) => {
      await tx.step('book', () => 'book', undo);
      await tx.step('pay', never, { timeoutMs: 10, effect: 'once', compensate: world.undo }).catch((error: unknown) => {
        seen = error;
        throw error;
      });
    };
    const dead = world.process();
    void rejectionOf(dead.transactions.define('trip', body(world.undo))('1'));
    await world.clock.advance(0);
    dead.die();
    const { process } = await world.nextLife(
      body(() => Promise.reject(new Error('broken'))),
      { onCrash: 'rollback' },
    );
    expect((await world.view()).stuck).toEqual({ reason: 'unknown-outcome', step: 'pay' });
    expect(await world.settled(process.transactions.resolve('1', { do: 'skip' }))).toBe('stuck');
    expect((await world.view()).stuck).toEqual({ reason: 'compensation-failed', step: 'book' });
    expect(seen).toMatchObject({ message: expect.stringContaining('pay') });
  });

  test('an unknown step that the code no longer has leaves it stuck', async () => {
    const world = new TransactionWorld();
    const first = world.process();
    const run = first.transactions.define('trip', async (tx) => {
      await tx.step('book', () => 'book', { compensate: () => never() });
      await tx.step('pay', never, { timeoutMs: 10 });
    });
    void rejectionOf(run('1'));
    await world.clock.advance(100);
    first.die();
    const { report } = await world.nextLife((tx) => tx.step('book', () => 'book', world.undo));
    expect(report.stuck).toEqual(['1']);
    expect((await world.view()).stuck).toEqual({ reason: 'steps-not-run', step: 'pay' });
  });

  test('a step needs a name where it is stuck at none', async () => {
    const world = new TransactionWorld();
    await world.firstLife((tx) => tx.step('book', never));
    const { process } = await world.nextLife((tx) => tx.step('book', never), { maxTakeovers: 0 });
    await expect(process.transactions.resolve('1', { do: 'complete' })).rejects.toMatchObject({
      code: 'HOLDFAST_TRANSACTION_STATE',
      message: expect.stringContaining('needs a step'),
    });
    await expect(process.transactions.resolve('1', { do: 'skip', step: 'book' })).rejects.toMatchObject({
      message: expect.stringContaining('has no record'),
    });
  });
});

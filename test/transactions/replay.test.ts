import { describe, expect, test } from 'vitest';
import type { Tx } from '../../src/transactions/transaction.js';
import { rejectionOf } from '../support/deferred.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

type Run = () => unknown;

describe('after a crash the body runs again, and', () => {
  test('steps that are done give what they gave; loops, ifs and what runs at once are as they were', async () => {
    const world = new TransactionWorld();
    const body = (last: Run) => async (tx: Tx) => {
      const rooms = await tx.step('rooms', () => [world.effect('rooms'), 'b'] as string[]);
      const prices: number[] = [];
      for (const room of rooms) prices.push(await tx.step(`price of ${room}`, () => world.effect(room).length));
      const cheap = prices[1] === 1 ? tx.step('cheap', () => world.effect('cheap')) : undefined;
      const both = await Promise.all([cheap, tx.step('mail', () => world.effect('mail'))]);
      const first = await Promise.race([tx.step('fast', () => world.effect('fast')), never<string>()]);
      const missing = await tx
        .step('missing', () => Promise.reject(new RangeError('none')))
        .catch((e: Error) => e.name);
      await tx.step('last', last);
      return [prices, both, first, missing];
    };
    await world.firstLife(body(never));
    const before = [...world.did];
    const { report } = await world.nextLife(body(() => 1));
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(before);
    expect((await world.view()).result).toEqual([[5, 1], ['cheap', 'mail'], 'fast', 'RangeError']);
  });

  test('each result is a new value: what the body does to it does not change the journal', async () => {
    const world = new TransactionWorld();
    const body = (last: Run) => async (tx: Tx) => {
      const list = await tx.step('list', () => [1]);
      list.push(2);
      await tx.step('last', last);
      return list;
    };
    await world.firstLife(body(never));
    await world.nextLife(body(() => 1));
    expect((await world.view()).result).toEqual([1, 2]);
  });

  test('its schema reads results again, and what it refuses now fails the step', async () => {
    const world = new TransactionWorld();
    await world.firstLife(async (tx) => {
      await tx.step('count', () => '7', world.undo);
      await never();
    });
    const parse = schema((value) => (value === '8' ? { value: 8 } : { issues: [{ message: 'is not 8' }] }));
    const { report } = await world.nextLife((tx) => tx.step('count', () => '7', { parse, compensate: world.undo }));
    expect(report.rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['undo 7']); // It was its result all the same.
    expect(await world.view()).toMatchObject({ error: { message: 'step "count": is not 8.' } });
  });

  test('code that changed meanwhile may add, move and rename steps that were not reached', async () => {
    const world = new TransactionWorld();
    await world.firstLife(async (tx) => {
      await tx.step('a', () => world.effect('a'));
      await tx.step('b', () => world.effect('b'));
      await tx.step('old name', never);
    });
    const { report } = await world.nextLife(async (tx) => {
      await tx.step('new', () => world.effect('new'));
      await tx.step('b', () => world.effect('b'));
      await tx.step('a', () => world.effect('a'));
      await tx.step('new name', () => world.effect('new name'));
    });
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['a', 'b', 'new', 'new name']);
  });

  test.each(['resume', 'rollback'] as const)(
    'a recorded step that it no longer runs leaves it stuck: %s',
    async (onCrash) => {
      const world = new TransactionWorld();
      const both = (end: Run) => async (tx: Tx) => {
        await tx.step('a', () => 'a', world.undo);
        await tx.step('b', () => 'b', world.undo);
        await tx.step('end', end, { effect: 'none' });
      };
      await world.firstLife(both(never));
      const { process, report } = await world.nextLife((tx) => tx.step('b', () => 'b', world.undo), { onCrash });
      expect(report.stuck).toEqual(['1']);
      expect(world.did).toEqual([]);
      expect((await world.view()).stuck).toEqual({ reason: 'steps-not-run', step: 'a' });
      // The old code is brought back.
      const repaired = world.process();
      await process.transactions.close();
      repaired.transactions.define(
        'trip',
        both(() => 1),
      );
      const status = await world.settled(repaired.transactions.resolve('1', { do: 'retry' }));
      expect(status).toBe(onCrash === 'resume' ? 'done' : 'rolled-back');
      expect(world.did).toEqual(onCrash === 'resume' ? [] : ['undo b', 'undo a']);
    },
  );

  test.each([
    ['complete', 'compensated'],
    ['skip', 'skipped'],
  ] as const)('a step that it no longer runs can be settled by hand: `%s`', async (decision, status) => {
    const world = new TransactionWorld();
    await world.firstLife(async (tx) => {
      await tx.step('a', () => 'a', world.undo);
      await never();
    });
    const { process } = await world.nextLife(() => 'result');
    expect(await world.settled(process.transactions.resolve('1', { do: decision }))).toBe('done');
    expect((await world.view()).steps).toMatchObject([{ name: 'a', status }]);
  });

  test('a nest that it no longer has leaves it stuck, too', async () => {
    const world = new TransactionWorld();
    await world.firstLife((tx) =>
      tx.nest('hotel', async (hotel) => {
        await hotel.step('room', () => 'room');
        await never();
      }),
    );
    const { report } = await world.nextLife(() => 'result');
    expect(report.stuck).toEqual(['1']);
    expect((await world.view()).stuck).toEqual({ reason: 'steps-not-run', step: 'hotel/room' });
  });

  test('the input is read by its schema again; what that refuses now leaves it stuck until it does not', async () => {
    const world = new TransactionWorld();
    const dead = world.process();
    const run = dead.transactions.define('trip', (_tx, input: string) => never(input));
    void rejectionOf(run('1', '7'));
    await world.clock.advance(0);
    dead.die();
    const parse = schema((value) =>
      typeof value === 'number' ? { value } : { issues: [{ message: 'is no number' }] },
    );
    const { process, report } = await world.nextLife(() => 1, { parse: parse as never });
    expect(report.stuck).toEqual(['1']);
    expect(await world.view()).toMatchObject({
      stuck: { reason: 'input-refused' },
      error: { message: 'input: is no number.' },
    });
    await process.transactions.close();
    const repaired = world.process();
    repaired.transactions.define('trip', (_tx, input: string) => input);
    expect(await repaired.transactions.resolve('1', { do: 'retry' })).toBe('done');
    expect((await world.view()).result).toBe('7');
  });
});

function schema(validate: (value: unknown) => { value: unknown } | { issues: { message: string }[] }) {
  return { '~standard': { version: 1 as const, vendor: 'test', validate } } as never;
}

import { describe, expect, expectTypeOf, test } from 'vitest';
import * as z from 'zod';
import type {
  CompensationContext,
  StepContext,
  TransactionRunOptions,
  Tx,
} from '../../src/transactions/transaction.js';
import type { TransactionManager } from '../../src/transactions/transaction-manager.js';
import { TransactionWorld } from '../support/transaction-world.js';

// Checked by the compiler; they run, too, so that the values are what the types say.
const manager = (): TransactionManager => new TransactionWorld().process().transactions;

interface Booking {
  readonly id: number;
}
const book = async (): Promise<Booking> => ({ id: 7 });

describe('tx.step', () => {
  test('gives what its function gives, awaited', async () => {
    const result = await manager().run('1', async (tx) => {
      expectTypeOf(tx).toEqualTypeOf<Tx>();
      const booking = await tx.step('book', book);
      expectTypeOf(booking).toEqualTypeOf<Booking>();
      const count = await tx.step('count', () => 7);
      expectTypeOf(count).toEqualTypeOf<number>();
      const nothing = await tx.step('nothing', () => undefined);
      expectTypeOf(nothing).toEqualTypeOf<undefined>();
      const nested = await tx.nest('nest', async (inner) => inner.step('in', () => 'in'));
      expectTypeOf(nested).toEqualTypeOf<string>();
      return { booking, count, nested };
    });
    expectTypeOf(result).toEqualTypeOf<{ booking: Booking; count: number; nested: string }>();
    expect(result).toEqual({ booking: { id: 7 }, count: 7, nested: 'in' });
  });

  test('gives compensate the result, and verify has to answer with it', async () => {
    const result = await manager().run('1', async (tx) => {
      await tx.step('a', book, (booking, context) => {
        expectTypeOf(booking).toEqualTypeOf<Booking>();
        expectTypeOf(context).toEqualTypeOf<CompensationContext>();
      });
      return tx.step('b', book, {
        compensate(booking, context) {
          expectTypeOf(booking).toEqualTypeOf<Booking>();
          expectTypeOf(context.cause).toEqualTypeOf<unknown>();
        },
        verify(context) {
          expectTypeOf(context).toEqualTypeOf<StepContext>();
          return undefined;
        },
        parse: z.object({ id: z.number() }),
      });
    });
    expectTypeOf(result).toEqualTypeOf<Booking>();
    expect(result).toEqual({ id: 7 });
  });

  test('without a result lets verify answer with anything', async () => {
    const run = manager().run('1', (tx) => tx.step('mail', () => undefined, { verify: () => true }));
    expectTypeOf(await run).toEqualTypeOf<undefined>();
    expect(await run).toBeUndefined();
  });

  test('refuses what does not fit', async () => {
    const wrong = (tx: Tx) => [
      // @ts-expect-error The result is a Booking, not a string.
      tx.step('a', book, (booking: string) => booking),
      // @ts-expect-error As above, among options.
      tx.step('b', book, { compensate: (booking: string) => booking }),
      // @ts-expect-error It has to answer with a Booking, or undefined.
      tx.step('c', book, { verify: () => 'yes' }),
      // @ts-expect-error There is no such option.
      tx.step('d', book, { undo: () => undefined }),
      // @ts-expect-error Nor such an effect.
      tx.step('e', book, { effect: 'twice' }),
      // @ts-expect-error A promise is no function.
      tx.step('f', book()),
      // @ts-expect-error It needs a function.
      tx.step('g'),
      // @ts-expect-error A nest needs a body that gives a promise.
      tx.nest('h', () => 7),
      // @ts-expect-error The schema is of another type.
      tx.step('i', book, { parse: z.string() }),
    ];
    const outcomes = await manager().run('1', (tx) => Promise.allSettled(wrong(tx)).then((all) => all.length));
    expect(outcomes).toBe(9);
  }, 10_000);
});

describe('define', () => {
  test('makes a function of an id, the input of its body, and options', async () => {
    const transactions = manager();
    const trip = transactions.define('trip', async (_tx, input: { seats: number }) => `${input.seats} seats`);
    expectTypeOf<Parameters<typeof trip>[1]>().toEqualTypeOf<{ seats: number }>();
    expectTypeOf<Parameters<typeof trip>[2]>().toEqualTypeOf<TransactionRunOptions | undefined>();
    const result = await trip('1', { seats: 7 });
    expectTypeOf(result).toEqualTypeOf<string>();
    expect(result).toBe('7 seats');
    // @ts-expect-error The input is missing.
    await expect(trip('2')).rejects.toThrow();
    // @ts-expect-error It is another one.
    expect(await trip('3', { seats: '7' })).toBe('7 seats');
  });

  test('makes one that needs no input if its body takes none, or may do without', async () => {
    const transactions = manager();
    const plain = transactions.define('plain', () => 1);
    expectTypeOf(await plain('1')).toEqualTypeOf<number>();
    expect(await plain('2', undefined, { waitMs: 0 })).toBe(1);
    const optional = transactions.define('optional', (_tx, input?: number) => input ?? 'none');
    expectTypeOf(await optional('3')).toEqualTypeOf<string | number>();
    expect(await optional('4', 7)).toBe(7);
  });
});

describe('execute', () => {
  test('types two steps from left to right', async () => {
    const results = await manager().execute('1', [
      { run: book, compensate: (booking) => expectTypeOf(booking).toEqualTypeOf<Booking>() },
      {
        name: 'pay',
        run(booking, context) {
          expectTypeOf(booking).toEqualTypeOf<Booking>();
          expectTypeOf(context).toEqualTypeOf<StepContext>();
          return `paid ${booking.id}`;
        },
        compensate: (paid) => expectTypeOf(paid).toEqualTypeOf<string>(),
        verify: () => undefined,
      },
    ]);
    expectTypeOf(results).toEqualTypeOf<[Booking, string]>();
    expect(results).toEqual([{ id: 7 }, 'paid 7']);
  });

  test('types one, three, four and five steps', async () => {
    const transactions = manager();
    const one = await transactions.execute('1', [{ run: () => 1 }]);
    expectTypeOf(one).toEqualTypeOf<[number]>();
    const three = await transactions.execute('3', [
      { run: () => 1 },
      { run: (a) => `${a.toFixed()}b` },
      { run: (a, b) => [a.toFixed(), b.length] as const },
    ]);
    expectTypeOf(three).toEqualTypeOf<[number, string, readonly [string, number]]>();
    const four = await transactions.execute('4', [
      { run: () => 1 },
      { run: (a) => `${a}b` },
      { run: (a, b) => a === b.length },
      { run: (_a, _b, c) => (c ? 'yes' : 'no') },
    ]);
    expectTypeOf(four).toEqualTypeOf<[number, string, boolean, 'yes' | 'no']>();
    const five = await transactions.execute('5', [
      { run: () => 1 },
      { run: (a) => `${a}b` },
      { run: (a, b) => a === b.length },
      { run: (_a, _b, c) => (c ? 1 : 0) },
      { run: (a, b, c, d, step) => [a, b, c, d, step.step] as const },
    ]);
    expectTypeOf(five[4]).toEqualTypeOf<readonly [number, string, boolean, 0 | 1, string]>();
    expect(five[4]).toEqual([1, '1b', false, 0, 'step 5']);
  });

  test('takes a list whose types are not followed', async () => {
    const steps = [1, 2, 3].map((step) => ({ run: async () => step, compensate: () => undefined }));
    const results = await manager().execute('1', steps);
    expectTypeOf(results).toEqualTypeOf<unknown[]>();
    expect(results).toEqual([1, 2, 3]);
  });
});

import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { LeaseNode } from '../../src/records/node.js';
import { memoryStorage } from '../../src/storage/memory.js';
import type { Tx } from '../../src/transactions/transaction.js';
import { TransactionManager } from '../../src/transactions/transaction-manager.js';
import { rejectionOf } from '../support/deferred.js';
import { TransactionWorld } from '../support/transaction-world.js';

const invalid = (message: string | RegExp) => ({
  code: 'HOLDFAST_INVALID_INPUT',
  message: expect.stringMatching(message),
});

/** What becomes of a transaction whose body misuses a step: it is refused before it runs. */
async function misuse(body: (tx: Tx, world: TransactionWorld) => unknown) {
  const world = new TransactionWorld();
  const error = await world.settled(rejectionOf(world.process().transactions.run('1', (tx) => body(tx, world))));
  return { world, cause: (error as Error | undefined)?.cause };
}

describe('a name that is used twice', () => {
  test('is refused at once, and the transaction is rolled back; the journal is unharmed', async () => {
    const { world, cause } = await misuse(async (tx, { undo }) => {
      await tx.step('book', () => 'first', undo);
      await tx.step('book', () => 'second', undo);
    });
    expect(cause).toMatchObject(invalid(/step "book": this name is used already/));
    expect(world.did).toEqual(['undo first']);
    expect(await world.journal()).toEqual(['begun', 'done book', 'compensating', 'compensated book', 'rolled-back']);
  });

  test.each<readonly [string, (tx: Tx) => Promise<unknown>]>([
    ['by two nests', (tx) => tx.nest('a', async () => 1).then(() => tx.nest('a', async () => 2))],
    ['by a step and a nest', (tx) => tx.step('a', () => 1).then(() => tx.nest('a', async () => 2))],
    ['by a step that reads as one of a nest', (tx) => tx.nest('a', async () => 1).then(() => tx.step('a/b', () => 2))],
    ['by a nest that would hold a step', (tx) => tx.step('a/b/c', () => 1).then(() => tx.nest('a', async () => 2))],
    ['by nests in nests', (tx) => tx.nest('a', (a) => a.step('b/c', () => 1).then(() => a.nest('b', async () => 2)))],
  ])('is refused %s', async (_, body) => {
    const { cause } = await misuse(body);
    expect(cause).toMatchObject(invalid(/Rename one|used already/));
  });

  test('is none in two nests, or if it merely looks like a path', async () => {
    const { cause } = await misuse(async (tx) => {
      await tx.step('a/b', () => 1);
      await tx.step('a', () => 1);
      await tx.nest('c', (c) => c.step('a/b', () => 1));
      await tx.nest('d', (d) => d.step('a/b', () => 1));
    });
    expect(cause).toBeUndefined();
  });
});

describe('a step', () => {
  test.each<readonly [string, RegExp, (tx: Tx) => Promise<unknown>]>([
    ['without a name', /name must be a string of 1 to 512/, (tx) => tx.step('', () => 1)],
    ['with a name that is too long', /name must be a string/, (tx) => tx.step('x'.repeat(513), () => 1)],
    ['with half a character in its name', /half surrogate/, (tx) => tx.step('\ud800', () => 1)],
    ['without a function', /second argument must be a function/, (tx) => tx.step('a', 7 as never)],
    ['with an unknown option', /undo/, (tx) => tx.step('a', () => 1, { undo: () => 1 } as never)],
    ['with a verify that is no function', /verify/, (tx) => tx.step('a', () => 1, { verify: 7 as never })],
    ['with an unknown effect', /effect/, (tx) => tx.step('a', () => 1, { effect: 'twice' as never })],
    ['with negative retries', /retry/, (tx) => tx.step('a', () => 1, { retry: -1 })],
    ['with a time limit of nothing', /timeoutMs/, (tx) => tx.step('a', () => 1, { timeoutMs: 0 })],
    ['with a schema that is none', /parse/, (tx) => tx.step('a', () => 1, { parse: {} as never })],
    ['as a nest without a function', /second argument/, (tx) => tx.nest('a', 7 as never)],
    ['as a nest without a name', /nest: its name/, (tx) => tx.nest('', async () => 1)],
  ])('%s is refused, and does not run', async (_, message, body) => {
    const { world, cause } = await misuse(body);
    expect(cause).toMatchObject(invalid(message));
    expect(await world.journal()).toEqual(['begun', 'compensating', 'rolled-back']);
  });

  test('whose result cannot be kept fails with the path, and is compensated with what it gave', async () => {
    const given: unknown[] = [];
    const result = { seats: [{ release: () => 'released' }] };
    const { world, cause } = await misuse((tx) =>
      tx.step(
        'book',
        () => result,
        (booking) => given.push(booking),
      ),
    );
    expect(cause).toMatchObject({ code: 'HOLDFAST_UNSERIALIZABLE', path: '$.seats[0].release' });
    expect(given).toEqual([result]);
    expect(await world.journal()).toEqual(['begun', 'done book', 'compensating', 'compensated book', 'rolled-back']);
    expect((await world.process().transactions.history('1'))[1]).toMatchObject({ facts: { isLost: true } });
  });

  test('whose result its schema refuses fails, and is compensated', async () => {
    const { world, cause } = await misuse((tx, { undo }) =>
      tx.step('count', () => 'seven' as unknown as number, { parse: z.number() as never, compensate: undo }),
    );
    expect(cause).toMatchObject(invalid(/^step "count"/));
    expect(world.did).toEqual(['undo seven']);
  });

  test('has its result converted by its schema', async () => {
    const world = new TransactionWorld();
    const parse = z.string().transform(Number) as never;
    const run = world.process().transactions.run('1', (tx) => tx.step<unknown>('count', () => '7', { parse }));
    expect(await run).toBe(7);
  });
});

describe('a result of the whole that cannot be kept', () => {
  test('rolls the transaction back', async () => {
    const { world, cause } = await misuse(async (tx, { undo }) => {
      await tx.step('book', () => 'book', undo);
      return { now: () => 1 };
    });
    expect(cause).toMatchObject({ code: 'HOLDFAST_UNSERIALIZABLE', path: '$.now' });
    expect(world.did).toEqual(['undo book']);
  });

  test('because the store does not take it rolls the transaction back', async () => {
    const inner = memoryStorage();
    const world = new TransactionWorld({ ...inner, capabilities: { ...inner.capabilities, maxValueBytes: 20_000 } });
    const run = world.process().transactions.run('1', async (tx) => {
      await tx.step('book', () => 'book', world.undo);
      return 'x'.repeat(100_000);
    });
    expect(await rejectionOf(run)).toMatchObject({ compensated: ['book'], cause: { code: 'HOLDFAST_LIMIT' } });
  });
});

describe('a call', () => {
  test('with an input that cannot be kept is refused with the path, and nothing is begun', async () => {
    const { transactions } = new TransactionWorld().process();
    const run = transactions.define('trip', (_tx, input: { call: unknown }) => input);
    await expect(run('1', { call: () => 1 })).rejects.toMatchObject({
      code: 'HOLDFAST_UNSERIALIZABLE',
      path: '$.call',
    });
    expect(await transactions.get('1')).toBeUndefined();
    expect(await transactions.history('1')).toEqual([]);
  });

  test('with an input that its schema refuses is refused with the path, and nothing is begun', async () => {
    const { transactions } = new TransactionWorld().process();
    const parse = z.object({ seats: z.array(z.number()) });
    const run = transactions.define<z.infer<typeof parse>, unknown>('trip', (_tx, { seats }) => seats, { parse });
    await expect(run('1', { seats: ['x' as never] })).rejects.toMatchObject(invalid(/^input\.seats\.0/));
    expect(await transactions.get('1')).toBeUndefined();
    expect(await run('1', { seats: [7] })).toEqual([7]);
  });

  test('may change its input as soon as it has made it', async () => {
    const { transactions } = new TransactionWorld().process();
    const run = transactions.define('trip', (_tx, input: { seats: number }) => input.seats);
    const input = { seats: 7 };
    const result = run('1', input);
    input.seats = 8;
    expect(await result).toBe(7);
  });

  test('with an id that was used with another input or definition is refused, while it runs and after', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    const trip = transactions.define('trip', (tx, input: number) =>
      tx.step('a', () => world.clock.sleep(10).then(() => input)),
    );
    const other = transactions.define('other', (_tx, input: number) => input);
    const running = trip('1', 7);
    await world.clock.advance(0);
    await expect(trip('1', 8)).rejects.toMatchObject(invalid('another input'));
    await expect(other('1', 7)).rejects.toMatchObject(invalid('was begun as "trip"'));
    expect(await world.settled(running)).toBe(7);
    await expect(trip('1', 8)).rejects.toMatchObject(invalid('another input'));
    await expect(other('1', 7)).rejects.toMatchObject(invalid('was begun as "trip"'));
    await expect(transactions.run('1', () => 1)).rejects.toMatchObject(invalid('was begun as "trip"'));
    await transactions.run('2', () => 1);
    await expect(trip('2', 7)).rejects.toMatchObject(invalid('without a definition'));
    expect(await world.journal()).toEqual(['begun', 'done a', 'finished']);
  });

  test.each([
    ['', /id/],
    ['x'.repeat(1_025), /id/],
    ['\udc00', /id/],
  ])('with the id %j is refused', async (id, message) => {
    const { transactions } = new TransactionWorld().process();
    await expect(transactions.run(id, () => 1)).rejects.toMatchObject(invalid(message));
  });

  test('with options that are none is refused', async () => {
    const { transactions } = new TransactionWorld().process();
    await expect(transactions.run('1', () => 1, { wait: 7 } as never)).rejects.toMatchObject(invalid('wait'));
    await expect(transactions.run('1', () => 1, { waitMs: -1 })).rejects.toMatchObject(invalid('waitMs'));
    await expect(transactions.recover({ waitMs: 'x' as never })).rejects.toMatchObject(invalid('waitMs'));
    await expect(transactions.cancel('1', '')).rejects.toMatchObject(invalid('reason'));
    await expect(transactions.resolve('1', { do: 'nothing' as never })).rejects.toMatchObject(invalid('do'));
    await expect(transactions.run('1', 7 as never)).rejects.toMatchObject(invalid('body'));
    expect(() => transactions.list({ states: 7 } as never)).toThrow('states');
  });
});

describe('a definition or a manager', () => {
  test('that cannot be is refused', () => {
    const { transactions } = new TransactionWorld().process();
    transactions.define('trip', () => 1);
    expect(() => transactions.define('trip', () => 1)).toThrow('"trip" is defined already');
    expect(() => transactions.define('', () => 1)).toThrow('definition: its name');
    expect(() => transactions.define('x', 7 as never)).toThrow('body');
    expect(() => transactions.define('x', () => 1, { onCrash: 'x' as never })).toThrow('onCrash');
    expect(() => transactions.define('x', () => 1, { maxTakeovers: -1 })).toThrow('maxTakeovers');
  });

  test('with a lease beside a node, or parts that are none, is refused', () => {
    const storage = memoryStorage();
    const node = new LeaseNode({ storage });
    expect(() => new TransactionManager({ storage, node, leaseMs: 1_000 })).toThrow('options.leaseMs');
    expect(() => new TransactionManager({ storage: 7 as never })).toThrow('storage');
    expect(() => new TransactionManager({ storage, policies: {} as never })).toThrow('must be a RetryManager');
    expect(() => new TransactionManager({ storage, node: {} as never })).toThrow('must be a LeaseNode');
    expect(() => new TransactionManager({ storage, lease: 7 } as never)).toThrow('lease');
  });
});

import { describe, expect, test } from 'vitest';
import type { StepOptions, Tx } from '../../src/transactions/transaction.js';
import { rejectionOf } from '../support/deferred.js';
import { LEASE_MS, never, TransactionWorld } from '../support/transaction-world.js';

const of = { transaction: '1', name: 'trip' };
const soldOut = () => Promise.reject(new Error('sold out'));

/** What a process says of the transaction `1`, defined as `trip`. */
async function heard(body: (tx: Tx, world: TransactionWorld) => unknown) {
  const world = new TransactionWorld();
  const { transactions, events } = world.process();
  const outcome = rejectionOf(transactions.define('trip', (tx) => body(tx, world))('1'));
  await world.settled(outcome);
  return events.filter(({ type }) => !type.startsWith('node.'));
}

describe('events', () => {
  test('of one that is done', async () => {
    expect(await heard((tx) => tx.step('book', () => 1))).toEqual([
      { type: 'transaction.started', ...of },
      { type: 'step.done', step: 'book', ...of },
      { type: 'transaction.done', ...of },
    ]);
  });

  test('leave the name out of one that has none', async () => {
    const { transactions, events } = new TransactionWorld().process();
    await transactions.run('1', () => 1);
    expect(events).toContainEqual({ type: 'transaction.done', transaction: '1' });
  });

  test('of one that is rolled back', async () => {
    const events = await heard(async (tx, { undo }) => {
      await tx.step('book', () => 1, undo);
      await tx.step('mail', () => 1);
      await tx.step('pay', soldOut);
    });
    expect(events.slice(3)).toEqual([
      { type: 'step.failed', step: 'pay', error: 'sold out', ...of },
      { type: 'transaction.compensating', error: 'sold out', ...of },
      { type: 'step.compensated', step: 'book', ...of },
      { type: 'transaction.rolled-back', compensated: 1, leftBehind: ['mail'], ...of },
    ]);
  });

  test('of a nest that is rolled back', async () => {
    const events = await heard((tx) => tx.nest('hotel', (hotel) => hotel.step('room', soldOut)).catch(() => 1));
    expect(events).toContainEqual({ type: 'nest.rolled-back', nest: 'hotel', error: 'sold out', ...of });
  });

  test('of one that is stuck', async () => {
    const events = await heard((tx) => tx.step('pay', never, { timeoutMs: 10, effect: 'once' }));
    expect(events.slice(1)).toMatchObject([
      { type: 'step.unknown', step: 'pay', ...of },
      { type: 'transaction.stuck', reason: 'unknown-outcome', step: 'pay', error: expect.any(String), ...of },
    ]);
  });

  test.each<readonly [string, StepOptions<string>, boolean]>([
    ['happened', { verify: () => 'found' }, true],
    ['did not happen', { verify: () => undefined }, false],
  ])('of an outcome that was settled: it %s', async (_, options, happened) => {
    const events = await heard(async (tx) => {
      const cut = (step: { signal: AbortSignal }) =>
        new Promise<string>((__, reject) => {
          step.signal.addEventListener('abort', () => reject(step.signal.reason));
        });
      await Promise.all([tx.step<string>('slow', cut, { ...options, compensate: () => 1 }), tx.step('fast', soldOut)]);
    });
    expect(events).toContainEqual({ type: 'step.settled', step: 'slow', happened, ...of });
  });

  test('of a takeover, and of what a process that died had done', async () => {
    const world = new TransactionWorld();
    await world.firstLife((tx) => tx.step('pay', never));
    const { owner } = await world.view();
    const { process } = await world.nextLife((tx) => tx.step('pay', () => 1, { verify: () => 2 }));
    expect(process.events.filter(({ type }) => !type.startsWith('node.'))).toEqual([
      { type: 'transaction.taken-over', fence: 2, from: owner, ...of },
      { type: 'step.settled', step: 'pay', happened: true, ...of },
      { type: 'step.done', step: 'pay', ...of },
      { type: 'transaction.done', ...of },
    ]);
  });

  test('of one that is let go of, and taken up', async () => {
    const world = new TransactionWorld();
    const first = world.process();
    void rejectionOf(first.transactions.define('trip', (tx) => tx.step('a', () => world.clock.sleep(1)))('1'));
    await world.clock.advance(0);
    await world.settled(first.transactions.close());
    expect(first.events).toContainEqual({ type: 'transaction.released', ...of });
    const { process } = await world.nextLife((tx) => tx.step('a', never));
    expect(process.events).toContainEqual({ type: 'transaction.taken-over', fence: 2, ...of });
  });

  test('of a cancel, here and from elsewhere', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    void rejectionOf(process.transactions.define('trip', (tx) => tx.step('a', () => world.clock.sleep(10)))('1'));
    await world.clock.advance(0);
    const other = world.process();
    await other.transactions.cancel('1', 'elsewhere');
    const event = (reason: string) => ({ type: 'transaction.cancelled', reason, ...of });
    expect(other.events).toContainEqual(event('elsewhere'));
    await world.settled(process.transactions.cancel('1', 'here'));
    expect(process.events).toContainEqual(event('here'));
  });

  test('of a decision', async () => {
    const world = new TransactionWorld();
    const { transactions, events } = world.process();
    const run = transactions.define('trip', (tx) => tx.step('a', never, { timeoutMs: 10, effect: 'once' }));
    await world.settled(rejectionOf(run('1')));
    await transactions.resolve('1', { do: 'complete', result: 1 });
    expect(events).toContainEqual({ type: 'transaction.resolved', decision: 'complete', step: 'a', ...of });
  });

  test('of one that is lost', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    void rejectionOf(process.transactions.define('trip', never)('1'));
    await world.clock.advance(0);
    process.die();
    await world.clock.advance(LEASE_MS);
    expect(process.events).toContainEqual({ type: 'transaction.fenced', error: expect.any(String), ...of });
  });

  test('of a journal that could not be written', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    const errors = [new Error('no connection')];
    process.obstacle = () => {
      if (process.writes.length === 0 || errors.length === 0) return;
      throw errors.pop();
    };
    await world.settled(process.transactions.define('trip', (tx) => tx.step('a', () => 1))('1'));
    expect(process.events).toContainEqual({
      type: 'journal.delayed',
      attempt: 1,
      error: expect.stringContaining('no connection'),
      ...of,
    });
  });

  test('come after the fact is durable', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    const { began, release } = process.hold();
    const run = process.transactions.run('1', () => 1);
    await began;
    await world.clock.advance(0);
    expect(process.types).toEqual([]);
    release();
    await run;
    expect(process.types).toEqual(['transaction.started', 'transaction.done']);
  });
});

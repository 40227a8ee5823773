import { describe, expect, test } from 'vitest';
import type { Tx } from '../../src/transactions/transaction.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

type Run = () => unknown;
type Wait = (world: TransactionWorld) => Promise<unknown>;

/** What lies between the steps of the longer branch and the one in which the process died. */
const ways: readonly (readonly [string, Wait])[] = [
  ['at once', async () => undefined],
  ['fifty promises later', () => fiftyPromises()],
  ['a turn of the event loop later', () => new Promise(setImmediate)],
  ['a while later', (world) => world.clock.sleep(200)],
];

async function fiftyPromises(): Promise<void> {
  for (let count = 0; count < 50; count++) await undefined;
}

/** Two branches of a body: on one a read, on the other two steps that are done when the process dies in a third. */
class Branches {
  readonly world = new TransactionWorld();
  readonly #wait: Wait;

  constructor(wait: Wait) {
    this.#wait = wait;
  }

  body(tx: Tx, short: Run, long: Run): Promise<unknown> {
    const { world } = this;
    const longer = async () => {
      await tx.step('a', () => world.effect('a'), world.undo);
      await tx.step('b', () => world.effect('b'), world.undo);
      await this.#wait(world);
      await tx.step('c', long, world.undo);
    };
    return Promise.all([tx.step('short', short, { effect: 'none' }), longer()]);
  }

  async die(around: (tx: Tx, run: (tx: Tx) => Promise<unknown>) => unknown = (tx, run) => run(tx)): Promise<void> {
    const { world } = this;
    const inFlight = () => {
      world.effect('c');
      return never();
    };
    const dead = world.process();
    const run = dead.transactions.define('trip', (tx) => around(tx, (inner) => this.body(inner, never, inFlight)));
    void run('1').catch(() => {});
    await world.clock.advance(1_000);
    dead.die();
  }
}

const soldOut = () => Promise.reject(new Error('sold out'));

describe.each(ways)('a step in flight at a crash that the longer branch asks for %s', (_, wait) => {
  test('is found and compensated when the next life goes back', async () => {
    const branches = new Branches(wait);
    const { world } = branches;
    await branches.die();
    const again = () => world.effect('c');
    const { report } = await world.nextLife((tx) => branches.body(tx, () => 1, again), { onCrash: 'rollback' });
    expect(report.rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['a', 'b', 'c', 'c', 'undo c', 'undo b', 'undo a']);
  });

  test('is found and compensated when the shorter branch fails in the next life', async () => {
    const branches = new Branches(wait);
    const { world } = branches;
    await branches.die();
    const { report } = await world.nextLife((tx) => branches.body(tx, soldOut, () => world.effect('c')));
    expect(report.rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['a', 'b', 'c', 'c', 'undo c', 'undo b', 'undo a']);
  });

  test('is found and compensated when both are in a nest that fails', async () => {
    const branches = new Branches(wait);
    const { world } = branches;
    const nested = (tx: Tx, run: (tx: Tx) => Promise<unknown>) => tx.nest('n', run).catch(() => 'caught');
    await branches.die(nested);
    const again = () => world.effect('c');
    const { report } = await world.nextLife((tx) => nested(tx, (inner) => branches.body(inner, soldOut, again)));
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['a', 'b', 'c', 'c', 'undo c', 'undo b', 'undo a']);
    expect(await world.view()).toMatchObject({ status: 'done', result: 'caught' });
  });
});

describe.each(ways)('a step that is recorded and that the longer branch asks for %s', (_, wait) => {
  /** The shorter branch fails at once when it is replayed; it took its time when it first ran. */
  const failsLater = async (tx: Tx, world: TransactionWorld, undo: Run) => {
    const longer = async () => {
      await tx.step('a', () => world.effect('a'), undo);
      await wait(world);
      await tx.step('b', () => world.effect('b'), undo);
    };
    await Promise.all([longer(), tx.step('short', () => world.clock.sleep(500).then(soldOut))]);
  };

  test('does not count as run no longer, in a transaction that goes back', async () => {
    const world = new TransactionWorld();
    const dead = world.process();
    const run = dead.transactions.define('trip', (tx) => failsLater(tx, world, () => dead.crash()));
    void run('1').catch(() => {});
    await world.clock.advance(1_000);
    const { report } = await world.nextLife((tx) => failsLater(tx, world, () => world.effect('undo')));
    expect(report.rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['a', 'b', 'undo', 'undo']);
  });

  test('does not count as run no longer, in a nest that goes back', async () => {
    const world = new TransactionWorld();
    const dead = world.process();
    const nested = (undo: Run) => (tx: Tx) =>
      tx.nest('n', (inner) => failsLater(inner, world, undo)).catch(() => 'caught');
    void dead.transactions
      .define(
        'trip',
        nested(() => dead.crash()),
      )('1')
      .catch(() => {});
    await world.clock.advance(1_000);
    const { report } = await world.nextLife(nested(() => world.effect('undo')));
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['a', 'b', 'undo', 'undo']);
  });
});

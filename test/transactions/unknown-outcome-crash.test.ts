import { describe, expect, test } from 'vitest';
import type { StepOptions, Tx } from '../../src/transactions/transaction.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

/** A transaction of two steps. Its process died while the second, `pay`, was under way and had had its effect. */
async function diedWhilePaying(options: Omit<StepOptions<string>, 'compensate'>) {
  const world = new TransactionWorld();
  const body = (pay: () => string | Promise<string>, after?: (tx: Tx) => unknown) => async (tx: Tx) => {
    await tx.step('book', () => world.effect('book'), world.undo);
    const paid = await tx.step('pay', pay, { ...options, compensate: world.undo });
    await after?.(tx);
    return paid;
  };
  await world.firstLife(
    body(() => {
      world.effect('pay');
      return never();
    }),
  );
  const again = body(() => world.effect('pay'));
  const failing = body(
    () => world.effect('pay'),
    () => {
      throw new Error('sold out');
    },
  );
  return { world, again, failing };
}

describe('after a crash, going forward, a step that was under way', () => {
  test('and is idempotent is run again with the same key', async () => {
    const world = new TransactionWorld();
    const keys: string[] = [];
    await world.firstLife((tx) =>
      tx.step('pay', (step) => {
        keys.push(step.key);
        return never();
      }),
    );
    const { report } = await world.nextLife((tx) => tx.step('pay', (step) => keys.push(step.key)));
    expect(report.resumed).toEqual(['1']);
    expect(keys).toEqual([keys[0], keys[0]]);
    expect(keys[0]).toMatch(/^[\w-]{43}$/);
  });

  test('and that `verify` finds is not run again: what it found is the result', async () => {
    const { world, again } = await diedWhilePaying({ verify: () => 'found' });
    const { report } = await world.nextLife(again);
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['book', 'pay']);
    expect(await world.view()).toMatchObject({ status: 'done', result: 'found' });
  });

  test('and that `verify` does not find is run again', async () => {
    const { world, again } = await diedWhilePaying({ verify: () => undefined });
    await world.nextLife(again);
    expect(world.did).toEqual(['book', 'pay', 'pay']);
    expect(await world.view()).toMatchObject({ status: 'done', result: 'pay' });
  });

  test('and of which `verify` cannot tell is not run again, and the transaction is stuck', async () => {
    const { world, again } = await diedWhilePaying({
      verify: () => {
        throw new Error('bank is closed');
      },
    });
    const { report } = await world.nextLife(again);
    expect(report.stuck).toEqual(['1']);
    expect(world.did).toEqual(['book', 'pay']);
    expect(await world.view()).toMatchObject({
      status: 'stuck',
      stuck: { reason: 'unknown-outcome', step: 'pay' },
      error: { message: 'bank is closed' },
    });
  });

  test('and may happen once is not run again, and the transaction is stuck', async () => {
    const { world, again } = await diedWhilePaying({ effect: 'once' });
    const { report } = await world.nextLife(again);
    expect(report.stuck).toEqual(['1']);
    expect(world.did).toEqual(['book', 'pay']);
    expect(await world.view()).toMatchObject({ stuck: { reason: 'unknown-outcome', step: 'pay' } });
  });

  test('and may happen once is not stuck if `verify` can tell', async () => {
    const { world, again } = await diedWhilePaying({ effect: 'once', verify: () => 'found' });
    const { report } = await world.nextLife(again);
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['book', 'pay']);
  });

  test('and only reads is run again without asking', async () => {
    const { world, again } = await diedWhilePaying({ effect: 'none', verify: () => never() });
    const { report } = await world.nextLife(again);
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['book', 'pay', 'pay']);
  });

  test('does not make `verify` ask for one that was never begun in a first life', async () => {
    const world = new TransactionWorld();
    const asked: string[] = [];
    const verify = () => void asked.push('pay');
    await world.process().transactions.run('1', (tx) => tx.step('pay', () => 1, { verify: verify as () => undefined }));
    expect(asked).toEqual([]);
  });
});

describe('a step that may happen once', () => {
  test('and was never announced is run by the next life', async () => {
    const world = new TransactionWorld();
    const body = (book: () => unknown) => async (tx: Tx) => {
      await tx.step('book', book);
      await tx.step('pay', () => world.effect('pay'), { effect: 'once' });
    };
    await world.firstLife(body(never));
    const { report } = await world.nextLife(body(() => 1));
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['pay']);
  });

  test('is announced durably before it runs', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    const run = process.transactions.run('1', (tx) => tx.step('pay', () => world.effect('pay'), { effect: 'once' }));
    let hold: ReturnType<typeof process.hold> | undefined;
    process.obstacle = () => {
      hold = process.hold(); // The beginning passes; what comes next is held.
    };
    await world.clock.advance(0);
    await hold?.began;
    expect(world.did).toEqual([]);
    hold?.release();
    await run;
    expect(await world.journal()).toEqual(['begun', 'announced pay', 'done pay', 'finished']);
  });

  test('is not announced unless it may happen only once', async () => {
    const world = new TransactionWorld();
    await world.process().transactions.run('1', (tx) => tx.step('pay', () => 1));
    expect(await world.journal()).toEqual(['begun', 'done pay', 'finished']);
  });
});

describe('after a crash, going back, a step that was under way', () => {
  const back = { onCrash: 'rollback' } as const;

  test('and is idempotent is run again to learn its result, then compensated with it', async () => {
    const { world, again } = await diedWhilePaying({});
    const { report } = await world.nextLife(again, back);
    expect(report.rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['book', 'pay', 'pay', 'undo pay', 'undo book']);
    expect(await world.view()).toMatchObject({ compensated: ['pay', 'book'], leftBehind: [] });
  });

  test('and is idempotent and fails now did not happen: there is nothing to compensate', async () => {
    const { world } = await diedWhilePaying({});
    const { report } = await world.nextLife(async (tx) => {
      await tx.step('book', () => world.effect('book'), world.undo);
      await tx.step('pay', () => Promise.reject(new Error('declined')), world.undo);
    }, back);
    expect(report.rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['book', 'pay', 'undo book']);
  });

  test('and is idempotent without a compensation is left behind, and not run again', async () => {
    const world = new TransactionWorld();
    const body = (pay: () => unknown) => async (tx: Tx) => {
      await tx.step('book', () => world.effect('book'), world.undo);
      await tx.step('pay', pay);
    };
    await world.firstLife(body(never));
    await world.nextLife(
      body(() => world.effect('pay')),
      back,
    );
    expect(world.did).toEqual(['book', 'undo book']);
    expect(await world.view()).toMatchObject({ status: 'rolled-back', compensated: ['book'], leftBehind: ['pay'] });
  });

  test('and that `verify` finds is compensated with what it found', async () => {
    const { world, again } = await diedWhilePaying({ verify: () => 'found' });
    await world.nextLife(again, back);
    expect(world.did).toEqual(['book', 'pay', 'undo found', 'undo book']);
  });

  test('and that `verify` does not find is neither run nor compensated', async () => {
    const { world, again } = await diedWhilePaying({ verify: () => undefined });
    await world.nextLife(again, back);
    expect(world.did).toEqual(['book', 'pay', 'undo book']);
    expect(await world.view()).toMatchObject({ status: 'rolled-back', leftBehind: [] });
  });

  test('and may happen once is not run: nothing is compensated before somebody says what happened', async () => {
    const { world, again } = await diedWhilePaying({ effect: 'once' });
    const { report } = await world.nextLife(again, back);
    expect(report.stuck).toEqual(['1']);
    expect(world.did).toEqual(['book', 'pay']);
    expect(await world.view()).toMatchObject({ stuck: { reason: 'unknown-outcome', step: 'pay' } });
  });

  test('is settled before anything is compensated when the next life itself fails', async () => {
    const { world, failing } = await diedWhilePaying({});
    const { report } = await world.nextLife(failing);
    expect(report.rolledBack).toEqual(['1']);
    expect(world.did).toEqual(['book', 'pay', 'pay', 'undo pay', 'undo book']);
  });

  test('is not settled twice: once all are, that is written down before the first compensation', async () => {
    const { world, again } = await diedWhilePaying({ verify: () => 'found' });
    const second = world.process();
    second.transactions.define('trip', again, back);
    second.obstacle = () => {
      // Dies when it has written down the first compensation, and nobody answers.
      if (second.writes.length === 4) second.die();
    };
    void second.transactions.recover({ waitMs: 60_000 }).catch(() => {});
    await world.clock.advance(30_000);
    expect(await world.journal()).toEqual([
      ...['begun', 'done book', 'taken-over', 'compensating', 'done pay', 'sealed'],
    ]);
    world.did.length = 0;
    await world.nextLife(async (tx) => {
      await tx.step('book', () => world.effect('book'), world.undo);
      await tx.step('pay', () => world.effect('pay'), { compensate: world.undo, verify: () => never<string>() });
      await tx.step('never begun', () => world.effect('never begun'), world.undo);
    }, back);
    expect(world.did).toEqual(['undo found', 'undo book']);
  });
});

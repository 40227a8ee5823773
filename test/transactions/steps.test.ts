import { describe, expect, test } from 'vitest';
import { bulkhead } from '../../src/policies/bulkhead.js';
import { RetryManager } from '../../src/policies/retry-manager.js';
import type { StepContext, Tx } from '../../src/transactions/transaction.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { TransactionWorld } from '../support/transaction-world.js';

describe('what is done is durable before it is seen:', () => {
  test('the beginning before the first effect', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    const { began, release } = process.hold();
    const run = process.transactions.run('1', (tx) => tx.step('book', () => world.effect('book')));
    await began;
    await world.clock.advance(0);
    expect(world.did).toEqual([]);
    release();
    await run;
    expect(world.did).toEqual(['book']);
  });

  test('a result before the body sees it', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    const ran = deferred();
    const run = process.transactions.run('1', async (tx) => {
      await tx.step('book', () => {
        held = process.hold();
        ran.resolve();
      });
      world.effect('seen');
    });
    let held: ReturnType<typeof process.hold> | undefined;
    await ran.promise;
    await world.clock.advance(0);
    expect(world.did).toEqual([]);
    held?.release();
    await run;
    expect(world.did).toEqual(['seen']);
  });

  test('a failure before the body sees it', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    let held: ReturnType<typeof process.hold> | undefined;
    const run = process.transactions.run('1', async (tx) => {
      const failing = tx.step('book', () => {
        held = process.hold();
        throw new Error('sold out');
      });
      await failing.catch(() => world.effect('seen'));
    });
    await world.clock.advance(0);
    expect(world.did).toEqual([]);
    held?.release();
    await run;
    expect(world.did).toEqual(['seen']);
  });

  test.each([
    ['done', () => undefined],
    ['rolled-back', () => Promise.reject(new Error('sold out'))],
  ])('the end before the caller sees it: %s', async (status, end) => {
    const world = new TransactionWorld();
    const process = world.process();
    let held: ReturnType<typeof process.hold> | undefined;
    const outcome = process.transactions.run('1', async (tx) => {
      await tx.step('book', () => 1);
      held = process.hold();
      return end();
    });
    const seen = outcome.then(
      () => world.effect('seen'),
      () => world.effect('seen'),
    );
    await world.clock.advance(0);
    expect(world.did).toEqual([]);
    held?.release();
    await seen;
    expect(await world.view()).toMatchObject({ status });
  });
});

describe('the journal', () => {
  test('of five steps takes seven writes', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    await process.transactions.run('1', async (tx) => {
      for (let step = 1; step <= 5; step++) await tx.step(`${step}`, () => step);
    });
    expect(process.writes).toHaveLength(7);
  });

  test('takes results that come together with one write', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    await process.transactions.run('1', async (tx) => {
      const gate = deferred();
      const steps = [1, 2, 3, 4, 5].map((step) => tx.step(`${step}`, () => gate.promise));
      gate.resolve();
      await Promise.all(steps);
    });
    expect(process.writes.length).toBeLessThan(5); // Begin, the first result, the other four, end.
  });

  test('keeps ten thousand steps, and a resumed body gets them all back', async () => {
    const world = new TransactionWorld();
    const body = (last: () => unknown) => async (tx: Tx) => {
      let sum = 0;
      for (let batch = 0; batch < 100; batch++) {
        const names = Array.from({ length: 100 }, (_, index) => batch * 100 + index);
        const results = await Promise.all(names.map((name) => tx.step(`step ${name}`, () => name)));
        sum += results.reduce((all, one) => all + one, 0);
      }
      await tx.step('last', last);
      return sum;
    };
    const dead = world.process();
    const ended = deferred();
    void rejectionOf(
      dead.transactions.define(
        'trip',
        body(() => {
          ended.resolve();
          return dead.crash();
        }),
      )('1'),
    );
    await ended.promise;
    const { report } = await world.nextLife(body(() => 1));
    expect(report.resumed).toEqual(['1']);
    const { result, steps } = await world.view();
    expect({ result, steps: steps.length }).toEqual({ result: (9_999 * 10_000) / 2, steps: 10_001 });
  });
});

describe('a step', () => {
  test('is told whose it is, and has a key that is its own', async () => {
    const world = new TransactionWorld();
    const told: StepContext[] = [];
    const { transactions } = world.process();
    const body = async (tx: Tx) => {
      await tx.step('book', (step) => void told.push(step));
      await tx.step('pay', (step) => void told.push(step));
    };
    await transactions.run('1', body);
    await transactions.run('2', body);
    expect(told).toMatchObject([
      { transaction: '1', step: 'book', fence: 1, attempt: 1 },
      { transaction: '1', step: 'pay' },
      { transaction: '2', step: 'book' },
      { transaction: '2', step: 'pay' },
    ]);
    expect(new Set(told.map(({ key }) => key)).size).toBe(4);
    expect(told.every(({ key, operationId }) => key === operationId)).toBe(true);
  });

  test('is not aborted when it has ended, whatever becomes of the transaction', async () => {
    const world = new TransactionWorld();
    let signal: AbortSignal | undefined;
    const run = world.process().transactions.run('1', async (tx) => {
      await tx.step('book', (step) => {
        signal = step.signal;
      });
      throw new Error('sold out');
    });
    await rejectionOf(run);
    expect(signal?.aborted).toBe(false);
  });

  test('knows the deadline of its attempt, and is told when it is over', async () => {
    const world = new TransactionWorld();
    const deadlines: (number | undefined)[] = [];
    let signal: AbortSignal | undefined;
    const hang = (step: StepContext) => {
      deadlines.push(step.deadlineAtMs);
      signal = step.signal;
      return new Promise(() => undefined);
    };
    const atMs = world.clock.now();
    const run = world.process().transactions.run('1', (tx) => tx.step('book', hang, { timeoutMs: 5_000 }));
    await world.settled(rejectionOf(run));
    expect(deadlines).toEqual([atMs + 5_000]);
    expect(signal?.reason).toMatchObject({ name: 'TimeoutError' });
  });

  test('goes through its circuit, which is found by name in the policies of the manager', async () => {
    const world = new TransactionWorld();
    const policies = new RetryManager({ clock: world.clock });
    policies.circuits.get('bank').isolate();
    const { transactions } = world.process({ policies });
    const run = transactions.run('1', (tx) =>
      tx.step('pay', () => world.effect('pay'), { circuit: 'bank', effect: 'once' }),
    );
    expect(await rejectionOf(run)).toMatchObject({ code: 'HOLDFAST_ROLLED_BACK', leftBehind: [] });
    expect(world.did).toEqual([]);
  });

  test('takes a place in its bulkhead', async () => {
    const world = new TransactionWorld();
    const one = bulkhead({ maxRunning: 1, maxWaiting: 10 });
    let running = 0;
    const most: number[] = [];
    const busy = async () => {
      most.push(++running);
      await world.clock.sleep(10);
      running--;
    };
    const run = world
      .process()
      .transactions.run('1', (tx) =>
        Promise.all(['a', 'b', 'c'].map((name) => tx.step(name, busy, { bulkhead: one }))),
      );
    await world.settled(run);
    expect(most).toEqual([1, 1, 1]);
  });
});

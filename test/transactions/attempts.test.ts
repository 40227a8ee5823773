import { describe, expect, test } from 'vitest';
import { RetryManager } from '../../src/policies/retry-manager.js';
import type { StepContext, StepOptions, StepRetryOptions, Tx } from '../../src/transactions/transaction.js';
import { rejectionOf } from '../support/deferred.js';
import { TransactionWorld } from '../support/transaction-world.js';

const HOUR_MS = 3_600_000;

function every(baseMs: number, maxRetries = 3): StepRetryOptions {
  return { maxRetries, backoff: { kind: 'constant', baseMs, maxMs: baseMs, jitter: 'none' } };
}

/** A function of a step that notes its attempts and refuses them all. */
function refusing(world: TransactionWorld, what: string) {
  return (...given: unknown[]): Promise<never> => {
    world.effect(`${what} ${(given.at(-1) as StepContext).attempt}`);
    return Promise.reject(new Error('503'));
  };
}

function timeoutError(): Error {
  return Object.assign(new Error('late'), { name: 'TimeoutError' });
}

describe('a process that slept through its lease between two attempts', () => {
  async function afterTheSleep(body: (tx: Tx, world: TransactionWorld) => Promise<unknown>) {
    const world = new TransactionWorld();
    const outcome = rejectionOf(world.process().transactions.run('1', (tx) => body(tx, world)));
    await world.clock.advance(0);
    world.clock.jumpWall(60_000);
    await world.clock.advance(1_500);
    return { world, error: await outcome };
  }

  test('runs no other attempt of a step, whatever its options say', async () => {
    const { world, error } = await afterTheSleep((tx, seen) =>
      tx.step('charge', refusing(seen, 'charge'), { retry: { ...every(1_000), classify: () => 'retry' as const } }),
    );
    expect(error).toMatchObject({ code: 'HOLDFAST_FENCED' });
    expect(world.did).toEqual(['charge 1']);
  });

  test('does not so much as plan another attempt', async () => {
    const world = new TransactionWorld();
    const events: string[] = [];
    const policies = new RetryManager({ clock: world.clock, emit: ({ type }) => events.push(type) });
    const { transactions } = world.process({ policies });
    const compensation = { compensate: refusing(world, 'refund'), compensateRetry: every(1_000) };
    const run = transactions.run('1', async (tx) => {
      await tx.step('charge', () => 'c', compensation);
      throw new Error('no');
    });
    void rejectionOf(run);
    await world.clock.advance(0);
    world.clock.jumpWall(60_000);
    await world.clock.advance(10_000);
    expect(events.filter((type) => type === 'retry.scheduled')).toHaveLength(1);
  });

  test('does not ask `verify` again', async () => {
    const { world, error } = await afterTheSleep((tx, seen) =>
      tx.step('charge', () => Promise.reject(timeoutError()), {
        retry: every(1_000),
        verify: refusing(seen, 'verify'),
      }),
    );
    expect(error).toMatchObject({ code: 'HOLDFAST_FENCED' });
    expect(world.did).toEqual(['verify 1']);
  });

  test('runs no other attempt of a compensation', async () => {
    const { world, error } = await afterTheSleep(async (tx, seen) => {
      await tx.step('charge', () => 'c', { compensate: refusing(seen, 'refund'), compensateRetry: every(1_000) });
      throw new Error('no');
    });
    expect(error).toMatchObject({ code: 'HOLDFAST_FENCED' });
    expect(world.did).toEqual(['refund 1']);
  });

  test('charges nothing that another process has charged by then', async () => {
    const world = new TransactionWorld();
    const body = (who: string) => (tx: Tx) =>
      tx.step(
        'charge',
        ({ attempt }) => (who === 'A' && attempt === 1 ? Promise.reject(new Error('503')) : world.effect(who)),
        { retry: every(3_000), verify: () => undefined },
      );
    const first = world.process();
    const outcome = rejectionOf(first.transactions.define('trip', body('A'))('1'));
    await world.clock.advance(0);
    first.stopBeating();
    world.clock.jumpWall(60_000);
    const second = world.process();
    second.transactions.define('trip', body('B'));
    await world.recoverBy(second);
    expect(world.did).toEqual(['B']);
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_FENCED' });
  });
});

describe('close, while a step waits an hour for its next attempt,', () => {
  async function closedInAWait(options: StepOptions<unknown>) {
    const world = new TransactionWorld();
    const first = world.process();
    const body = (charge: () => unknown) => (tx: Tx) =>
      tx.step('charge', charge, { retry: every(HOUR_MS), ...options });
    const run = first.transactions.define(
      'trip',
      body(() => Promise.reject(new Error('503'))),
    );
    const outcome = rejectionOf(run('1'));
    await world.clock.advance(1_000);
    let isClosed = false;
    const closing = first.transactions.close().then(() => {
      isClosed = true;
    });
    await world.clock.advance(1_000);
    return { world, body, outcome, closing, isClosed: () => isClosed };
  }

  test('ends the wait and records nothing: another process runs the step', async () => {
    const { world, body, outcome, isClosed } = await closedInAWait({});
    expect(isClosed()).toBe(true);
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_CLOSED' });
    expect(await world.journal()).toEqual(['begun', 'released']);
    const { report } = await world.nextLife(body(() => world.effect('charge')));
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['charge']);
  });

  test('has the next process ask `verify` first', async () => {
    let isKnown = false;
    const verify = () => (isKnown ? 'charged' : undefined);
    const { world, body } = await closedInAWait({ effect: 'once', verify });
    isKnown = true;
    const { process, report } = await world.nextLife(body(() => world.effect('charge')));
    expect(report.resumed).toEqual(['1']);
    expect(await process.transactions.get('1')).toMatchObject({ status: 'done', result: 'charged' });
    expect(world.did).toEqual([]);
  });

  test('waits for one that may happen once and cannot be asked about: else the next process could not tell', async () => {
    const { world, outcome, closing, isClosed } = await closedInAWait({ effect: 'once' });
    expect(isClosed()).toBe(false);
    await world.clock.advance(3 * HOUR_MS);
    await closing;
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_CLOSED' });
    expect(await world.journal()).toEqual(['begun', 'announced charge', 'failed charge', 'released']);
  });
});

test('close does not cut off an attempt, and one that fails for the last time has failed', async () => {
  const world = new TransactionWorld();
  const first = world.process();
  const aborted: boolean[] = [];
  const charge = async ({ signal, attempt }: StepContext) => {
    await world.clock.sleep(1_000);
    aborted.push(signal.aborted);
    throw new Error(`503 at ${attempt}`);
  };
  const outcome = rejectionOf(first.transactions.run('1', (tx) => tx.step('charge', charge, { retry: every(100, 1) })));
  await world.clock.advance(1_500);
  await world.settled(first.transactions.close());
  await outcome;
  expect(aborted).toEqual([false, false]);
  expect(await world.journal()).toEqual(['begun', 'failed charge', 'released']);
});

test('close during an attempt lets no other begin', async () => {
  const world = new TransactionWorld();
  const first = world.process();
  const charge = ({ attempt }: StepContext) => {
    world.effect(`charge ${attempt}`);
    return world.clock.sleep(1_000).then(() => Promise.reject(new Error('503')));
  };
  void rejectionOf(first.transactions.run('1', (tx) => tx.step('charge', charge, { retry: every(HOUR_MS) })));
  await world.clock.advance(500);
  await world.settled(first.transactions.close());
  expect(world.did).toEqual(['charge 1']);
  expect(await world.journal()).toEqual(['begun', 'released']);
});

test('close ends the wait of a compensation for its next attempt, and leaves nothing stuck', async () => {
  const world = new TransactionWorld();
  const first = world.process();
  const body = (compensate: (...given: never[]) => unknown) => async (tx: Tx) => {
    await tx.step('charge', () => 'c', { compensate, compensateRetry: every(HOUR_MS) });
    throw new Error('no');
  };
  const outcome = rejectionOf(first.transactions.define('trip', body(refusing(world, 'refund')))('1'));
  await world.clock.advance(1_000);
  await world.settled(first.transactions.close());
  expect(await outcome).toMatchObject({ code: 'HOLDFAST_CLOSED' });
  const { report } = await world.nextLife(body(world.undo));
  expect(report.rolledBack).toEqual(['1']);
  expect(world.did).toEqual(['refund 1', 'undo c']);
});

test('close ends the wait of `verify` for its next attempt, and leaves nothing stuck', async () => {
  const world = new TransactionWorld();
  const first = world.process();
  const body = (verify: () => Promise<string>) => (tx: Tx) =>
    tx.step('charge', () => Promise.reject(timeoutError()), { verify, retry: every(HOUR_MS) });
  void rejectionOf(
    first.transactions.define(
      'trip',
      body(() => Promise.reject(new Error('bank is down'))),
    )('1'),
  );
  await world.clock.advance(1_000);
  await world.settled(first.transactions.close());
  expect(await world.journal()).toEqual(['begun', 'released']);
  const { report } = await world.nextLife(body(async () => 'c'));
  expect(report.resumed).toEqual(['1']);
});

test('a step that gets stuck ends the wait of another, which has not failed by that', async () => {
  const world = new TransactionWorld();
  const run = world
    .process()
    .transactions.run('1', (tx) =>
      Promise.all([
        tx.step('mail', refusing(world, 'mail'), { retry: every(HOUR_MS) }),
        tx.step('charge', () => world.clock.sleep(10).then(() => Promise.reject(timeoutError())), { effect: 'once' }),
      ]),
    );
  void rejectionOf(run);
  await world.clock.advance(1_000);
  expect(await world.view()).toMatchObject({ status: 'stuck', stuck: { step: 'charge' } });
  expect(await world.journal()).not.toContain('failed mail');
});

test('close ends the wait of `verify` on the way back, and leaves nothing stuck', async () => {
  const world = new TransactionWorld();
  const first = world.process();
  const body = (verify: () => Promise<string>) => (tx: Tx) =>
    Promise.all([
      tx.step('charge', (step) => cutOff(step.signal), { verify, retry: every(HOUR_MS), compensate: world.undo }),
      tx.step('bad', () => world.clock.sleep(10).then(() => Promise.reject(new Error('bad')))),
    ]);
  const asks = () => Promise.reject(new Error('bank is down'));
  const outcome = rejectionOf(first.transactions.define('trip', body(asks))('1'));
  await world.clock.advance(1_000);
  await world.settled(first.transactions.close());
  expect(await outcome).toMatchObject({ code: 'HOLDFAST_CLOSED' });
  const { report } = await world.nextLife(body(async () => 'c'));
  expect(report.rolledBack).toEqual(['1']);
  expect(world.did).toEqual(['undo c']);
});

test('the end of an attempt that was given up does not make the next one look ended: it is waited for', async () => {
  const world = new TransactionWorld();
  const charge = async ({ attempt }: StepContext) => {
    await world.clock.sleep(attempt === 1 ? 1_500 : 900); // The first one hears no signal.
    return world.effect(`charge ${attempt}`);
  };
  const run = world
    .process()
    .transactions.run('1', (tx) =>
      Promise.all([
        tx.step('charge', charge, { timeoutMs: 1_000, retry: every(100, 1), compensate: world.undo }),
        world.clock.sleep(1_700).then(() => tx.step('bad', () => Promise.reject(new Error('bad')))),
      ]),
    );
  expect(await world.settled(rejectionOf(run))).toMatchObject({ compensated: ['charge'], leftBehind: [] });
  expect(world.did).toEqual(['charge 1', 'charge 2', 'undo charge 2']);
});

/** Rejects with what the signal is aborted with, as `fetch` does. */
function cutOff(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
}

import { describe, expect, test } from 'vitest';
import { ClosedError } from '../../src/base/errors.js';
import { RetryManager } from '../../src/policies/retry-manager.js';
import { memoryStorage } from '../../src/storage/memory.js';
import type { StepOptions, Tx } from '../../src/transactions/transaction.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { TransactionWorld, type WorldProcess } from '../support/transaction-world.js';

describe('`verify` is asked after a failure that looks certain:', () => {
  async function pays(options: StepOptions<string>, ...answers: (() => string)[]) {
    const world = new TransactionWorld();
    const pay = () => {
      world.effect('pay');
      return (answers.shift() ?? badGateway)();
    };
    const run = world.process().transactions.run('1', (tx) => tx.step('pay', pay, options));
    const outcome = await world.settled(run.catch((error: unknown) => error));
    return { world, outcome };
  }
  const badGateway = (): string => {
    throw Object.assign(new Error('bad gateway'), { status: 502 });
  };

  test('what it finds is the result, and nothing is run again', async () => {
    const { world, outcome } = await pays({ retry: 3, verify: () => 'found' });
    expect(outcome).toBe('found');
    expect(world.did).toEqual(['pay']);
  });

  test.each([undefined, null, false as const])(
    'if it answers %s the step did not happen, and is run again',
    async (answer) => {
      const { world, outcome } = await pays({ retry: 3, verify: () => answer }, badGateway, () => 'paid');
      expect(outcome).toBe('paid');
      expect(world.did).toEqual(['pay', 'pay']);
    },
  );

  test('if it says no to the last failure, that stands', async () => {
    const { world, outcome } = await pays({ effect: 'once', verify: () => undefined });
    expect(outcome).toMatchObject({ code: 'HOLDFAST_ROLLED_BACK', cause: { status: 502 } });
    expect(await world.journal()).toEqual(['begun', 'announced pay', 'failed pay', 'compensating', 'rolled-back']);
  });

  test('if it cannot tell, the failure stays a certain one', async () => {
    const { world, outcome } = await pays({
      effect: 'once',
      verify: () => Promise.reject(new Error('bank is closed')),
    });
    expect(outcome).toMatchObject({ code: 'HOLDFAST_ROLLED_BACK', cause: { status: 502 } });
    expect((await world.view()).steps).toMatchObject([{ name: 'pay', status: 'failed' }]);
  });

  test('not of a step that only reads', async () => {
    const { outcome } = await pays({ effect: 'none', verify: () => 'found' });
    expect(outcome).toMatchObject({ code: 'HOLDFAST_ROLLED_BACK' });
  });

  test('not of one that was refused before it began', async () => {
    const policies = new RetryManager();
    policies.circuits.get('bank').isolate();
    const world = new TransactionWorld();
    const { transactions } = world.process({ policies });
    const verify = () => world.effect('asked');
    const run = transactions.run('1', (tx) => tx.step('pay', () => 'paid', { circuit: 'bank', verify }));
    expect(await world.settled(rejectionOf(run))).toMatchObject({ cause: { code: 'HOLDFAST_CIRCUIT_OPEN' } });
    expect(world.did).toEqual([]);
  });

  test('of one that fails after the transaction did only on the way back', async () => {
    const world = new TransactionWorld();
    const asked: string[] = [];
    const verify = async () => {
      asked.push((await world.view()).status);
      return 'found';
    };
    const run = world
      .process()
      .transactions.run('1', (tx) =>
        Promise.all([
          tx.step('pay', () => world.clock.sleep(1_000).then(badGateway), { verify, compensate: world.undo }),
          tx.step('bad', () => Promise.reject(new Error('bad'))),
        ]),
      );
    expect(await world.settled(rejectionOf(run))).toMatchObject({ compensated: ['pay'] });
    expect(asked).toEqual(['compensating']);
    expect(world.did).toEqual(['undo found']);
  });
});

describe('a step that something ended under, which ends with this process,', () => {
  function childOf({ transactions }: WorldProcess, world: TransactionWorld) {
    return transactions.define('child', async (tx: Tx) => {
      await tx.step('charge', () => world.effect('charge'), world.undo);
      await tx.step('wait', () => world.clock.sleep(1_000), { effect: 'none' });
      await tx.step('mail', () => world.effect('mail'));
      return 'charged';
    });
  }

  const wraps = (cause: unknown): never => {
    throw new Error('the child failed', { cause });
  };

  test.each<[string, StepOptions<string>]>([
    ['one that can be compensated', { compensate: () => 'refund' }],
    ['one with retries', { retry: 3 }],
    ['one that can be asked about and would say no', { verify: () => undefined }],
    ['one that only reads', { effect: 'none' }],
  ])('is not recorded, and goes on with the next: %s', async (_, options) => {
    const world = new TransactionWorld();
    const parentOf = (process: WorldProcess) => {
      const child = childOf(process, world);
      return process.transactions.define('parent', async (tx: Tx) => {
        await tx.step('book', () => world.effect('book'), world.undo);
        return tx.step<string>('pay', () => child('c').catch(wraps), options);
      });
    };
    const first = world.process();
    const outcome = rejectionOf(parentOf(first)('p'));
    await world.clock.advance(100);
    await world.settled(first.transactions.close());
    await outcome;
    expect(await world.journal('p')).toEqual(['begun', 'done book', 'released']);
    const second = world.process();
    parentOf(second);
    expect((await world.recoverBy(second)).resumed).toEqual(['c', 'p']);
    expect(world.did).toEqual(['book', 'charge', 'mail']);
    expect(await world.view('p')).toMatchObject({ status: 'done', result: 'charged' });
  });

  test('is not recorded if what ended was a step inside it', async () => {
    const world = new TransactionWorld();
    const first = world.process();
    const gate = deferred();
    const body = (ready: Promise<void>) => (tx: Tx) =>
      tx.step('outer', () => ready.then(() => tx.step('inner', () => world.effect('inner'), world.undo)), world.undo);
    void rejectionOf(first.transactions.define('trip', body(gate.promise))('1'));
    await world.clock.advance(0);
    const closing = first.transactions.close();
    gate.resolve();
    await world.settled(closing);
    expect(await world.journal()).toEqual(['begun', 'released']);
    expect((await world.nextLife(body(Promise.resolve()))).report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['inner']);
  });

  test('has an unknown outcome while the transaction itself goes on', async () => {
    const world = new TransactionWorld();
    const thrown = new ClosedError('The TransactionManager of another room');
    const run = world
      .process()
      .transactions.run('1', (tx) => tx.step('pay', () => Promise.reject(thrown), { retry: 3 }));
    expect(await world.settled(rejectionOf(run))).toMatchObject({ cause: thrown, leftBehind: ['pay'] });
  });

  test('has failed, no more, if it only reads', async () => {
    const world = new TransactionWorld();
    const reads = () => Promise.reject(new ClosedError('The pool'));
    const run = world
      .process()
      .transactions.run('1', (tx) => tx.step('look', reads, { effect: 'none' }).catch(() => 'nothing there'));
    expect(await world.settled(run)).toBe('nothing there');
    expect((await world.view()).steps).toMatchObject([{ name: 'look', status: 'failed' }]);
  });

  test('has failed if all that ended was a wait, because another step threw such an error', async () => {
    const world = new TransactionWorld();
    const run = world
      .process()
      .transactions.run('1', (tx) =>
        Promise.all([
          tx.step('pay', () => Promise.reject(new Error('503')), { effect: 'once', retry: 3 }),
          tx.step('bad', () => Promise.reject(new ClosedError('The pool'))),
        ]),
      );
    await world.settled(rejectionOf(run));
    expect((await world.view()).steps).toMatchObject([{ name: 'pay', status: 'failed' }, { name: 'bad' }]);
  });
});

describe('a result that cannot be kept', () => {
  test.each<[string, unknown]>([
    ['an error of ours', new ClosedError('The pool')],
    ['an error of its own', new Error('no receipt')],
    ['undefined', undefined],
  ])('because reading it throws %s is compensated as it was', async (_, thrown) => {
    const world = new TransactionWorld();
    const result = {
      id: 7,
      get receipt(): string {
        throw thrown;
      },
    };
    const run = world.process().transactions.run('1', async (tx) => {
      await tx.step(
        'charge',
        () => result,
        ({ id }) => void world.effect(`refund ${id}`),
      );
    });
    expect(await world.settled(rejectionOf(run))).toMatchObject({ compensated: ['charge'], leftBehind: [] });
    expect(world.did).toEqual(['refund 7']);
  });

  test('because the store takes nothing that large is compensated as it was', async () => {
    const inner = memoryStorage();
    const small = { ...inner, capabilities: { ...inner.capabilities, maxValueBytes: 32 * 1024 } };
    const world = new TransactionWorld(small);
    const run = world.process().transactions.run('1', (tx) =>
      tx.step(
        'charge',
        () => 'x'.repeat(50_000),
        (text) => void world.effect(text.length),
      ),
    );
    expect(await world.settled(rejectionOf(run))).toMatchObject({ cause: { code: 'HOLDFAST_LIMIT' } });
    expect(world.did).toEqual(['50000']);
  });

  test('because the transaction is lost is no result that cannot be kept', async () => {
    const world = new TransactionWorld();
    const run = world.process().transactions.run('1', (tx) =>
      tx.step('charge', () => {
        world.clock.jumpWall(60_000);
        return 'c';
      }),
    );
    expect(await world.settled(rejectionOf(run))).toMatchObject({ code: 'HOLDFAST_FENCED' });
    expect(await world.journal()).toEqual(['begun']);
  });
});

import { describe, expect, test } from 'vitest';
import { LeaseNode } from '../../src/records/node.js';
import type { RecoverReport, Tx } from '../../src/transactions/transaction.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { LEASE_MS, never, TransactionWorld } from '../support/transaction-world.js';

const NOTHING: RecoverReport = { resumed: [], rolledBack: [], stuck: [], busy: [], unknown: [], failed: [] };

describe('recover', () => {
  test('has nothing to do in an empty store, or after an end', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    expect(await transactions.recover()).toEqual(NOTHING);
    await transactions.run('1', () => 1);
    expect(await transactions.recover()).toEqual(NOTHING);
  });

  test('goes forward, and waits for the end', async () => {
    const world = new TransactionWorld();
    await world.firstLife((tx) => tx.step('book', never));
    const { report } = await world.nextLife((tx) => tx.step('book', () => world.clock.sleep(1_000)));
    expect(report).toEqual({ ...NOTHING, resumed: ['1'] });
    expect((await world.view()).status).toBe('done');
  });

  test('goes back if the definition says so', async () => {
    const world = new TransactionWorld();
    const body = (pay: () => unknown) => async (tx: Tx) => {
      await tx.step('book', () => 'book', world.undo);
      await tx.step('pay', pay, { effect: 'once' });
    };
    const dead = world.process();
    void rejectionOf(dead.transactions.define('trip', body(never))('1'));
    dead.obstacle = () => (dead.writes.length < 2 ? undefined : dead.crash()); // Before `announced pay`.
    await world.clock.advance(0);
    const { report } = await world.nextLife(
      body(() => world.effect('pay')),
      { onCrash: 'rollback' },
    );
    expect(report).toEqual({ ...NOTHING, rolledBack: ['1'] });
    expect(world.did).toEqual(['undo book']);
    expect(await world.view()).toMatchObject({ error: { code: 'HOLDFAST_CANCELLED' } });
  });

  test('does not go back for `onCrash` if its process closed', async () => {
    const world = new TransactionWorld();
    const gate = deferred();
    const first = world.process();
    void rejectionOf(first.transactions.define('trip', (tx) => tx.step('book', () => gate.promise))('1'));
    await world.clock.advance(0);
    const closing = first.transactions.close();
    gate.resolve();
    await closing;
    const { report } = await world.nextLife((tx) => tx.step('book', never), { onCrash: 'rollback' });
    expect(report.resumed).toEqual(['1']);
  });

  test('does not wait for what a live process may hold: that is busy', async () => {
    const world = new TransactionWorld();
    await world.firstLife((tx) => tx.step('book', never));
    const second = world.process();
    second.transactions.define('trip', () => 1);
    expect(await second.transactions.recover()).toEqual({ ...NOTHING, busy: ['1'] });
    await world.clock.advance(1.05 * LEASE_MS);
    expect(await second.transactions.recover()).toEqual({ ...NOTHING, resumed: ['1'] });
  });

  test('leaves what a live process holds alone, however long it waits', async () => {
    const world = new TransactionWorld();
    const first = world.process();
    void rejectionOf(first.transactions.define('trip', (tx) => tx.step('book', never))('1'));
    await world.clock.advance(0);
    const { report } = await world.nextLife(() => 1);
    expect(report).toEqual({ ...NOTHING, busy: ['1'] });
  });

  test('calls busy what runs in this process', async () => {
    const world = new TransactionWorld();
    const { transactions } = world.process();
    void rejectionOf(transactions.define('trip', (tx) => tx.step('book', never))('1'));
    await world.clock.advance(0);
    expect(await transactions.recover()).toEqual({ ...NOTHING, busy: ['1'] });
  });

  test('calls unknown what has no definition here, and does not touch it', async () => {
    const world = new TransactionWorld();
    await world.firstLife((tx) => tx.step('book', never));
    const before = await world.view();
    await world.clock.advance(2 * LEASE_MS);
    expect(await world.process().transactions.recover({ waitMs: 100_000 })).toEqual({ ...NOTHING, unknown: ['1'] });
    expect(await world.view()).toEqual(before);
  });

  test('by several processes at once goes on with each transaction once', async () => {
    const world = new TransactionWorld();
    await world.firstLife((tx) => tx.step('book', never));
    const reports = await Promise.all(
      [1, 2, 3].map(() => world.nextLife((tx) => tx.step('book', () => world.effect('book')))),
    );
    expect(world.did).toEqual(['book']);
    expect(reports.flatMap(({ report }) => report.resumed)).toEqual(['1']);
    expect(reports.flatMap(({ report }) => report.failed)).toEqual([]);
    expect((await world.view()).fence).toBe(2);
  });

  test('goes on with the others when one cannot be read', async () => {
    const world = new TransactionWorld();
    const dead = world.process();
    const run = dead.transactions.define('trip', (tx) => tx.step('book', never));
    for (const id of ['1', '2', '3']) void rejectionOf(run(id));
    await world.clock.advance(0);
    dead.die();
    const { entries } = await world.inner.list('transactions/heads/');
    await world.inner.put(entries[1]?.key ?? '', Buffer.from('nonsense'));
    const { report } = await world.nextLife((tx) => tx.step('book', () => 1));
    expect(report).toMatchObject({
      resumed: ['1', '3'],
      failed: [{ id: '2', error: { code: 'HOLDFAST_CORRUPTION' } }],
    });
  });

  test('reports one whose store fails, and recovers it the next time', async () => {
    const world = new TransactionWorld();
    await world.firstLife((tx) => tx.step('book', never));
    const process = world.process();
    process.transactions.define('trip', (tx) => tx.step('book', () => 1));
    const broken = new Error('disk on fire');
    process.obstacle = () => {
      throw broken;
    };
    const report = await world.recoverBy(process);
    expect(report).toMatchObject({ resumed: [], failed: [{ id: '1' }] });
    process.obstacle = undefined;
    expect(await world.recoverBy(process)).toEqual({ ...NOTHING, resumed: ['1'] });
  });

  test('sweeps the records of nodes that are gone and hold nothing', async () => {
    const world = new TransactionWorld();
    await world.firstLife((tx) => tx.step('book', never));
    const { process } = await world.nextLife(() => 1);
    await world.clock.advance(2 * LEASE_MS);
    await process.transactions.recover();
    const { entries } = await world.inner.list('nodes/');
    expect(entries).toHaveLength(1); // Its own.
  });

  test('by a second manager on the same node calls busy what the first runs', async () => {
    const world = new TransactionWorld();
    const node = new LeaseNode({ storage: world.inner, clock: world.clock });
    const first = world.process({ node });
    void rejectionOf(first.transactions.define('trip', (tx) => tx.step('book', never))('1'));
    await world.clock.advance(0);
    const second = world.process({ node });
    second.transactions.define('trip', () => 1);
    expect(await world.recoverBy(second)).toEqual({ ...NOTHING, busy: ['1'] });
  });
});

describe('a crash loop', () => {
  const dies = async (world: TransactionWorld, body: (tx: Tx) => unknown, maxTakeovers?: number) => {
    const process = world.process();
    process.transactions.define('trip', (tx) => body(tx), maxTakeovers === undefined ? {} : { maxTakeovers });
    const recovered = process.transactions.recover({ waitMs: 2 * LEASE_MS });
    await world.clock.advance(1.5 * LEASE_MS);
    process.die();
    void recovered.catch(() => {});
    return process;
  };

  test('ends stuck after so many takeovers without one more finished step', async () => {
    const world = new TransactionWorld();
    const body = (tx: Tx) => tx.step('book', () => never(world.effect('try')));
    await world.firstLife(body);
    for (let life = 1; life <= 2; life++) await dies(world, body, 2);
    const { process, report } = await world.nextLife(body, { maxTakeovers: 2 });
    expect(report).toEqual({ ...NOTHING, stuck: ['1'] });
    expect(world.did).toEqual(['try', 'try', 'try']);
    expect(await world.view()).toMatchObject({ status: 'stuck', stuck: { reason: 'crash-loop' } });
    expect(process.events).toContainEqual({
      type: 'transaction.stuck',
      transaction: '1',
      name: 'trip',
      reason: 'crash-loop',
    });
  });

  test('is five takeovers unless said otherwise', async () => {
    const world = new TransactionWorld();
    const body = (tx: Tx) => tx.step('book', never);
    await world.firstLife(body);
    for (let life = 1; life <= 5; life++) await dies(world, body);
    expect((await world.view()).fence).toBe(6);
    const { report } = await world.nextLife(body);
    expect(report.stuck).toEqual(['1']);
  });

  test('is none as long as steps are finished', async () => {
    const world = new TransactionWorld();
    const upTo = (last: number) => async (tx: Tx) => {
      for (let step = 1; step <= last; step++) await tx.step(`${step}`, () => step);
      await tx.step(`${last + 1}`, never);
    };
    await world.firstLife(upTo(1));
    for (let life = 2; life <= 4; life++) await dies(world, upTo(life), 1);
    const { report } = await world.nextLife(() => Promise.resolve(), { maxTakeovers: 1 });
    expect(report.stuck).toEqual(['1']); // For its steps, which are not run any more; not for a loop.
    expect(await world.view()).toMatchObject({ fence: 5, stuck: { reason: 'steps-not-run' } });
  });

  test.each([
    ['retry', 'done', ['again']],
    ['rollback', 'rolled-back', ['again', 'undo again']],
  ] as const)('can be resolved by `%s`', async (decision, status, did) => {
    const world = new TransactionWorld();
    await world.firstLife((tx) => tx.step('book', never));
    const body = (tx: Tx) => tx.step('book', () => world.effect('again'), world.undo);
    const { process } = await world.nextLife(body, { maxTakeovers: 0 });
    expect((await world.view()).stuck).toEqual({ reason: 'crash-loop' });
    expect(await world.settled(process.transactions.resolve('1', { do: decision }))).toBe(status);
    expect(world.did).toEqual(did);
  });
});

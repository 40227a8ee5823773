import { describe, expect, test } from 'vitest';
import type { RecoverReport, Tx } from '../../src/transactions/transaction.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { LEASE_MS, never, TransactionWorld } from '../support/transaction-world.js';
import { around } from './journal-scene.js';

const NOTHING: RecoverReport = { resumed: [], rolledBack: [], stuck: [], busy: [], unknown: [], failed: [] };
const BUSY = { code: 'HOLDFAST_BUSY' };

describe('who waits for a transaction that somebody else holds', () => {
  /** Fails, and its compensation fails, too: it is stuck as soon as `gate` opens. */
  const hopeless = (world: TransactionWorld, gate: () => unknown) => async (tx: Tx) => {
    const compensate = () => {
      world.effect('try');
      throw new Error('no refund');
    };
    await tx.step('hotel', () => 'hotel', { compensate, compensateRetry: 0 });
    await tx.step('wait', gate, { effect: 'none' });
    throw new Error('sold out');
  };

  test('does not go on with what the holder has found stuck', async () => {
    const world = new TransactionWorld();
    const gate = deferred();
    const body = hopeless(world, () => gate.promise);
    const outcome = rejectionOf(world.process().transactions.define('trip', body)('1'));
    await world.clock.advance(0);
    const second = world.nextLife(body);
    await world.clock.advance(1_000);
    gate.resolve();
    const { report } = await second;
    expect(await outcome).toMatchObject({ code: 'HOLDFAST_STUCK' });
    expect(report).toEqual({ ...NOTHING, stuck: ['1'] });
    expect(world.did).toEqual(['try']);
  });

  test('does not go on with what another recovery has found stuck', async () => {
    const world = new TransactionWorld();
    await world.firstLife(hopeless(world, never));
    const lives = await Promise.all([1, 2, 3].map(() => world.nextLife(hopeless(world, () => 1))));
    expect(lives.map(({ report }) => report.stuck)).toEqual([['1'], ['1'], ['1']]);
    expect(world.did).toEqual(['try']);
  });

  test('is told with `run` what was recorded, and that it is stuck', async () => {
    const world = new TransactionWorld();
    const gate = deferred();
    const body = hopeless(world, () => gate.promise);
    void rejectionOf(world.process().transactions.define('trip', body)('1'));
    await world.clock.advance(0);
    const waiting = rejectionOf(world.process().transactions.define('trip', body)('1', undefined, { waitMs: 10_000 }));
    await world.clock.advance(0);
    gate.resolve();
    expect(await world.settled(waiting)).toMatchObject({
      code: 'HOLDFAST_STUCK',
      reason: 'compensation-failed',
      step: 'hotel',
      cause: { message: 'no refund' },
    });
  });

  test('calls busy, in a recovery, what has ended by then', async () => {
    const world = new TransactionWorld();
    const gate = deferred();
    void world.process().transactions.define('trip', () => gate.promise)('1');
    await world.clock.advance(0);
    const second = world.nextLife(() => world.effect('again'));
    await world.clock.advance(1_000);
    gate.resolve();
    expect((await second).report).toEqual({ ...NOTHING, busy: ['1'] });
    expect(world.did).toEqual([]);
  });

  test('does not run its own code for another transaction that has the id by then', async () => {
    const world = new TransactionWorld();
    const gate = deferred();
    const first = world.process();
    const run = first.transactions.define('trip', () => gate.promise)('1');
    await world.clock.advance(0);
    const second = world.nextLife(() => world.effect('trip'));
    await world.clock.advance(1_000);
    gate.resolve();
    await run;
    await first.transactions.delete('1');
    void rejectionOf(first.transactions.define('order', never)('1'));
    await world.clock.advance(0);
    first.die();
    expect((await second).report).toEqual({ ...NOTHING, busy: ['1'] });
    expect(world.did).toEqual([]);
    expect(await world.view()).toMatchObject({ name: 'order', status: 'running', fence: 1 });
  });

  test('and has no time to, looks a few times at most, however often it changes', async () => {
    const world = new TransactionWorld();
    void rejectionOf(world.process().transactions.define('trip', never)('1'));
    await world.clock.advance(0);
    const rival = world.process();
    let looks = 0;
    const storage = around(world.inner, async (call, key, send) => {
      const answer = await send();
      if (call !== 'get' || !key.startsWith('transactions/heads/')) return answer;
      looks += 1;
      await rival.transactions.cancel('1', `reason ${looks}`);
      return answer;
    });
    const run = world.process({ storage }).transactions.define('trip', never);
    expect(await rejectionOf(run('1'))).toMatchObject(BUSY);
    expect(looks).toBeLessThan(5);
  });

  test('is told at once that its manager was closed', async () => {
    const world = new TransactionWorld();
    void rejectionOf(world.process().transactions.define('trip', never)('1'));
    await world.clock.advance(0);
    const { transactions } = world.process();
    const waiting = rejectionOf(transactions.define('trip', never)('1', undefined, { waitMs: 60_000 }));
    await world.clock.advance(100);
    await transactions.close();
    expect(await waiting).toMatchObject({ code: 'HOLDFAST_CLOSED' });
    expect((await world.view()).fence).toBe(1);
  });

  test('and reads from a store that does not answer, is told so, too, and does not keep `close` waiting', async () => {
    const world = new TransactionWorld();
    void rejectionOf(world.process().transactions.define('trip', never)('1'));
    await world.clock.advance(0);
    let isSilent = false;
    const storage = around(world.inner, (call, _key, send) => (call === 'get' && isSilent ? never() : send()));
    const { transactions } = world.process({ storage });
    const waiting = rejectionOf(transactions.define('trip', never)('1', undefined, { waitMs: 600_000 }));
    await world.clock.advance(100);
    isSilent = true;
    await world.clock.advance(1_000);
    void transactions.close();
    const state = await Promise.race([waiting, world.clock.advance(5 * LEASE_MS).then(() => 'waits')]);
    expect(state).toMatchObject({ code: 'HOLDFAST_CLOSED' });
  });
});

describe('a run that meets another call for the same id in its process', () => {
  /** A process whose recovery waits for the lease of one that died. The input was 1. */
  async function recovering(waitMs: number) {
    const world = new TransactionWorld();
    const dead = world.process();
    void rejectionOf(dead.transactions.define<number, unknown>('trip', (tx) => tx.step('book', never))('1', 1));
    await world.clock.advance(0);
    dead.die();
    const { transactions } = world.process();
    const run = transactions.define<number, unknown>('trip', (tx, input) =>
      tx.step('book', () => world.clock.sleep(1_000).then(() => world.effect(input))),
    );
    const report = transactions.recover({ waitMs });
    await world.clock.advance(100);
    return { world, run, report };
  }

  test('with another input is refused while that is being recovered, before and after it is taken over', async () => {
    const { world, run, report } = await recovering(60_000);
    const refused = { code: 'HOLDFAST_INVALID_INPUT', path: 'input' };
    expect(await rejectionOf(run('1', 2))).toMatchObject(refused);
    await world.clock.advance(1.1 * LEASE_MS);
    expect(await rejectionOf(run('1', 2))).toMatchObject(refused);
    expect((await world.settled(report)).resumed).toEqual(['1']);
    expect(world.did).toEqual(['1']);
  });

  test('joins the recovery, and is given its result', async () => {
    const { world, run, report } = await recovering(60_000);
    expect(await world.settled(run('1', 1, { waitMs: 60_000 }))).toBe(1);
    expect((await report).resumed).toEqual(['1']);
    expect(world.did).toEqual(['1']);
  });

  test('does not wait longer than it wants to for a recovery that waits', async () => {
    const { run } = await recovering(60_000);
    expect(await rejectionOf(run('1', 1))).toMatchObject(BUSY);
  });

  test('is given the result of one that has ended, though the recovery has not noticed yet', async () => {
    const world = new TransactionWorld();
    const gate = deferred<string>();
    const first = world.process().transactions.define('trip', () => gate.promise)('1');
    await world.clock.advance(0);
    const { transactions } = world.process();
    const run = transactions.define('trip', never);
    const report = transactions.recover({ waitMs: 60_000 });
    await world.clock.advance(100);
    gate.resolve('result');
    await first;
    expect(await run('1')).toBe('result');
    expect((await world.settled(report)).busy).toEqual(['1']);
  });

  test('goes on by itself when the recovery gives up', async () => {
    const { world, run, report } = await recovering(1_000);
    expect(await world.settled(run('1', 1, { waitMs: 60_000 }))).toBe(1);
    expect((await report).busy).toEqual(['1']);
  });

  test('joins a recovery that has not looked yet: that is not waiting', async () => {
    const world = new TransactionWorld();
    const first = world.process();
    const gate = deferred();
    void rejectionOf(first.transactions.define('trip', (tx) => tx.step('book', () => gate.promise))('1'));
    await world.clock.advance(0);
    const closing = first.transactions.close();
    gate.resolve();
    await closing;
    const second = world.process();
    const run = second.transactions.define('trip', async (tx) => {
      await tx.step('book', never);
      return tx.step('pay', () => world.effect('pay'));
    });
    const { release, began } = second.hold();
    const report = second.transactions.recover();
    await began;
    const joined = run('1');
    release();
    expect(await joined).toBe('pay');
    expect(await report).toEqual({ ...NOTHING, resumed: ['1'] });
  });

  test('waits as long as it wants to, whatever the other call wants', async () => {
    const world = new TransactionWorld();
    const gate = deferred<string>();
    void world.process().transactions.define('trip', () => gate.promise)('1');
    await world.clock.advance(0);
    const run = world.process().transactions.define('trip', never);
    const short = rejectionOf(run('1', undefined, { waitMs: 1_000 }));
    const long = run('1', undefined, { waitMs: 10_000 });
    expect(await rejectionOf(run('1'))).toMatchObject(BUSY);
    await world.clock.advance(2_000);
    expect(await short).toMatchObject(BUSY);
    gate.resolve('result');
    expect(await world.settled(long)).toBe('result');
  });

  test('is told what that fails with, and does not try again', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    let tries = 0;
    process.obstacle = () => {
      tries += 1;
      throw new Error('disk on fire');
    };
    const run = process.transactions.define('trip', () => 1);
    const [first, second] = await Promise.all([rejectionOf(run('1')), rejectionOf(run('1'))]);
    expect(first).toMatchObject({ message: expect.stringContaining('disk on fire') });
    expect(second).toBe(first);
    expect(tries).toBe(1);
  });
});

describe('a decision that is durable is not refused for what comes after it:', () => {
  test('a cancel of one that this process only waits for', async () => {
    const world = new TransactionWorld();
    const body = (tx: Tx) => tx.step('wait', () => world.clock.sleep(20_000), { effect: 'none' });
    const outcome = rejectionOf(world.process().transactions.define('trip', body)('1'));
    await world.clock.advance(0);
    const { transactions } = world.process();
    const waiting = rejectionOf(transactions.define('trip', body)('1', undefined, { waitMs: 60_000 }));
    await world.clock.advance(100);
    expect(await transactions.cancel('1', 'too slow')).toBe('running');
    expect(await world.settled(outcome)).toMatchObject({ cause: { reason: 'too slow' } });
    expect(await world.settled(waiting)).toMatchObject({ cause: { reason: 'too slow' } });
  });

  test.each([
    ['cancel', 'running', (tx: Tx) => tx.step('book', () => never()), 'cancelled'],
    ['resolve', 'running', (tx: Tx) => tx.step('book', () => never(), { effect: 'once' }), 'resolved'],
  ] as const)('a %s in a process that is closed at this moment', async (act, status, body, event) => {
    const world = new TransactionWorld();
    await world.firstLife(body);
    await world.nextLife(body, { maxTakeovers: act === 'cancel' ? 5 : 0 }).catch(() => {});
    const process = world.process();
    process.transactions.define('trip', body);
    process.obstacle = () => void process.transactions.close();
    const decide = {
      cancel: () => process.transactions.cancel('1', 'too slow'),
      resolve: () => process.transactions.resolve('1', { do: 'retry' }),
    };
    expect(await decide[act]()).toBe(status);
    expect(process.types).toEqual([`transaction.${event}`]);
  });
});

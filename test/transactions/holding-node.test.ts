import { describe, expect, test } from 'vitest';
import { HeldOnNode } from '../../src/records/held-on-node.js';
import { FencedError } from '../../src/records/lease.js';
import { LeaseNode } from '../../src/records/node.js';
import { OutcomeUnknownError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import type { Tx } from '../../src/transactions/transaction.js';
import { TransactionStore } from '../../src/transactions/transaction-store.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { LEASE_MS, never, TransactionWorld } from '../support/transaction-world.js';
import { around, begin, found, line, metaOf, TestHolder } from './journal-scene.js';

const BUSY = { code: 'HOLDFAST_BUSY' };

describe('two managers on one node', () => {
  function twoManagers() {
    const world = new TransactionWorld();
    const node = new LeaseNode({ storage: world.inner, clock: world.clock, leaseMs: LEASE_MS });
    const body = (who: string) => (tx: Tx) =>
      tx.step('charge', async () => {
        world.effect(who);
        await world.clock.sleep(100);
        return who;
      });
    return { world, node, body };
  }

  test('do not take over from each other what one of them is just beginning', async () => {
    const { world, node, body } = twoManagers();
    const began = deferred();
    const gate = deferred();
    const late = around(world.inner, async (call, _key, send) => {
      const answer = await send();
      if (call !== 'batch') return answer;
      began.resolve();
      await gate.promise; // It is there, and who began it does not know yet.
      return answer;
    });
    const run = world.process({ node, storage: late }).transactions.define('trip', body('first'))('1');
    await began.promise;
    const second = world.process({ node });
    second.transactions.define('trip', body('second'));
    expect((await second.transactions.recover()).busy).toEqual(['1']);
    gate.resolve();
    expect(await world.settled(run)).toBe('first');
    expect(world.did).toEqual(['first']);
  });

  test('asked for one id at once run it once; the other is busy, or waits for the result', async () => {
    const { world, node, body } = twoManagers();
    const first = world.process({ node }).transactions.define('trip', body('first'))('1');
    const { transactions } = world.process({ node });
    const run = transactions.define('trip', body('second'));
    expect(await rejectionOf(run('1'))).toMatchObject(BUSY);
    expect(await world.settled(run('1', undefined, { waitMs: 10_000 }))).toBe('first');
    expect(await first).toBe('first');
    expect(world.did).toEqual(['first']);
  });

  test('do not begin, each for itself, what is on its way to the store', async () => {
    const { world, node, body } = twoManagers();
    const first = world.process({ node });
    const { release, began } = first.hold();
    const run = first.transactions.define('trip', body('first'))('1');
    await began;
    const second = world.process({ node }).transactions.define('trip', body('second'));
    expect(await rejectionOf(second('1'))).toMatchObject({ ...BUSY, holder: 'another one' });
    release();
    expect(await world.settled(run)).toBe('first');
    expect(world.did).toEqual(['first']);
  });

  test('that wait for one process that died go on with what it left once', async () => {
    const { world, node, body } = twoManagers();
    await world.firstLife((tx) => tx.step('charge', never));
    const waiting = ['first', 'second'].map((who) =>
      world.process({ node }).transactions.define('trip', body(who))('1', undefined, { waitMs: 60_000 }),
    );
    expect(await world.settled(Promise.all(waiting))).toEqual(['first', 'first']);
    expect(world.did).toEqual(['first']);
    expect((await world.view()).fence).toBe(2);
  });

  test('may both act for an id, one after the other', async () => {
    const { world, node, body } = twoManagers();
    expect(await world.settled(world.process({ node }).transactions.define('trip', body('first'))('1'))).toBe('first');
    const { transactions } = world.process({ node });
    await transactions.delete('1');
    expect(await world.settled(transactions.define('trip', body('second'))('1'))).toBe('second');
  });
});

describe('an id that is held on a node', () => {
  const node = () => new LeaseNode({ storage: memoryStorage(), clock: new VirtualClock() });

  test('is taken for everybody else, in whichever manager, until it is released', () => {
    const shared = node();
    const [one, other] = [new HeldOnNode(shared, 'transaction'), new HeldOnNode(shared, 'transaction')];
    const [mine, theirs] = [{ isLost: false }, { isLost: false }];
    expect(one.take('1', mine)).toBe(true);
    expect(one.take('1', mine)).toBe(true);
    expect(other.take('1', theirs)).toBe(false);
    expect([other.isTaken('1', theirs), other.isTaken('1'), one.isTaken('1', mine)]).toEqual([true, true, false]);
    one.release('1', mine);
    expect(other.take('1', theirs)).toBe(true);
  });

  test('is not held on any other node', () => {
    const hold = { isLost: false };
    new HeldOnNode(node(), 'transaction').take('1', hold);
    expect(new HeldOnNode(node(), 'transaction').isTaken('1')).toBe(false);
  });

  test('by somebody who has lost it can be taken, and his end does not release it', () => {
    const held = new HeldOnNode(node(), 'transaction');
    const [zombie, next, third] = [{ isLost: false }, { isLost: false }, { isLost: false }];
    held.take('1', zombie);
    zombie.isLost = true;
    expect(held.take('1', next)).toBe(true);
    held.release('1', zombie);
    expect(held.take('1', third)).toBe(false);
  });
});

describe('a beginning whose answer got lost', () => {
  /** A process that began `1` without learning of it, with the definition `onCrash: 'rollback'` and no takeovers allowed. */
  async function halfBegun() {
    const world = new TransactionWorld();
    let isDown = false;
    let answers = 0;
    const storage = around(world.inner, async (call, key, send) => {
      if (isDown && key.startsWith('transactions/')) throw new Error('no connection');
      const answer = await send();
      if (call !== 'batch' || ++answers > 1) return answer;
      isDown = true;
      throw new OutcomeUnknownError(key);
    });
    const process = world.process({ storage });
    const body = (tx: Tx) => tx.step('book', () => world.effect('book'), world.undo);
    const run = process.transactions.define('trip', body, { onCrash: 'rollback', maxTakeovers: 0 });
    expect(await rejectionOf(world.settled(run('1')))).toMatchObject({ code: 'HOLDFAST_OUTCOME_UNKNOWN' });
    isDown = false;
    return { world, process, run };
  }

  test('was no crash: the same call goes on with it forward, and counts no takeover', async () => {
    const { world, process, run } = await halfBegun();
    expect(await world.settled(run('1'))).toBe('book');
    const [, taken] = await process.transactions.history('1');
    expect(taken).toMatchObject({ type: 'taken-over', facts: { from: null } });
    expect(process.events.find(({ type }) => type === 'transaction.taken-over')).not.toHaveProperty('from');
  });

  test('was no crash for a recovery either', async () => {
    const { process } = await halfBegun();
    expect((await process.transactions.recover()).resumed).toEqual(['1']);
  });

  test('is one for another process, which cannot know', async () => {
    const { world, process } = await halfBegun();
    await process.transactions.close(); // It does not let go of what it does not know of.
    const { report } = await world.nextLife((tx) => tx.step('book', () => 1), { onCrash: 'rollback' });
    expect(report.rolledBack).toEqual(['1']);
  });
});

describe('a store that never answers', () => {
  test('a beginning does not keep `run` and `close` for ever: the end of the lease ends both', async () => {
    const world = new TransactionWorld();
    const process = world.process();
    process.obstacle = () => never();
    const outcome = rejectionOf(process.transactions.run('1', () => world.effect('ran')));
    await world.clock.advance(0);
    const closing = rejectionOf(process.transactions.close());
    process.stopBeating();
    await world.settled(closing);
    expect(await outcome).toMatchObject({
      code: 'HOLDFAST_OUTCOME_UNKNOWN',
      cause: { code: 'HOLDFAST_FENCED' },
    });
    expect(world.did).toEqual([]);
  });

  test('a takeover does not keep `recover` and `close` for ever', async () => {
    const world = new TransactionWorld();
    await world.firstLife((tx) => tx.step('book', never));
    const process = world.process();
    process.transactions.define('trip', () => world.effect('ran'));
    process.obstacle = () => never();
    const report = process.transactions.recover({ waitMs: 60_000 });
    await world.clock.advance(2 * LEASE_MS);
    process.stopBeating();
    expect((await world.settled(report)).busy).toEqual(['1']);
    await world.settled(rejectionOf(process.transactions.close()));
    expect(world.did).toEqual([]);
  });

  const silent = (inner = memoryStorage()) => {
    const gate = { isShut: true };
    const storage = around(inner, (call, _key, send) =>
      (call === 'batch' || call === 'put') && gate.isShut ? never() : send(),
    );
    return { gate, store: new TransactionStore(storage, new VirtualClock()) };
  };

  test('leaves no listener behind in the node', async () => {
    const { store, gate } = silent();
    const holder = new TestHolder();
    const lost = new FencedError('node 1');
    const beginning = rejectionOf(store.begin(metaOf('order-42'), line('begun'), holder));
    await Promise.resolve();
    expect(holder.listening).toBe(1);
    holder.lose(lost);
    expect(await beginning).toMatchObject({ code: 'HOLDFAST_OUTCOME_UNKNOWN', cause: lost });
    expect(holder.listening).toBe(0);

    gate.isShut = false;
    await begin(store, metaOf('order-42'));
    gate.isShut = true;
    const next = new TestHolder();
    const takeover = { line: line('taken-over'), change: { owner: 'node-2', fence: 2 }, holder: next };
    const taking = rejectionOf(store.takeOver(await found(store, 'order-42'), takeover));
    await Promise.resolve();
    next.lose(lost);
    expect(await taking).toMatchObject({ code: 'HOLDFAST_FENCED', what: 'transaction "order-42"', cause: lost });
    expect(next.listening).toBe(0);
  });

  test('was never asked to begin by a node that is lost: that is certain', async () => {
    const { store } = silent();
    const lost = new FencedError('node 1');
    const holder = {
      isValid: () => true,
      onLost: (listener: (error: FencedError) => void) => {
        listener(lost);
        return () => {};
      },
    };
    const beginning = store.begin(metaOf('order-42'), line('begun'), holder);
    await expect(beginning).rejects.toMatchObject({ code: 'HOLDFAST_FENCED', cause: lost });
  });

  test('one that answers leaves none either', async () => {
    const { store, gate } = silent();
    gate.isShut = false;
    const holder = new TestHolder();
    await begin(store, metaOf('order-42'), holder);
    expect(holder.listening).toBe(1); // The journal's own.
    const second = new TestHolder();
    expect(await store.begin(metaOf('order-42'), line('begun'), second)).toHaveProperty('existing');
    expect(second.listening).toBe(0);
  });
});

test('a recovery of many takes 64 over at once, runs them all at once, and sorts what it reports', async () => {
  const world = new TransactionWorld();
  const ids = Array.from({ length: 200 }, (_, index) => `${index}`);
  const first = world.process();
  const begun = first.transactions.define('trip', never);
  for (const id of ids) void rejectionOf(begun(id));
  await world.clock.advance(0);
  await first.transactions.close();
  const writes = { now: 0, most: 0 };
  const storage = around(world.inner, async (call, key, send) => {
    if (call === 'get' || !key.startsWith('transactions/heads/')) return send();
    writes.now += 1;
    writes.most = Math.max(writes.most, writes.now);
    await world.clock.sleep(1_000);
    writes.now -= 1;
    return send();
  });
  const gate = deferred();
  let lives = 0;
  const { transactions } = world.process({ storage });
  transactions.define('trip', () => {
    lives += 1;
    return gate.promise;
  });
  const recovered = transactions.recover();
  await world.clock.advance(5_000);
  expect(lives).toBe(200);
  expect(writes.most).toBe(64);
  gate.resolve();
  const { resumed } = await world.settled(recovered);
  expect(resumed).toEqual([...ids].sort());
});

import { describe, expect, test } from 'vitest';
import type { TransactionSummary } from '../../src/transactions/transaction.js';
import { rejectionOf } from '../support/deferred.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

const ATMS = Date.UTC(2026, 0, 1);
const soldOut = () => Promise.reject(new Error('sold out'));

async function all(list: AsyncIterable<TransactionSummary>): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of list) ids.push(id);
  return ids.sort();
}

/** One of every kind. */
async function several() {
  const world = new TransactionWorld();
  const { transactions } = world.process();
  const trip = transactions.define('trip', (tx, input: string) => tx.step('book', () => input, world.undo));
  await trip('trip done', 'Rome');
  await rejectionOf(transactions.run('gone back', (tx) => tx.step('book', soldOut)));
  await rejectionOf(transactions.run('stuck', (tx) => tx.step('p', () => 1, { pivot: true }).then(soldOut)));
  void rejectionOf(transactions.run('runs', (tx) => tx.step('book', never)));
  await world.clock.advance(0);
  return { world, transactions };
}

describe('get', () => {
  test('shows one that is done, with its steps', async () => {
    const { transactions } = await several();
    expect(await transactions.get('trip done')).toEqual({
      id: 'trip done',
      name: 'trip',
      status: 'done',
      fence: 1,
      startedAtMs: ATMS,
      updatedAtMs: ATMS,
      input: 'Rome',
      steps: [{ name: 'book', status: 'done', result: 'Rome', atMs: ATMS }],
      result: 'Rome',
    });
  });

  test('shows one that runs, its owner and no end', async () => {
    const { transactions } = await several();
    expect(await transactions.get('runs')).toEqual({
      id: 'runs',
      status: 'running',
      owner: expect.any(String),
      fence: 1,
      startedAtMs: ATMS,
      updatedAtMs: ATMS,
      input: undefined,
      steps: [],
    });
  });

  test('shows errors as errors', async () => {
    const { transactions } = await several();
    expect(await transactions.get('gone back')).toMatchObject({
      status: 'rolled-back',
      steps: [{ name: 'book', status: 'failed', error: new Error('sold out') }],
      error: new Error('sold out'),
      compensated: [],
      leftBehind: [],
    });
  });

  test('and history of one that was never begun show nothing', async () => {
    const { transactions } = await several();
    expect(await transactions.get('other')).toBeUndefined();
    expect(await transactions.history('other')).toEqual([]);
  });
});

describe('list', () => {
  test('gives all, or those of a status, a name or a prefix', async () => {
    const { transactions } = await several();
    expect(await all(transactions.list())).toEqual(['gone back', 'runs', 'stuck', 'trip done']);
    expect(await all(transactions.list({ status: 'stuck' }))).toEqual(['stuck']);
    expect(await all(transactions.list({ name: 'trip' }))).toEqual(['trip done']);
    expect(await all(transactions.list({ prefix: 'trip' }))).toEqual(['trip done']);
    expect(await all(transactions.list({ status: 'done', prefix: 'x' }))).toEqual([]);
  });

  test('gives the others first when one cannot be read, then says so', async () => {
    const { world, transactions } = await several();
    for (const id of ['runs', 'stuck']) await world.inner.put(`transactions/heads/p=${id}`, Buffer.from('nonsense'));
    const seen: string[] = [];
    const listing = (async () => {
      for await (const { id } of transactions.list()) seen.push(id);
    })();
    await expect(listing).rejects.toMatchObject({ code: 'HOLDFAST_CORRUPTION' });
    expect(seen.sort()).toEqual(['gone back', 'trip done']);
  });
});

describe('history', () => {
  test('shows every line, its step, its value and what else it says', async () => {
    const { transactions } = await several();
    expect(await transactions.history('trip done')).toEqual([
      { type: 'begun', atMs: ATMS, value: 'Rome', facts: {} },
      { type: 'done', atMs: ATMS, step: 'book', value: 'Rome', facts: {} },
      { type: 'finished', atMs: ATMS, value: 'Rome', facts: {} },
    ]);
    const stuck = await transactions.history('stuck');
    expect(stuck.slice(1)).toMatchObject([
      { type: 'done', step: 'p', facts: { isPivot: true } },
      { type: 'stuck', facts: { reason: 'past-pivot' }, value: new Error('sold out') },
    ]);
  });
});

describe('delete', () => {
  test('forgets one that has ended: its id may be used again', async () => {
    const { transactions } = await several();
    expect(await transactions.delete('trip done')).toBe(true);
    expect(await transactions.get('trip done')).toBeUndefined();
    expect(await transactions.delete('trip done')).toBe(false);
    expect(await transactions.run('trip done', () => 'again')).toBe('again');
  });

  test.each(['runs', 'stuck'])('refuses one that has not ended: %s', async (id) => {
    const { transactions } = await several();
    await expect(transactions.delete(id)).rejects.toMatchObject({ code: 'HOLDFAST_TRANSACTION_STATE' });
    expect(await transactions.get(id)).toBeDefined();
  });
});

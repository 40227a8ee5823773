import { expect, test } from 'vitest';
import type { FencedError } from '../../src/records/lease.js';
import { LeaseNode, type Tenure } from '../../src/records/node.js';
import type { TransactionManager } from '../../src/transactions/transaction-manager.js';
import { rejectionOf } from '../support/deferred.js';
import { TransactionWorld } from '../support/transaction-world.js';

/** A node that knows who listens to its loss. */
class WatchedNode extends LeaseNode {
  readonly listening = new Set<(error: FencedError) => void>();

  override async tenure(): Promise<Tenure> {
    const tenure = await super.tenure();
    return {
      id: tenure.id,
      isValid: () => tenure.isValid(),
      onLost: (listener) => {
        this.listening.add(listener);
        const stop = tenure.onLost(listener);
        return () => {
          this.listening.delete(listener);
          stop();
        };
      },
    };
  }
}

const soldOut = () => Promise.reject(new Error('sold out'));

test.each<readonly [string, (transactions: TransactionManager, world: TransactionWorld) => Promise<unknown>]>([
  ['done', (transactions) => transactions.run('1', (tx) => tx.step('a', () => 1))],
  ['rolled back', (transactions) => rejectionOf(transactions.run('1', (tx) => tx.step('a', soldOut)))],
  [
    'stuck',
    (transactions) => rejectionOf(transactions.run('1', (tx) => tx.step('a', () => 1, { pivot: true }).then(soldOut))),
  ],
  [
    'let go of',
    async (transactions, { clock }) => {
      const outcome = rejectionOf(transactions.run('1', (tx) => tx.step('a', () => clock.sleep(1))));
      await clock.advance(0);
      await Promise.all([transactions.close(), clock.advance(1)]);
      return outcome;
    },
  ],
])('one that is %s leaves nothing behind in its node, nor on the clock', async (_, run) => {
  const world = new TransactionWorld();
  const node = new WatchedNode({ storage: world.inner, clock: world.clock });
  const { transactions } = world.process({ node });
  await run(transactions, world);
  expect(node.listening.size).toBe(0);
  await node.leave();
  expect(world.clock.pending).toBe(0);
});

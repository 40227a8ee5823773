import { describe, expect, test } from 'vitest';
import { compose } from '../../src/policies/policy.js';
import { RetryManager } from '../../src/policies/retry-manager.js';
import type { RetryOptions } from '../../src/policies/retry-options.js';
import type { StepContext, StepRetryOptions } from '../../src/transactions/transaction.js';
import { RolledBackError } from '../../src/transactions/transaction-errors.js';
import { rejectionOf } from '../support/deferred.js';
import { never, TransactionWorld } from '../support/transaction-world.js';

function every(baseMs: number, maxRetries = 3): StepRetryOptions {
  return { maxRetries, backoff: { kind: 'constant', baseMs, maxMs: baseMs, jitter: 'none' } };
}

describe('the defaults of a shared manager do not reach into a step:', () => {
  async function charges(defaults: RetryOptions, charge: (world: TransactionWorld) => StepFunction) {
    const world = new TransactionWorld();
    const policies = new RetryManager({ clock: world.clock, defaults });
    policies.circuits.get('bank').isolate();
    const { transactions } = world.process({ policies });
    const run = transactions.run('1', (tx) => tx.step('charge', charge(world), { retry: every(100, 1) }));
    const outcome = await world.settled(run.catch((error: unknown) => error));
    return { world, outcome };
  }
  type StepFunction = (step: StepContext) => unknown;

  const slow = (world: TransactionWorld) => async (): Promise<string> => {
    world.effect('charge');
    await world.clock.sleep(60_000);
    return 'charged';
  };
  const ended = new AbortController();
  ended.abort(new Error('The host is gone.'));

  test.each<[string, RetryOptions]>([
    ['a hedge', { hedge: { delayMs: 10 } }],
    ['a time limit of attempts', { attemptTimeoutMs: 10 }],
    ['a deadline', { deadlineMs: 10 }],
    ['a judgement of results', { retryResult: () => true }],
    ['a circuit', { circuit: 'bank' }],
    ['a signal', { signal: ended.signal }],
    ['a bulkhead', { bulkhead: { run: () => Promise.reject(new Error('full')) } }],
    ['a parent', { parent: { signal: ended.signal } }],
  ])('%s', async (_, defaults) => {
    const { world, outcome } = await charges(defaults, slow);
    expect(outcome).toBe('charged');
    expect(world.did).toEqual(['charge']);
  });

  test('a fallback is no result', async () => {
    const fallback = () => 'cached';
    const { world, outcome } = await charges({ fallback } as never, () => () => Promise.reject(new Error('declined')));
    expect(outcome).toBeInstanceOf(RolledBackError);
    expect(outcome).toMatchObject({ cause: { name: 'RetryError', cause: { message: 'declined' } } });
    expect((await world.view()).steps).toMatchObject([{ name: 'charge', status: 'failed' }]);
  });

  test('a step without a time limit sees no deadline', async () => {
    const { outcome } = await charges({ deadlineMs: 10 }, () => (step) => String(step.deadlineAtMs));
    expect(outcome).toBe('undefined');
  });

  test('but how it is tried again does', async () => {
    const world = new TransactionWorld();
    const policies = new RetryManager({ clock: world.clock, defaults: { backoff: every(7_000).backoff as never } });
    const at: number[] = [];
    const charge = ({ attempt }: StepContext) => {
      at.push(world.clock.monotonicMs());
      return attempt === 1 ? Promise.reject(new Error('503')) : 'charged';
    };
    await world.settled(
      world.process({ policies }).transactions.run('1', (tx) => tx.step('charge', charge, { retry: 1 })),
    );
    expect((at[1] as number) - (at[0] as number)).toBe(7_000);
  });

  test('and its own policies do', async () => {
    const world = new TransactionWorld();
    const policies = new RetryManager({ clock: world.clock });
    policies.circuits.get('bank').isolate();
    const { transactions } = world.process({ policies });
    const options = { circuit: 'bank', bulkhead: compose() as never };
    const error = await world.settled(rejectionOf(transactions.run('1', (tx) => tx.step('charge', never, options))));
    expect(error).toMatchObject({ cause: { code: 'HOLDFAST_CIRCUIT_OPEN' }, leftBehind: [] });
  });
});

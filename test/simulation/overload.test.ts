import { describe, expect, test } from 'vitest';
import type { RetryOptions } from '../../src/policies/retry-options.js';
import { simulateOverload } from './overload.js';
import { simulateStampede } from './stampede.js';

const NAIVE: RetryOptions = { maxRetries: 3, backoff: { kind: 'exponential', jitter: 'full' }, budget: false };

describe('a server that stalls for ten seconds', () => {
  test('never comes back under three retries with full jitter', async () => {
    const { recoveredAfterSeconds, attemptsPerRequest, goodput } = await simulateOverload(NAIVE, { processes: 20 });
    expect(goodput[5]).toBeGreaterThan(0.95); // Before the stall all was well.
    expect(attemptsPerRequest).toBeGreaterThan(3);
    expect(recoveredAfterSeconds).toBeUndefined();
    expect(Math.max(...goodput.slice(-60))).toBeLessThan(0.1);
  });

  test('comes back under the default retries, because they have a budget, and faster behind a circuit', async () => {
    const budgeted = await simulateOverload({});
    const circuit = await simulateOverload({ circuit: 'server' });
    expect(budgeted.attemptsPerRequest).toBeLessThan(1.25);
    expect(budgeted.recoveredAfterSeconds).toBeLessThan(120);
    expect(circuit.attemptsPerRequest).toBeLessThan(0.1);
    expect(circuit.recoveredAfterSeconds).toBeLessThan(budgeted.recoveredAfterSeconds as number);
  });

  test('gives the same figures for the same seed, and comes back under others too', async () => {
    const [one, same, other] = await Promise.all(
      ['a', 'a', 'b'].map((seed) => simulateOverload({ circuit: 's' }, { seed })),
    );
    expect(one).toEqual(same);
    expect(one).not.toEqual(other);
    expect(other?.recoveredAfterSeconds).toBeDefined();
  });
});

describe('a thousand clients that failed together', () => {
  test('come back in bursts half as large with the default jitter, or less, and are done sooner', async () => {
    const together = await simulateStampede('none');
    const spread = await simulateStampede('decorrelated');
    expect(spread.worstBurst).toBeLessThan(together.worstBurst / 2);
    expect(spread.doneAfterMs).toBeLessThan(together.doneAfterMs / 2);
    expect(spread.callsPerClient).toBeLessThan(together.callsPerClient / 2);
  });
});

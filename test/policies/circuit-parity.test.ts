import Opossum from 'opossum';
import { afterEach, expect, test, vi } from 'vitest';
import { CircuitBreaker } from '../../src/policies/circuit-breaker.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

afterEach(() => {
  vi.useRealTimers();
});

function stateOf(opossum: Opossum<[boolean], string>): string {
  if (opossum.closed) return 'closed';
  return opossum.opened ? 'open' : 'half-open';
}

/**
 * Where opossum is right: the trip at `errorThresholdPercentage` after `volumeThreshold`, half-open after
 * `resetTimeout`, closed by a success, open by a failure. Its window is emptied whenever it closed, because ours is
 * (defect O8), and refused calls are kept out of it (O9).
 */
function pair() {
  vi.useFakeTimers();
  const act = async (isGood: boolean) => {
    if (!isGood) throw new Error('down');
    return 'fine';
  };
  const windowMs = 10_000;
  const opossum = new Opossum(act, {
    timeout: false,
    resetTimeout: 700,
    volumeThreshold: 5,
    errorThresholdPercentage: 39.9, // It opens above, we open at the ratio.
    rollingCountTimeout: windowMs,
    rollingCountBuckets: 10,
  });
  const forget = () => {
    for (const bucket of opossum.status.window as unknown as Record<string, unknown>[])
      Object.assign(bucket, { fires: 0, failures: 0, successes: 0, rejects: 0, latencyTimes: [] });
  };
  opossum.on('close', forget);
  const clock = new VirtualClock();
  const breaker = new CircuitBreaker({
    name: 'ours',
    clock,
    openMs: 700,
    trip: { kind: 'time', windowMs, minCalls: 5, failureRatio: 0.4 },
  });
  const wait = async (ms: number) => {
    await vi.advanceTimersByTimeAsync(ms);
    await clock.advance(ms);
  };
  return { opossum, breaker, act, wait };
}

test.each(['one', 'two', 'three', 'four', 'five'])(
  'states are those of opossum for seed %s, over 400 calls',
  async (seed) => {
    const random = seededRandom(seed);
    const { opossum, breaker, act, wait } = pair();
    const seen = new Set<string>();
    for (let call = 0; call < 400; call++) {
      const isGood = random.chance(0.6);
      const results = await Promise.allSettled([opossum.fire(isGood), breaker.run(() => act(isGood))]);
      const [theirs, mine] = results.map(({ status }) => status);
      expect(mine, `call ${call}`).toBe(theirs);
      expect(breaker.state, `after call ${call}`).toBe(stateOf(opossum));
      seen.add(breaker.state);
      if (random.chance(0.1)) await wait(350);
      expect(breaker.state, `waiting after call ${call}`).toBe(stateOf(opossum));
      seen.add(breaker.state);
    }
    expect([...seen].sort()).toEqual(['closed', 'half-open', 'open']);
    breaker.dispose();
    opossum.shutdown();
  },
);

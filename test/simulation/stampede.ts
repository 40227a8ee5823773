import type { Jitter } from '../../src/policies/backoff.js';
import { RetryManager } from '../../src/policies/retry-manager.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { SimulatedClock } from './simulated-clock.js';

const CLIENTS = 1_000;
/** The server serves so many calls in each tenth of a second and refuses the rest at once. */
const SERVED_PER_TENTH = 25;

/** What came of it. */
export interface StampedeFigures {
  readonly callsPerClient: number;
  /** When the last client was served. */
  readonly doneAfterMs: number;
  /** Most calls within 10 ms, the first one of each client left out: they came together. */
  readonly worstBurst: number;
}

/** A thousand clients fail at the same moment and come back until they are served. */
export async function simulateStampede(jitter: Jitter, seed: number | string = 1): Promise<StampedeFigures> {
  const clock = new SimulatedClock();
  const manager = new RetryManager({ clock, random: seededRandom(seed) });
  const served = new Map<number, number>();
  const bursts = new Map<number, number>();
  let calls = 0;
  const serve = async () => {
    const nowMs = clock.monotonicMs();
    calls++;
    count(bursts, Math.floor(nowMs / 10));
    if (count(served, Math.floor(nowMs / 100)) > SERVED_PER_TENTH) throw new Error('busy');
  };
  const backoff = { kind: 'exponential', baseMs: 100, maxMs: 2_000, jitter } as const;
  const doneAtMs: number[] = [];
  const clients = Array.from({ length: CLIENTS }, async () => {
    await manager.run(serve, { maxRetries: 10_000, backoff, budget: false });
    doneAtMs.push(clock.monotonicMs());
  });
  await clock.runUntil(600_000);
  await Promise.all(clients);
  bursts.delete(0);
  return {
    callsPerClient: calls / CLIENTS,
    doneAfterMs: Math.max(...doneAtMs),
    worstBurst: Math.max(...bursts.values()),
  };
}

function count(counts: Map<number, number>, key: number): number {
  const sum = (counts.get(key) ?? 0) + 1;
  counts.set(key, sum);
  return sum;
}

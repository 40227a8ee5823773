import { RetryManager } from '../../src/policies/retry-manager.js';
import type { RetryOptions } from '../../src/policies/retry-options.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { SimulatedClock } from './simulated-clock.js';

/**
 * Metastable overload: a server with room to spare stalls for ten seconds, and clients that time out and try again keep
 * it busy with requests that nobody waits for any more. A fleet sends 1,000 requests a second to a server that serves
 * 1,300; simulated is one of its processes, with the real policies and its fair share of the server.
 * Source of the phenomenon: Bronson et al., "Metastable Failures in Distributed Systems", HotOS 2021.
 */
const REQUESTS_PER_SECOND = 1_000;
const SERVED_PER_SECOND = 1_300;
const CLIENT_TIMEOUT_MS = 500;
const STALL_FROM_MS = 10_000;
const STALL_TO_MS = 20_000;
/** How long after the stall recovery is waited for. */
const WATCHED_MS = 120_000;
/** Recovered is who stays so. */
const STEADY_SECONDS = 5;
const GOODPUT = 0.95;

/** What came of it. */
export interface OverloadFigures {
  /**
   * Seconds from the end of the stall until 95 % of requests succeeded, and went on to for five seconds. `undefined`: not
   * within two minutes.
   */
  readonly recoveredAfterSeconds: number | undefined;
  /** Attempts that reached the server for each request made while it stalled. */
  readonly attemptsPerRequest: number;
  /** The share of requests begun in each second that succeeded in the end. */
  readonly goodput: readonly number[];
}

/** Which run it is. */
export interface OverloadRun {
  /** The same seed gives the same figures. Default 1. */
  readonly seed?: number | string;
  /**
   * How many processes the fleet has. Default 5. Each has a retry budget of its own, which grants it 10 retries a second
   * whatever it sends, so larger fleets recover later. Without a budget the number only decides how much there is to do.
   */
  readonly processes?: number;
}

/** Runs the overload with clients that use `options`. */
export async function simulateOverload(options: RetryOptions, run: OverloadRun = {}): Promise<OverloadFigures> {
  const { seed = 1, processes = 5 } = run;
  const clock = new SimulatedClock();
  const random = seededRandom(seed);
  const manager = new RetryManager({ clock, random });
  const server = new StallingServer(clock, SERVED_PER_SECOND / processes);
  const meanGapMs = (1_000 * processes) / REQUESTS_PER_SECOND;
  const seconds = Array.from({ length: (STALL_TO_MS + WATCHED_MS) / 1_000 }, () => ({ made: 0, good: 0 }));
  const request = async (second: { made: number; good: number } | undefined) => {
    if (second === undefined) return; // Begun after the last second that is watched.
    second.made++;
    try {
      await manager.run(() => server.serve(), { ...options, attemptTimeoutMs: CLIENT_TIMEOUT_MS });
      second.good++;
    } catch {
      // A request that failed is one that is not counted as good.
    }
  };
  const arrivals = async () => {
    for (let dueMs = 0; ; dueMs -= meanGapMs * Math.log(1 - random())) {
      await clock.sleep(dueMs - clock.monotonicMs());
      void request(seconds[Math.floor(dueMs / 1_000)]);
    }
  };
  void arrivals();
  await clock.runUntil(STALL_TO_MS + WATCHED_MS + 10_000); // The last requests need a while to succeed or fail.
  await manager.close();
  return figuresOf(seconds, server.attemptsInStall);
}

function figuresOf(seconds: readonly { made: number; good: number }[], attempts: number): OverloadFigures {
  const goodput = seconds.map(({ made, good }) => good / made);
  const stalled = seconds.slice(STALL_FROM_MS / 1_000, STALL_TO_MS / 1_000);
  const after = goodput.slice(STALL_TO_MS / 1_000);
  const isSteady = (_share: number, at: number) => {
    const next = after.slice(at, at + STEADY_SECONDS);
    return next.length === STEADY_SECONDS && next.every((share) => share >= GOODPUT);
  };
  const at = after.findIndex(isSteady);
  return {
    recoveredAfterSeconds: at === -1 ? undefined : at,
    attemptsPerRequest: attempts / stalled.reduce((sum, { made }) => sum + made, 0),
    goodput,
  };
}

/** Serves in the order of arrival, each for as long as the last, whether or not anyone still waits for the answer. */
class StallingServer {
  attemptsInStall = 0;
  readonly #clock: SimulatedClock;
  readonly #serviceMs: number;
  /** When it has served all that have come so far. */
  #freeAtMs = 0;

  constructor(clock: SimulatedClock, servedPerSecond: number) {
    this.#clock = clock;
    this.#serviceMs = 1_000 / servedPerSecond;
  }

  serve(): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs >= STALL_FROM_MS && nowMs < STALL_TO_MS) this.attemptsInStall++;
    const startMs = Math.max(nowMs, this.#freeAtMs);
    const isStalled = startMs >= STALL_FROM_MS && startMs < STALL_TO_MS;
    this.#freeAtMs = (isStalled ? STALL_TO_MS : startMs) + this.#serviceMs;
    const answeredInMs = this.#freeAtMs - nowMs;
    return answeredInMs > CLIENT_TIMEOUT_MS ? unheard() : this.#clock.sleep(answeredInMs);
  }
}

/** An answer that comes when nobody waits for it any more. That it comes at all would only cost time to simulate. */
function unheard(): Promise<void> {
  return new Promise(() => {});
}

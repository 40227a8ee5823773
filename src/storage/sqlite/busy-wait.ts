import type { Clock } from '../../base/clock.js';
import { isBusy } from './sqlite-fault.js';

/** How long, and by which clock, to wait for other connections. */
export interface BusyWait {
  readonly clock: Clock;
  readonly busyMs: number;
}

/** Longest single wait, in milliseconds. A lock is held for one commit or one checkpoint: a few milliseconds. */
const LONGEST_WAIT_MS = 20;

/**
 * What `attempt` answers, tried again while it throws SQLITE_BUSY. SQLite's own waiting would block the event loop; these
 * waits do not. They grow from 1 ms, half of each by chance, so that processes that collided once do not do so again.
 * After `busyMs` the last SQLITE_BUSY is thrown. An attempt that throws must have undone what it did.
 */
export async function whenFree<Answer>(wait: BusyWait, attempt: () => Answer, signal?: AbortSignal): Promise<Answer> {
  const { clock, busyMs } = wait;
  let endsAtMs: number | undefined;
  for (let ceilingMs = 1; ; ceilingMs = Math.min(LONGEST_WAIT_MS, ceilingMs * 2)) {
    try {
      return attempt();
    } catch (error) {
      if (!isBusy(error)) throw error;
      const nowMs = clock.monotonicMs();
      endsAtMs ??= nowMs + busyMs;
      if (nowMs >= endsAtMs) throw error;
      const waitMs = Math.min(jitteredMs(ceilingMs), endsAtMs - nowMs);
      await clock.sleep(waitMs, signal ? { signal } : {});
    }
  }
}

function jitteredMs(ceilingMs: number, random: () => number = Math.random): number {
  return (ceilingMs * (1 + random())) / 2;
}

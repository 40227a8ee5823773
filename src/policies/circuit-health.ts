import type { Clock } from '../base/clock.js';
import type { Permit } from './call-gate.js';

/** What the host does to see whether the dependency is well: throws or rejects if not. */
export type HealthCheck = (signal: AbortSignal) => unknown;

/** A check, its pace, and whom to tell. */
export interface HealthWatch {
  readonly clock: Clock;
  readonly everyMs: number;
  /** How long one check may take before it counts as failed. */
  readonly maxMs: number;
  readonly check: HealthCheck;
  /** Undefined: nothing to find out now. */
  readonly begin: () => Permit | undefined;
}

/** Checks until the returned function is called. One check at a time: one that is slow delays the next. */
export function startHealthChecks(watch: HealthWatch): () => void {
  const stopped = new AbortController();
  const { signal } = stopped;
  const checkForEver = async () => {
    for (;;) {
      await watch.clock.sleep(watch.everyMs, { signal, unref: true });
      await checkOnce(watch, signal);
    }
  };
  checkForEver().catch((error: unknown) => {
    if (!signal.aborted) throw error; // Stopped; anything else is a broken clock and must be seen.
  });
  return () => stopped.abort(new DOMException('The health checks were stopped.', 'AbortError'));
}

/** Ends when the check has really ended, though the verdict may fall before. */
async function checkOnce({ clock, maxMs, check, begin }: HealthWatch, stopped: AbortSignal): Promise<void> {
  const permit = begin();
  if (permit === undefined) return;
  const over = new AbortController();
  const stop = () => {
    permit.ignore();
    over.abort(stopped.reason);
  };
  stopped.addEventListener('abort', stop, { once: true });
  const late = () => {
    permit.failure(new DOMException(`The health check did not end within ${maxMs} ms.`, 'TimeoutError'));
    over.abort(new DOMException(`The health check had ${maxMs} ms.`, 'TimeoutError'));
  };
  clock.sleep(maxMs, { signal: over.signal, unref: true }).then(late, () => undefined); // Called off: it ended in time.
  try {
    permit.success(await check(over.signal));
  } catch (error) {
    permit.failure(error);
  } finally {
    stopped.removeEventListener('abort', stop);
    over.abort();
  }
}

import { type Clock, startTimer } from '../base/clock.js';
import type { CallScope } from './call-scope.js';

/** Resolves after `ms` milliseconds, or as soon as one of `scopes` is aborted: look which. Leaves nothing behind. */
export async function waitUnlessAborted(ms: number, clock: Clock, scopes: readonly CallScope[]): Promise<void> {
  let stops: (() => void)[] = [];
  await new Promise<void>((resolve) => {
    const timer = startTimer(clock, ms, resolve);
    stops = scopes.map((scope) => scope.onAbort(() => resolve()));
    stops.push(() => timer.cancel());
  });
  for (const stop of stops) stop();
}

import { propertyOf } from './http-failure.js';

/** How many runs had given up when each of these was thrown. Weak: remembering costs no memory. */
const gaveUpAt = new WeakMap<object, number>();
/** Deep enough for any real chain; a ring ends here too. */
const MAX_CAUSES = 16;
let giveUps = 0;

/** How many runs of this process have given up so far: taken before an attempt, to know what was given up inside it. */
export function giveUpsSoFar(): number {
  return giveUps;
}

/** From now on `error` is known as one that a run gave up on. */
export function rememberGiveUp(error: unknown): void {
  if (typeof error === 'object' && error !== null) gaveUpAt.set(error, ++giveUps);
}

/**
 * Did a run that gave up after `since` throw this, or a cause of it? Older give-ups do not count: an error object that
 * is thrown again and again (a constant) must not stop the retries of later runs.
 */
export function wasGivenUpSince(error: unknown, since: number): boolean {
  let link = error;
  for (let depth = 0; depth < MAX_CAUSES && typeof link === 'object' && link !== null; depth++) {
    if ((gaveUpAt.get(link) ?? 0) > since) return true;
    link = propertyOf(link, 'cause');
  }
  return false;
}

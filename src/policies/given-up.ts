import { isHoldfastError } from '../base/errors.js';
import { propertyOf } from './http-failure.js';

/** Runs are numbered as they begin, so that one can be told to have begun inside an attempt of another. */
let runs = 0;
/** The newest run that gave up on each of these. Weak: remembering costs no memory. */
const givenUpBy = new WeakMap<object, number>();
/** Deep enough for any real chain; a ring ends here too. */
const MAX_CAUSES = 16;

/** The number of a run that begins now. */
export function beginRun(): number {
  return ++runs;
}

/** The number of the newest run: those inside an attempt that begins now will have higher ones. */
export function newestRun(): number {
  return runs;
}

/** The run of this number gave up on `error`. */
export function rememberGivenUp(error: unknown, run: number): void {
  if (typeof error === 'object' && error !== null) givenUpBy.set(error, Math.max(run, givenUpBy.get(error) ?? 0));
}

/**
 * Did a run that began after run number `since` give up on this, or on a cause of it? Runs that began before cannot have
 * been inside: one connection that breaks fails many runs with one error, and a constant is thrown again and again. A
 * `RetryError` is always one that was given up.
 */
export function wasGivenUpSince(error: unknown, since: number): boolean {
  let link = error;
  for (let depth = 0; depth < MAX_CAUSES && typeof link === 'object' && link !== null; depth++) {
    if (isHoldfastError(link) && link.code === 'HOLDFAST_RETRY_GAVE_UP') return true;
    if ((givenUpBy.get(link) ?? 0) > since) return true;
    link = propertyOf(link, 'cause');
  }
  return false;
}

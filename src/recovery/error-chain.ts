import { propertyOf } from '../policies/http-failure.js';

/** How many errors are looked at. No real one is made of more. */
export const MAX_ERRORS = 100;

/** What an error was made of, one level down: the parts of an aggregate, and its cause. */
export function innerErrors(error: unknown): readonly unknown[] {
  const parts = propertyOf(error, 'errors');
  const cause = propertyOf(error, 'cause');
  return [...(Array.isArray(parts) ? parts.slice(0, MAX_ERRORS) : []), ...(cause === undefined ? [] : [cause])];
}

/** The error and everything it was made of, from the outside in, each once. Ends in a ring, and never throws. */
export function causesOf(error: unknown): readonly unknown[] {
  if (error === undefined) return [];
  const found = new Set<unknown>([error]); // A set goes on to what is added meanwhile.
  for (const one of found) {
    for (const inner of innerErrors(one)) if (found.size < MAX_ERRORS) found.add(inner);
  }
  return [...found];
}

import type { CallGate, Permit } from '../policies/call-gate.js';
import { compose } from '../policies/policy.js';
import type { RetryOptions } from '../policies/retry-options.js';

/** Later than any date: a limit that is none. */
const NEVER_MS = 8.64e15;

const PERMIT: Permit = { success() {}, failure() {}, ignore() {} };
const PLAIN = compose();
const ALWAYS_CLOSED: CallGate = {
  run: (call, context) => PLAIN.run(call, context),
  admit: () => PERMIT,
  isOpenFor: () => false,
  refusal: () => new Error('It refuses nothing.'),
};

/**
 * What a step does not ask for. Said in so many words, because `undefined` leaves the `defaults` of a shared manager in
 * force: a default hedge would run a step twice at once, a default fallback make a failure its result. How a step is tried
 * again (back-off, budget, `Retry-After`) may come from there.
 */
export const ASKED_FOR_NOTHING: RetryOptions = {
  attemptTimeoutMs: NEVER_MS,
  deadlineMs: NEVER_MS,
  hedge: { delayMs: NEVER_MS },
  retryResult: () => false,
  circuit: ALWAYS_CLOSED,
  bulkhead: PLAIN,
  signal: new AbortController().signal,
};

/** The deadline as the step sees it: none, if it did not ask for one. */
export function askedDeadline(deadlineAtMs: number | undefined): number | undefined {
  return deadlineAtMs === undefined || deadlineAtMs > NEVER_MS / 2 ? undefined : deadlineAtMs;
}

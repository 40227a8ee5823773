import { isHoldfastError } from '../base/errors.js';
import type { CallScope } from './call-scope.js';
import type { CircuitOutcome, CircuitSettings, CircuitVerdict } from './circuit-options.js';
import { warnOf } from './circuit-report.js';
import { isCallersFault, propertyOf } from './http-failure.js';

/** What an outcome says about the dependency. Never throws. */
export function verdictOn(outcome: CircuitOutcome, circuit: string, { classify }: CircuitSettings): CircuitVerdict {
  if (classify === undefined) return defaultVerdict(outcome);
  try {
    const verdict: unknown = classify(outcome);
    if (verdict === 'success' || verdict === 'failure' || verdict === 'ignore') return verdict;
    warnOf(
      circuit,
      'classify',
      new TypeError(`it must return 'success', 'failure' or 'ignore', not ${typeof verdict}`),
    );
  } catch (error) {
    warnOf(circuit, 'classify', error); // The call's own result must not be replaced by this.
  }
  return 'failure';
}

function defaultVerdict(outcome: CircuitOutcome): CircuitVerdict {
  if (!('error' in outcome)) return 'success';
  const root = rootOf(outcome.error);
  if (isHoldfastError(root) && REFUSALS.has(root.code)) return 'ignore'; // Refused on this side: nothing was sent.
  return isCallersFault(root) ? 'success' : 'failure';
}

/** By code, because errors of another copy of the package count too, and a hostile value has no class. */
const REFUSALS: ReadonlySet<string> = new Set([
  'HOLDFAST_CIRCUIT_OPEN',
  'HOLDFAST_BULKHEAD_FULL',
  'HOLDFAST_RATE_LIMITED',
]);
const WRAPPERS: ReadonlySet<string> = new Set(['HOLDFAST_RETRY_GAVE_UP', 'HOLDFAST_FALLBACK_FAILED']);

/** What the policies further in wrapped. */
function rootOf(error: unknown): unknown {
  let root = error;
  while (isHoldfastError(root) && WRAPPERS.has(root.code)) root = root.cause;
  return root;
}

/**
 * Did the caller lose interest, so that the error says nothing about the dependency? A call that was cut off because it
 * took too long is a failure.
 */
export function wasGivenUp(scope: CallScope): boolean {
  return scope.isAborted && propertyOf(scope.reason, 'name') !== 'TimeoutError' && scope.remainingMs > 0;
}

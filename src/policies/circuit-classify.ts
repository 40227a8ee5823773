import type { CallScope } from './call-scope.js';
import type { CircuitOutcome, CircuitSettings, CircuitVerdict } from './circuit-options.js';
import { warnOf } from './circuit-report.js';
import { isCallersFault, propertyOf } from './http-failure.js';
import { RefusalError } from './refusal-error.js';

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
  if (outcome.error instanceof RefusalError) return 'ignore'; // Refused on this side: nothing was sent.
  return isCallersFault(outcome.error) ? 'success' : 'failure';
}

/**
 * Did the caller lose interest, so that the error says nothing about the dependency? A call that was cut off because it
 * took too long is a failure.
 */
export function wasGivenUp(scope: CallScope): boolean {
  return scope.isAborted && propertyOf(scope.reason, 'name') !== 'TimeoutError' && scope.remainingMs > 0;
}

import { isHoldfastError } from '../base/errors.js';
import { isCallersFault, propertyOf } from './http-failure.js';

/** Ours that another attempt cannot mend. By code, so that errors of another copy of the package count too. */
const HOPELESS_CODES: ReadonlySet<string> = new Set([
  'HOLDFAST_INVALID_INPUT',
  'HOLDFAST_CLOSED',
  'HOLDFAST_CIRCUIT_OPEN',
]);

/** Was the call refused by an open circuit? Then it was no attempt at all. */
export function isOpenCircuit(error: unknown): boolean {
  return isHoldfastError(error) && error.code === 'HOLDFAST_CIRCUIT_OPEN';
}

/** What is done about a thrown value when nobody says otherwise: tried again, unless that is known to be hopeless. */
export function defaultVerdict(error: unknown): 'retry' | 'fail' {
  const isHopeless = isHoldfastError(error) ? HOPELESS_CODES.has(error.code) : isAbort(error) || isCallersFault(error);
  return isHopeless ? 'fail' : 'retry';
}

/** Somebody called it off: not a failure to repeat. Told by name, because the class differs between realms. */
function isAbort(error: unknown): boolean {
  return propertyOf(error, 'name') === 'AbortError';
}

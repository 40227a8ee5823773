import { HoldfastError } from '../base/errors.js';
import type { EndedRecovery } from './recovery-record.js';

/**
 * The session could not be brought to a state it can go on from, or was recovered too often lately. It was given back, and
 * nothing that had been saved was changed. `recovery` says what was tried; mend what it names, then run the session again.
 */
export class RecoveryFailedError extends HoldfastError {
  readonly code = 'HOLDFAST_RECOVERY_FAILED';
  constructor(readonly recovery: EndedRecovery) {
    const { subject, outcome, why } = recovery;
    const what = outcome === 'suppressed' ? 'was not recovered once more' : 'could not be recovered';
    super(`Session "${subject}" ${what}${why === undefined ? '' : `: ${why}`}. See its recovery ${recovery.id}.`);
  }
}

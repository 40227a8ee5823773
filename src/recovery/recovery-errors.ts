import { HoldfastError } from '../base/errors.js';
import type { RecoveryOutcome } from './recovery-record.js';

/** What was asked for does not fit the state the recovery is in. Nothing was changed. */
export class RecoveryStateError extends HoldfastError {
  readonly code = 'HOLDFAST_RECOVERY_STATE';
  constructor(
    message: string,
    readonly recovery: string,
    /** `undefined`: it has none yet, or there is no such recovery. */
    readonly outcome: RecoveryOutcome | undefined,
  ) {
    super(message);
  }
}

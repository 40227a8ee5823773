import { NoSpaceError, StorageError } from '../storage/adapter.js';
import type { StepRetryOptions } from '../transactions/transaction.js';
import { isTransient } from './failure-rules.js';

/** Does it go away by waiting? A store that gives no answer is not one that has lost something. */
export function isPassing(error: unknown): boolean {
  return error instanceof StorageError || error instanceof NoSpaceError || isTransient(error);
}

/** A rung is for what is broken: what only has to be waited for is no reason to go on to one that gives less. */
export const UNTIL_IT_PASSES: StepRetryOptions = {
  maxRetries: 5,
  budget: false,
  classify: ({ error }) => (isPassing(error) ? 'retry' : 'fail'),
};

import { HoldfastError, isHoldfastError } from '../base/errors.js';
import type { AttemptFailure } from './attempt.js';
import { inWords } from './in-words.js';

/**
 * Why a run stopped trying although the failure was worth a retry.
 * - `exhausted`: `maxRetries` retries were made.
 * - `deadline`: the deadline passed, or would have passed during the next wait.
 * - `budget`: too large a share of recent calls are retries already; more would keep an overloaded service down.
 * - `retry-after`: the other side asked for a longer wait than `retryAfter.maxMs`.
 * - `circuit-open`: the circuit opened while this run was retrying.
 * - `decision-failed`: a function among the options threw or answered nonsense; `cause` is what it threw.
 */
export type GiveUpReason = 'exhausted' | 'deadline' | 'budget' | 'retry-after' | 'circuit-open' | 'decision-failed';

/**
 * A run gave up. `attempts` has every failure in order (of more than a hundred the first and the last fifty); `cause` is what the last one threw. Retries further out leave
 * this error alone: what was given up once is not multiplied.
 */
export class RetryError extends HoldfastError {
  readonly code = 'HOLDFAST_RETRY_GAVE_UP';
  constructor(
    readonly reason: GiveUpReason,
    readonly attempts: readonly AttemptFailure[],
    options: { readonly cause: unknown; readonly why: string; readonly operationId: string },
  ) {
    const count = `${attempts.length} ${attempts.length === 1 ? 'attempt' : 'attempts'}`;
    super(`Gave up after ${count}: ${options.why}. Last failure: ${inWords(options.cause)}`, options);
    this.operationId = options.operationId;
  }
  /** The id that all attempts carried. */
  readonly operationId: string;

  /** What the other side asked for last, in milliseconds; undefined if it asked for nothing. */
  get retryAfterMs(): number | undefined {
    return this.attempts.at(-1)?.retryAfterMs;
  }

  /** For logs: the whole story, each failure in one line. */
  override toJSON(): object {
    const { name, code, message, reason, operationId } = this;
    const attempts = this.attempts.map(({ error, result, ...attempt }) => ({
      ...attempt,
      error: inWords(error ?? new ResultRefusedError(result)),
    }));
    return { name, code, message, reason, operationId, attempts };
  }
}

/** By code, because looking for the class of a hostile value may throw. */
export function isRefusedResult(error: unknown): error is ResultRefusedError {
  return isHoldfastError(error) && error.code === 'HOLDFAST_RESULT_REFUSED';
}

/** `retryResult` refused what the call returned: how such a failure looks to circuit breakers and as a `cause`. */
export class ResultRefusedError extends HoldfastError {
  readonly code = 'HOLDFAST_RESULT_REFUSED';
  constructor(readonly result: unknown) {
    super('The call returned a result that `retryResult` refused; it is in the field `result`.');
  }
}

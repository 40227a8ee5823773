import type { Attempt, AttemptFailure } from '../policies/attempt.js';
import { CallScope } from '../policies/call-scope.js';
import type { RetryManager } from '../policies/retry-manager.js';
import type { RetryOptions, Verdict } from '../policies/retry-options.js';
import { type AttemptOrigin, StepAttempt, type StepIdentity } from './step-attempt.js';
import type { StepCode } from './step-code.js';
import { ASKED_FOR_NOTHING } from './step-policies.js';
import type { StepRetryOptions } from './transaction.js';

/** Whoever acts for the transaction. */
interface StepHolder {
  /** Asked before each attempt. @throws FencedError if the transaction is no longer ours */
  requireHeld(): void;
}

/** A step that is about to run. */
export interface StepCall {
  readonly identity: StepIdentity;
  readonly code: StepCode;
  /** Aborted when the transaction fails or is lost. A running attempt is told, and waited for. */
  readonly scope: CallScope;
  /** Aborted when no more attempts may begin, also because this process lets go of the transaction. Ends waits only. */
  readonly waits: CallScope;
  readonly holder: StepHolder;
  /** What it gave, if that could not be kept. */
  unkept?: { readonly result: unknown };
}

/** What is tried. */
export interface StepTry {
  readonly act: AttemptOrigin['act'];
  readonly cause?: unknown;
  readonly retry: StepRetryOptions;
  /** For attempts of `run`. */
  readonly policies?: Pick<StepCode, 'circuit' | 'bulkhead'>;
  /** One attempt. */
  begin(context: StepAttempt): unknown;
  /** Judges a failure; `undefined`: as usual. */
  classify(failure: AttemptFailure): Verdict | PromiseLike<Verdict>;
}

/**
 * Attempts of a step under its policies, one after the other. Rejects as a retry manager does; with the reason of what ended
 * a wait between them; and untried again with FencedError.
 */
export function tryStep(retries: RetryManager, call: StepCall, wanted: StepTry): Promise<unknown> {
  return isPlain(call.code, wanted) ? attemptOnce(call, wanted) : new StepAttempts(call, wanted).run(retries);
}

/** No policy is asked for: the function is called as it is. */
function isPlain({ timeoutMs }: StepCode, { retry, policies }: StepTry): boolean {
  const isGuarded = policies?.circuit !== undefined || policies?.bulkhead !== undefined;
  return retry.maxRetries === 0 && timeoutMs === undefined && !isGuarded;
}

async function attemptOnce(call: StepCall, { act, cause, begin }: StepTry, attempt?: Attempt): Promise<unknown> {
  call.holder.requireHeld(); // A process that slept through its lease wakes up in a wait between attempts.
  const context = new StepAttempt(call.identity, { act, around: call.scope, attempt, cause });
  try {
    return await begin(context);
  } finally {
    context.end();
  }
}

class StepAttempts {
  readonly #call: StepCall;
  readonly #try: StepTry;
  /** Ends waits between attempts. Attempts are not left behind: the transaction has to know how they end. */
  readonly #waits = new CallScope(1);
  /** No attempt is under way, and none is being judged. */
  #isWaiting = true;
  /** What `fallback` was told: the run failed. */
  #failure: { readonly error: unknown } | undefined;

  constructor(call: StepCall, wanted: StepTry) {
    this.#call = call;
    this.#try = wanted;
  }

  async run(retries: RetryManager): Promise<unknown> {
    const { scope, waits } = this.#call;
    const stops = [scope, waits].map((around) => around.onAbort(() => this.#endWait()));
    try {
      const result = await retries.run((attempt) => this.#attempt(attempt), this.#options());
      if (this.#failure !== undefined) throw this.#failure.error;
      return result;
    } finally {
      for (const stop of stops) stop();
    }
  }

  #attempt(attempt: Attempt): Promise<unknown> {
    this.#isWaiting = false;
    return attemptOnce(this.#call, this.#try, attempt);
  }

  #options(): RetryOptions<unknown, unknown> {
    const { code, identity } = this.#call;
    const { retry, policies } = this.#try;
    return {
      ...ASKED_FOR_NOTHING,
      ...retry,
      ...(code.timeoutMs !== undefined && { attemptTimeoutMs: code.timeoutMs }),
      ...(policies?.circuit !== undefined && { circuit: policies.circuit }),
      ...(policies?.bulkhead !== undefined && { bulkhead: policies.bulkhead }),
      classify: (failure) => this.#try.classify(failure),
      onRetry: () => {
        this.#isWaiting = true;
        this.#endWait();
      },
      fallback: (error: unknown) => {
        this.#failure = { error };
      },
      parent: this.#waits,
      operationId: `${identity.transaction}/${identity.step}`,
    };
  }

  #endWait(): void {
    const { scope, waits } = this.#call;
    const ended = [scope, waits].find((around) => around.isAborted);
    if (this.#isWaiting && ended !== undefined) this.#waits.abort(ended.reason);
  }
}

import { isHoldfastError } from '../base/errors.js';
import type { Attempt, AttemptFailure } from '../policies/attempt.js';
import { CallScope } from '../policies/call-scope.js';
import { propertyOf } from '../policies/http-failure.js';
import type { RetryManager } from '../policies/retry-manager.js';
import type { RetryOptions, Verdict } from '../policies/retry-options.js';
import { StepAttempt, type StepIdentity } from './step-attempt.js';
import type { StepCode } from './step-code.js';

/** A step that is about to run. */
export interface StepCall {
  readonly identity: StepIdentity;
  readonly code: StepCode;
  /** Aborted when the transaction fails or is lost. A running attempt is told, and waited for. */
  readonly scope: CallScope;
  /** What it gave, if that could not be kept. */
  unkept?: { readonly result: unknown };
}

/**
 * How a step ended. `failed`: nothing happened. `unknown`: it may have happened. `untellable`: it may have happened, and
 * nothing may be tried without knowing.
 */
export type StepOutcome =
  | { readonly kind: 'done'; readonly result: unknown }
  | { readonly kind: 'failed' | 'unknown' | 'untellable'; readonly error: unknown };

/** Runs the step under its policies. Never rejects. */
export async function runStep(retries: RetryManager, call: StepCall): Promise<StepOutcome> {
  const run = new StepRunner(retries, call);
  try {
    return { kind: 'done', result: await run.start() };
  } catch (error) {
    return run.outcomeOf(error);
  }
}

/**
 * Asks `verify`. What it answers with is the result; `undefined` says that it did not happen. Rejects if it cannot tell.
 */
export async function verifyStep(retries: RetryManager, { identity, code, scope }: StepCall): Promise<unknown> {
  const ask = async (attempt?: Attempt): Promise<unknown> => {
    const context = new StepAttempt(identity, { act: 'run', around: scope, attempt });
    try {
      return await code.verify?.(context);
    } finally {
      context.end();
    }
  };
  return isPlain(code) ? ask() : retries.run(ask, { ...code.retry, ...limits(code) });
}

/** Takes the effect of a step back, with its own retries. Rejects with the last failure. */
export async function compensateStep(
  retries: RetryManager,
  { identity, code, scope }: StepCall,
  of: { readonly result: unknown; readonly cause: unknown },
): Promise<void> {
  await retries.run(
    async (attempt) => {
      const context = new StepAttempt(identity, { act: 'compensate', around: scope, attempt, cause: of.cause });
      try {
        await code.compensate?.(of.result, context);
      } finally {
        context.end();
      }
    },
    { ...code.compensateRetry, ...limits(code), signal: scope.signal },
  );
}

/** No policy is asked for: the function is called as it is. */
function isPlain({ retry, timeoutMs, circuit, bulkhead }: StepCode): boolean {
  return retry.maxRetries === 0 && timeoutMs === undefined && circuit === undefined && bulkhead === undefined;
}

function limits({ timeoutMs }: StepCode): RetryOptions {
  return timeoutMs === undefined ? {} : { attemptTimeoutMs: timeoutMs };
}

/** One run of a step: its attempts, and what is known of their effects. */
class StepRunner {
  readonly #retries: RetryManager;
  readonly #call: StepCall;
  /** Ends waits between attempts. Attempts are not left behind: the transaction has to know how they end. */
  readonly #waits = new CallScope(1);
  #isRunning = false;
  /** An attempt ended, or was cut off, and has not been judged. */
  #isUnjudged = false;
  #mayHaveHappened = false;
  #verified: { readonly result: unknown } | undefined;
  #untellable: { readonly error: unknown } | undefined;

  constructor(retries: RetryManager, call: StepCall) {
    this.#retries = retries;
    this.#call = call;
  }

  async start(): Promise<unknown> {
    const { code, scope } = this.#call;
    if (isPlain(code)) return this.#attempt();
    const stop = scope.onAbort((reason) => {
      if (!this.#isRunning) this.#waits.abort(reason);
    });
    try {
      return await this.#retries.run((attempt) => this.#attempt(attempt), this.#options());
    } finally {
      stop();
    }
  }

  async outcomeOf(error: unknown): Promise<StepOutcome> {
    if (this.#isUnjudged) await this.#judge(error);
    if (this.#verified !== undefined) return { kind: 'done', result: this.#verified.result };
    if (this.#untellable !== undefined) return { kind: 'untellable', error: this.#untellable.error };
    return { kind: this.#mayHaveHappened ? 'unknown' : 'failed', error };
  }

  #options(): RetryOptions {
    const { code, identity } = this.#call;
    return {
      ...code.retry,
      ...limits(code),
      classify: (failure) => this.#classify(failure),
      parent: this.#waits,
      ...(code.circuit !== undefined && { circuit: code.circuit }),
      ...(code.bulkhead !== undefined && { bulkhead: code.bulkhead }),
      operationId: `${identity.transaction}/${identity.step}`,
    };
  }

  async #attempt(attempt?: Attempt): Promise<unknown> {
    const { identity, code, scope } = this.#call;
    const context = new StepAttempt(identity, { act: 'run', around: scope, attempt });
    this.#isRunning = true;
    this.#isUnjudged = true;
    try {
      return await code.run(context);
    } finally {
      this.#isRunning = false;
      context.end();
    }
  }

  async #classify(failure: AttemptFailure): Promise<Verdict> {
    this.#isRunning = false; // One whose time is over may go on, but nobody waits for it.
    const wasBegun = this.#isUnjudged; // Else it was refused by a circuit or a bulkhead.
    if (wasBegun) await this.#judge(failure.error);
    const isDecided = this.#verified !== undefined || this.#untellable !== undefined;
    if (isDecided || this.#call.scope.isAborted) return 'fail';
    return this.#call.code.retry.classify?.(failure);
  }

  /** What an attempt that failed has left behind. */
  async #judge(error: unknown): Promise<void> {
    this.#isUnjudged = false;
    const { code, scope } = this.#call;
    if (code.effect === 'none' || !isUnknownOutcome(error, scope)) return;
    this.#mayHaveHappened = true;
    if (scope.isAborted) return; // Settled on the way back, when everything else has come to rest.
    if (code.verify !== undefined) await this.#verify();
    else if (code.effect === 'once') this.#untellable = { error };
  }

  async #verify(): Promise<void> {
    try {
      const result = await verifyStep(this.#retries, this.#call);
      if (result !== undefined) this.#verified = { result };
      this.#mayHaveHappened = false;
    } catch (error) {
      this.#untellable = { error };
    }
  }
}

/** How far causes are followed. */
const MAX_CAUSES = 5;

/**
 * Was a call cut off, so that it may have happened all the same? Told by name and code, because such errors come from
 * anywhere: from us, from `AbortSignal.timeout`, from another realm; and by what the transaction was aborted with, which a
 * `fetch` throws as it is. Wrapped ones count: the failures of a run inside too.
 */
function isUnknownOutcome(error: unknown, scope: CallScope, causes = MAX_CAUSES): boolean {
  if (scope.isAborted && error === scope.reason) return true;
  if (typeof error !== 'object' || error === null || causes === 0) return false;
  const name = propertyOf(error, 'name');
  if (name === 'TimeoutError' || name === 'AbortError') return true;
  if (isHoldfastError(error) && error.code === 'HOLDFAST_OUTCOME_UNKNOWN') return true;
  const attempts = propertyOf(error, 'attempts');
  const inside = Array.isArray(attempts) ? attempts.map((attempt) => propertyOf(attempt, 'error')) : [];
  const causesOf = [...inside, propertyOf(error, 'cause')].filter((cause) => cause !== undefined);
  return causesOf.some((cause) => isUnknownOutcome(cause, scope, causes - 1));
}

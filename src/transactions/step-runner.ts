import type { AttemptFailure } from '../policies/attempt.js';
import type { RetryManager } from '../policies/retry-manager.js';
import type { Verdict } from '../policies/retry-options.js';
import type { StepAttempt } from './step-attempt.js';
import type { StepRetryOptions } from './transaction.js';
import { type StepCall, type StepTry, tryStep } from './try-step.js';
import { isUnknownOutcome, wasInterrupted } from './unknown-outcome.js';

export type { StepCall } from './try-step.js';

/**
 * How a step ended. `failed`: nothing happened. `unknown`: it may have happened. `untellable`: it may have happened, and
 * nothing may be tried without knowing. `interrupted`: it did not end, what it was part of did. A later life has to find out.
 */
export type StepOutcome = { readonly kind: 'done'; readonly result: unknown } | FailedOutcome;

/** How a step ended that is not known to be done. */
export interface FailedOutcome {
  readonly kind: 'failed' | 'unknown' | 'untellable' | 'interrupted';
  readonly error: unknown;
}

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
 * Asks `verify`. What it answers with is the result; `undefined` says that it did not happen. Rejects if it cannot tell, or
 * if the life it asks in has ended.
 */
export async function verifyStep(retries: RetryManager, call: StepCall): Promise<unknown> {
  const { verify, retry } = call.code;
  const answer = await tryStep(retries, call, {
    act: 'run',
    retry,
    begin: (context) => verify?.(context),
    classify: (failure) => verdictOn(failure, retry),
  });
  return answer === null || answer === false ? undefined : answer;
}

/** Takes the effect of a step back, with its own retries. Rejects with the last failure, or if the life has ended. */
export async function compensateStep(
  retries: RetryManager,
  call: StepCall,
  of: { readonly result: unknown; readonly cause: unknown },
): Promise<void> {
  const { compensate, compensateRetry: retry } = call.code;
  await tryStep(retries, call, {
    act: 'compensate',
    cause: of.cause,
    retry,
    begin: (context) => compensate?.(of.result, context),
    classify: (failure) => verdictOn(failure, retry),
  });
}

/** What ended is not tried again, whatever its options say. */
function verdictOn(failure: AttemptFailure, { classify }: StepRetryOptions): ReturnType<StepTry['classify']> {
  return wasInterrupted(failure.error) ? 'fail' : classify?.(failure);
}

/**
 * A `once` step that nothing can be asked about is announced: if the life ended in a wait between its attempts, the next one
 * could not tell that none was under way. So it takes the time it needs.
 */
function withItsWaits(call: StepCall): StepCall {
  const { effect, verify } = call.code;
  return effect === 'once' && verify === undefined ? { ...call, waits: call.scope } : call;
}

/** One run of a step: its attempts, and what is known of their effects. */
class StepRunner {
  readonly #retries: RetryManager;
  readonly #call: StepCall;
  /** An attempt ended, or was cut off, and has not been judged. */
  #isUnjudged = false;
  #mayHaveHappened = false;
  #verified: { readonly result: unknown } | undefined;
  #untellable: { readonly error: unknown } | undefined;
  #interruption: { readonly error: unknown } | undefined;

  constructor(retries: RetryManager, call: StepCall) {
    this.#retries = retries;
    this.#call = withItsWaits(call);
  }

  start(): Promise<unknown> {
    const { code } = this.#call;
    const run: StepTry = {
      act: 'run',
      retry: code.retry,
      policies: code,
      begin: (context) => this.#begin(context),
      classify: (failure) => this.#classify(failure),
    };
    return tryStep(this.#retries, this.#call, run);
  }

  async outcomeOf(error: unknown): Promise<StepOutcome> {
    const { scope } = this.#call;
    const isFailure = scope.isAborted && error === scope.reason; // Of another step, in a wait of this one.
    if (this.#isUnjudged) await this.#judge(error);
    else if (!isFailure && this.#isEndOf(error)) this.#interruption ??= { error };
    if (this.#verified !== undefined) return { kind: 'done', result: this.#verified.result };
    if (this.#interruption !== undefined) return { kind: 'interrupted', error: this.#interruption.error };
    if (this.#untellable !== undefined) return { kind: 'untellable', error: this.#untellable.error };
    return { kind: this.#mayHaveHappened ? 'unknown' : 'failed', error };
  }

  #begin(context: StepAttempt): unknown {
    this.#isUnjudged = true;
    return this.#call.code.run(context);
  }

  async #classify(failure: AttemptFailure): Promise<Verdict> {
    // Else it was not begun: refused by a circuit or a bulkhead, or because the transaction is lost.
    if (this.#isUnjudged) await this.#judge(failure.error);
    const isDecided = [this.#verified, this.#untellable, this.#interruption].some((fact) => fact !== undefined);
    if (isDecided || this.#call.scope.isAborted) return 'fail';
    return verdictOn(failure, this.#call.code.retry);
  }

  /** What an attempt that failed has left behind. */
  async #judge(error: unknown): Promise<void> {
    this.#isUnjudged = false;
    const { code, scope } = this.#call;
    if (this.#isEndOf(error)) {
      this.#interruption = { error };
      return;
    }
    if (code.effect === 'none') return;
    const isUnknown = isUnknownOutcome(error, scope);
    if (!isUnknown && code.verify === undefined) return;
    // After an abort it is settled on the way back, when everything else has come to rest.
    if (code.verify !== undefined && !scope.isAborted) return this.#verify(isUnknown);
    this.#mayHaveHappened = true;
    if (code.effect === 'once' && !scope.isAborted) this.#untellable = { error };
  }

  /** Errors lie: one that looks like a refusal may come from a proxy in between. So whatever failed is asked for. */
  async #verify(isUnknown: boolean): Promise<void> {
    try {
      const result = await verifyStep(this.#retries, this.#call);
      if (result !== undefined) this.#verified = { result };
      this.#mayHaveHappened = false;
    } catch (error) {
      if (this.#isEndOf(error)) this.#interruption = { error };
      else if (isUnknown) this.#untellable = { error };
    }
  }

  /** Is there nothing more to be known of the step here? A read that something closed refused has failed, no more. */
  #isEndOf(error: unknown): boolean {
    const { code, scope, waits } = this.#call;
    const isLetGo = waits.isAborted && !scope.isAborted;
    if (isLetGo && error === waits.reason) return true;
    return wasInterrupted(error) && (code.effect !== 'none' || isLetGo);
  }
}

import pRetry from 'p-retry';
import { emit } from '../base/emit.js';
import type { AttemptFailure, Call } from './attempt.js';
import { attemptOnce, reportSuccess } from './attempt-once.js';
import { CallScope } from './call-scope.js';
import { askedDelayMs, type Decision, decide } from './decision.js';
import { newestRun, rememberGivenUp, wasGivenUpSince } from './given-up.js';
import { inWords } from './in-words.js';
import { type GiveUpReason, isRefusedResult, RetryError } from './retry-error.js';
import type { RetryPlan, RetryTarget } from './retry-plan.js';
import { isOpenCircuit } from './verdict.js';
import { waitUnlessAborted } from './wait.js';

/**
 * What p-retry sees in place of every failure. It makes TypeErrors of plain objects and of errors from other realms,
 * refuses to retry TypeErrors and unwraps its own AbortError, so it is never shown what was really thrown.
 */
const ATTEMPT_FAILED = new Error('An attempt failed; the run knows how.');

/** Of a run that goes on for ever, the first and the last failures are kept. */
const MAX_FAILURES = 100;

/** The call of a run, and the scope around its attempts: on the plain way, the first attempt's own. */
export interface Operation<T> {
  readonly call: Call<T>;
  readonly scope: CallScope;
  /** Whether that scope may be aborted. */
  readonly canBeCut: boolean;
  /** The number of the run: those inside its attempts have higher ones. */
  readonly number: number;
  /** What that scope is aborted with when the run's own deadline passes. */
  readonly deadlineReason?: unknown;
}

/** When an attempt began. */
interface Beginning {
  readonly attempt: number;
  readonly startedMs: number;
  /** The number of the newest run then. */
  readonly newestRun: number;
}

/**
 * One run: its attempts, and what is decided after each failure. On the plain way it comes into being with the first
 * failure, already seen; p-retry then drives the rest.
 */
export class RetryRun<T> {
  readonly #plan: RetryPlan;
  readonly #target: RetryTarget;
  readonly #operation: Operation<T>;
  readonly #failures: RecordedFailure[] = [];
  #error: unknown;
  /** What the attempt before the last one threw. */
  #errorBefore: unknown;
  #wasGivenUp = false;
  #retries = 0;
  #backoffMs = 0;
  #outcome: unknown;

  constructor(plan: RetryPlan, target: RetryTarget, operation: Operation<T>) {
    this.#plan = plan;
    this.#target = target;
    this.#operation = operation;
  }

  /** All attempts, from the first on. */
  async start(): Promise<T> {
    this.#target.budget?.deposit();
    try {
      return await this.#attempt(1);
    } catch (error) {
      if (error !== ATTEMPT_FAILED) throw error;
    }
    return this.goOn();
  }

  /** The attempts after the first, which has failed. */
  async goOn(): Promise<T> {
    try {
      // All nine options: with fewer, p-retry takes a path through V8 that costs 25 times as much.
      return await pRetry((attempt) => this.#attempt(attempt), {
        retries: Number.POSITIVE_INFINITY,
        factor: 1,
        minTimeout: 0,
        maxTimeout: 0,
        maxRetryTime: Number.POSITIVE_INFINITY,
        randomize: false,
        onFailedAttempt: nothing,
        shouldRetry: () => this.#mayRetry(),
        shouldConsumeRetry: always,
      });
    } catch (error) {
      if (error !== ATTEMPT_FAILED) throw error;
      throw this.#outcome;
    }
  }

  /** An attempt failed with `error`. */
  failed({ attempt, startedMs, newestRun: since }: Beginning, error: unknown): void {
    const { clock } = this.#plan;
    const durationMs = clock.monotonicMs() - startedMs;
    const how = isRefusedResult(error) ? { result: error.result } : { error };
    this.#failures.push({ attempt, ...how, startedAtMs: clock.now() - durationMs, durationMs, delayMs: 0 });
    if (this.#failures.length > MAX_FAILURES) this.#failures.splice(MAX_FAILURES / 2, 1);
    this.#errorBefore = this.#error;
    this.#error = error;
    this.#wasGivenUp = wasGivenUpSince(error, since);
    const sink = this.#plan.emit;
    if (sink === undefined) return;
    const { operationId } = this.#operation.scope;
    emit(sink, { type: 'attempt.failed', operationId, attempt, durationMs, error: inWords(error) });
  }

  async #attempt(attempt: number): Promise<T> {
    if (attempt <= this.#failures.length) throw ATTEMPT_FAILED; // The first one, already seen.
    const beginning = { attempt, startedMs: this.#plan.clock.monotonicMs(), newestRun: newestRun() };
    const scope = new CallScope(attempt, this.#operation.scope, this.#failures.at(-1));
    try {
      const value = await attemptOnce(this.#plan, this.#target, { ...this.#operation, scope });
      reportSuccess(this.#plan, scope, beginning.startedMs);
      return value;
    } catch (error) {
      this.failed(beginning, error);
      throw ATTEMPT_FAILED;
    }
  }

  /**
   * p-retry asks after each failure. The budget is asked before the wait, which would be in vain, and again after it:
   * of a burst that failed together all would have found a token before.
   */
  async #mayRetry(): Promise<boolean> {
    try {
      if (this.#isOver()) return false;
      const decision = await this.#operation.scope.race(this.#decide());
      return decision.retry ? await this.#waitFor(decision) : this.#giveUp(decision.reason);
    } catch (cause) {
      return this.#isOver() ? false : this.#giveUp('decision-failed', cause);
    }
  }

  async #decide(): Promise<Decision> {
    const failure = this.#failures.at(-1) as RecordedFailure;
    const retryAfterMs = askedDelayMs(this.#plan, failure);
    if (retryAfterMs !== undefined) failure.retryAfterMs = retryAfterMs;
    return decide({
      plan: this.#plan,
      failures: this.#failures,
      error: this.#error,
      retries: this.#retries,
      backoffMs: this.#backoffMs,
      wasGivenUp: this.#wasGivenUp,
      remainingMs: this.#operation.scope.remainingMs,
    });
  }

  async #waitFor({ delayMs, backoffMs, isFree }: Decision & { readonly retry: true }): Promise<boolean> {
    const { clock, closing, onRetry, emit: sink } = this.#plan;
    const { budget, gate } = this.#target;
    const { scope } = this.#operation;
    if (budget !== undefined && !budget.hasToken()) return this.#giveUp('budget');
    if (gate?.isOpenFor(delayMs)) return this.#giveUp('circuit-open'); // The wait would be in vain, too.
    const failure = this.#failures.at(-1) as RecordedFailure;
    failure.delayMs = delayMs;
    emit(onRetry, failure);
    if (sink !== undefined) {
      const next = { operationId: scope.operationId, attempt: failure.attempt + 1 };
      emit(sink, { type: 'retry.scheduled', ...next, delayMs, error: inWords(this.#error) });
    }
    await waitUnlessAborted(delayMs, clock, [scope, closing]);
    if (this.#isOver()) return false;
    if (budget !== undefined && !budget.tryWithdraw()) return this.#giveUp('budget');
    if (!isFree) this.#retries++;
    this.#backoffMs = backoffMs;
    return true;
  }

  /** Was the run ended from outside? Then that is its outcome. */
  #isOver(): boolean {
    const { scope, deadlineReason } = this.#operation;
    const { closing } = this.#plan;
    if (scope.isAborted && deadlineReason !== undefined && scope.reason === deadlineReason) {
      const root = this.#error === deadlineReason ? this.#errorBefore : this.#error;
      this.#giveUp('deadline', root ?? deadlineReason);
    } else if (scope.isAborted) this.#end('aborted', scope.reason);
    else if (closing.isAborted) this.#end('aborted', closing.reason);
    else return false;
    return true;
  }

  #giveUp(reason: GiveUpReason | 'not-worth-it', cause: unknown = this.#error): false {
    const wantedNoRetry = reason === 'exhausted' && this.#plan.maxRetries === 0;
    if (reason === 'not-worth-it' || wantedNoRetry) this.#end(reason, cause);
    else this.#end(reason, this.#retryError(reason, cause), cause);
    // A `RetryError` says so itself, but hosts unwrap errors. A run that wanted no retry leaves that to those around it.
    if (!wantedNoRetry) rememberGivenUp(cause, this.#operation.number);
    return false;
  }

  #retryError(reason: GiveUpReason, givenCause: unknown): RetryError {
    const isRefusal = reason === 'circuit-open' && isOpenCircuit(this.#error);
    if (isRefusal) this.#failures.pop(); // It was no attempt: the failures before it are the story.
    const cause = isRefusal ? this.#errorBefore : givenCause;
    const why = whyGivenUp[reason](this.#plan, this.#failures.at(-1));
    return new RetryError(reason, this.#failures, { cause, why, operationId: this.#operation.scope.operationId });
  }

  #end(reason: GiveUpReason | 'not-worth-it' | 'aborted', outcome: unknown, cause = outcome): void {
    this.#outcome = outcome;
    const sink = this.#plan.emit;
    if (sink === undefined) return;
    const { operationId } = this.#operation.scope;
    emit(sink, { type: 'retry.gave-up', operationId, attempts: this.#failures.length, reason, error: inWords(cause) });
  }
}

/** With the names of the options to change, and their numbers. */
const whyGivenUp: Readonly<Record<GiveUpReason, (plan: RetryPlan, last: AttemptFailure | undefined) => string>> = {
  exhausted: ({ maxRetries }) => `maxRetries (${maxRetries}) is used up`,
  deadline: ({ deadlineMs }) =>
    `${deadlineMs === undefined ? 'the deadline' : `deadlineMs (${deadlineMs})`} leaves no time`,
  budget: () => 'the retry budget is spent, because too large a share of recent calls are retries',
  'retry-after': ({ retryAfter }, last) =>
    `it was asked to wait ${last?.retryAfterMs} ms, and retryAfter.maxMs is ${retryAfter?.maxMs}`,
  'circuit-open': () => 'the circuit is open',
  'decision-failed': () => 'a function among the options failed, see cause',
};

/** As `AttemptFailure`, while it is still being written. */
type RecordedFailure = { -readonly [Key in keyof AttemptFailure]: AttemptFailure[Key] };

async function nothing(): Promise<void> {}

async function always(): Promise<boolean> {
  return true;
}

import pRetry from 'p-retry';
import { emit } from '../base/emit.js';
import type { AttemptFailure, Call } from './attempt.js';
import { attemptOnce, reportSuccess } from './attempt-once.js';
import { CallScope } from './call-scope.js';
import { askedDelayMs, type Decision, decide } from './decision.js';
import { giveUpsSoFar, rememberGiveUp } from './given-up.js';
import { inWords } from './in-words.js';
import { type GiveUpReason, ResultRefusedError, RetryError } from './retry-error.js';
import type { RetryPlan, RetryTarget } from './retry-plan.js';
import { waitUnlessAborted } from './wait.js';

/**
 * What p-retry sees in place of every failure. It makes TypeErrors of plain objects and of errors from other realms,
 * refuses to retry TypeErrors and unwraps its own AbortError, so it is never shown what was really thrown.
 */
const ATTEMPT_FAILED = new Error('An attempt failed; the run knows how.');

/** The call of a run, and the scope around its attempts: on the plain way, the first attempt's own. */
export interface Operation<T> {
  readonly call: Call<T>;
  readonly scope: CallScope;
  /** Whether that scope may be aborted. */
  readonly canBeCut: boolean;
  /** What that scope is aborted with when the run's own deadline passes. */
  readonly deadlineReason?: unknown;
}

/** When an attempt began. */
interface Beginning {
  readonly attempt: number;
  readonly startedMs: number;
  readonly giveUps: number;
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
  #giveUps = 0;
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
  failed({ attempt, startedMs, giveUps }: Beginning, error: unknown): void {
    const { clock } = this.#plan;
    const durationMs = clock.monotonicMs() - startedMs;
    const how = error instanceof ResultRefusedError ? { result: error.result } : { error };
    this.#failures.push({ attempt, ...how, startedAtMs: clock.now() - durationMs, durationMs, delayMs: 0 });
    this.#errorBefore = this.#error;
    this.#error = error;
    this.#giveUps = giveUps;
    const sink = this.#plan.emit;
    if (sink === undefined) return;
    const { operationId } = this.#operation.scope;
    emit(sink, { type: 'attempt.failed', operationId, attempt, durationMs, error: inWords(error) });
  }

  async #attempt(attempt: number): Promise<T> {
    if (attempt <= this.#failures.length) throw ATTEMPT_FAILED; // The first one, already seen.
    const { clock } = this.#plan;
    const beginning = { attempt, startedMs: clock.monotonicMs(), giveUps: giveUpsSoFar() };
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
      giveUps: this.#giveUps,
      remainingMs: this.#operation.scope.remainingMs,
    });
  }

  async #waitFor({ delayMs, backoffMs, isFree }: Decision & { readonly retry: true }): Promise<boolean> {
    const { clock, closing, onRetry, emit: sink } = this.#plan;
    const { budget } = this.#target;
    const { scope } = this.#operation;
    if (budget !== undefined && !budget.hasToken()) return this.#giveUp('budget');
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
    if (scope.isAborted && scope.reason === deadlineReason) {
      const root = this.#error === deadlineReason ? this.#errorBefore : this.#error;
      this.#giveUp('deadline', root ?? deadlineReason);
    } else if (scope.isAborted) this.#outcome = scope.reason;
    else if (this.#plan.closing.isAborted) this.#outcome = this.#plan.closing.reason;
    else return false;
    return true;
  }

  #giveUp(reason: GiveUpReason | 'not-worth-it', cause: unknown = this.#error): false {
    const { operationId } = this.#operation.scope;
    if (reason === 'not-worth-it') this.#outcome = cause;
    else if (reason === 'circuit-open') {
      this.#failures.pop(); // A refusal was no attempt: the failures before it are the story.
      this.#outcome = new RetryError(reason, this.#failures, { cause: this.#errorBefore, operationId });
    } else this.#outcome = new RetryError(reason, this.#failures, { cause, operationId });
    rememberGiveUp(this.#outcome);
    rememberGiveUp(cause); // Hosts unwrap errors.
    const attempts = this.#failures.length;
    emit(this.#plan.emit, { type: 'retry.gave-up', operationId, attempts, reason, error: inWords(cause) });
    return false;
  }
}

/** As `AttemptFailure`, while it is still being written. */
type RecordedFailure = { -readonly [Key in keyof AttemptFailure]: AttemptFailure[Key] };

async function nothing(): Promise<void> {}

async function always(): Promise<boolean> {
  return true;
}

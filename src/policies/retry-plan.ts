import type { Clock } from '../base/clock.js';
import type { Sink } from '../base/emit.js';
import { InvalidInputError } from '../base/errors.js';
import { parseOptions } from '../base/options.js';
import type { AttemptFailure, RunContext } from './attempt.js';
import { compileBackoff, isJittered, type WaitMs } from './backoff.js';
import type { CallGate } from './call-gate.js';
import type { CallScope } from './call-scope.js';
import { fallback } from './fallback.js';
import type { Latencies } from './hedge.js';
import type { Policy } from './policy.js';
import type { RetryBudget } from './retry-budget.js';
import type { RetryEvent } from './retry-event.js';
import { type CheckedRetryOptions, retrySchema, type Verdict } from './retry-options.js';

const DEFAULT_RETRIES = 3;
const DEFAULT_RETRY_AFTER_MS = 60_000;

/** What runs need from where they live. */
export interface RetryHome {
  readonly clock: Clock;
  readonly random: () => number;
  readonly emit: Sink<RetryEvent> | undefined;
  /** Aborted when the manager closes: waits end. */
  readonly closing: CallScope;
}

/** Where the attempts of a run go, and who allows its retries. */
export interface RetryTarget {
  readonly gate: CallGate | undefined;
  readonly budget: RetryBudget | undefined;
  /** Of its calls, to know which are slow. */
  readonly latencies: Latencies;
}

/** Options that were checked and compiled once: all that a run needs, ready to use. */
export interface RetryPlan extends RetryHome {
  readonly maxRetries: number;
  readonly waitMs: WaitMs;
  readonly isJittered: boolean;
  readonly attemptTimeoutMs: number | undefined;
  readonly deadlineMs: number | undefined;
  readonly classify: ((failure: AttemptFailure) => Verdict | PromiseLike<Verdict>) | undefined;
  readonly retryResult: ((value: unknown) => boolean) | undefined;
  readonly retryAfter: RetryAfterPlan | undefined;
  readonly mayNest: boolean;
  /** `undefined`: the usual one of the target. */
  readonly budget: RetryBudget | false | undefined;
  readonly bulkhead: Policy | undefined;
  readonly hedge: { readonly delayMs: number | 'p95'; readonly max: number } | undefined;
  readonly fallback: Policy<unknown> | undefined;
  readonly operationId: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly parent: RunContext | undefined;
  readonly onRetry: ((failure: AttemptFailure) => void) | undefined;
  /** Nothing is asked for that needs a scope around all attempts. */
  readonly isPlain: boolean;
}

interface RetryAfterPlan {
  readonly maxMs: number;
  readonly beyond: 'fail' | 'cap';
  readonly parse: ((failure: AttemptFailure) => number | undefined) | undefined;
}

/**
 * Checks options and compiles them.
 * @throws InvalidInputError naming the option, what was given and what is allowed.
 */
export function planRetry(options: unknown, home: RetryHome, name?: string): RetryPlan {
  return compileRetry(parseOptions(retrySchema, options, name), home);
}

/**
 * What never ends must be stoppable: by its deadline or by `stop`, the signal or the parent of a run.
 * @throws InvalidInputError
 */
export function requireAnEnd({ maxRetries, deadlineMs, signal, parent }: RetryPlan, stop: unknown): void {
  if (maxRetries !== Number.POSITIVE_INFINITY || (deadlineMs ?? signal ?? parent ?? stop) !== undefined) return;
  const path = 'options.maxRetries';
  throw new InvalidInputError(`${path}: Infinity needs a deadlineMs, a signal or a parent that can end it.`, path);
}

/** Options that were checked, ready to use. */
export function compileRetry(options: CheckedRetryOptions, home: RetryHome): RetryPlan {
  const { deadlineMs, retryResult, bulkhead, hedge, operationId, signal, parent } = options;
  const backoff = options.backoff ?? { kind: 'exponential' };
  const maxRetries = options.maxRetries ?? DEFAULT_RETRIES;
  const special = [deadlineMs, retryResult, bulkhead, hedge, options.fallback, operationId, signal, parent];
  const isPlain = maxRetries !== Number.POSITIVE_INFINITY && special.every((option) => option === undefined);
  return {
    clock: home.clock,
    random: home.random,
    emit: home.emit,
    closing: home.closing,
    maxRetries,
    waitMs: compileBackoff(backoff, home.random),
    isJittered: isJittered(backoff),
    attemptTimeoutMs: options.attemptTimeoutMs,
    deadlineMs,
    classify: options.classify,
    retryResult,
    retryAfter: planRetryAfter(options.retryAfter),
    mayNest: options.nested === 'allow',
    budget: options.budget,
    bulkhead,
    hedge: hedge && { delayMs: hedge.delayMs, max: hedge.max ?? 1 },
    fallback: options.fallback === undefined ? undefined : fallback(options.fallback),
    operationId,
    signal,
    parent,
    onRetry: options.onRetry,
    isPlain,
  };
}

function planRetryAfter(option: CheckedRetryOptions['retryAfter']): RetryAfterPlan | undefined {
  if (option === false) return undefined;
  return { maxMs: option?.maxMs ?? DEFAULT_RETRY_AFTER_MS, beyond: option?.beyond ?? 'fail', parse: option?.parse };
}

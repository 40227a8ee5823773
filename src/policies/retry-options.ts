import * as z from 'zod';
import type { Clock } from '../base/clock.js';
import type { Sink } from '../base/emit.js';
import { functionOption } from '../base/options.js';
import type { Attempt, AttemptFailure, RunContext } from './attempt.js';
import { type Backoff, backoffSchema } from './backoff.js';
import type { CallGate } from './call-gate.js';
import type { Policy } from './policy.js';
import type { RetryBudget } from './retry-budget.js';
import type { RetryEvent } from './retry-event.js';

/** What to do about a failed attempt. `undefined`: what the default says. */
export type Verdict = 'retry' | 'fail' | RetryVerdict | undefined;

/** Try again, in a way of its own. */
export interface RetryVerdict {
  readonly retry: true;
  /** Wait this long, in milliseconds, in place of the back-off. */
  readonly delayMs?: number;
  /** This attempt does not count against `maxRetries`. It is waited for all the same, and takes from the budget. */
  readonly free?: boolean;
}

/** What is done with `Retry-After` and its kin. */
export interface RetryAfterOptions {
  /** Longest wait that is honoured, in milliseconds. Default 60,000. */
  readonly maxMs?: number;
  /** When more is asked for: `fail` (default) gives up at once, `cap` waits `maxMs` and tries. */
  readonly beyond?: 'fail' | 'cap';
  /** Reads the wait, in milliseconds, out of a failure, before the built-in reading of headers. `undefined`: not said. */
  readonly parse?: (failure: AttemptFailure) => number | undefined;
}

/** A second copy of a call that is slow: the first to succeed wins, the others' signals are aborted. */
export interface HedgeOptions {
  /**
   * Start another copy when the call has not ended after this many milliseconds; `p95`: after longer than 95 % of the
   * last 256 hedged calls of this circuit (without one: of this manager or policy) took; none before 20 have been seen.
   */
  readonly delayMs: number | 'p95';
  /** Copies beside the first. Default 1. Each takes from the retry budget. */
  readonly max?: number;
}

/** A value, or a function of the error, in place of the result of a run that failed. */
export type FallbackOption<F> = F | ((error: unknown, attempt: Attempt) => F | PromiseLike<F>);

/** How a call is retried. `T` is what the call returns, `F` what `fallback` gives in its place. */
export interface RetryOptions<T = unknown, F = never> {
  /**
   * Retries after the first attempt. Default 3. `Infinity` only together with `deadlineMs`, `signal` or `parent`: what
   * never ends must be stoppable.
   */
  readonly maxRetries?: number;
  /** How long to wait between attempts. Default: exponential from 100 ms up to 30 s with decorrelated jitter. */
  readonly backoff?: Backoff;
  /**
   * Milliseconds one attempt may take. Default: no limit. The attempt then fails with `TimeoutError`, its `signal` is
   * aborted, and it is retried whether or not the call listens to the signal.
   */
  readonly attemptTimeoutMs?: number;
  /** Milliseconds the whole run may take, waits included. Default: no limit. It interrupts attempts and waits. */
  readonly deadlineMs?: number;
  /**
   * Judges everything that was thrown, whatever it is. Default, also for `undefined`: retry, except HTTP statuses 4xx
   * other than 408, 425 and 429, open circuits, aborts (`name: 'AbortError'`), refused input and closed parts.
   */
  readonly classify?: (failure: AttemptFailure) => Verdict | PromiseLike<Verdict>;
  /** True for results that count as failures: a 503 that was not thrown. */
  retryResult?(value: T): boolean;
  /** `false`: pay no attention to `Retry-After`. Default: wait as long as asked, up to a minute. */
  readonly retryAfter?: RetryAfterOptions | false;
  /**
   * Who may retry when many fail. Default: one budget for each circuit, and one for all other runs of the manager (of
   * the policy, for `retry()`): 10 % of the calls of the last 10 s and 10 a second. `false`: no limit.
   */
  readonly budget?: RetryBudget | false;
  /** Default `suppress`: what a run further in gave up on is not retried again. `allow` multiplies attempts. */
  readonly nested?: 'suppress' | 'allow';
  /**
   * Each attempt goes through this circuit; a name is looked up in the manager's `circuits`. Not one that the call goes
   * through again inside: while it tries whether the dependency is back, it would refuse itself.
   */
  readonly circuit?: string | CallGate;
  /** Each attempt takes a place in this bulkhead, outside the circuit. */
  readonly bulkhead?: Policy;
  /** Default: no copies. For reads only, and whatever else may safely happen twice. */
  readonly hedge?: HedgeOptions;
  /** In place of an error in the end. Not used when the caller gave up. Chains: `compose(fallback(...), ...)`. */
  readonly fallback?: FallbackOption<F>;
  /** What attempts carry as `operationId`. Default: a random UUID. Give the id of the work where it must stay the same. */
  readonly operationId?: string | undefined;
  /** Ends the wait or the running attempt at once; the run then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** The attempt that this run is part of: its signal and deadline hold here too. */
  readonly parent?: RunContext | undefined;
  /** Told before each wait. What it throws is reported as a process warning and changes nothing. */
  readonly onRetry?: (failure: AttemptFailure) => void;
}

/** What a policy of its own, outside a manager, needs besides. */
export interface RetryPolicyOptions<F = never> extends RetryOptions<unknown, F> {
  /** A circuit itself: there is no registry here to look up a name in. */
  readonly circuit?: CallGate;
  /** Time and waiting. Default the machine's. */
  readonly clock?: Clock;
  /** Draws jitter: uniform over [0, 1). Default `Math.random`. */
  readonly random?: () => number;
  /** Hears of attempts, retries and of giving up. */
  readonly emit?: Sink<RetryEvent>;
}

const milliseconds = z.number().positive();
const objectWith = <O>(method: keyof O & string, what: string) =>
  z.custom<O>((value) => typeof (value as { [name: string]: unknown } | null)?.[method] === 'function', what);

export const retrySchema = z.strictObject({
  maxRetries: z
    .union([z.int().min(0), z.literal(Number.POSITIVE_INFINITY)], 'must be an integer >= 0 or Infinity')
    .optional(),
  backoff: backoffSchema.optional(),
  attemptTimeoutMs: milliseconds.optional(),
  deadlineMs: milliseconds.optional(),
  classify: functionOption<NonNullable<RetryOptions['classify']>>().optional(),
  retryResult: functionOption<(value: unknown) => boolean>().optional(),
  retryAfter: z
    .union(
      [
        z.literal(false),
        z.strictObject({
          maxMs: z.number().min(0).optional(),
          beyond: z.enum(['fail', 'cap']).optional(),
          parse: functionOption<NonNullable<RetryAfterOptions['parse']>>().optional(),
        }),
      ],
      'must be RetryAfterOptions or false',
    )
    .optional(),
  budget: z
    .union([z.literal(false), objectWith<RetryBudget>('tryWithdraw', '')], 'must be a RetryBudget or false')
    .optional(),
  nested: z.enum(['suppress', 'allow']).optional(),
  circuit: z
    .union([z.string().min(1), objectWith<CallGate>('admit', '')], 'must be a name or a CircuitBreaker')
    .optional(),
  bulkhead: objectWith<Policy>('run', 'must be a Bulkhead').optional(),
  hedge: z
    .strictObject({
      delayMs: z.union([z.number().min(0), z.literal('p95')], "must be a number >= 0 or 'p95'"),
      max: z.int().min(1).max(10).optional(),
    })
    .optional(),
  fallback: z.unknown().optional(),
  operationId: z.string().min(1).optional(),
  signal: objectWith<AbortSignal>('addEventListener', 'must be an AbortSignal').optional(),
  parent: z
    .custom<RunContext>(
      (value) => typeof value === 'object' && value !== null && 'signal' in value,
      'must be an attempt as the call was given it: a copy has lost its signal',
    )
    .optional(),
  onRetry: functionOption<NonNullable<RetryOptions['onRetry']>>().optional(),
});

/** For a policy outside a manager: a circuit is given itself, and so is what a manager would give. */
export const retryPolicySchema = retrySchema.extend({
  circuit: objectWith<CallGate>('admit', 'must be a CircuitBreaker: a name needs a RetryManager').optional(),
  clock: objectWith<Clock>('sleep', 'must be a Clock').optional(),
  random: functionOption<() => number>().optional(),
  emit: functionOption<Sink<RetryEvent>>().optional(),
});

/** Options as they were checked. */
export type CheckedRetryOptions = z.output<typeof retrySchema>;

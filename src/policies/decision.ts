import { InvalidInputError } from '../base/errors.js';
import type { AttemptFailure } from './attempt.js';
import { retryAfterMsOf } from './retry-after.js';
import type { GiveUpReason } from './retry-error.js';
import type { RetryVerdict } from './retry-options.js';
import type { RetryPlan } from './retry-plan.js';
import { defaultVerdict, isOpenCircuit } from './verdict.js';

/** A wait asked for by the other side is lengthened by up to this share, so that clients do not come back together. */
const RETRY_AFTER_SPREAD = 0.1;

/** Where a run stands after a failure. */
export interface RunState {
  readonly plan: RetryPlan;
  readonly failures: readonly AttemptFailure[];
  /** What the last attempt threw; a refused result as `ResultRefusedError`. */
  readonly error: unknown;
  /** Retries made that count. */
  readonly retries: number;
  /** The back-off before the last attempt. */
  readonly backoffMs: number;
  /** A run inside the last attempt gave up on what it failed with. */
  readonly wasGivenUp: boolean;
  readonly remainingMs: number;
}

/** What a run does next. */
export type Decision =
  | {
      readonly retry: true;
      readonly delayMs: number;
      /** What the back-off alone would be: the next one grows from this, not from what others asked for. */
      readonly backoffMs: number;
      readonly isFree: boolean;
    }
  | { readonly retry: false; readonly reason: GiveUpReason | 'not-worth-it' };

const HOPELESS: Decision = { retry: false, reason: 'not-worth-it' };

/** Judges the last failure. Rejects only if a function among the options throws or answers nonsense. */
export async function decide(state: RunState): Promise<Decision> {
  const { plan, failures, error, retries } = state;
  const failure = failures.at(-1) as AttemptFailure; // There is one, or nothing would be decided.
  if (!plan.mayNest && state.wasGivenUp) return HOPELESS;
  const verdict = (await plan.classify?.(failure)) ?? defaultVerdict(error);
  if (verdict === 'fail') return isOpenCircuit(error) && failures.length > 1 ? stop('circuit-open') : HOPELESS;
  const special = verdict === 'retry' ? undefined : checkedVerdict(verdict);
  const isFree = special?.free === true;
  if (!isFree && retries >= plan.maxRetries) return stop('exhausted');
  const backoffMs = special?.delayMs ?? plan.waitMs(retries + 1, state.backoffMs, failure);
  const delayMs = special?.delayMs ?? lengthened(plan, backoffMs, failure.retryAfterMs);
  if (delayMs === undefined) return stop('retry-after');
  return delayMs >= state.remainingMs ? stop('deadline') : { retry: true, delayMs, backoffMs, isFree };
}

const stop = (reason: GiveUpReason): Decision => ({ retry: false, reason });

/** The back-off, or what the other side asked for if that is longer; undefined if it asks for more than is allowed. */
function lengthened(plan: RetryPlan, backoffMs: number, askedMs: number | undefined): number | undefined {
  const { retryAfter } = plan;
  if (retryAfter === undefined || askedMs === undefined) return backoffMs;
  if (askedMs > retryAfter.maxMs && retryAfter.beyond === 'fail') return undefined;
  const spread = plan.isJittered ? 1 + RETRY_AFTER_SPREAD * plan.random() : 1;
  return Math.max(backoffMs, Math.min(askedMs, retryAfter.maxMs) * spread);
}

/** What the other side asked for, in milliseconds, if the plan listens. */
export function askedDelayMs(plan: RetryPlan, failure: AttemptFailure): number | undefined {
  if (plan.retryAfter === undefined) return undefined;
  const parsedMs = plan.retryAfter.parse?.(failure);
  if (parsedMs !== undefined) return requireDelay(parsedMs, 'options.retryAfter.parse');
  return retryAfterMsOf('error' in failure ? failure.error : failure.result, plan.clock);
}

function checkedVerdict(verdict: RetryVerdict): RetryVerdict {
  if (typeof verdict !== 'object' || verdict.retry !== true)
    throw new InvalidInputError(
      `options.classify answered ${String(verdict)}: 'retry', 'fail' or { retry: true, … }.`,
      'options.classify',
    );
  if (verdict.delayMs !== undefined) requireDelay(verdict.delayMs, 'options.classify');
  return verdict;
}

function requireDelay(ms: unknown, path: string): number {
  if (Number.isFinite(ms) && (ms as number) >= 0) return ms as number;
  throw new InvalidInputError(`${path} asked for a wait of ${String(ms)}: milliseconds >= 0 are needed.`, path);
}

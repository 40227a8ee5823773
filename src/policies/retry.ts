import { coarseMonotonicMs, systemClock } from '../base/clock.js';
import { parseOptions } from '../base/options.js';
import type { Call, RunContext } from './attempt.js';
import { reportSuccess } from './attempt-once.js';
import { CallScope, requireFunction } from './call-scope.js';
import { beginRun } from './given-up.js';
import { Latencies } from './hedge.js';
import { limitedCall } from './limited-call.js';
import type { Policy } from './policy.js';
import { RetryBudget } from './retry-budget.js';
import { type RetryPolicyOptions, retryPolicySchema } from './retry-options.js';
import { compileRetry, type RetryPlan, type RetryTarget, requireAnEnd } from './retry-plan.js';
import { type Operation, RetryRun } from './retry-run.js';
import { TimeoutError } from './timeout.js';

/**
 * Tries a call again when it fails: as a policy of its own, for `compose`. All its runs share one retry budget. With
 * circuits by name, defaults and `close()`: `RetryManager`.
 * @throws InvalidInputError for options that cannot be used.
 */
export function retry<F = never>(options?: RetryPolicyOptions<F>): Policy<F> {
  const checked = parseOptions(retryPolicySchema, options);
  const { clock = systemClock, random = Math.random, emit, budget = new RetryBudget({ clock }) } = checked;
  const plan = compileRetry(checked, { clock, random, emit, closing: new CallScope(1) });
  requireAnEnd(plan, undefined);
  const target = { gate: checked.circuit, budget: budget === false ? undefined : budget, latencies: new Latencies() };
  return new RetryPolicy<F>(plan, () => target);
}

/** A plan and where its attempts go. */
export class RetryPolicy<F> implements Policy<F> {
  readonly #plan: RetryPlan;
  readonly #target: () => RetryTarget;

  /** `target` is asked for each run: the circuit of a name may be another one by then. */
  constructor(plan: RetryPlan, target: () => RetryTarget) {
    this.#plan = plan;
    this.#target = target;
  }

  run<T>(call: Call<T>, context?: RunContext): Promise<T | F> {
    try {
      const plan = this.#plan;
      const target = this.#target();
      if (plan.isPlain && context === undefined) return runPlain(plan, target, call);
      const { signal, operationId } = plan;
      return runGuarded<T | F>(plan, target, { call, parent: context ?? plan.parent, signal, operationId });
    } catch (error) {
      return Promise.reject(error);
    }
  }
}

/** What differs from run to run. */
export interface RetryRequest<T> {
  readonly call: Call<T>;
  readonly parent: RunContext | undefined;
  readonly signal: AbortSignal | undefined;
  readonly operationId: string | undefined;
}

interface FirstFailure<T> {
  readonly call: Call<T>;
  readonly scope: CallScope;
  readonly startedMs: number;
  readonly run: number;
  readonly error: unknown;
}

/**
 * The way that has to cost nothing: the first attempt runs bare, in one frame, and everything else begins when it fails.
 * What an async function keeps in variables is copied for each call, so it keeps few.
 */
export async function runPlain<T>(plan: RetryPlan, target: RetryTarget, call: Call<T>): Promise<T> {
  requireFunction(call, 'call');
  const { gate, budget } = target;
  const startedMs = coarseMonotonicMs(plan.clock);
  const run = beginRun();
  const permit = gate?.admit();
  if (gate !== undefined && permit === undefined) throw gate.refusal();
  budget?.deposit(startedMs);
  const scope = new CallScope(1);
  try {
    const value = await (plan.attemptTimeoutMs === undefined ? call(scope) : limitedCall(plan, call, scope));
    permit?.success(value);
    if (plan.emit !== undefined) reportSuccess(plan, scope, startedMs);
    return value;
  } catch (error) {
    permit?.failure(error);
    return await retryPlain(plan, target, { call, scope, startedMs, run, error });
  }
}

/** The first attempt of a plain run has failed. */
function retryPlain<T>(plan: RetryPlan, target: RetryTarget, first: FirstFailure<T>): Promise<T> {
  const { call, scope: firstScope, startedMs, run: number, error } = first;
  // The scope of an attempt that timed out is aborted; the operation is not.
  const isCut = plan.attemptTimeoutMs !== undefined;
  const scope = isCut ? CallScope.operation(undefined, firstScope.operationId) : firstScope;
  const run = new RetryRun<T>(plan, target, { call, scope, canBeCut: false, number });
  run.failed({ attempt: 1, startedMs, newestRun: number }, error);
  return run.goOn();
}

/** With a deadline, a signal, a parent, hedges, a bulkhead or a fallback: in scopes around all attempts. */
export async function runGuarded<T>(plan: RetryPlan, target: RetryTarget, request: RetryRequest<T>): Promise<T> {
  const { call, parent, signal, operationId } = request;
  requireFunction(call, 'call');
  const outer = parent === undefined ? undefined : CallScope.of(parent, plan.clock);
  const caller = CallScope.operation(outer, operationId).attach();
  try {
    if (signal !== undefined) caller.follow(signal);
    const attempts = () => runWithinDeadline(plan, target, { call, scope: caller, canBeCut: true, number: beginRun() });
    return await (plan.fallback === undefined ? attempts() : (plan.fallback.run(attempts, caller) as Promise<T>));
  } finally {
    caller.end();
    if (outer !== parent) outer?.end(); // It was made here, of a context that is not ours.
  }
}

async function runWithinDeadline<T>(plan: RetryPlan, target: RetryTarget, operation: Operation<T>): Promise<T> {
  const { clock, deadlineMs } = plan;
  const { scope } = operation;
  if (scope.isAborted) throw scope.reason;
  if (deadlineMs === undefined) return new RetryRun(plan, target, operation).start();
  const deadlineReason = new TimeoutError(deadlineMs);
  const inner = new CallScope(1, scope).attach();
  inner.limit(clock, deadlineMs, () => deadlineReason);
  try {
    return await new RetryRun(plan, target, { ...operation, scope: inner, deadlineReason }).start();
  } finally {
    inner.end();
  }
}

import { emit } from '../base/emit.js';
import type { Attempt, Call } from './attempt.js';
import { CallScope } from './call-scope.js';
import { runHedged } from './hedge.js';
import { limitedCall } from './limited-call.js';
import { ResultRefusedError } from './retry-error.js';
import type { RetryPlan, RetryTarget } from './retry-plan.js';

/** A call and the scope of the one attempt that is made of it. */
export interface AttemptedCall<T> {
  readonly call: Call<T>;
  readonly scope: CallScope;
  /** Whether something around it may cut it off: a signal, a deadline, a parent. */
  readonly canBeCut: boolean;
}

/** One attempt: copies, each with a place in the bulkhead, through the circuit, within its time. */
export async function attemptOnce<T>(plan: RetryPlan, target: RetryTarget, made: AttemptedCall<T>): Promise<T> {
  const { hedge, clock } = plan;
  const scope = made.canBeCut ? made.scope.attach() : made.scope;
  try {
    if (hedge === undefined) return await runCopy(plan, target, made);
    const delayMs = hedge.delayMs === 'p95' ? target.latencies.p95Ms : hedge.delayMs;
    const startedMs = clock.monotonicMs();
    const run = async (copy: CallScope) => runCopy(plan, target, { ...made, scope: copy, canBeCut: true });
    const mayStart = (copy: number) => mayHedge(plan, target, { scope, copy });
    const value = await (delayMs === undefined
      ? run(scope)
      : runHedged({ scope, clock, delayMs, max: hedge.max, mayStart, run }));
    if (hedge.delayMs === 'p95') target.latencies.record(clock.monotonicMs() - startedMs);
    return value;
  } finally {
    scope.end();
  }
}

/** The attempt did what it should. */
export function reportSuccess(plan: RetryPlan, scope: CallScope, startedMs: number): void {
  if (plan.emit === undefined) return;
  const { operationId, attempt } = scope;
  const durationMs = plan.clock.monotonicMs() - startedMs;
  emit(plan.emit, { type: 'attempt.succeeded', operationId, attempt, durationMs });
}

function runCopy<T>(plan: RetryPlan, { gate }: RetryTarget, made: AttemptedCall<T>): Promise<T> {
  const { bulkhead } = plan;
  const { scope } = made;
  // A bulkhead's own scope is the one to leave calls behind in, or their places would be free too early.
  const within = (given: Attempt): CallScope => (given instanceof CallScope ? given : scope);
  const timed: Call<T> = (given) => timedCall(plan, { ...made, scope: within(given) });
  const gated: Call<T> = gate === undefined ? timed : (given) => gate.run(timed, within(given));
  return bulkhead === undefined ? toPromise(gated, scope) : bulkhead.run(gated, scope);
}

async function timedCall<T>(plan: RetryPlan, { call, scope, canBeCut }: AttemptedCall<T>): Promise<T> {
  const isLimited = canBeCut || plan.attemptTimeoutMs !== undefined;
  const value = await (isLimited ? limitedCall(plan, call, scope) : call(scope));
  if (plan.retryResult?.(value) === true) throw new ResultRefusedError(value);
  return value;
}

async function toPromise<T>(call: Call<T>, scope: CallScope): Promise<T> {
  return call(scope);
}

/** Copies are retries to the one who is called: they come out of the same budget. */
function mayHedge(plan: RetryPlan, { budget }: RetryTarget, next: { scope: CallScope; copy: number }): boolean {
  if (budget !== undefined && !budget.tryWithdraw()) return false;
  const { operationId, attempt } = next.scope;
  emit(plan.emit, { type: 'attempt.hedged', operationId, attempt, copy: next.copy });
  return true;
}

import { systemClock } from '../base/clock.js';
import type { Call, RunContext } from './attempt.js';
import { CallScope, requireFunction } from './call-scope.js';

/**
 * How one call is run: again, not at all, not for long, not too many at once. One method, so that policies stack and a
 * host can bring its own. `Added` is what a policy may return in place of the call's own result: a fallback's value.
 */
export interface Policy<Added = never> {
  /**
   * Runs `call` under this policy. `context` is the attempt that this call is part of, whose deadline, signal and number
   * are inherited, or just `{ signal }`: aborting it ends whatever the policies are doing. What the call throws passes
   * through untouched, unless the policy says otherwise. A policy of your own ends in `compose().run(call, context)`.
   */
  run<T>(call: Call<T>, context?: RunContext): Promise<T | Added>;
  /** Never there: it only carries the type, because TypeScript does not compare what generic methods return. */
  readonly added?: Added;
}

/** What the policies of a list may return in place of a call's own result. One that does not say adds nothing. */
export type AddedBy<Policies extends readonly Policy<unknown>[]> = {
  [Index in keyof Policies]: 'added' extends keyof Policies[Index]
    ? Policies[Index] extends { readonly added?: infer Added }
      ? Added
      : never
    : never;
}[number];

/**
 * One policy out of several, the first outermost: `compose(fallback('n/a'), retry(), circuit, timeout(1_000))` falls
 * back after all retries failed, and gives each attempt a second. The order is the order on the stack; nothing is moved.
 * `compose()` runs the call as it is.
 */
export function compose<const Policies extends readonly Policy<unknown>[]>(
  ...policies: Policies
): Policy<AddedBy<Policies>> {
  for (const [index, policy] of policies.entries()) {
    if (typeof (policy as Partial<Policy> | null)?.run !== 'function')
      throw new TypeError(`compose: argument ${index + 1} is no policy: it has no run method.`);
  }
  return new Stack<AddedBy<Policies>>(policies);
}

class Stack<Added> implements Policy<Added> {
  readonly #policies: readonly Policy<unknown>[];

  constructor(policies: readonly Policy<unknown>[]) {
    this.#policies = policies;
  }

  run<T>(call: Call<T>, context?: RunContext): Promise<T | Added> {
    const stacked = this.#policies.reduceRight<Call<unknown>>(
      (inner, policy) => (attempt) => policy.run(inner, attempt),
      call,
    );
    return runStack(stacked as Call<T | Added>, call, context);
  }
}

/** Whatever the policies do with an abort, it is known at once. */
async function runStack<T>(stacked: Call<T>, call: unknown, context: RunContext | undefined): Promise<T> {
  requireFunction(call, 'call');
  const scope = CallScope.of(context, systemClock);
  try {
    if (scope.isAborted) throw scope.reason;
    return await (context === undefined ? stacked(scope) : scope.race(Promise.resolve(stacked(scope))));
  } finally {
    if (scope !== context) scope.end();
  }
}

import type { Attempt, Call } from './attempt.js';
import { CallScope, requireFunction } from './call-scope.js';

/**
 * How one call is run: again, not at all, not for long, not too many at once. One method, so that policies stack and a
 * host can bring its own. `Added` is what a policy may return in place of the call's own result: a fallback's value.
 */
export interface Policy<Added = never> {
  /**
   * Runs `call` under this policy. `context` is the attempt that this call is part of; its deadline, its signal and its
   * number are inherited. What the call throws passes through untouched, unless the policy says otherwise.
   */
  run<T>(call: Call<T>, context?: Attempt): Promise<T | Added>;
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

  run<T>(call: Call<T>, context?: Attempt): Promise<T | Added> {
    const stacked = this.#policies.reduceRight<Call<unknown>>(
      (inner, policy) => (attempt) => policy.run(inner, attempt),
      call,
    );
    const outermost = async () => {
      requireFunction(call, 'call');
      return stacked(context ?? new CallScope(1));
    };
    return outermost() as Promise<T | Added>;
  }
}

import type { Policy } from './policy.js';

/** The right to make one call, and the duty to say how it ended. */
export interface Permit {
  /** The call returned `value`. */
  success(value?: unknown): void;
  /** The call threw `error`, or returned something that counts as a failure. */
  failure(error: unknown): void;
  /** The call says nothing about the health of what it called: the caller gave up, the request never left. */
  ignore(): void;
}

/** Lets calls through or refuses them, and learns how they ended: a circuit breaker, as others see it. */
export interface CallGate extends Policy {
  /** The right to make a call now; undefined: refused. Whoever gets it says exactly once how the call ended. */
  admit(): Permit | undefined;
  /** Will it refuse calls for at least another `ms` milliseconds, whatever happens meanwhile? */
  isOpenFor(ms: number): boolean;
  /** Why it refuses, as an error. */
  refusal(): Error;
}

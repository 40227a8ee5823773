/**
 * How one call is run: again, not at all, not for long, not too many at once. Needs no storage.
 *
 * @packageDocumentation
 */
export { type Clock, systemClock } from './base/clock.js';
export type { Sink } from './base/emit.js';
export { ClosedError, HoldfastError, InvalidInputError, isHoldfastError } from './base/errors.js';
export type { Attempt, AttemptFailure, Call, RunContext } from './policies/attempt.js';
export type { Backoff, Jitter } from './policies/backoff.js';
export {
  Bulkhead,
  type BulkheadEvent,
  BulkheadFullError,
  type BulkheadOptions,
  type BulkheadStats,
  bulkhead,
} from './policies/bulkhead.js';
export type { CallGate, Permit } from './policies/call-gate.js';
export { CircuitBreaker, circuitBreaker } from './policies/circuit-breaker.js';
export type { CircuitEvent, CircuitState, CircuitStats, OpenReason } from './policies/circuit-event.js';
export type { HealthCheck } from './policies/circuit-health.js';
export { CircuitOpenError } from './policies/circuit-open-error.js';
export type {
  CircuitBreakerOptions,
  CircuitOutcome,
  CircuitSettingsOptions,
  CircuitVerdict,
  CustomWindow,
  RatioLimits,
  RecordedCall,
  TripRule,
} from './policies/circuit-options.js';
export { CircuitRegistry, type CircuitRegistryOptions } from './policies/circuit-registry.js';
export type { CircuitSnapshot } from './policies/circuit-snapshot.js';
export {
  type Criticality,
  Degradation,
  type DegradationEvent,
  type DegradationOptions,
  DegradedError,
} from './policies/degradation.js';
export {
  type Alternative,
  type AlternativeResult,
  type Alternatives,
  FallbackError,
  type FallbackEvent,
  type FallbackFunction,
  type FallbackOptions,
  fallback,
  fallbackWith,
} from './policies/fallback.js';
export { type AddedBy, compose, type Policy } from './policies/policy.js';
export type { PolicyEvent } from './policies/policy-event.js';
export {
  type AcquireOptions,
  RateLimitError,
  type RateLimitEvent,
  RateLimiter,
  type RateLimitOptions,
  rateLimit,
} from './policies/rate-limit.js';
export { RefusalError } from './policies/refusal-error.js';
export { retry } from './policies/retry.js';
export { RetryBudget, type RetryBudgetOptions } from './policies/retry-budget.js';
export { type GiveUpReason, ResultRefusedError, RetryError } from './policies/retry-error.js';
export type { RetryEvent } from './policies/retry-event.js';
export { type PlainRetryOptions, RetryManager, type RetryManagerOptions } from './policies/retry-manager.js';
export type {
  FallbackOption,
  HedgeOptions,
  RetryAfterOptions,
  RetryOptions,
  RetryPolicyOptions,
  RetryVerdict,
  Verdict,
} from './policies/retry-options.js';
export {
  type ServedStaleEvent,
  type StaleIfError,
  type StaleIfErrorOptions,
  staleIfError,
} from './policies/stale-if-error.js';
export { TimeoutError, type TimeoutEvent, type TimeoutOptions, timeout } from './policies/timeout.js';

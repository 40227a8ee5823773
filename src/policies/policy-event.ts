import type { BulkheadEvent } from './bulkhead.js';
import type { CircuitEvent } from './circuit-event.js';
import type { DegradationEvent } from './degradation.js';
import type { FallbackEvent } from './fallback.js';
import type { RateLimitEvent } from './rate-limit.js';
import type { RetryEvent } from './retry-event.js';
import type { ServedStaleEvent } from './stale-if-error.js';
import type { TimeoutEvent } from './timeout.js';

/** Whatever a policy reports: a sink for these fits the `emit` of each. */
export type PolicyEvent =
  | RetryEvent
  | CircuitEvent
  | TimeoutEvent
  | BulkheadEvent
  | RateLimitEvent
  | FallbackEvent
  | ServedStaleEvent
  | DegradationEvent;

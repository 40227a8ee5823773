/**
 * Where a circuit stands: `closed` lets calls through, `open` refuses them, `half-open` lets a few through to see whether
 * the dependency is back, `isolated` refuses until somebody closes it, `disabled` lets all through.
 */
export type CircuitState = 'closed' | 'open' | 'half-open' | 'isolated' | 'disabled';

/**
 * Why a circuit opened:
 *
 * - `consecutive-failures`, `failure-ratio`, `slow-ratio`, `custom-rule`: a trip rule said so.
 * - `probe-failed`, `probe-slow`, `probe-hung`: the dependency was tried and is not back.
 * - `health-check`: a check of the host's failed. `by-hand`: `open()`. `restored`: it was open when the snapshot was taken.
 */
export type OpenReason =
  | 'consecutive-failures'
  | 'failure-ratio'
  | 'slow-ratio'
  | 'custom-rule'
  | 'probe-failed'
  | 'probe-slow'
  | 'probe-hung'
  | 'health-check'
  | 'by-hand'
  | 'restored';

/** What a circuit or a registry of circuits reports. `circuit` is its name. */
export type CircuitEvent =
  | {
      readonly type: 'circuit.opened';
      readonly circuit: string;
      /** How long it refuses calls before it lets one through to try, in milliseconds. */
      readonly openForMs: number;
      readonly reason: OpenReason;
      /** The failure that did it, in words. */
      readonly error?: string;
    }
  | { readonly type: 'circuit.half-opened'; readonly circuit: string }
  | { readonly type: 'circuit.closed'; readonly circuit: string }
  | { readonly type: 'circuit.isolated'; readonly circuit: string }
  /** `isMeasuring`: calls are still counted, as after `metricsOnly()`. */
  | { readonly type: 'circuit.disabled'; readonly circuit: string; readonly isMeasuring: boolean }
  /** A call was refused. `retryAfterMs` is absent while the circuit is isolated: nobody knows. */
  | { readonly type: 'circuit.rejected'; readonly circuit: string; readonly retryAfterMs?: number }
  /** The registry was full and forgot this circuit. */
  | { readonly type: 'circuit.evicted'; readonly circuit: string };

/** Counted since the circuit was made. */
export interface CircuitStats {
  readonly name: string;
  readonly state: CircuitState;
  /** Calls let through and counted: those of a disabled circuit are not, unless it is `metricsOnly`. */
  readonly calls: number;
  readonly successes: number;
  readonly failures: number;
  /** Calls that said nothing about the dependency, because the caller gave up or `classify` said so. */
  readonly ignored: number;
  /** Ended calls that took longer than `slowCallMs`. */
  readonly slow: number;
  /** Calls refused. */
  readonly rejected: number;
  readonly openings: number;
  /** Calls let through that have not ended. */
  readonly inFlight: number;
  /** False only while nothing is counted: the circuit is disabled, and not by `metricsOnly`. */
  readonly isMeasuring: boolean;
  /** Milliseconds until it is worth asking again; 0 when calls are let through, Infinity while isolated. */
  readonly retryAfterMs: number;
}

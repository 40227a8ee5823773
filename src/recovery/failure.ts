/**
 * How bad a failure is: what state the subject is left in.
 * - `none`: nothing is broken, so there is nothing to recover.
 * - `minor`: its work stopped, its state is whole.
 * - `major`: its state is damaged or in doubt, or the same would fail again.
 * - `catastrophic`: its state is lost.
 */
export type Severity = 'none' | 'minor' | 'major' | 'catastrophic';

/** From the mildest to the worst. */
export const SEVERITIES: readonly Severity[] = ['none', 'minor', 'major', 'catastrophic'];

/** Is it at least as bad as `from`, and no worse than `to`? */
export function isWithin(severity: Severity, from: Severity, to: Severity): boolean {
  const [at, low, high] = [severity, from, to].map((one) => SEVERITIES.indexOf(one)) as [number, number, number];
  return at >= low && at <= high;
}

/** What went wrong, as the host tells it. */
export interface Failure {
  /**
   * What failed, in the host's words: the id of a session, a job, a connection. One recovery at a time for each, and one
   * budget. Any string up to 1,024 bytes.
   */
  readonly subject: string;
  /** What was thrown, whatever it is. */
  readonly error?: unknown;
  /** What it is, where the host knows: one of `FailureKind`, or a word of its own that a rule of its own knows. */
  readonly kind?: string;
  /** Whatever rungs need to know. Plain values and built-in types: it is kept with the recovery. */
  readonly context?: unknown;
}

/** What a rule knows of a failure. */
export interface RuleAnswer {
  readonly kind: string;
  /** Default: `minor` for what is transient, else `major`. */
  readonly severity?: Severity;
  /** Would the same call succeed if it were made again a little later? Default false. */
  readonly transient?: boolean;
  /** What may be behind it, the likeliest first, a line each. Default none. */
  readonly causes?: readonly string[];
}

/**
 * Knows some failures. `undefined` leaves a failure to the rules behind it: the first answer counts. May be asynchronous.
 * One that throws, or answers what is no answer, is reported (`recovery.diagnosis-failed`) and passed over.
 */
export type FailureRule = (failure: Failure) => RuleAnswer | undefined | PromiseLike<RuleAnswer | undefined>;

/** Something that may be behind a failure. */
export interface Cause {
  /** Where it was seen: a rule, an open circuit, a failing check, the error and what it was made of, failures like it. */
  readonly source: 'rule' | 'circuit' | 'check' | 'error' | 'repeated';
  /** One line for people. */
  readonly what: string;
}

/** What is known of a failure. */
export interface Diagnosis {
  readonly kind: string;
  readonly severity: Severity;
  readonly transient: boolean;
  /**
   * What may be behind it, the likeliest first: what rules named; circuits that are open; checks that fail; the error
   * chain from its root outwards; how often the same was seen lately. Ten at most.
   */
  readonly causes: readonly Cause[];
  /** Equal for failures that look alike: see `fingerprintOf`. Left out where there is no error. */
  readonly fingerprint?: string;
}

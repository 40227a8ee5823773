/** How one attempt went wrong, and what came after it. */
export interface AttemptFailure {
  /** 1 is the first. */
  readonly attempt: number;
  /** What was thrown, untouched, whatever it is. Absent if a result was refused instead. */
  readonly error?: unknown;
  /** What `retryResult` refused. */
  readonly result?: unknown;
  /** Wall time when the attempt began, in milliseconds since 1970: a label. */
  readonly startedAtMs: number;
  /** How long it ran. The first attempt is timed to 25 ms, because it has to cost nothing; others exactly. */
  readonly durationMs: number;
  /** How long was waited after it, in milliseconds. 0 if there was no further attempt. */
  readonly delayMs: number;
  /** What the other side asked for (`Retry-After` and its kin), in milliseconds. */
  readonly retryAfterMs?: number;
}

/** What a call is told about itself. Policies pass it inwards; hand it on as `parent` to runs that are part of this one. */
export interface Attempt {
  /** 1 for the first attempt, 2 for the first retry. */
  readonly attempt: number;
  /**
   * The same for all attempts of a run, different for every run: send it as the idempotency key, so that the other side
   * can tell a repeated request from a new one. Made when it is first read.
   */
  readonly operationId: string;
  /**
   * Aborted when nobody waits for this attempt any more: it timed out, the deadline passed, the caller gave up, another
   * copy was faster. Made when it is first read, because it costs twenty times as much as the call around it.
   */
  readonly signal: AbortSignal;
  /** When the whole operation has to be over: wall time, to hand on to others. Ours is kept on the monotonic clock. */
  readonly deadlineAtMs?: number | undefined;
  /** Why the attempt before this one failed. */
  readonly previous?: AttemptFailure | undefined;
}

/** What a run is part of: an attempt, as a call was given it, or as much of one as there is. */
export type RunContext = Attempt | { readonly [Key in keyof Attempt]?: Attempt[Key] | undefined };

/** One call, told about itself. May be asynchronous or not. */
export type Call<T> = (attempt: Attempt) => T | PromiseLike<T>;

/** What the code of a session's step is given. */
export interface SessionStepAttempt {
  /** The same for every attempt of this step, also after a crash: pass it on as idempotency key. */
  readonly key: string;
  /** Aborted when the session is no longer this process's, or the attempt took too long. */
  readonly signal: AbortSignal;
  /** 1, 2, … */
  readonly attempt: number;
}

/** How a session's step is run. */
export interface SessionStepOptions<Result> {
  /** Did it happen? Its result, `undefined` if it did not; throws if that cannot be told. */
  readonly verify?: (attempt: SessionStepAttempt) => Result | undefined | Promise<Result | undefined>;
  /** `'idempotent'` (default): run again after a crash, with the same key. `'once'`: never run twice; stuck instead. */
  readonly effect?: 'idempotent' | 'once';
  /** Retries after a failure. Default 0. */
  readonly retry?: number;
  /** For each attempt, in milliseconds. Default: none. */
  readonly timeoutMs?: number;
  /** Attempts go through the circuit of this name. */
  readonly circuit?: string;
}

/** Runs steps whose results outlive the process: what a transaction manager does for a session. */
export interface SessionSteps {
  /**
   * Runs `work` under this name once, however often the session dies: its result is durable before it is given, and given
   * again to who runs the same step of the same session later.
   */
  run<Result>(step: SessionStep<Result>): Promise<Result>;
}

/** One step of a session, to be run. */
export interface SessionStep<Result> {
  readonly session: string;
  readonly name: string;
  /** What the step does. */
  readonly work: (attempt: SessionStepAttempt) => Result | Promise<Result>;
  readonly options: SessionStepOptions<Result>;
  /** Aborted when the session is no longer this process's. */
  readonly signal: AbortSignal;
}

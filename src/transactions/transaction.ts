import type { Attempt } from '../policies/attempt.js';
import type { Backoff } from '../policies/backoff.js';
import type { Bulkhead } from '../policies/bulkhead.js';
import type { CircuitBreaker } from '../policies/circuit-breaker.js';
import type { RetryOptions } from '../policies/retry-options.js';
import type { StandardSchema } from '../records/standard-schema.js';

/**
 * Where a transaction stands. `done` and `rolled-back` are ends. `stuck` waits for a person: see `stuck` of `get(id)`,
 * and `resolve`.
 */
export type TransactionStatus = 'running' | 'compensating' | 'done' | 'rolled-back' | 'stuck';

/**
 * What becomes of a step whose outcome is unknown, because the process died or the call was cut off:
 * - `idempotent` (default): it is run again with the same key. For receivers that know a key, and for what may happen twice.
 * - `once`: it is announced before it runs, one write more, and never run again without knowing: the transaction is
 *   stuck until a person says what happened, unless `verify` can.
 * - `none`: it only reads. It may run again and leaves nothing to compensate.
 */
export type StepEffect = 'idempotent' | 'once' | 'none';

/** What a step is told about itself. Hand it on as `parent` to runs of a `RetryManager` that are part of the step. */
export interface StepContext extends Attempt {
  /** Id of the transaction. */
  readonly transaction: string;
  /** Name of the step, with the names of the nests around it: `hotel/deposit`. */
  readonly step: string;
  /**
   * The idempotency key: the same whenever this step of this transaction runs, in any process and after any crash; another
   * for its compensation. 43 characters of base64url, made of the ids alone. Pass it to whoever is called.
   */
  readonly key: string;
  /** Grows by one with every takeover: a receiver that remembers the highest it saw can refuse a zombie. */
  readonly fence: number;
}

/** What a compensation is told besides. */
export interface CompensationContext extends StepContext {
  /** Why the transaction, or the nest, is rolled back. After a crash an Error of the same name, message and code. */
  readonly cause: unknown;
}

/** Retries of a step: a number is `maxRetries`. */
export type StepRetry = number | StepRetryOptions;

/** How a step is tried again; as for any call, see `RetryOptions`. */
export interface StepRetryOptions {
  /** Retries after the first attempt. Default 3. */
  readonly maxRetries?: number;
  readonly backoff?: Backoff;
  /** Judges what was thrown; see `RetryOptions`. */
  readonly classify?: NonNullable<RetryOptions['classify']>;
  readonly retryAfter?: NonNullable<RetryOptions['retryAfter']>;
  readonly budget?: NonNullable<RetryOptions['budget']>;
}

/**
 * `undefined`, `null` and `false`: it did not happen. Anything else is what it gave; a step without a result answers `true`.
 * (Put a result that may itself be `null` or `false` into an object.)
 */
export type Verified<Result> = [Result] extends [undefined] ? unknown : Result | undefined | null | false;

/** How a step is run, and what takes it back. */
export interface StepOptions<Result> {
  /**
   * Takes the effect back. Given the result as it was recorded, a key of its own, and a signal that no cancel aborts. It
   * may run again after a crash or a timeout, with the same key: make it idempotent. A step without one that is rolled back
   * is named in `leftBehind`.
   */
  compensate?(result: Result, context: CompensationContext): unknown;
  /**
   * Did it happen? Asked after every failure, because errors lie, and after a crash; before anything is run again. The result
   * if it did, `undefined` if it did not (or `null`, or `false`). A throw says that it cannot be told: then the transaction is
   * stuck, unless the failure was a certain one.
   */
  verify?(context: StepContext): Verified<Result> | Promise<Verified<Result>>;
  /** Default `idempotent`. */
  readonly effect?: StepEffect;
  /**
   * Once it is done nothing is compensated any more: a later failure is stuck. Only a nest that fails afterwards still
   * takes its own steps back. Default false.
   */
  readonly pivot?: boolean;
  /** Default 0: a failure fails the step at once. Closing the manager ends the wait for an attempt; `recover` begins anew. */
  readonly retry?: StepRetry;
  /** Retries of `compensate`. Default 3, without a retry budget: a rollback has to end. */
  readonly compensateRetry?: StepRetry;
  /**
   * Milliseconds one attempt may take, of `run`, `verify` and `compensate` alike. Default: no limit. An attempt that is cut
   * off may go on: one that does not stop when its signal is aborted can have its effect after `verify` said no.
   */
  readonly timeoutMs?: number;
  /** Attempts of `run` go through this circuit; a name is looked up in the manager's `policies`. */
  readonly circuit?: string | CircuitBreaker;
  /** Attempts of `run` take a place in this bulkhead. */
  readonly bulkhead?: Bulkhead;
  /** Checks, and may convert, the result, also one that is read back. What it refuses fails the step. */
  readonly parse?: StandardSchema<Result>;
}

/**
 * Runs the effect. A throw says that nothing happened, unless it looks cut off: a timeout, an abort, a connection that broke, an
 * `OutcomeUnknownError`. That is told by names and codes, also of causes; throw `OutcomeUnknownError` where they do not say it.
 */
export type StepRun<Result> = (context: StepContext) => Result | PromiseLike<Result>;

/** The transaction, as its body sees it. */
export interface Tx {
  readonly id: string;
  /** 1, and one more after every takeover. */
  readonly fence: number;
  /** Aborted when the transaction fails, is cancelled, or is no longer ours. */
  readonly signal: AbortSignal;
  /**
   * Runs one named step, or gives back what it gave before a crash. Durable when it resolves. The name is what it is known by for
   * ever: unique in its transaction (in its nest), whatever the order; in loops, put the item's id in it.
   * Rejects with what `run` threw when its retries are used up.
   * @throws InvalidInputError for a name used twice or options that cannot be used; FencedError, ClosedError, StuckError
   */
  step<Result>(
    name: string,
    run: StepRun<Result>,
    compensate?: (result: NoInfer<Result>, context: CompensationContext) => unknown,
  ): Promise<Result>;
  /** The same, for a compensation that takes less than the step gives. */
  step<Taken, Result extends Taken>(
    name: string,
    run: StepRun<Result>,
    compensate: (result: Taken, context: CompensationContext) => unknown,
  ): Promise<Result>;
  /** The same, with options. */
  step<Result>(name: string, run: StepRun<Result>, options: StepOptions<NoInfer<Result>>): Promise<Result>;
  /**
   * A savepoint: if `body` fails, the steps in it are compensated and the error is thrown to the body around, which may
   * catch it and go on. Names of steps are its own.
   */
  nest<Result>(name: string, body: (tx: Tx) => Promise<Result>): Promise<Result>;
}

/**
 * A transaction's code: plain TypeScript between steps. After a crash it runs again from the top and steps that are done
 * give what they gave, so whatever matters happens in a step, and what decides the way comes from the input or from steps.
 */
export type TransactionBody<Input, Result> = (tx: Tx, input: Input) => Result | Promise<Result>;

/** How transactions of one definition are treated. */
export interface DefineOptions<Input> {
  /** What `recover` does with one whose process died: `resume` (default) goes forward, `rollback` back, unless it is past its pivot. */
  readonly onCrash?: 'resume' | 'rollback';
  /** Checks, and may convert, the input, also when it is read back. The input is kept as it was given. */
  readonly parse?: StandardSchema<Input>;
  /** Takeovers in a row without one more finished step, after which it is stuck: a crash loop. Default 5. */
  readonly maxTakeovers?: number;
}

/** For one call of a transaction. */
export interface TransactionRunOptions {
  /** How long to wait, in milliseconds, for one that another process holds. Default 0: `BusyError` at once. */
  readonly waitMs?: number;
}

/**
 * Runs the transaction `id`, or joins it if it runs in this process, or goes on with it if its process died, or gives what it
 * gave when it ended. The input has to be the same each time.
 * Not to be awaited in that transaction itself: it would wait for its own end, for ever. Begin another id from a step.
 * @throws RolledBackError, StuckError, BusyError, FencedError, ClosedError
 * @throws InvalidInputError for an id that was used with another definition or input, or an input that cannot be used.
 * @throws UnserializableError with the path, if the input cannot be kept. Nothing was begun.
 */
export type DefinedTransaction<Input, Result> = undefined extends Input
  ? (id: string, input?: Input, options?: TransactionRunOptions) => Promise<Result>
  : (id: string, input: Input, options?: TransactionRunOptions) => Promise<Result>;

/**
 * Why a transaction waits for a person.
 * - `unknown-outcome`: it is not known whether `step` happened, and nothing can tell.
 * - `compensation-failed`: the compensation of `step` failed, retries included.
 * - `past-pivot`: it failed after its pivot, where nothing is compensated any more.
 * - `steps-not-run`: the code no longer runs steps that are recorded; `step` is the first of them.
 * - `crash-loop`: `maxTakeovers` processes in a row died over it.
 * - `input-refused`: the recorded input no longer passes `parse`.
 * - `abandoned`: a person ended it with `resolve(id, { do: 'abandon' })`. This is an end.
 */
export type StuckReason =
  | 'unknown-outcome'
  | 'compensation-failed'
  | 'past-pivot'
  | 'steps-not-run'
  | 'crash-loop'
  | 'input-refused'
  | 'abandoned';

/** What a stuck transaction waits for. */
export interface Stuck {
  readonly reason: StuckReason;
  readonly step?: string;
}

/** A transaction without its steps. */
export interface TransactionSummary {
  readonly id: string;
  /** What it was defined as; `undefined` for one given to `run` or `execute`. */
  readonly name?: string;
  readonly status: TransactionStatus;
  readonly stuck?: Stuck;
  /** Reason of a cancel that was asked for. */
  readonly cancelled?: string;
  /** The node that holds it. */
  readonly owner?: string;
  readonly fence: number;
  /** Milliseconds since 1970: labels for people, nothing is decided by them. */
  readonly startedAtMs: number;
  readonly updatedAtMs: number;
}

/**
 * Where a step stands: `announced` (a `once` step that was about to run), `done`, `failed` (nothing happened), `unknown`,
 * `compensated`, `skipped` (a person said so).
 */
export type StepStatus = 'announced' | 'done' | 'failed' | 'unknown' | 'compensated' | 'skipped';

/** One step of a transaction. */
export interface StepView {
  readonly name: string;
  readonly status: StepStatus;
  readonly result?: unknown;
  readonly error?: unknown;
  /** When that was recorded: a label. */
  readonly atMs: number;
}

/** A transaction with everything that is recorded of it. */
export interface TransactionView extends TransactionSummary {
  readonly input: unknown;
  /** In the order they were first recorded. */
  readonly steps: readonly StepView[];
  /** Of one that is done. */
  readonly result?: unknown;
  /** Why it is rolled back or stuck. */
  readonly error?: unknown;
  /** Of one that is rolled back: names of steps, in the order they were compensated. */
  readonly compensated?: readonly string[];
  /** Of one that is rolled back: steps that had an effect, or may have, and nothing took it back. */
  readonly leftBehind?: readonly string[];
}

/** Which transactions `list` gives. */
export interface TransactionFilter {
  readonly status?: TransactionStatus;
  readonly name?: string;
  /** Only ids that begin with this. */
  readonly prefix?: string;
}

/** One line of a transaction's journal. */
export interface HistoryEntry {
  /** What happened: `begun`, `done`, `compensated`, ... */
  readonly type: string;
  readonly atMs: number;
  readonly step?: string;
  /** Result, error or input, where the entry has one. */
  readonly value?: unknown;
  /** Anything else that the entry says. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/**
 * What a person decides about a stuck transaction.
 * - `retry`: try again what it is stuck at; an unknown `once` step is run again.
 * - `complete`: it was done by hand: the step, then `result` is what it gave and must be there; or its compensation.
 * - `skip`: go on without the step, or leave its effect as it is, named in `leftBehind`.
 * - `rollback`: give up going forward; not past the pivot. Where a step's outcome is unknown, name the `step` if it did not
 *   happen, and give its `result` too if it did.
 * - `abandon`: end it as it stands. Nothing more is run.
 * `step` is the one it is stuck at unless said otherwise.
 */
export interface Resolution {
  readonly do: 'retry' | 'complete' | 'skip' | 'rollback' | 'abandon';
  readonly step?: string;
  readonly result?: unknown;
}

/** What `recover` did: ids of transactions. */
export interface RecoverReport {
  /** Went forward and are done. */
  readonly resumed: readonly string[];
  readonly rolledBack: readonly string[];
  /** Wait for a person: `get(id)` says for what. */
  readonly stuck: readonly string[];
  /** Held by a process that is alive, or may be: look again later. Also those that run in this process. */
  readonly busy: readonly string[];
  /** Their definition is not known here: `define` it first, or call `run` or `execute` with the id again. */
  readonly unknown: readonly string[];
  /** Could not be recovered this time, and why: a storage that failed, a record that is damaged. Others went on. */
  readonly failed: readonly { readonly id: string; readonly error: unknown }[];
  /** Why the records that dead processes left could not all be removed, if so. Nothing depends on them. */
  readonly sweepError?: unknown;
}

import type { Clock } from '../base/clock.js';
import { InvalidInputError } from '../base/errors.js';
import type { Call } from '../policies/attempt.js';
import type { RetryManager } from '../policies/retry-manager.js';
import type { RetryOptions } from '../policies/retry-options.js';
import type { WriteGuard } from '../records/guarded-storage.js';
import type { SessionHold } from './session-hold.js';
import type { SessionInfo, Takeover } from './session-info.js';
import type { SessionPulse } from './session-pulse.js';
import { takeMetadata } from './session-record.js';
import type { SessionStepAttempt, SessionStepOptions, SessionSteps } from './session-steps.js';
import type { StateKeeper } from './state-keeper.js';

/** A method of a state keeper, for one session. */
export type ForSession<Method> = Method extends (session: string, ...rest: infer Rest) => infer Answer
  ? (...rest: Rest) => Answer
  : never;

/** How a session comes to its end in this process. */
export type SessionEnding =
  | { readonly status: 'completed' }
  | { readonly status: 'failed'; readonly error: unknown }
  | { readonly status: 'interrupted' };

/** What a session works with. */
export interface SessionParts<Keeper extends StateKeeper> {
  readonly hold: SessionHold;
  /** Guarded: writes only while the session is held. */
  readonly keeper: Keeper;
  readonly policies: RetryManager;
  readonly steps: SessionSteps | undefined;
  readonly clock: Clock;
  /** What it shows of its going on. */
  readonly pulse: SessionPulse;
  readonly takeover: Takeover | undefined;
  /** Aborted when the session is no longer this process's, or should stop. */
  readonly signal: AbortSignal;
  /** Writes how it ends, and lets go of it. */
  readonly end: (ending: SessionEnding) => Promise<void>;
}

/**
 * A named piece of work that outlives its process: what it knows is in checkpoints, who is at work on it is in its record,
 * and when its process dies another one goes on with it. This process's as long as `signal` is not aborted: everything that
 * is done outside in its name should stop when it is.
 */
export class Session<Keeper extends StateKeeper = StateKeeper> implements AsyncDisposable {
  readonly #parts: SessionParts<Keeper>;

  constructor(parts: SessionParts<Keeper>) {
    this.#parts = parts;
    const { keeper } = parts;
    this.restore = ((...rest: never[]) => keeper.restore(this.id, ...rest)) as ForSession<Keeper['restore']>;
    this.checkpoint = (async (...rest: [never]) => {
      parts.hold.version(); // Throws if it is lost.
      const saved = await keeper.save(this.id, ...rest);
      this.touch();
      return saved;
    }) as unknown as ForSession<Keeper['save']>;
  }

  /** The state it goes on from: as `restore` of the checkpoints. `undefined`: nothing was saved yet, begin anew. */
  readonly restore: ForSession<Keeper['restore']>;

  /**
   * Saves its state: as `save` of the checkpoints, durable when it resolves.
   * @throws FencedError if the session is another process's by now; nothing of it was written, or acknowledged.
   */
  readonly checkpoint: ForSession<Keeper['save']>;

  /** As given to `run` or `open`. */
  get id(): string {
    return this.#parts.hold.id;
  }

  /** Grows by one every time that the session is taken: a receiver that remembers the highest it saw can refuse a zombie. */
  get fence(): number {
    return this.#parts.hold.record.fence;
  }

  /** The host's own, as given when it was begun, or to `describe`. */
  get metadata(): SessionInfo['metadata'] {
    return this.#parts.hold.record.metadata;
  }

  /** From whom it was taken, and why, if it was taken over from a process that died. */
  get takeover(): Takeover | undefined {
    return this.#parts.takeover;
  }

  /**
   * Aborted when the work should stop: the session is no longer this process's (`FencedError`), or the registry is being
   * closed (`ClosedError`). In the second case it is still held: a last checkpoint can be saved.
   */
  get signal(): AbortSignal {
    const { hold, signal } = this.#parts;
    return hold.isLost ? hold.signal : signal;
  }

  /**
   * For other writes in its name: `guardedStorage(storage, session.guard)`, or `guardedBy` of what keeps something. They
   * fail once the session is another process's.
   */
  get guard(): WriteGuard {
    return this.#parts.hold;
  }

  /** True once it has ended here, was given back, or is another process's. */
  get isOver(): boolean {
    return this.#parts.hold.isLost;
  }

  /** True while it shows no sign of going on for longer than it may. */
  get isQuiet(): boolean {
    return this.#parts.pulse.isQuiet;
  }

  /**
   * It goes on, and is so far: 0 to 1. Costs nothing: it travels with the next heartbeat of the process. Checkpoints count
   * as well.
   */
  touch(progress?: number): void {
    this.#parts.pulse.touch(progress);
  }

  /** It may be quiet for so many milliseconds from now, until the next `touch`, without passing for frozen. */
  expectQuiet(ms: number): void {
    this.#parts.pulse.expectQuiet(ms);
  }

  /**
   * Replaces its metadata, durable when it resolves. They are taken before this returns its promise.
   * @throws FencedError; InvalidInputError, UnserializableError, LimitError: nothing was written.
   */
  async describe(metadata: SessionInfo['metadata']): Promise<void> {
    const { hold, clock } = this.#parts;
    const taken = takeMetadata(metadata, 'metadata');
    await hold.change((record) => ({ ...record, metadata: taken, updatedAtMs: clock.now() }));
  }

  /**
   * Runs `work` under this name once, however often the session dies: its result is durable before it is given, and given
   * again when the session runs the same step later. A name stands for one step for the life of the session.
   * @throws what `work` throws, after its retries; then the step may be run again.
   */
  async step<Result>(
    name: string,
    work: (attempt: SessionStepAttempt) => Result | Promise<Result>,
    options: SessionStepOptions<Result> = {},
  ): Promise<Result> {
    const { steps } = this.#parts;
    if (steps === undefined) {
      throw new InvalidInputError('options.steps: this registry was made without; createHoldfast wires them.', 'steps');
    }
    this.signal.throwIfAborted();
    return steps.run({ session: this.id, name, work, options, signal: this.signal });
  }

  /** Runs a flaky call with retries, as `RetryManager.run`, until the session is no longer this process's. */
  async call<Result, Fallback = never>(
    work: Call<Result>,
    options?: Omit<RetryOptions<NoInfer<Result>, Fallback>, 'signal'>,
  ): Promise<Result | Fallback> {
    return this.#parts.policies.run<Result, Fallback>(work, { ...options, signal: this.signal });
  }

  /**
   * Ends it: nobody goes on with it. `run` does this by itself.
   * @throws FencedError if it is another process's by now; ClosedError if it ended or was given back before.
   */
  async end(status: 'completed' | 'failed' = 'completed', error: unknown = 'it was ended as failed'): Promise<void> {
    if (status !== 'completed' && status !== 'failed') {
      throw new InvalidInputError(`status: must be 'completed' or 'failed', not ${String(status)}.`, 'status');
    }
    await this.#parts.end(status === 'completed' ? { status } : { status, error });
  }

  /** Gives it back before its end: others may go on with it at once. Does nothing if it ended or is another process's. */
  async release(): Promise<void> {
    try {
      await this.#parts.end({ status: 'interrupted' });
    } catch (error) {
      if (!this.isOver) throw error; // Else there was nothing to give back.
    }
  }

  /** As `release`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}

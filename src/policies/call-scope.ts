import { randomUUID } from 'node:crypto';
import { type Clock, startTimer, type Timer } from '../base/clock.js';
import { InvalidInputError } from '../base/errors.js';
import { onSignalAbort } from './abort-hub.js';
import type { Attempt, AttemptFailure, RunContext } from './attempt.js';

/** @throws TypeError saying what was passed, if it cannot be called. */
export function requireFunction(call: unknown, name: string): void {
  if (typeof call === 'function') return;
  const isPromise = typeof call === 'object' && call !== null && 'then' in call;
  const given = isPromise ? 'a promise: pass the function that makes it' : call === null ? 'null' : typeof call;
  throw new TypeError(`${name} must be a function, not ${given}.`);
}

/** A spread copy of an attempt has lost its signal and deadline, which are made when they are read. */
function requireContext(context: RunContext): RunContext {
  if ('signal' in context || 'deadlineAtMs' in context || 'operationId' in context) return context;
  const message = 'context: has no signal. Pass the attempt itself, not a copy of it, or { signal }.';
  throw new InvalidInputError(message, 'context');
}

/** Stands for an id that is made when it is first asked for. */
const UNMADE = '';

type AbortListener = (reason: unknown) => void;

/** Where a scope that is not the first of its kind came from. */
interface Origin {
  readonly outer: CallScope | undefined;
  readonly previous: AttemptFailure | undefined;
}

/** What only those scopes need that may be aborted, whose signal is read or that left a call behind. */
class Lifeline {
  operationId: string | undefined;
  isAborted = false;
  reason: unknown;
  controller: AbortController | undefined;
  listeners: Set<AbortListener> | undefined;
  /** The first to listen, who is nearly always the only one: a set costs more than a call. */
  listener: AbortListener | undefined;
  /** Calls that nobody waits for any more and that have not ended. */
  leftBehind = 0;
  onQuiet: (() => void)[] | undefined;
  timer: Timer | undefined;
  /** On the monotonic clock; Infinity without a timer. */
  deadlineMs = Number.POSITIVE_INFINITY;
  clock: Clock | undefined;
  /** Undo what makes this scope hear of an abort from outside. */
  stops: (() => void)[] | undefined;
}

/** What a scope without a lifeline has. */
const NO_LIFE = { clock: undefined, deadlineMs: Number.POSITIVE_INFINITY };

/**
 * The `Attempt` that calls see, and what policies need besides: an abort that costs nothing until it is used, a
 * deadline, and a count of calls that were left behind. Scopes form a chain; the abort of an outer one reaches those
 * inside it that are attached. Whoever makes a scope and attaches it ends it.
 */
export class CallScope implements Attempt {
  readonly attempt: number;
  // Few fields: one of these is made for every call, and most calls have neither an origin nor a need for a lifeline.
  readonly #origin: Origin | undefined;
  #life: Lifeline | undefined;

  constructor(attempt: number, outer?: CallScope, previous?: AttemptFailure) {
    this.attempt = attempt;
    this.#origin = outer === undefined && previous === undefined ? undefined : { outer, previous };
    this.#life = undefined;
  }

  /** The scope a policy was called in. A context that is not ours (a test's, another copy's) is taken at its word. */
  static of(context: RunContext | undefined, clock: Clock): CallScope {
    if (context instanceof CallScope) return context;
    const scope = new CallScope(context?.attempt ?? 1, undefined, context?.previous);
    if (context === undefined) return scope;
    const { operationId, signal, deadlineAtMs } = requireContext(context);
    if (operationId !== undefined) scope.#alive().operationId = operationId;
    if (signal !== undefined) scope.follow(signal);
    if (Number.isFinite(deadlineAtMs))
      scope.limit(
        clock,
        (deadlineAtMs as number) - clock.now(),
        () => new DOMException('The deadline passed.', 'TimeoutError'),
      );
    return scope;
  }

  /** The scope of a new operation, inside `outer` but with an id of its own. */
  static operation(outer?: CallScope, operationId?: string): CallScope {
    const scope = new CallScope(1, outer);
    scope.#alive().operationId = operationId ?? UNMADE;
    return scope;
  }

  get previous(): AttemptFailure | undefined {
    return this.#origin?.previous;
  }

  get operationId(): string {
    if (this.#life?.operationId === undefined && this.#outer !== undefined) return this.#outer.operationId;
    const life = this.#alive();
    life.operationId ||= randomUUID();
    return life.operationId;
  }

  get signal(): AbortSignal {
    const life = this.#alive();
    if (life.controller === undefined) {
      life.controller = new AbortController();
      if (life.isAborted) life.controller.abort(life.reason);
    }
    return life.controller.signal;
  }

  get deadlineAtMs(): number | undefined {
    const outerMs = this.#outer?.deadlineAtMs;
    const { clock, deadlineMs } = this.#life ?? NO_LIFE;
    if (clock === undefined) return outerMs;
    const ownMs = clock.now() + (deadlineMs - clock.monotonicMs());
    return outerMs === undefined ? ownMs : Math.min(outerMs, ownMs);
  }

  /** Milliseconds until the nearest deadline of this scope and those around it; Infinity without one. */
  get remainingMs(): number {
    const outerMs = this.#outer?.remainingMs ?? Number.POSITIVE_INFINITY;
    const { clock, deadlineMs } = this.#life ?? NO_LIFE;
    return clock === undefined ? outerMs : Math.min(outerMs, deadlineMs - clock.monotonicMs());
  }

  get isAborted(): boolean {
    return this.#life?.isAborted ?? false;
  }

  /** What it was aborted with. */
  get reason(): unknown {
    return this.#life?.reason;
  }

  /** Tells the signal and everything that waits. The first abort counts. */
  abort(reason: unknown): void {
    const life = this.#alive();
    if (life.isAborted) return;
    life.isAborted = true;
    life.reason = reason;
    life.timer?.cancel();
    life.controller?.abort(reason);
    const listeners = [life.listener, ...(life.listeners ?? [])];
    life.listener = undefined;
    life.listeners = undefined;
    for (const listener of listeners) listener?.(reason);
  }

  /** Calls `listener` when aborted; at once if that has happened. Returns how to stop listening. */
  onAbort(listener: AbortListener): () => void {
    this.whenAborted(listener);
    const life = this.#alive();
    return () => {
      if (life.listener === listener) life.listener = undefined;
      else life.listeners?.delete(listener);
    };
  }

  /** As `onAbort`, for those who listen as long as the scope lives. */
  whenAborted(listener: AbortListener): void {
    const life = this.#alive();
    if (life.isAborted) listener(life.reason);
    else if (life.listener === undefined) life.listener = listener;
    else {
      life.listeners ??= new Set();
      life.listeners.add(listener);
    }
  }

  /** From now on an abort of the outer scope is an abort of this one. */
  attach(): this {
    if (this.#outer !== undefined) this.#untilEnd(this.#outer.onAbort((reason) => this.abort(reason)));
    return this;
  }

  /** From now on an abort of `signal` is an abort of this scope. */
  follow(signal: AbortSignal): void {
    if (signal.aborted) this.abort(signal.reason);
    else this.#untilEnd(onSignalAbort(signal, () => this.abort(signal.reason)));
  }

  /** Aborts this scope in `ms` milliseconds, with what `reason` makes; at once if they are over. Once for each scope. */
  limit(clock: Clock, ms: number, reason: () => unknown): void {
    if (ms <= 0) {
      this.abort(reason());
      return;
    }
    this.endsBy(
      startTimer(clock, ms, () => this.abort(reason())),
      clock,
      ms,
    );
  }

  /** As `limit`, for those who made the timer themselves. */
  endsBy(timer: Timer, clock: Clock, ms: number): void {
    const life = this.#alive();
    life.timer = timer;
    life.clock = clock;
    life.deadlineMs = clock.monotonicMs() + ms; // Not coarse: after a blocked loop that would be over already.
  }

  /** Nothing reaches this scope any more: timers and listeners are gone. Its signal stays as it is. */
  end(): void {
    const life = this.#life;
    if (life === undefined) return;
    life.timer?.cancel();
    for (const stop of life.stops ?? []) stop();
    life.stops = undefined;
  }

  /** As `promise`, unless this scope is aborted first: then its reason, and the call counts as left behind. */
  race<T>(promise: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const stop = this.onAbort((reason) => {
        this.leaveBehind(promise);
        reject(reason);
      });
      promise.then(
        (value) => {
          stop();
          resolve(value);
        },
        (error: unknown) => {
          stop();
          reject(error); // After an abort this changes nothing: the caller was told, the late outcome interests nobody.
        },
      );
    });
  }

  /** Counts `promise` until it ends, here and in every scope around: places stay taken as long as work goes on. */
  leaveBehind(promise: Promise<unknown>): void {
    for (let scope: CallScope | undefined = this; scope !== undefined; scope = scope.#outer)
      scope.#alive().leftBehind++;
    const ended = () => {
      for (let scope: CallScope | undefined = this; scope !== undefined; scope = scope.#outer) scope.#oneEnded();
    };
    promise.then(ended, ended);
  }

  /** Calls `act` once no call is left behind: now, if none is. */
  whenQuiet(act: () => void): void {
    const life = this.#life;
    if (life === undefined || life.leftBehind === 0) act();
    else {
      life.onQuiet ??= [];
      life.onQuiet.push(act);
    }
  }

  get #outer(): CallScope | undefined {
    return this.#origin?.outer;
  }

  #oneEnded(): void {
    const life = this.#alive();
    if (--life.leftBehind > 0) return;
    const acts = life.onQuiet ?? [];
    life.onQuiet = undefined;
    for (const act of acts) act();
  }

  #untilEnd(stop: () => void): void {
    const life = this.#alive();
    life.stops ??= [];
    life.stops.push(stop);
  }

  #alive(): Lifeline {
    this.#life ??= new Lifeline();
    return this.#life;
  }
}

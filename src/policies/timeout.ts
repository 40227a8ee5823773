import * as z from 'zod';
import { type Clock, systemClock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { HoldfastError } from '../base/errors.js';
import { clockOption, functionOption, parseOptions } from '../base/options.js';
import type { Call, RunContext } from './attempt.js';
import { CallScope, requireFunction } from './call-scope.js';
import type { Policy } from './policy.js';

/** For `timeout`. */
export interface TimeoutOptions {
  /** Where time comes from. Default the machine's clock. Tests pass a virtual one. */
  readonly clock?: Clock;
  /** Hears of calls that took too long. Default: nobody. */
  readonly emit?: Sink<TimeoutEvent>;
}

/** A call took longer than it was given. It may be running still. */
export interface TimeoutEvent {
  readonly type: 'call.timed-out';
  readonly operationId: string;
  readonly attempt: number;
  readonly timeoutMs: number;
}

/**
 * The call did not end in time. Its signal was aborted with this error; whether it stopped, and what it did until then,
 * is not known. Give it longer, or repeat it if it may safely happen twice.
 */
export class TimeoutError extends HoldfastError {
  readonly code = 'HOLDFAST_TIMEOUT';
  /** The name that `AbortSignal.timeout` uses too, so that code which goes by the name knows both. */
  override readonly name = 'TimeoutError';
  constructor(
    /** What it was given, in milliseconds. */
    readonly timeoutMs: number,
  ) {
    super(`The call had not ended after ${timeoutMs} ms. Allow more, or make it stop when its signal is aborted.`);
  }
}

/**
 * Gives a call `ms` milliseconds. Then its signal is aborted and the caller gets a `TimeoutError` at once, whether or
 * not the call listens; a call that does not listen goes on, unobserved, and keeps its place in a bulkhead around this
 * until it ends. The call sees the nearer of this and any outer deadline as `deadlineAtMs`.
 * One timer and no `AbortController` for a call that does not read `signal`.
 * @throws InvalidInputError unless `ms` is a finite number above 0. There is no longest: weeks are fine.
 */
export function timeout(ms: number, options?: TimeoutOptions): Policy {
  const timeoutMs = parseOptions(millisecondsSchema, ms, 'ms');
  const { clock = systemClock, emit: sink } = parseOptions(optionsSchema, options);
  return new Timeout(timeoutMs, clock, sink);
}

const millisecondsSchema = z.number().positive();
const optionsSchema = z.strictObject({
  clock: clockOption.optional(),
  emit: functionOption<Sink<TimeoutEvent>>().optional(),
});

class Timeout implements Policy {
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  readonly #sink: Sink<TimeoutEvent> | undefined;

  constructor(timeoutMs: number, clock: Clock, sink: Sink<TimeoutEvent> | undefined) {
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
    this.#sink = sink;
  }

  async run<T>(call: Call<T>, context?: RunContext): Promise<T> {
    requireFunction(call, 'call');
    const outer = CallScope.of(context, this.#clock);
    const scope = context === undefined ? outer : new CallScope(outer.attempt, outer, outer.previous).attach();
    try {
      if (scope.isAborted) throw scope.reason;
      scope.limit(this.#clock, this.#timeoutMs, () => this.#timedOut(scope));
      return await scope.race(Promise.resolve(call(scope)));
    } finally {
      scope.end();
      if (outer !== context) outer.end();
    }
  }

  #timedOut(scope: CallScope): TimeoutError {
    if (this.#sink !== undefined) {
      const { operationId, attempt } = scope;
      emit(this.#sink, { type: 'call.timed-out', operationId, attempt, timeoutMs: this.#timeoutMs });
    }
    return new TimeoutError(this.#timeoutMs);
  }
}

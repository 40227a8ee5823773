import * as z from 'zod';
import { type Clock, startTimer, systemClock, type Timer } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { InvalidInputError } from '../base/errors.js';
import { clockOption, functionOption, parseOptions } from '../base/options.js';
import type { Attempt, Call, RunContext } from './attempt.js';
import { CallScope, requireFunction } from './call-scope.js';
import type { Policy } from './policy.js';
import { RefusalError } from './refusal-error.js';
import { WaitingLine } from './waiting-line.js';

/** How a rate limiter is made. */
export interface RateLimitOptions {
  /** What errors and events call it. Default `rate-limit`. Name it after what it protects. */
  readonly name?: string;
  /** Calls, or units of cost, let through in `perMs` milliseconds, in the long run. At least 1. */
  readonly calls: number;
  /** The time that `calls` is said for, in milliseconds: 60,000 for "per minute". */
  readonly perMs: number;
  /**
   * Let through at once after a quiet time, at least 1. Default `calls`. Lower it for a dependency that wants calls
   * evenly spread, or that counts by the second what it promises by the minute.
   */
  readonly burst?: number;
  /**
   * Longest wait for a turn, in milliseconds. Default 0: refuse at once. `Infinity` waits as long as it takes, or as
   * the caller's deadline allows; bound the number of callers elsewhere then.
   */
  readonly maxWaitMs?: number;
  /** Where time comes from. Default the machine's clock. Tests pass a virtual one. */
  readonly clock?: Clock;
  /** Hears of calls that wait and of calls that are refused. Default: nobody. */
  readonly emit?: Sink<RateLimitEvent>;
}

/** What happened at the door of a rate limiter. Calls let through at once are not reported. */
export type RateLimitEvent =
  | {
      readonly type: 'rate-limit.queued';
      readonly limiter: string;
      /** How long its turn will take to come, if nothing is paused meanwhile and nobody ahead leaves. */
      readonly waitMs: number;
    }
  | { readonly type: 'rate-limit.rejected'; readonly limiter: string; readonly retryAfterMs: number };

/** For `acquire`. */
export interface AcquireOptions {
  /** How much of the limit this uses. Default 1. For limits in other units than calls: tokens of a prompt, bytes. */
  readonly cost?: number;
  /** The attempt this is part of: its signal and deadline hold for the wait too. */
  readonly context?: Attempt;
  /** Ends the wait with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * The limit is used up for now, and the wait would be longer than allowed. The call was not made: it is safe to make it
 * later.
 */
export class RateLimitError extends RefusalError {
  readonly code = 'HOLDFAST_RATE_LIMITED';
  readonly limiter: string;
  /** When it would have been let through, in milliseconds from now, if nobody else comes first. */
  readonly retryAfterMs: number;

  constructor(limiter: string, retryAfterMs: number) {
    super(`Rate limiter "${limiter}" has nothing left for now. Call again in ${retryAfterMs} ms, or send less.`);
    this.limiter = limiter;
    this.retryAfterMs = retryAfterMs;
  }
}

const optionsSchema = z.strictObject({
  name: z.string().min(1).default('rate-limit'),
  calls: z.number().min(1),
  perMs: z.number().positive(),
  burst: z.number().min(1).optional(),
  maxWaitMs: z
    .union([z.number().min(0), z.literal(Number.POSITIVE_INFINITY)], 'must be a number >= 0 or Infinity')
    .default(0),
  clock: clockOption.optional(),
  emit: functionOption<Sink<RateLimitEvent>>().optional(),
});
const acquireSchema = z.strictObject({
  cost: z.number().positive().default(1),
  context: z.custom<Attempt>((value) => typeof value === 'object' && value !== null, 'must be an Attempt').optional(),
  signal: z.custom<AbortSignal>(isSignal, 'must be an AbortSignal').optional(),
});
const pauseSchema = z.number().min(0);

/** One who waits for a turn. */
interface Waiter {
  readonly cost: number;
  /** Monotonic time after which the turn is of no use: what the wait limit and the deadline leave. */
  readonly latestMs: number;
  enter(): void;
  refuse(waitMs: number): void;
}

/**
 * Lets `calls` calls through every `perMs` milliseconds, `burst` of them at once after a quiet time. In any stretch of
 * t milliseconds at most `burst + t * calls / perMs` pass. Others wait in the order they came, or are refused.
 * @throws InvalidInputError for options that cannot be used.
 */
export function rateLimit(options: RateLimitOptions): RateLimiter {
  return new RateLimiter(options);
}

/**
 * See `rateLimit`. One of these is shared by all calls that count against one limit. It knows of this process only.
 *
 * A token bucket, kept as the moment when it will be full again: one number, which nothing has to refill.
 * Source: Turner, "New directions in communications", IEEE Communications Magazine 24(10), 1986 (the bucket); ITU-T
 * Recommendation I.371, 1993, "virtual scheduling" (the number).
 */
export class RateLimiter implements Policy {
  readonly #name: string;
  readonly #burst: number;
  readonly #msPerToken: number;
  readonly #maxWaitMs: number;
  readonly #clock: Clock;
  readonly #sink: Sink<RateLimitEvent> | undefined;
  readonly #line = new WaitingLine<Waiter>();
  /** Sum of the costs in line. */
  #costWaiting = 0;
  #fullAtMs = Number.NEGATIVE_INFINITY;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;
  /** Wakes for the first in line; there is one as long as somebody waits. */
  #timer: Timer | undefined;

  constructor(options: RateLimitOptions) {
    const { name, calls, perMs, burst, maxWaitMs, clock, emit: sink } = parseOptions(optionsSchema, options);
    this.#name = name;
    this.#burst = burst ?? calls;
    this.#msPerToken = perMs / calls;
    this.#maxWaitMs = maxWaitMs;
    this.#clock = clock ?? systemClock;
    this.#sink = sink;
  }

  /** @throws RateLimitError if it is not let through; what the call throws passes through. */
  async run<T>(call: Call<T>, context?: RunContext): Promise<T> {
    requireFunction(call, 'call');
    const scope = CallScope.of(context, this.#clock);
    try {
      const turn = this.#takeTurn(1, scope);
      if (turn !== undefined) await turn;
      if (scope.isAborted) throw scope.reason; // It may have been aborted after it was let in, before this line.
      return await call(scope);
    } finally {
      if (scope !== context) scope.end();
    }
  }

  /**
   * Resolves when `cost` was let through, and counts it: for weighted calls, or where the call is not a function.
   * @throws RateLimitError if the wait would be longer than `maxWaitMs` or the deadline; InvalidInputError if `cost` is
   * more than `burst`, because it would never pass.
   */
  async acquire(options?: AcquireOptions): Promise<void> {
    const { cost, context, signal } = parseOptions(acquireSchema, options);
    if (cost > this.#burst) {
      const fault = `${cost} is above the burst of "${this.#name}", which is ${this.#burst}`;
      throw new InvalidInputError(`options.cost: ${fault}. Split it, or raise that.`, 'options.cost');
    }
    const outer = CallScope.of(context, this.#clock);
    const scope = new CallScope(outer.attempt, outer, outer.previous).attach();
    try {
      if (signal !== undefined) scope.follow(signal);
      await this.#takeTurn(cost, scope);
    } finally {
      scope.end();
      if (outer !== context) outer.end();
    }
  }

  /**
   * Lets nothing through for the next `ms` milliseconds: the other side said so, with a 429. Those in line whose wait
   * grows too long by it are refused now. A pause that ends later already stands.
   * @throws InvalidInputError unless `ms` is a finite number >= 0.
   */
  pauseFor(ms: number): void {
    const nowMs = this.#clock.monotonicMs();
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, nowMs + parseOptions(pauseSchema, ms, 'ms'));
    let costAhead = 0;
    for (const waiter of this.#line) {
      const waitMs = this.#waitMs(costAhead + waiter.cost, nowMs);
      if (nowMs + waitMs > waiter.latestMs) waiter.refuse(waitMs);
      else costAhead += waiter.cost;
    }
    this.#letIn();
  }

  /** Undefined: at once. */
  #takeTurn(cost: number, scope: CallScope): Promise<void> | undefined {
    if (scope.isAborted) throw scope.reason;
    const nowMs = this.#clock.monotonicMs();
    const waitMs = this.#waitMs(this.#costWaiting + cost, nowMs);
    if (waitMs <= 0 && this.#line.length === 0) {
      this.#take(cost, nowMs);
      return undefined;
    }
    const longestMs = Math.min(this.#maxWaitMs, scope.remainingMs);
    if (waitMs > longestMs) throw this.#refusal(waitMs);
    const turn = this.#wait({ cost, latestMs: nowMs + longestMs }, scope);
    if (waitMs <= 0) this.#letIn(); // The timer is late: all go now, and in the order they came.
    if (this.#sink !== undefined) emit(this.#sink, { type: 'rate-limit.queued', limiter: this.#name, waitMs });
    return turn;
  }

  #wait(ask: Pick<Waiter, 'cost' | 'latestMs'>, scope: CallScope): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        stopListening();
        if (leaveLine()) this.#costWaiting = this.#line.length === 0 ? 0 : this.#costWaiting - ask.cost;
      };
      const waiter: Waiter = {
        ...ask,
        enter: () => {
          leave();
          resolve();
        },
        refuse: (waitMs) => {
          leave();
          reject(this.#refusal(waitMs));
        },
      };
      const leaveLine = this.#line.join(waiter);
      this.#costWaiting += ask.cost;
      const stopListening = scope.onAbort((reason) => {
        const wasFirst = this.#line.first === waiter;
        leave();
        reject(reason);
        if (wasFirst) this.#setTimer(); // Nobody is let in yet: those behind may be about to hear of the same abort.
      });
      if (this.#line.first === waiter) this.#setTimer();
    });
  }

  /** Lets in those whose turn has come. */
  #letIn(): void {
    const nowMs = this.#clock.monotonicMs();
    for (let first = this.#line.first; first !== undefined; first = this.#line.first) {
      if (this.#waitMs(first.cost, nowMs) > 0) break;
      this.#take(first.cost, nowMs);
      first.enter();
    }
    this.#setTimer();
  }

  #setTimer(): void {
    this.#timer?.cancel();
    const { first } = this.#line;
    if (first === undefined) {
      this.#timer = undefined;
      return;
    }
    const waitMs = this.#waitMs(first.cost, this.#clock.monotonicMs());
    this.#timer = startTimer(this.#clock, waitMs, () => this.#letIn());
  }

  #take(cost: number, nowMs: number): void {
    this.#fullAtMs = Math.max(this.#fullAtMs, nowMs) + cost * this.#msPerToken;
  }

  /** Milliseconds until the bucket holds `cost`; to the nanosecond, because what is below is rounding error. */
  #waitMs(cost: number, nowMs: number): number {
    const fromMs = Math.max(nowMs, this.#pausedUntilMs);
    const dueMs = Math.max(this.#fullAtMs, fromMs) + (cost - this.#burst) * this.#msPerToken;
    return Math.round((Math.max(dueMs, fromMs) - nowMs) * 1e6) / 1e6;
  }

  #refusal(waitMs: number): RateLimitError {
    const retryAfterMs = Math.ceil(waitMs);
    if (this.#sink !== undefined) emit(this.#sink, { type: 'rate-limit.rejected', limiter: this.#name, retryAfterMs });
    return new RateLimitError(this.#name, retryAfterMs);
  }
}

function isSignal(value: unknown): boolean {
  return typeof (value as Partial<AbortSignal> | null)?.addEventListener === 'function';
}

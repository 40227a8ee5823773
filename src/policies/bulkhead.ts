import * as z from 'zod';
import { type Clock, startTimer, systemClock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { clockOption, functionOption, parseOptions } from '../base/options.js';
import type { Call, RunContext } from './attempt.js';
import { CallScope, requireFunction } from './call-scope.js';
import type { Policy } from './policy.js';
import { RefusalError } from './refusal-error.js';
import { WaitingLine } from './waiting-line.js';

/** How a bulkhead is made. */
export interface BulkheadOptions {
  /** What errors and events call it. Default `bulkhead`. Name it after what it protects. */
  readonly name?: string;
  /** Calls running at once. Default 10. Set it to what the dependency can serve, not to what you can send. */
  readonly maxRunning?: number;
  /**
   * Calls allowed to wait for a place. Default 0: refuse at once, so that callers slow down early. `Infinity` only
   * where something else bounds how many callers there are.
   */
  readonly maxWaiting?: number;
  /**
   * Milliseconds a call may wait for a place; then it is refused. Default: no limit but its own deadline and signal.
   * Set it below the time after which the answer is of no use. Says nothing where nobody may wait.
   */
  readonly maxWaitMs?: number;
  /** Where time comes from. Default the machine's clock. Tests pass a virtual one. */
  readonly clock?: Clock;
  /** Hears of calls that wait and of calls that are refused. Default: nobody. */
  readonly emit?: Sink<BulkheadEvent>;
}

/** What happened at the door of a bulkhead. Calls that find a place at once are not reported. */
export type BulkheadEvent =
  | {
      readonly type: 'bulkhead.queued';
      readonly bulkhead: string;
      /** Callers in the queue, this one included. */
      readonly waiting: number;
    }
  | {
      readonly type: 'bulkhead.rejected';
      readonly bulkhead: string;
      /** 0: no place to wait was left. Else it had waited this long, which is `maxWaitMs`. */
      readonly waitedMs: number;
    };

/** What a bulkhead holds now. */
export interface BulkheadStats {
  readonly name: string;
  /** Places taken, also by calls that nobody waits for any more and that have not ended. */
  readonly running: number;
  readonly waiting: number;
  readonly maxRunning: number;
  readonly maxWaiting: number;
  /** Calls refused since it was made. */
  readonly rejected: number;
}

/**
 * No place was free, and none to wait, or none came free in time. The call was not made: it is safe to make it later.
 */
export class BulkheadFullError extends RefusalError {
  readonly code = 'HOLDFAST_BULKHEAD_FULL';
  readonly bulkhead: string;
  readonly maxRunning: number;
  readonly maxWaiting: number;
  /** How long the call had waited, in milliseconds. 0: not at all. */
  readonly waitedMs: number;

  constructor({ name, maxRunning, maxWaiting }: BulkheadStats, waitedMs: number) {
    const found = waitedMs > 0 ? `had no place free within ${waitedMs} ms` : `is full (${maxWaiting} may wait)`;
    super(`Bulkhead "${name}" ${found}: ${maxRunning} calls are running. Call again later, or send less.`);
    this.bulkhead = name;
    this.maxRunning = maxRunning;
    this.maxWaiting = maxWaiting;
    this.waitedMs = waitedMs;
  }
}

const optionsSchema = z.strictObject({
  name: z.string().min(1).default('bulkhead'),
  maxRunning: z.int().min(1).default(10),
  maxWaiting: z
    .union([z.int().min(0), z.literal(Number.POSITIVE_INFINITY)], 'must be an integer >= 0 or Infinity')
    .default(0),
  maxWaitMs: z.number().positive().optional(),
  clock: clockOption.optional(),
  emit: functionOption<Sink<BulkheadEvent>>().optional(),
});

/**
 * Lets so many calls run at once, keeps so many waiting in the order they came, and refuses the rest before they begin.
 * A place is free again when its call has really ended: a call that a timeout further in gave up on keeps it until
 * then, because the dependency is still at work. A waiting caller whose signal aborts leaves at once, with the reason.
 * @throws InvalidInputError for options that cannot be used.
 */
export function bulkhead(options?: BulkheadOptions): Bulkhead {
  return new Bulkhead(options);
}

/** See `bulkhead`. One of these is shared by all calls to one dependency. */
export class Bulkhead implements Policy {
  readonly #options: z.output<typeof optionsSchema>;
  readonly #clock: Clock;
  /** Let the waiting in, in the order they came. */
  readonly #line = new WaitingLine<() => void>();
  readonly #freePlace = () => this.#pass();
  #running = 0;
  #rejected = 0;

  constructor(options?: BulkheadOptions) {
    this.#options = parseOptions(optionsSchema, options);
    this.#clock = this.#options.clock ?? systemClock;
  }

  /** @throws BulkheadFullError if there is no place; what the call throws passes through. */
  async run<T>(call: Call<T>, context?: RunContext): Promise<T> {
    requireFunction(call, 'call');
    const outer = CallScope.of(context, this.#clock);
    // Its own, because calls beside this one, under the same context, must not keep this one's place.
    const scope = context === undefined ? outer : new CallScope(outer.attempt, outer, outer.previous).attach();
    try {
      if (scope.isAborted) throw scope.reason;
      if (this.#running < this.#options.maxRunning) this.#running++;
      else await this.#wait(scope);
      try {
        if (scope.isAborted) throw scope.reason; // It may have been aborted after it was let in, before this line.
        return await call(scope);
      } finally {
        scope.whenQuiet(this.#freePlace);
      }
    } finally {
      scope.end();
      if (outer !== context) outer.end();
    }
  }

  /** How full it is, and what became of its callers. */
  stats(): BulkheadStats {
    const { name, maxRunning, maxWaiting } = this.#options;
    return {
      name,
      running: this.#running,
      waiting: this.#line.length,
      maxRunning,
      maxWaiting,
      rejected: this.#rejected,
    };
  }

  /** Resolves when a place was taken for the caller. */
  #wait(scope: CallScope): Promise<void> {
    const { name, maxWaiting, maxWaitMs, emit: sink } = this.#options;
    if (this.#line.length >= maxWaiting) return Promise.reject(this.#refusal(0));
    return new Promise((resolve, reject) => {
      const enter = () => {
        leave();
        resolve();
      };
      const leaveLine = this.#line.join(enter);
      const stopListening = scope.onAbort((reason) => {
        leave();
        reject(reason);
      });
      const refuse = (waitedMs: number) => {
        leave();
        reject(this.#refusal(waitedMs));
      };
      const timer = maxWaitMs === undefined ? undefined : startTimer(this.#clock, maxWaitMs, () => refuse(maxWaitMs));
      const leave = () => {
        leaveLine();
        stopListening();
        timer?.cancel();
      };
      if (sink !== undefined) emit(sink, { type: 'bulkhead.queued', bulkhead: name, waiting: this.#line.length });
    });
  }

  /** A place came free: it goes to whoever has waited longest, before anybody new can take it. */
  #pass(): void {
    const enter = this.#line.first;
    if (enter === undefined) this.#running--;
    else enter();
  }

  #refusal(waitedMs: number): BulkheadFullError {
    this.#rejected++;
    const { name, emit: sink } = this.#options;
    if (sink !== undefined) emit(sink, { type: 'bulkhead.rejected', bulkhead: name, waitedMs });
    return new BulkheadFullError(this.stats(), waitedMs);
  }
}

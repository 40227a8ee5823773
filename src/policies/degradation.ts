import * as z from 'zod';
import { type Clock, startTimer, systemClock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { clockOption, functionOption, parseOptions } from '../base/options.js';
import type { Call, RunContext } from './attempt.js';
import { CallScope, requireFunction } from './call-scope.js';
import type { Policy } from './policy.js';
import { RefusalError } from './refusal-error.js';
import { WaitingLine } from './waiting-line.js';

/** How much a call matters while not everything can be done. */
export type Criticality =
  /** Always made. */
  | 'critical'
  /** Waits until everything is well again, in the order it came. */
  | 'normal'
  /** Refused at once: it can be made later. */
  | 'deferrable';

/** How a `Degradation` is made. */
export interface DegradationOptions {
  /** Normal calls that may wait. Default 1,000; the next one is refused. */
  readonly maxWaiting?: number;
  /** Milliseconds a normal call waits; then it is refused. Default 30,000. */
  readonly maxWaitMs?: number;
  /** Where time comes from. Default the machine's clock. */
  readonly clock?: Clock;
  /** Hears of its beginning and end, and of calls that are refused. Default: nobody. */
  readonly emit?: Sink<DegradationEvent>;
}

/** What happened to a `Degradation`. */
export type DegradationEvent =
  | { readonly type: 'degradation.began'; readonly reason: string }
  /** Everything is well again: no reason is left. */
  | { readonly type: 'degradation.ended'; readonly reason: string; readonly waiting: number }
  | {
      readonly type: 'degradation.rejected';
      readonly criticality: Criticality;
      /** 0: it was not let wait. */
      readonly waitedMs: number;
    };

/** Something is down, and the call does not matter enough to be made all the same. It was not made: make it later. */
export class DegradedError extends RefusalError {
  readonly code = 'HOLDFAST_DEGRADED';
  constructor(
    readonly criticality: Criticality,
    /** What is down, in the words given to `begin`. */
    readonly reasons: readonly string[],
    /** How long the call had waited, in milliseconds. 0: not at all. */
    readonly waitedMs: number,
  ) {
    const wait = waitedMs > 0 ? `, also after ${waitedMs} ms` : '';
    super(`A ${criticality} call was not made: ${reasons.join(', ')} is down${wait}. Make it later.`);
  }
}

const optionsSchema = z.strictObject({
  maxWaiting: z.int().min(0).default(1_000),
  maxWaitMs: z.number().positive().default(30_000),
  clock: clockOption.optional(),
  emit: functionOption<Sink<DegradationEvent>>().optional(),
});

/**
 * Less while something is down: critical calls are made, normal ones wait, the rest is refused at once, so that what is left
 * serves what matters most. Whoever knows that something is down says so with `begin`; nothing is found out by itself.
 * ```ts
 * const degradation = new Degradation();
 * const end = degradation.begin('database');   // … and end() when it is back.
 * await degradation.policy('critical').run(() => pay());
 * ```
 */
export class Degradation {
  readonly #options: z.output<typeof optionsSchema>;
  readonly #clock: Clock;
  /** What is down, each with how many say so. */
  readonly #reasons = new Map<string, number>();
  readonly #line = new WaitingLine<() => void>();
  readonly #policies: { readonly [Level in Criticality]: Policy };

  /** @throws InvalidInputError for options that cannot be used. */
  constructor(options?: DegradationOptions) {
    this.#options = parseOptions(optionsSchema, options);
    this.#clock = this.#options.clock ?? systemClock;
    const policy = (criticality: Criticality): Policy => ({
      run: (call, context) => this.#run(criticality, call, context),
    });
    this.#policies = { critical: policy('critical'), normal: policy('normal'), deferrable: policy('deferrable') };
  }

  /** What is down now. Empty: everything is well. */
  get reasons(): readonly string[] {
    return [...this.#reasons.keys()];
  }

  /** Calls that wait until everything is well again. */
  get waiting(): number {
    return this.#line.length;
  }

  /** Something is down. Returns how to say that it is back; saying that twice does nothing more. */
  begin(reason: string): () => void {
    const count = this.#reasons.get(reason) ?? 0;
    this.#reasons.set(reason, count + 1);
    if (count === 0) emit(this.#options.emit, { type: 'degradation.began', reason });
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#end(reason);
    };
  }

  /** For `compose`, or to run calls by themselves. Outermost: what waits should hold no place and no permit. */
  policy(criticality: Criticality): Policy {
    return this.#policies[criticality];
  }

  #end(reason: string): void {
    const count = this.#reasons.get(reason) as number;
    if (count > 1) {
      this.#reasons.set(reason, count - 1);
      return;
    }
    this.#reasons.delete(reason);
    if (this.#reasons.size > 0) return;
    emit(this.#options.emit, { type: 'degradation.ended', reason, waiting: this.waiting });
    for (const enter of [...this.#line]) enter();
  }

  async #run<T>(criticality: Criticality, call: Call<T>, context: RunContext | undefined): Promise<T> {
    requireFunction(call, 'call');
    const scope = CallScope.of(context, this.#clock);
    try {
      if (scope.isAborted) throw scope.reason;
      if (criticality !== 'critical') while (this.#reasons.size > 0) await this.#wait(criticality, scope);
      return await call(scope);
    } finally {
      if (scope !== context) scope.end();
    }
  }

  /** Resolves when everything is well again, or was for a moment. */
  #wait(criticality: Criticality, scope: CallScope): Promise<void> {
    const { maxWaiting, maxWaitMs } = this.#options;
    if (criticality === 'deferrable' || this.#line.length >= maxWaiting) {
      return Promise.reject(this.#refusal(criticality, 0));
    }
    return new Promise((resolve, reject) => {
      const leaveLine = this.#line.join(() => settle(resolve));
      const timer = startTimer(this.#clock, maxWaitMs, () =>
        settle(() => reject(this.#refusal(criticality, maxWaitMs))),
      );
      const stopListening = scope.onAbort((reason) => settle(() => reject(reason)));
      const settle = (answer: () => void) => {
        leaveLine();
        timer.cancel();
        stopListening();
        answer();
      };
    });
  }

  #refusal(criticality: Criticality, waitedMs: number): DegradedError {
    emit(this.#options.emit, { type: 'degradation.rejected', criticality, waitedMs });
    return new DegradedError(criticality, this.reasons, waitedMs);
  }
}

import { type Clock, startTimer, type Timer } from '../base/clock.js';
import { CallScope } from './call-scope.js';

/** Durations remembered for the quantile. */
const REMEMBERED = 256;
/** With fewer seen, 95 % of them says nothing. */
const ENOUGH = 20;
/** The quantile is computed anew after so many more. */
const RENEWED_EVERY = 16;
const QUANTILE = 0.95;

/** How long calls took lately. */
export class Latencies {
  /** Made with the first call: most targets are never hedged. */
  #durations: Float64Array | undefined;
  #seen = 0;
  #p95Ms: number | undefined;

  /** What 95 % of the last 256 calls stayed under; undefined while fewer than 20 are known. */
  get p95Ms(): number | undefined {
    return this.#p95Ms;
  }

  /** A call that succeeded took this long. */
  record(durationMs: number): void {
    this.#durations ??= new Float64Array(REMEMBERED);
    this.#durations[this.#seen++ % REMEMBERED] = durationMs;
    if (this.#seen < ENOUGH || (this.#seen > ENOUGH && this.#seen % RENEWED_EVERY !== 0)) return;
    const known = this.#durations.slice(0, this.#seen).sort();
    this.#p95Ms = known[Math.floor(known.length * QUANTILE)];
  }
}

/** A call of which more than one copy may run. */
export interface HedgedCall<T> {
  /** The attempt that all copies are. */
  readonly scope: CallScope;
  readonly clock: Clock;
  readonly delayMs: number;
  /** Copies beside the first. */
  readonly max: number;
  /** Asked before each copy beside the first. */
  mayStart(copy: number): boolean;
  run(scope: CallScope): Promise<T>;
}

/**
 * The first copy to succeed; the others are aborted. While one still runs, the failure of another is not the end; when
 * the last one running fails, its error is.
 * Source: "The Tail at Scale", Dean and Barroso, CACM 2013 ("hedged requests").
 */
export function runHedged<T>(hedged: HedgedCall<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => new Race(hedged, { resolve, reject }).start());
}

class Race<T> {
  readonly #hedged: HedgedCall<T>;
  readonly #end: { resolve: (value: T) => void; reject: (error: unknown) => void };
  readonly #running = new Set<CallScope>();
  #copies = 0;
  #timer: Timer | undefined;

  constructor(hedged: HedgedCall<T>, end: { resolve: (value: T) => void; reject: (error: unknown) => void }) {
    this.#hedged = hedged;
    this.#end = end;
  }

  start(): void {
    const { scope: attempt, run } = this.#hedged;
    const scope = new CallScope(attempt.attempt, attempt, attempt.previous).attach();
    this.#running.add(scope);
    this.#copies++;
    run(scope).then(
      (value) => this.#won(scope, value),
      (error: unknown) => this.#lost(scope, error),
    );
    this.#awaitNext();
  }

  #awaitNext(): void {
    const { clock, delayMs, max, mayStart } = this.#hedged;
    if (this.#copies > max) return;
    this.#timer = startTimer(clock, delayMs, () => {
      if (mayStart(this.#copies)) this.start();
    });
  }

  #won(scope: CallScope, value: T): void {
    this.#left(scope);
    this.#timer?.cancel();
    this.#end.resolve(value);
    for (const loser of [...this.#running]) loser.abort(new DOMException('Another copy was faster.', 'AbortError'));
  }

  #lost(scope: CallScope, error: unknown): void {
    this.#left(scope);
    if (this.#running.size > 0) return; // Another copy may still succeed, or the race was won already.
    this.#timer?.cancel();
    this.#end.reject(error);
  }

  #left(scope: CallScope): void {
    this.#running.delete(scope);
    scope.end();
  }
}

import type { Clock } from '../base/clock.js';
import type { OpenReason } from './circuit-event.js';
import type { CustomWindow, RatioLimits, RecordedCall, TripRule } from './circuit-options.js';
import { warnOf } from './circuit-report.js';

/** Remembers how the last calls ended, and knows when it was too bad. Recording and judging cost the same at any size. */
export interface OutcomeWindow {
  success(isSlow: boolean): void;
  /** So many calls did well, in time, at `nowMs` or a little later. */
  successes(count: number, nowMs: number): void;
  failure(isSlow: boolean, failure: unknown): void;
  /** Why the circuit has to open; `overdue` calls still run and are slow already. */
  verdict(overdue: number): OpenReason | undefined;
  /** Is there nothing bad in it? */
  isClean(): boolean;
  reset(): void;
}

/** An empty window for this rule, in the circuit of this name. */
export function outcomeWindow(rule: TripRule, circuit: string, clock: Clock): OutcomeWindow {
  if (rule.kind === 'consecutive') return new ConsecutiveWindow(rule.failures);
  if (rule.kind === 'count') return new CountWindow(rule.size, rule);
  if (rule.kind === 'time') return new TimeWindow(rule.windowMs, rule, clock);
  return new HostWindow(rule.create, circuit);
}

class ConsecutiveWindow implements OutcomeWindow {
  readonly #limit: number;
  #failures = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  success(): void {
    this.#failures = 0;
  }

  successes(): void {
    this.#failures = 0;
  }

  failure(): void {
    this.#failures++;
  }

  verdict(): OpenReason | undefined {
    return this.#failures >= this.#limit ? 'consecutive-failures' : undefined;
  }

  isClean(): boolean {
    return this.#failures === 0;
  }

  reset(): void {
    this.#failures = 0;
  }
}

const DEFAULT_MIN_CALLS = 20;
const DEFAULT_FAILURE_RATIO = 0.5;

/** How a call is marked in a count window's ring. The marks of a call add up. */
const FAILED = 1;
const SLOW = 2;

/** The last `size` calls: a ring, and its totals. */
class CountWindow implements OutcomeWindow {
  readonly #marks: Uint8Array;
  readonly #limits: RatioLimits;
  #next = 0;
  #calls = 0;
  #failures = 0;
  #slow = 0;

  constructor(size: number, limits: RatioLimits) {
    this.#marks = new Uint8Array(size);
    this.#limits = { ...limits, minCalls: limits.minCalls ?? Math.min(size, DEFAULT_MIN_CALLS) };
  }

  success(isSlow: boolean): void {
    this.#record(isSlow ? SLOW : 0);
  }

  successes(count: number): void {
    for (let left = Math.min(count, this.#marks.length); left > 0; left--) this.#record(0);
  }

  failure(isSlow: boolean): void {
    this.#record(isSlow ? FAILED + SLOW : FAILED);
  }

  verdict(overdue: number): OpenReason | undefined {
    return overLimit({ calls: this.#calls, failures: this.#failures, slow: this.#slow, overdue }, this.#limits);
  }

  isClean(): boolean {
    return this.#failures === 0 && this.#slow === 0;
  }

  reset(): void {
    this.#marks.fill(0);
    this.#next = this.#calls = this.#failures = this.#slow = 0;
  }

  #record(mark: number): void {
    const { length } = this.#marks;
    const forgotten = this.#marks[this.#next] as number; // 0 until the ring is full.
    this.#marks[this.#next] = mark;
    this.#next = this.#next + 1 === length ? 0 : this.#next + 1;
    if (this.#calls < length) this.#calls++;
    this.#failures += (mark & FAILED) - (forgotten & FAILED);
    this.#slow += (mark >> 1) - (forgotten >> 1);
  }
}

const BUCKETS = 10;

/**
 * The calls of the last `windowMs`, in ten buckets and their totals, so that it reaches back between nine tenths and the
 * whole of it. Buckets are emptied when somebody looks; no timer turns them.
 */
class TimeWindow implements OutcomeWindow {
  readonly #clock: Clock;
  readonly #bucketMs: number;
  readonly #limits: RatioLimits;
  // Plain arrays: for so few numbers they take a third of the memory of typed ones. Most circuits need only the first.
  readonly #callsOf: number[] = emptyBuckets();
  #failuresOf: number[] | undefined;
  #slowOf: number[] | undefined;
  #calls = 0;
  #failures = 0;
  #slow = 0;
  /** Number of the newest bucket, counted since the clock began, and its place. */
  #newest = 0;
  #place = 0;
  /** When the newest bucket ends. */
  #endsMs = 0;

  constructor(windowMs: number, limits: RatioLimits, clock: Clock) {
    this.#clock = clock;
    this.#bucketMs = windowMs / BUCKETS;
    this.#limits = limits;
  }

  success(isSlow: boolean): void {
    this.successes(1, this.#clock.monotonicMs());
    if (isSlow) this.#countSlow();
  }

  successes(count: number, nowMs: number): void {
    this.#turnTo(nowMs);
    this.#calls += count;
    (this.#callsOf[this.#place] as number) += count;
  }

  failure(isSlow: boolean): void {
    this.successes(1, this.#clock.monotonicMs()); // One more call; that it failed comes on top.
    this.#failures++;
    this.#failuresOf ??= emptyBuckets();
    (this.#failuresOf[this.#place] as number)++;
    if (isSlow) this.#countSlow();
  }

  verdict(overdue: number): OpenReason | undefined {
    this.#turnTo(this.#clock.monotonicMs());
    return overLimit({ calls: this.#calls, failures: this.#failures, slow: this.#slow, overdue }, this.#limits);
  }

  isClean(): boolean {
    this.#turnTo(this.#clock.monotonicMs());
    return this.#failures === 0 && this.#slow === 0;
  }

  reset(): void {
    this.#callsOf.fill(0);
    this.#failuresOf = this.#slowOf = undefined;
    this.#calls = this.#failures = this.#slow = 0;
  }

  #countSlow(): void {
    this.#slow++;
    this.#slowOf ??= emptyBuckets();
    (this.#slowOf[this.#place] as number)++;
  }

  #turnTo(nowMs: number): void {
    if (nowMs < this.#endsMs) return; // Also a coarse clock's that is behind the exact one: still the newest bucket.
    const now = Math.floor(nowMs / this.#bucketMs);
    for (let turns = Math.min(BUCKETS, now - this.#newest); turns > 0; turns--) {
      this.#place = (this.#place + 1) % BUCKETS;
      this.#calls -= emptied(this.#callsOf, this.#place);
      this.#failures -= emptied(this.#failuresOf, this.#place);
      this.#slow -= emptied(this.#slowOf, this.#place);
    }
    this.#newest = now;
    this.#endsMs = (now + 1) * this.#bucketMs;
  }
}

function emptyBuckets(): number[] {
  return new Array(BUCKETS).fill(0);
}

/** Empties one bucket. What was in it. */
function emptied(buckets: number[] | undefined, place: number): number {
  const forgotten = buckets?.[place] ?? 0;
  if (buckets !== undefined) buckets[place] = 0;
  return forgotten;
}

/** Totals of a window. `overdue` calls are not in `calls`, because they have not ended. */
interface Totals {
  readonly calls: number;
  readonly failures: number;
  readonly slow: number;
  readonly overdue: number;
}

function overLimit({ calls, failures, slow, overdue }: Totals, limits: RatioLimits): OpenReason | undefined {
  const { minCalls = DEFAULT_MIN_CALLS, failureRatio = DEFAULT_FAILURE_RATIO, slowRatio } = limits;
  if (calls >= minCalls && failures / calls >= failureRatio) return 'failure-ratio';
  const seen = calls + overdue;
  if (slowRatio !== undefined && seen >= minCalls && (slow + overdue) / seen >= slowRatio) return 'slow-ratio';
  return undefined;
}

const FINE: RecordedCall = Object.freeze({ isFailure: false, isSlow: false });
const SLOW_BUT_FINE: RecordedCall = Object.freeze({ isFailure: false, isSlow: true });

/** A window of the host's, kept from harming the calls it hears of. */
class HostWindow implements OutcomeWindow {
  readonly #create: () => CustomWindow;
  readonly #circuit: string;
  #window: CustomWindow | undefined;
  #isOver = false;
  #hasSeenTrouble = false;

  constructor(create: () => CustomWindow, circuit: string) {
    this.#create = create;
    this.#circuit = circuit;
  }

  success(isSlow: boolean): void {
    this.#record(isSlow ? SLOW_BUT_FINE : FINE);
  }

  successes(count: number): void {
    for (let left = count; left > 0; left--) this.#record(FINE);
  }

  failure(isSlow: boolean, failure: unknown): void {
    this.#record({ isFailure: true, isSlow, failure });
  }

  verdict(): OpenReason | undefined {
    return this.#isOver ? 'custom-rule' : undefined;
  }

  isClean(): boolean {
    return !this.#hasSeenTrouble;
  }

  reset(): void {
    this.#isOver = this.#hasSeenTrouble = false;
    this.#guard(() => this.#window?.reset());
  }

  #record(call: RecordedCall): void {
    this.#hasSeenTrouble ||= call.isFailure || call.isSlow;
    this.#guard(() => {
      this.#window ??= this.#create();
      this.#isOver = this.#window.record(call) === true;
    });
  }

  #guard(act: () => void): void {
    try {
      act();
    } catch (error) {
      warnOf(this.#circuit, 'The custom trip rule', error); // A rule that is broken must not decide, and the call must not hear of it.
    }
  }
}

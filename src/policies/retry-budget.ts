import * as z from 'zod';
import { type Clock, coarseMonotonicMs, systemClock } from '../base/clock.js';
import { clockOption, parseOptions } from '../base/options.js';

/** How many retries a budget allows. */
export interface RetryBudgetOptions {
  /**
   * Retries allowed for each call that was made, 0 to 1,000. Default 0.1: while a dependency is down, it gets at most a
   * tenth more work than usual. Raise it for a dependency that fails at random and is never overloaded.
   */
  readonly ratio?: number;
  /**
   * Retries a second that are allowed however few calls there are. Default 10, so that a quiet program can retry at all.
   * Lower it if many processes share one dependency: each has this much.
   */
  readonly minPerSecond?: number;
  /** How far back calls and retries count, in milliseconds, at least 100. Default 10,000. */
  readonly windowMs?: number;
  /** Default the machine's clock. */
  readonly clock?: Clock;
}

/**
 * Keeps retries from making an overload worse. Share one among all callers of a dependency: each retry that it lets
 * through, it lets through because in the last `windowMs` there were, this one included, no more than `ratio` times as
 * many retries as calls, plus `minPerSecond` for each second. Without it three retries turn a dependency that is a
 * little too slow into one that gets four times the work, and that never recovers.
 *
 * Source: `RetryBudget` of Twitter's Finagle, whose defaults are 20 % and 10 a second over 10 seconds. Here calls are
 * forgotten a little early, and retries a little late, by up to a tenth of the window.
 */
export class RetryBudget {
  readonly #clock: Clock;
  readonly #microPerCall: number;
  readonly #microReserve: number;
  readonly #calls: RecentCount;
  readonly #retries: RecentCount;

  /** @throws InvalidInputError for an option that is unknown or out of bounds. */
  constructor(options: RetryBudgetOptions = {}) {
    const { ratio, minPerSecond, windowMs, clock } = parseOptions(budgetSchema, options);
    this.#clock = clock;
    this.#calls = new RecentCount(BUCKETS, windowMs / BUCKETS);
    this.#retries = new RecentCount(BUCKETS + 1, windowMs / BUCKETS);
    this.#microPerCall = Math.round(ratio * MICRO);
    this.#microReserve = Math.round(((minPerSecond * windowMs) / 1_000) * MICRO);
  }

  /**
   * A first attempt is made, whatever comes of it. `nowMs` is the caller's reading of the clock (`monotonicMs`), if it
   * has one; without it a reading that is up to 25 ms old will do.
   */
  deposit(nowMs: number = coarseMonotonicMs(this.#clock)): void {
    this.#calls.add(nowMs);
  }

  /** Whether `tryWithdraw` would say yes now. Takes nothing. */
  hasToken(): boolean {
    return this.#microBalance() >= MICRO;
  }

  /** True if a retry may be made now; it is counted. False: give up, or ask again later. */
  tryWithdraw(): boolean {
    if (!this.hasToken()) return false;
    this.#retries.add(this.#clock.monotonicMs());
    return true;
  }

  /** Retries that may be made at once, a whole number. */
  get balance(): number {
    return Math.max(0, Math.floor(this.#microBalance() / MICRO));
  }

  #microBalance(): number {
    const nowMs = this.#clock.monotonicMs();
    const credit = this.#calls.total(nowMs) * this.#microPerCall + this.#microReserve;
    return credit - this.#retries.total(nowMs) * MICRO;
  }
}

const BUCKETS = 10;

/** Tokens are counted in millionths, which are whole numbers: ten calls at 10 % are one retry, not 0.999… of one. */
const MICRO = 1_000_000;

const budgetSchema = z.strictObject({
  ratio: z.number().min(0).max(1_000).default(0.1),
  minPerSecond: z.number().min(0).default(10),
  windowMs: z.number().min(100).default(10_000),
  clock: clockOption.default(() => systemClock),
});

/** How often something happened in the newest buckets of time: a ring, and its sum. */
class RecentCount {
  readonly #counts: Float64Array;
  readonly #bucketMs: number;
  #bucket = 0;
  #endsMs = 0;
  #slot = 0;
  #total = 0;

  constructor(buckets: number, bucketMs: number) {
    this.#counts = new Float64Array(buckets);
    this.#bucketMs = bucketMs;
  }

  /** Counts one now; in the newest bucket if that is later, because readings of the clock may be old. */
  add(nowMs: number): void {
    if (nowMs >= this.#endsMs) this.#moveTo(nowMs);
    this.#counts[this.#slot] = (this.#counts[this.#slot] as number) + 1;
    this.#total++;
  }

  total(nowMs: number): number {
    if (nowMs >= this.#endsMs) this.#moveTo(nowMs);
    return this.#total;
  }

  #moveTo(nowMs: number): void {
    const bucket = Math.floor(nowMs / this.#bucketMs);
    const { length } = this.#counts;
    for (let passed = Math.min(bucket - this.#bucket, length); passed > 0; passed--) {
      this.#slot = (this.#slot + 1) % length;
      this.#total -= this.#counts[this.#slot] as number;
      this.#counts[this.#slot] = 0;
    }
    this.#bucket = bucket;
    this.#endsMs = (bucket + 1) * this.#bucketMs;
  }
}

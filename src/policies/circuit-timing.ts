import type { Clock } from '../base/clock.js';
import type { AttemptFailure } from './attempt.js';
import type { CircuitSettings } from './circuit-options.js';
import { warnOf } from './circuit-report.js';
import { retryAfterMsOf } from './retry-after.js';

/** A dependency may ask for more than the circuit would wait by itself, but not for ever. */
const MAX_RETRY_AFTER_MS = 600_000;
/** When the host's jitter throws and there is no time before to fall back on. */
const FALLBACK_MS = 5_000;

/** One more opening of a circuit. */
interface Opening {
  readonly circuit: string;
  readonly settings: CircuitSettings;
  /** What led to it, if something did. */
  readonly failure: unknown;
  /** How long somebody said that it shall be. */
  readonly namedMs: number | undefined;
}

/** How long a circuit stays open, growing with the openings in a row. */
export class OpenTimes {
  #openingsInARow = 0;
  #lastOpenMs = 0;
  /** On the monotonic clock. */
  #closedAtMs = Number.NEGATIVE_INFINITY;

  get openingsInARow(): number {
    return this.#openingsInARow;
  }

  /** How long it was last to be open. */
  get lastOpenMs(): number {
    return this.#lastOpenMs;
  }

  next(opening: Opening): number {
    this.#openingsInARow++;
    this.#lastOpenMs = opening.namedMs ?? Math.max(this.#ownMs(opening), askedMs(opening));
    return this.#lastOpenMs;
  }

  closed(clock: Clock): void {
    this.#closedAtMs = clock.monotonicMs();
  }

  /** Closed for as long as it was open before? Then that opening is history. */
  forgetIfOld(clock: Clock): void {
    if (clock.monotonicMs() - this.#closedAtMs >= this.#lastOpenMs) this.forget();
  }

  forget(): void {
    this.#openingsInARow = 0;
    this.#lastOpenMs = 0;
  }

  restore(past: { readonly openingsInARow: number; readonly lastOpenMs: number }, clock: Clock): void {
    this.#openingsInARow = past.openingsInARow;
    this.#lastOpenMs = past.lastOpenMs;
    this.closed(clock); // If it is closed. When that began is not known; to count from now forgets late, not early.
  }

  #ownMs({ circuit, settings, failure }: Opening): number {
    const asAttempt: AttemptFailure = {
      attempt: 1,
      error: failure,
      startedAtMs: settings.clock.now(),
      durationMs: 0,
      delayMs: 0,
    };
    try {
      return settings.openForMs(this.#openingsInARow, this.#lastOpenMs, asAttempt);
    } catch (error) {
      warnOf(circuit, 'The jitter of openMs', error); // The failed call that led here must keep its own error.
      return this.#lastOpenMs || FALLBACK_MS;
    }
  }
}

function askedMs({ failure, settings }: Opening): number {
  return Math.min(MAX_RETRY_AFTER_MS, retryAfterMsOf(failure, settings.clock) ?? 0);
}

/**
 * A growing share of calls after the circuit closed. Each call adds the share of the moment to a credit, and whoever
 * brings it to 1 is let through: an even pattern without chance.
 */
export class Ramp {
  readonly #overMs: number;
  readonly #from: number;
  readonly #startedMs: number;
  /** Enough for the first call to be let through. */
  #credit = 1;

  constructor({ overMs, from }: { readonly overMs: number; readonly from: number }, nowMs: number) {
    this.#overMs = overMs;
    this.#from = from;
    this.#startedMs = nowMs;
  }

  isOver(nowMs: number): boolean {
    return nowMs - this.#startedMs >= this.#overMs;
  }

  admits(nowMs: number): boolean {
    this.#credit += this.#from + ((1 - this.#from) * (nowMs - this.#startedMs)) / this.#overMs;
    if (this.#credit < 1) return false;
    this.#credit -= 1;
    return true;
  }

  /** When those refused should ask again: a tenth of the ramp later, when clearly more are let through. */
  retryAfterMs(nowMs: number): number {
    return Math.max(0, Math.min(this.#overMs / 10, this.#startedMs + this.#overMs - nowMs));
  }
}

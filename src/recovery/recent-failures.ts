import type { Clock } from '../base/clock.js';

/** How long a failure is recent. */
const RECENT_MS = 60_000;
/** Kept at most: of a storm the newest say enough. */
const MAX_KEPT = 1_000;

/** How often the same was seen lately. */
export interface Sightings {
  readonly failures: number;
  /** How many different subjects they were of. */
  readonly subjects: number;
}

interface Seen {
  readonly fingerprint: string;
  readonly subject: string;
  readonly atMs: number;
}

/** Failures of the last minute, as this process saw them. Of a thousand at most. */
export class RecentFailures {
  readonly #clock: Clock;
  #seen: Seen[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  note(subject: string, fingerprint: string): void {
    this.#seen.push({ fingerprint, subject, atMs: this.#clock.monotonicMs() });
    if (this.#seen.length > MAX_KEPT) this.#seen = this.#seen.slice(-MAX_KEPT / 2);
  }

  like(fingerprint: string): Sightings {
    const sinceMs = this.#clock.monotonicMs() - RECENT_MS;
    this.#seen = this.#seen.filter(({ atMs }) => atMs > sinceMs);
    const alike = this.#seen.filter((seen) => seen.fingerprint === fingerprint);
    return { failures: alike.length, subjects: new Set(alike.map(({ subject }) => subject)).size };
  }
}

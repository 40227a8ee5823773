/** How much faster than the server's a clock of ours may run: five times what a bad quartz and NTP do together. */
const DRIFT = 0.001;

/**
 * What is known of the server's wall time, from its answers. A reading was taken at some moment before its answer came:
 * so the server is at least that far now, and that is all that may be counted on. A reading that is old, or whose answer
 * took long, makes deadlines earlier than need be; they are then refused as late, with a fresh reading.
 *
 * The server's clock may be set back. Then the scripts begin a new era, and what was reckoned in an older one is refused.
 */
export class ServerTime {
  /** How often the clock was set back, as far as is known. */
  era = 0;
  #readingMs = 0;
  #heardMs = 0;

  /** Takes in a reading whose answer came at `heardMs` on our monotonic clock. */
  learn(readingMs: number, era: number, heardMs: number): void {
    this.era = era;
    this.#readingMs = readingMs;
    this.#heardMs = heardMs;
  }

  /** The least that the server's clock shows when ours shows `localMs`, in whole milliseconds. */
  earliestAt(localMs: number): number {
    return Math.floor(this.#readingMs + (localMs - this.#heardMs) * (1 - DRIFT));
  }
}

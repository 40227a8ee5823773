/** How many recoveries one subject may have in which time. */
export interface RecoveryBudget {
  /** Default 3. */
  readonly attempts?: number;
  /** In milliseconds. Default 259,200,000: 72 hours. */
  readonly perMs?: number;
}

/**
 * Starts of recoveries that still count, of those in `startsAtMs`: those less than `perMs` ago. All that were begun count,
 * also those that ended well: a subject that fails again and again after it was recovered is what the budget is for. Only where
 * nothing is broken and nothing is tried, nothing is counted.
 *
 * Time is wall time, the only clock that outlives a restart. If it jumps forward, starts are forgotten early, and the
 * subject gets more recoveries than it should. If it jumps back, starts lie in the future: they count as made now, so that
 * they are forgotten `perMs` from now and never block for longer. Store what this gives, or they would be made now again.
 */
export function countingStarts(startsAtMs: readonly number[], nowMs: number, perMs: number): number[] {
  return startsAtMs.filter((atMs) => nowMs - atMs < perMs).map((atMs) => Math.min(atMs, nowMs));
}

import type { RecoveryOutcome, RecoveryRecord } from './recovery-record.js';
import type { RungReport } from './rung.js';

/** All recoveries that are recorded, counted. */
export interface RecoveryStats {
  readonly total: number;
  /** Those that have not ended. */
  readonly running: number;
  /** As they ended, or as a person resolved them. */
  readonly outcomes: Readonly<Record<RecoveryOutcome, number>>;
  /** Those among them that a person resolved. */
  readonly resolved: number;
  /** How often each rung was accepted, failed and skipped. */
  readonly rungs: Readonly<Record<string, Readonly<Record<RungReport['status'], number>>>>;
  /**
   * Mean time to recovery in milliseconds, from the failure to the end, of those that ended as recovered or degraded without
   * a person. Left out while there are none.
   */
  readonly meanTimeToRecoveryMs?: number;
}

/** Counts records as they come. */
export async function countRecoveries(records: AsyncIterable<RecoveryRecord>): Promise<RecoveryStats> {
  const outcomes = { recovered: 0, degraded: 0, 'needs-attention': 0, suppressed: 0 };
  const rungs = new Map<string, Record<RungReport['status'], number>>();
  const times: number[] = [];
  let [total, running, resolved] = [0, 0, 0];
  for await (const record of records) {
    const { outcome, resolution, tookMs } = record;
    total++;
    if (outcome === undefined) running++;
    else outcomes[outcome]++;
    if (resolution !== undefined) resolved++;
    else if (tookMs !== undefined && (outcome === 'recovered' || outcome === 'degraded')) times.push(tookMs);
    countRungs(rungs, record);
  }
  const meanMs = times.reduce((sum, ms) => sum + ms, 0) / times.length;
  return {
    total,
    running,
    outcomes,
    resolved,
    rungs: Object.fromEntries(rungs),
    ...(times.length > 0 && { meanTimeToRecoveryMs: meanMs }),
  };
}

function countRungs(rungs: Map<string, Record<RungReport['status'], number>>, { trail }: RecoveryRecord): void {
  for (const { rung, status } of trail) {
    const counts = rungs.get(rung) ?? { ok: 0, failed: 0, skipped: 0 };
    counts[status]++;
    rungs.set(rung, counts);
  }
}

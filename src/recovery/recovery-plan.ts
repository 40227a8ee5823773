import type { Diagnosis, Failure } from './failure.js';
import type { Ladder } from './ladder.js';
import { whyNot } from './rung-run.js';

/** What a recovery would do, if it began now. */
export interface RecoveryPlan {
  readonly subject: string;
  readonly diagnosis: Diagnosis;
  readonly strategy: string;
  /** Recoveries that the subject's budget has left. At 0 nothing would be tried. */
  readonly attemptsLeft: number;
  /** The recovery that is under way, or was claimed by a process that died: `recover` would join it. */
  readonly underWay?: string;
  /** In the order in which they would be tried, up to the first that is accepted. */
  readonly rungs: readonly RungPlan[];
}

/** What would become of one rung. */
export interface RungPlan {
  readonly rung: string;
  /** Would it run, if those before it were not accepted? */
  readonly runs: boolean;
  /** Why it would be skipped. */
  readonly why?: string;
}

/** Asks what rungs ask before they run. Runs none. */
export async function dryRun(
  { failure, diagnosis }: { readonly failure: Failure; readonly diagnosis: Diagnosis },
  ladder: Ladder,
  strategy: string,
): Promise<RungPlan[]> {
  const at = { subject: failure.subject, failure, diagnosis, trail: [] };
  const plans: RungPlan[] = [];
  for (const { rung: name, why: whyNever } of ladder.planFor(diagnosis, strategy)) {
    const rung = ladder.get(name);
    const why = whyNever ?? (rung && (await whyNot(rung, at, strategy !== 'auto')));
    plans.push({ rung: name, runs: why === undefined, ...(why !== undefined && { why }) });
  }
  return plans;
}

import { CorruptionError } from '../../base/errors.js';
import { ConflictError } from '../../storage/adapter.js';
import type { CheckpointRecords } from '../checkpoint-records.js';
import { planRepair, type RepairPlan, type RepairStep } from './repair-plan.js';
import { carryOutStep, type KeptBytes, keepAside, writeAgain } from './repair-writes.js';

/** What `repair` did, or with `dryRun` would do. */
export interface RepairReport {
  readonly session: string;
  readonly isDryRun: boolean;
  /**
   * `'none'`: nothing was wrong. `'minor'`: something was, and every checkpoint can be restored. `'major'`: some are lost,
   * others are left. `'catastrophic'`: none can be restored; everything was left as it was, so `restore` goes on to fail
   * loudly. Saving still works, and `delete` begins anew.
   */
  readonly severity: 'none' | 'minor' | 'major' | 'catastrophic';
  /** Checkpoints that can be restored, newest first. */
  readonly restorable: readonly number[];
  /** Checkpoints that are gone, newest first. A record of which nothing can be read counts as one. */
  readonly lost: readonly number[];
  /** Checkpoints that needed a damaged or missing record and can be restored with what replaced it, newest first. */
  readonly repointed: readonly number[];
  /** The records that were changed, newest first. */
  readonly repairs: readonly RecordRepair[];
  /** Further records of packs that nothing needed, most of them left by saves that were cut off, and that were removed. */
  readonly removedParts: number;
}

/** What became of one record. */
export interface RecordRepair extends KeptBytes {
  readonly sequence: number;
  /**
   * `'replaced'`: it is the same checkpoint, in a new record. `'retired'`: no checkpoint any more; chunks that others need
   * are left, or its number, so that it is not given again. `'deleted'`: nothing is left.
   */
  readonly outcome: 'replaced' | 'retired' | 'deleted';
  /** What was wrong with it. */
  readonly error: CorruptionError;
}

/** So often the session is looked at again because somebody else changed it meanwhile. */
const MAX_ROUNDS = 5;

/** See `CheckpointManager.repair`. */
export async function repairSession(
  records: CheckpointRecords,
  session: string,
  { isDryRun }: { readonly isDryRun: boolean },
): Promise<RepairReport> {
  const repair = new SessionRepair(records, isDryRun);
  for (let round = 1; ; round++) {
    const plan = await planRepair(records, session);
    if (plan.scan.isSuspect) throw storeFirst(records, session);
    try {
      await repair.carryOut(plan);
    } catch (error) {
      if (!(error instanceof ConflictError) || round === MAX_ROUNDS) throw error;
      continue; // Somebody saves, prunes or repairs, too.
    }
    if (isDryRun || plan.steps.length === 0) return repair.report(plan);
    // What was saved meanwhile may have been made by what was known of the session before.
    const [newest] = await records.newest(session, 1);
    if (newest?.sequence === plan.scan.newest) return repair.report(plan);
  }
}

/**
 * Carries plans out in an order in which a crash costs nothing: the bytes as they were are kept first; then writers are
 * told; a record that is written anew holds all that is needed of the old one, so they can follow each other in any
 * order. Begun again, it goes on with what is left.
 */
class SessionRepair {
  readonly #records: CheckpointRecords;
  readonly #isDryRun: boolean;
  readonly #repairs: RecordRepair[] = [];
  readonly #lost = new Set<number>();
  readonly #repointed = new Set<number>();
  #removedParts = 0;

  constructor(records: CheckpointRecords, isDryRun: boolean) {
    this.#records = records;
    this.#isDryRun = isDryRun;
  }

  async carryOut(plan: RepairPlan): Promise<void> {
    const { scan, steps, unsettled, orphans } = plan;
    const kept = new Map<RepairStep, KeptBytes>();
    const place = { session: scan.session, isDryRun: this.#isDryRun };
    for (const step of steps) kept.set(step, await keepAside(this.#records, step.record, place));
    if (unsettled && !this.#isDryRun) await writeAgain(this.#records, unsettled);
    for (const [step, bytes] of kept) {
      if (!this.#isDryRun) await carryOutStep(this.#records, scan, step);
      const { record, error } = step;
      this.#repairs.push({ sequence: record.sequence, outcome: outcomeOf(step), error, ...bytes });
      if (plan.lost.includes(record.sequence)) this.#lost.add(record.sequence);
    }
    for (const sequence of plan.repointed) this.#repointed.add(sequence);
    for (const key of orphans) {
      if (!this.#isDryRun) await this.#records.storage.delete(key);
      this.#removedParts++;
    }
  }

  /** `plan` is the last one: an earlier one was carried out in part, or somebody saved meanwhile. */
  report({ scan, restorable, lost: lastLost }: RepairPlan): RepairReport {
    const lost = newestFirst(new Set([...this.#lost, ...lastLost]));
    const isWrong = this.#repairs.length > 0;
    return {
      session: scan.session,
      isDryRun: this.#isDryRun,
      severity: severityOf({ isWrong, lost: lost.length, restorable: restorable.length }),
      restorable,
      lost,
      repointed: newestFirst(this.#repointed),
      repairs: this.#repairs,
      removedParts: this.#removedParts,
    };
  }
}

function severityOf(found: {
  readonly isWrong: boolean;
  readonly lost: number;
  readonly restorable: number;
}): RepairReport['severity'] {
  if (found.lost > 0) return found.restorable > 0 ? 'major' : 'catastrophic';
  return found.isWrong ? 'minor' : 'none';
}

function outcomeOf({ replacement }: RepairStep): RecordRepair['outcome'] {
  if (replacement === undefined) return 'deleted';
  return 'retired' in replacement.meta ? 'retired' : 'replaced';
}

function newestFirst(sequences: Iterable<number>): number[] {
  return [...sequences].sort((one, other) => other - one);
}

function storeFirst(records: CheckpointRecords, session: string): CorruptionError {
  const message = `The store is damaged where it cannot tell which keys were there, so checkpoints of "${session}" may be lost. Repair the store first, then the session.`;
  return new CorruptionError(message, records.prefix(session));
}

import type { Clock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { isHoldfastError } from '../base/errors.js';
import type { StepContext, StepOptions, StepRetryOptions, Tx } from '../transactions/transaction.js';
import type { StuckError } from '../transactions/transaction-errors.js';
import { wasInterrupted } from '../transactions/unknown-outcome.js';
import type { Ladder, PlannedRung } from './ladder.js';
import type { RecoveryEvent } from './recovery-event.js';
import { END_STEP, failedReport, type RecoveryEnd, type RecoveryInput, stepOf } from './recovery-record.js';
import { type RecoveryCase, type Rung, RungAttempt, type RungReport } from './rung.js';
import { runRung } from './rung-run.js';
import type { SubjectRecords } from './subject-records.js';

/** What a recovery is run with. */
export interface RunParts {
  readonly ladder: Ladder;
  readonly subjects: SubjectRecords;
  readonly clock: Clock;
  readonly emit: Sink<RecoveryEvent> | undefined;
  /** When the failure came, on the monotonic clock, of recoveries that began in this process. */
  readonly begunMs: ReadonlyMap<string, number>;
}

const RUNG_TIMEOUT_MS = 300_000;
/** Its end has to be written. */
const INSISTENT: StepRetryOptions = { maxRetries: 5, budget: false };

type Ending = Pick<RecoveryEnd, 'outcome' | 'rung' | 'trail' | 'why'>;

/** The body of every recovery's transaction: the rungs of its plan, one after the other, then how it ended. */
export async function runRecovery(tx: Tx, input: RecoveryInput, parts: RunParts): Promise<RecoveryEnd> {
  if (input.suppressed !== undefined) {
    return new RecoveryRun(tx, input, parts).end({ outcome: 'suppressed', trail: [], why: input.suppressed });
  }
  return new RecoveryRun(tx, input, parts).run();
}

class RecoveryRun {
  readonly #tx: Tx;
  readonly #input: RecoveryInput;
  readonly #parts: RunParts;
  readonly #trail: RungReport[] = [];

  constructor(tx: Tx, input: RecoveryInput, parts: RunParts) {
    this.#tx = tx;
    this.#input = input;
    this.#parts = parts;
  }

  async run(): Promise<RecoveryEnd> {
    this.#reportStart();
    for (const planned of this.#input.rungs) {
      const { rung, why, degraded } = planned;
      const report = why === undefined ? await this.#tried(planned) : ({ rung, status: 'skipped', why } as const);
      this.#trail.push(report);
      if (report.status === 'ok')
        return this.end({ outcome: degraded ? 'degraded' : 'recovered', rung, trail: this.#trail });
    }
    return this.end(this.#nothingHelped());
  }

  /** Durable, and the subject free for its next recovery, when it resolves. */
  async end(ending: Ending): Promise<RecoveryEnd> {
    const { subjects, clock, begunMs } = this.#parts;
    const { subject, number, startedAtMs } = this.#input;
    let isNew = false;
    const end = await this.#tx.step(
      END_STEP,
      async (): Promise<RecoveryEnd> => {
        isNew = true;
        await subjects.settle(subject, number);
        const endedAtMs = clock.now();
        const sinceMs = begunMs.get(this.#tx.id);
        const byLabelsMs = Math.max(0, endedAtMs - startedAtMs);
        const tookMs = sinceMs === undefined ? byLabelsMs : Math.round(clock.monotonicMs() - sinceMs);
        return { ...ending, endedAtMs, tookMs };
      },
      { retry: INSISTENT },
    );
    if (isNew) this.#report(finishedEvent(this.#tx.id, subject, end));
    return end;
  }

  async #tried({ rung: name, effect }: PlannedRung): Promise<RungReport> {
    const { ladder } = this.#parts;
    const rung = ladder.get(name);
    const msSince = this.#stopwatch();
    /** What this life has seen of it; `undefined` if it ended in an earlier one, and is only given back. */
    let seen: { thrown?: unknown } | undefined;
    const run = async (step: StepContext): Promise<RungReport> => {
      seen = {};
      try {
        return { rung: name, ...(await this.#run(rung, step)), ms: msSince() };
      } catch (error) {
        seen.thrown = error;
        throw error;
      }
    };
    const report = await this.#tx.step(stepOf(name), run, optionsOf(rung, effect)).catch((error: unknown) => {
      if (this.#isOver(error, seen?.thrown)) throw error;
      return { ...failedReport(name, error), ...(seen && { ms: msSince() }) };
    });
    if (seen) this.#report({ type: 'recovery.rung', ...this.#whose, ...report });
    return report;
  }

  async #run(rung: Rung | undefined, step: StepContext): Promise<Pick<RungReport, 'status' | 'why'>> {
    if (rung === undefined) return { status: 'skipped', why: 'the ladder has no such rung any more' };
    return runRung(rung, new RungAttempt(step, this.#case), this.#input.strategy !== 'auto');
  }

  #stopwatch(): () => number {
    const { clock } = this.#parts;
    const startedMs = clock.monotonicMs();
    return () => Math.round(clock.monotonicMs() - startedMs);
  }

  /** Is it the recovery that ended, and not the rung that failed? What a rung itself threw only says how the rung went. */
  #isOver(error: unknown, thrown: unknown): boolean {
    if (this.#tx.signal.aborted) return true;
    if (isStuck(error)) return error.transaction === this.#tx.id;
    return error !== thrown && wasInterrupted(error);
  }

  #nothingHelped(): Ending {
    const trail = this.#trail;
    const wasTried = trail.some(({ status }) => status === 'failed');
    if (this.#input.diagnosis.severity === 'none' && !wasTried) return { outcome: 'recovered', trail };
    const why = wasTried ? 'no rung that was tried was accepted' : 'no rung is for this failure, or could be tried';
    return { outcome: 'needs-attention', trail, why };
  }

  get #case(): RecoveryCase {
    const { subject, failure, diagnosis } = this.#input;
    return { subject, failure, diagnosis, trail: [...this.#trail] };
  }

  get #whose() {
    return { recovery: this.#tx.id, subject: this.#input.subject };
  }

  #reportStart(): void {
    if (this.#tx.fence !== 1) return; // Of one that is gone on with it was reported when it began.
    const { strategy, diagnosis } = this.#input;
    const { causes: _, ...known } = diagnosis;
    this.#report({ type: 'recovery.started', ...this.#whose, strategy, ...known });
  }

  #report(event: RecoveryEvent): void {
    emit(this.#parts.emit, event);
  }
}

/** Of a recovery that has ended. */
export function finishedEvent(
  recovery: string,
  subject: string,
  { outcome, rung, why, tookMs }: Pick<RecoveryEnd, 'outcome' | 'rung' | 'why' | 'tookMs'>,
): RecoveryEvent {
  const how = { ...(rung !== undefined && { rung }), ...(why !== undefined && { why }) };
  return { type: 'recovery.finished', recovery, subject, outcome, ...how, tookMs };
}

function optionsOf(rung: Rung | undefined, effect: PlannedRung['effect']): StepOptions<RungReport> {
  const { timeoutMs = RUNG_TIMEOUT_MS, retry } = rung ?? {};
  return { timeoutMs, ...(effect !== undefined && { effect }), ...(retry !== undefined && { retry }) };
}

function isStuck(error: unknown): error is StuckError {
  return isHoldfastError(error) && error.code === 'HOLDFAST_STUCK';
}

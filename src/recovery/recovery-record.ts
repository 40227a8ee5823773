import { inWords } from '../policies/in-words.js';
import { blotted } from '../storage/driver-fault.js';
import type { StepView, TransactionView } from '../transactions/transaction.js';
import type { Diagnosis, Failure } from './failure.js';
import type { PlannedRung } from './ladder.js';
import type { RungReport } from './rung.js';

/**
 * How a recovery ended.
 * - `recovered`: a rung was accepted, or nothing was broken.
 * - `degraded`: a rung was accepted that only keeps the subject going.
 * - `needs-attention`: no rung was, or the recovery itself cannot go on. A person has to look, then `resolve`.
 * - `suppressed`: the subject's budget was spent, and nothing was tried.
 */
export type RecoveryOutcome = 'recovered' | 'degraded' | 'needs-attention' | 'suppressed';

/** What a person said of a recovery that could not end well by itself. */
export interface RecoveryResolution {
  readonly outcome: 'recovered' | 'degraded';
  /** What was done, for whoever reads the record later. */
  readonly note: string;
  /** A label. */
  readonly resolvedAtMs: number;
  /** What it was before. */
  readonly from: RecoveryOutcome;
}

/** A recovery as it is recorded: its plan, its progress, its audit. */
export interface RecoveryRecord {
  /** Also the id of its transaction. */
  readonly id: string;
  readonly subject: string;
  /** 1 for the subject's first recovery. */
  readonly number: number;
  /** What went wrong; `error` as it was recorded. */
  readonly failure: Failure;
  readonly diagnosis: Diagnosis;
  /** `auto`, or the rung that was asked for. */
  readonly strategy: string;
  /** Left out while it runs. */
  readonly outcome?: RecoveryOutcome;
  /** The rung that was accepted. */
  readonly rung?: string;
  /** How each rung went that it came to, in their order. */
  readonly trail: readonly RungReport[];
  /** Why it needs attention or was suppressed, in a line for people. */
  readonly why?: string;
  /** Milliseconds since 1970: a label. */
  readonly startedAtMs: number;
  /** A label. Left out while it runs. */
  readonly endedAtMs?: number;
  /**
   * Milliseconds from the failure to the end; left out while it runs. By the monotonic clock if one process saw both, else
   * the difference of the two labels, which a jump of wall time falsifies.
   */
  readonly tookMs?: number;
  /** Once a person has decided. `outcome` is theirs then. */
  readonly resolution?: RecoveryResolution;
}

/** A recovery that has ended. */
export type EndedRecovery = RecoveryRecord & Required<Pick<RecoveryRecord, 'outcome' | 'endedAtMs' | 'tookMs'>>;

/** What a recovery begins with: its transaction's input. Whoever goes on with it diagnoses and plans nothing anew. */
export interface RecoveryInput {
  readonly subject: string;
  readonly number: number;
  readonly strategy: string;
  readonly failure: Failure;
  readonly diagnosis: Diagnosis;
  readonly rungs: readonly PlannedRung[];
  readonly startedAtMs: number;
  /** The budget was spent: why, in a line for people. */
  readonly suppressed?: string;
}

/** What its last step gives. */
export interface RecoveryEnd {
  readonly outcome: RecoveryOutcome;
  readonly rung?: string;
  readonly trail: readonly RungReport[];
  readonly why?: string;
  readonly endedAtMs: number;
  readonly tookMs: number;
}

/** The step that says how it ended. */
export const END_STEP = 'outcome';
const RUNG_STEP = 'rung:';

/** The step that a rung is. No other step is called like it, whatever the rung is called. */
export function stepOf(rung: string): string {
  return `${RUNG_STEP}${rung}`;
}

/** The report of a rung that threw. */
export function failedReport(rung: string, error: unknown): RungReport {
  return { rung, status: 'failed', why: blotted(inWords(error)) };
}

/** What its transaction tells of a recovery. */
export function recordOf(view: TransactionView, resolution?: RecoveryResolution): RecoveryRecord {
  const { subject, number, failure, diagnosis, strategy, startedAtMs } = view.input as RecoveryInput;
  const end = endOf(view);
  return {
    id: view.id,
    subject,
    number,
    failure,
    diagnosis,
    strategy,
    startedAtMs,
    trail: trailSoFar(view),
    ...end,
    ...(resolution !== undefined && { outcome: resolution.outcome, resolution }),
  };
}

/** Has it ended, well or not? */
export function isOver(view: TransactionView): boolean {
  return endOf(view) !== undefined;
}

function endOf(view: TransactionView): RecoveryEnd | undefined {
  const end = view.steps.find(({ name, status }) => name === END_STEP && status === 'done');
  if (end !== undefined) return end.result as RecoveryEnd;
  const { status, updatedAtMs } = view;
  if (status !== 'stuck' && status !== 'rolled-back') return undefined;
  const { startedAtMs } = view.input as RecoveryInput;
  return {
    outcome: 'needs-attention',
    trail: trailSoFar(view),
    why: whyNotEnded(view),
    endedAtMs: updatedAtMs,
    tookMs: Math.max(0, updatedAtMs - startedAtMs),
  };
}

function whyNotEnded({ stuck, error }: TransactionView): string {
  const what = stuck === undefined ? 'it was given up' : `it is stuck (${stuck.reason})`;
  const where = stuck?.step === undefined ? '' : ` at ${stuck.step}`;
  return `${what}${where}${error === undefined ? '' : `: ${blotted(inWords(error))}`}`;
}

/** Rungs in the order of the plan, as far as anything is recorded of them. */
function trailSoFar({ input, steps }: TransactionView): RungReport[] {
  const recorded = new Map(steps.map((step) => [step.name, step]));
  const { rungs } = input as RecoveryInput;
  return rungs.flatMap(({ rung, why }) => {
    if (why !== undefined) return { rung, status: 'skipped' as const, why };
    const step = recorded.get(stepOf(rung));
    return step === undefined ? [] : reportOf(rung, step);
  });
}

function reportOf(rung: string, { status, result, error }: StepView): RungReport[] {
  if (status === 'done') return [result as RungReport];
  return status === 'failed' || status === 'unknown' ? [failedReport(rung, error)] : [];
}

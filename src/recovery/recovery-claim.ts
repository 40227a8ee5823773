import type { Clock } from '../base/clock.js';
import type { TransactionManager } from '../transactions/transaction-manager.js';
import { countingStarts, type RecoveryBudget } from './budget.js';
import { isOver, type RecoveryInput } from './recovery-record.js';
import type { SubjectRecords, SubjectState } from './subject-records.js';

/** What claims are decided by. */
export interface ClaimParts {
  readonly subjects: SubjectRecords;
  readonly transactions: TransactionManager;
  readonly budget: Required<RecoveryBudget>;
  readonly clock: Clock;
  readonly idOf: (subject: string, number: number) => string;
}

/** A failure that wants a recovery: what that begins with, but for what the claim gives it. */
export type WantedRecovery = Omit<RecoveryInput, 'number' | 'startedAtMs' | 'suppressed'>;

/** The recovery that a failure gets. */
export interface Claim {
  readonly id: string;
  /** What it begins with, or began with; `undefined` if the subject is suppressed still, and that is recorded. */
  readonly input: RecoveryInput | undefined;
  /** It was made for this failure. Else the subject was being recovered already. */
  readonly isNew: boolean;
}

/**
 * The one recovery that the subject has now: the one that is under way, or was claimed by a process that died, else the
 * next. Decided by a compare-and-swap of the subject's record, so that all processes agree; durable when it resolves. A
 * process that dies between the claim and the begin leaves a claim that the next failure of the subject is given.
 */
export async function claimRecovery(wanted: WantedRecovery, parts: ClaimParts): Promise<Claim> {
  const { subject } = wanted;
  let made: RecoveryInput | undefined;
  const state = await parts.subjects.change(subject, async (now) => {
    const { open } = now;
    if (open !== undefined && !(await hasEnded(parts, subject, now.number))) return undefined;
    const next = await nextState(wanted, now, parts);
    made = next?.open;
    return next;
  });
  const id = parts.idOf(subject, state.number);
  return { id, input: state.open, isNew: made !== undefined && state.open === made };
}

/** Starts that count now; what is left of the budget follows from that. */
export function startsOf({ startsAtMs }: SubjectState, { budget, clock }: Pick<ClaimParts, 'budget' | 'clock'>) {
  return countingStarts(startsAtMs, clock.now(), budget.perMs);
}

/** Stuck and given up count, too: such a recovery does not go on by itself, and the next failure gets one of its own. */
async function hasEnded({ transactions, idOf }: ClaimParts, subject: string, number: number): Promise<boolean> {
  const view = await transactions.get(idOf(subject, number));
  return view !== undefined && isOver(view);
}

async function nextState(
  wanted: WantedRecovery,
  now: SubjectState,
  parts: ClaimParts,
): Promise<SubjectState | undefined> {
  const { budget, clock } = parts;
  const startedAtMs = clock.now();
  const startsAtMs = startsOf(now, parts);
  const isFree = wanted.diagnosis.severity === 'none' && wanted.rungs.every(({ why }) => why !== undefined);
  const isSuppressed = !isFree && startsAtMs.length >= budget.attempts;
  if (isSuppressed && now.isSuppressed && (await isRecorded(parts, wanted.subject, now.number)))
    return unlessSame(now, startsAtMs);
  const number = await nextNumber(wanted.subject, now, parts);
  const why = `it had ${startsAtMs.length} of ${budget.attempts} recoveries in ${budget.perMs} ms`;
  const open = { ...wanted, number, startedAtMs, ...(isSuppressed && { suppressed: why }) };
  const isCounted = !isFree && !isSuppressed;
  return { number, open, isSuppressed, startsAtMs: isCounted ? [...startsAtMs, startedAtMs] : startsAtMs };
}

/** The subject stays suppressed. Starts that wall time has left in the future are written down as made now. */
function unlessSame({ open: _, ...now }: SubjectState, startsAtMs: readonly number[]): SubjectState | undefined {
  const isSame = startsAtMs.every((atMs, at) => atMs === now.startsAtMs[at]);
  return isSame ? undefined : { ...now, startsAtMs };
}

/** Where the subject's record is gone, its recoveries are not: an id, with the keys of its rungs, is never used twice. */
async function nextNumber(subject: string, { number }: SubjectState, parts: ClaimParts): Promise<number> {
  let next = number + 1;
  while (number === 0 && (await isRecorded(parts, subject, next))) next++;
  return next;
}

async function isRecorded({ transactions, idOf }: ClaimParts, subject: string, number: number): Promise<boolean> {
  return (await transactions.get(idOf(subject, number))) !== undefined;
}

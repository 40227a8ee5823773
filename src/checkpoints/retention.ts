import * as z from 'zod';

/**
 * Which checkpoints of a session stay. One that any of the `keep` rules keeps stays; then the limits, `maxAgeMs` and
 * `maxBytes`, take away what they must. Three kinds are pinned, and no limit takes them: the newest intact checkpoint;
 * those with a label (see `keepLabels`); and of the last three recoveries that saved another state than they found (their
 * `operation` begins with `recovery.`) what they saved and what was there before.
 *
 * "Newest" goes by sequence, never by time. Hours, days and weeks are read off `savedAtMs`, so a clock that was wrong
 * puts a checkpoint into a wrong hour; it cannot cost the newest intact one.
 */
export interface Retention {
  /**
   * The newest so many. Default 20, also beside other rules. 0 where those alone should decide; without others, only
   * pinned ones stay then.
   */
  readonly keepLast?: number;
  /** Those saved at most so many milliseconds ago. Default: none. For a stretch to go back to step by step. */
  readonly keepWithinMs?: number;
  /** The newest of each of the last so many hours (UTC) in which something was saved. Default 0. */
  readonly keepHourly?: number;
  /** The newest of each of the last so many days (UTC) in which something was saved. Default 0. */
  readonly keepDaily?: number;
  /** The newest of each of the last so many ISO weeks (Monday to Sunday, UTC) with a save. Default 0. */
  readonly keepWeekly?: number;
  /**
   * Whether a label pins its checkpoint. Default true: what was given a name is removed by nobody but `delete`. False,
   * or the labels that pin, where a program gives labels to every save.
   */
  readonly keepLabels?: boolean | readonly string[];
  /**
   * Stored bytes of all that is kept, pinned ones included; the oldest that are not pinned go until it fits. Default:
   * no limit. Because it counts what the rules keep, a further rule may cost an old checkpoint its place, but only
   * here.
   */
  readonly maxBytes?: number;
  /** Those saved longer ago than so many milliseconds go, whatever rule keeps them. Default: no limit. */
  readonly maxAgeMs?: number;
}

const count = z.int().min(0);
const durationMs = z.number().min(0);

/** What `Retention` may hold. */
export const retentionSchema = z.strictObject({
  keepLast: count.optional(),
  keepWithinMs: durationMs.optional(),
  keepHourly: count.optional(),
  keepDaily: count.optional(),
  keepWeekly: count.optional(),
  keepLabels: z.union([z.boolean(), z.array(z.string().min(1))]).optional(),
  maxBytes: count.optional(),
  maxAgeMs: durationMs.optional(),
});

/** What retention needs to know of a checkpoint. */
export interface RetentionCandidate {
  readonly sequence: number;
  readonly savedAtMs: number;
  readonly storedBytes: number;
  readonly label?: string | undefined;
  readonly operation?: string | undefined;
}

/** Why a checkpoint stays. `'recovery'`: saved by one, or what was there before it. */
export type KeepReason = 'newest-intact' | 'last' | 'within' | 'hourly' | 'daily' | 'weekly' | 'label' | 'recovery';
/** Why a checkpoint goes: `'none'` of the rules keeps it, or a limit takes it. */
export type RemovalReason = 'none' | 'max-bytes' | 'max-age';
/** Why a checkpoint stays or goes. */
export type RetentionReason = KeepReason | RemovalReason;

/** What becomes of one checkpoint. */
export interface RetentionDecision {
  readonly sequence: number;
  readonly keep: boolean;
  /** Every rule that keeps it, or the one thing that takes it. Never empty. */
  readonly reasons: readonly RetentionReason[];
}

/** What `prune` removed, or would. Newest first. */
export interface PruneReport {
  readonly session: string;
  readonly isDryRun: boolean;
  readonly kept: readonly number[];
  readonly removed: readonly number[];
  /** Each of them, with why it stays or goes. */
  readonly decisions: readonly RetentionDecision[];
  readonly freedBytes: number;
}

/** Checked rules, and the moment that ages are counted from. */
export interface RetentionMoment {
  readonly retention: Retention;
  /** Wall time. Wrong, it only moves the borders of `keepWithinMs` and `maxAgeMs`. */
  readonly nowMs: number;
}

/** What the operation of a checkpoint begins with if a recovery saved it in place of what was there. */
export const RECOVERY_OPERATION = 'recovery.';

const DEFAULT_KEEP_LAST = 20;
/** As many as one session may have in a bad night: the default budget of recoveries. */
const KEPT_RECOVERIES = 3;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** 1 January 1970 was a Thursday: shifted by three days, weeks begin on Monday. */
const MONDAY_SHIFT_MS = 3 * DAY_MS;

/**
 * One decision for each of `candidates`, which come newest first, in the same order. `newestIntact` is its sequence;
 * `undefined` if none is intact, and then only rules and limits decide.
 *
 * Deciding again at the same moment over what was kept, at the same `storedBytes`, keeps all of it: a prune that was
 * cut off in the middle can simply be run again. Source of the rules: restic, `forget`.
 */
export function decideRetention(
  candidates: readonly RetentionCandidate[],
  newestIntact: number | undefined,
  at: RetentionMoment,
): RetentionDecision[] {
  const rules = keepRules(newestIntact, at);
  const asked = candidates.map((candidate) => ({
    candidate,
    reasons: rules.filter(({ keeps }) => keeps(candidate)).map(({ reason }) => reason),
  }));
  const taken = takenByLimits(
    asked.filter(({ reasons }) => reasons.length > 0),
    at,
  );
  return asked.map(({ candidate: { sequence }, reasons }) => {
    const removal = reasons.length === 0 ? 'none' : taken.get(sequence);
    return removal === undefined ? { sequence, keep: true, reasons } : { sequence, keep: false, reasons: [removal] };
  });
}

interface KeepRule {
  readonly reason: KeepReason;
  /** Asked once for every candidate, newest first: rules count. */
  readonly keeps: (candidate: RetentionCandidate) => boolean;
}

function keepRules(newestIntact: number | undefined, { retention, nowMs }: RetentionMoment): readonly KeepRule[] {
  const { keepWithinMs = Number.NEGATIVE_INFINITY, keepLabels = true } = retention;
  const pins = (label: string) => (typeof keepLabels === 'boolean' ? keepLabels : keepLabels.includes(label));
  return [
    { reason: 'newest-intact', keeps: ({ sequence }) => sequence === newestIntact },
    { reason: 'last', keeps: newestOfEach(retention.keepLast ?? DEFAULT_KEEP_LAST, ({ sequence }) => sequence) },
    { reason: 'within', keeps: ({ savedAtMs }) => nowMs - savedAtMs <= keepWithinMs },
    { reason: 'hourly', keeps: newestOfEach(retention.keepHourly, byTime(HOUR_MS)) },
    { reason: 'daily', keeps: newestOfEach(retention.keepDaily, byTime(DAY_MS)) },
    { reason: 'weekly', keeps: newestOfEach(retention.keepWeekly, byTime(7 * DAY_MS, MONDAY_SHIFT_MS)) },
    { reason: 'label', keeps: ({ label }) => label !== undefined && pins(label) },
    { reason: 'recovery', keeps: aroundRecoveries() },
  ];
}

type PeriodOf = (candidate: RetentionCandidate) => number;

const byTime =
  (lengthMs: number, shiftMs = 0): PeriodOf =>
  ({ savedAtMs }) =>
    Math.floor((savedAtMs + shiftMs) / lengthMs);

/** The first of each of the first `periods` periods that turn up. */
function newestOfEach(periods = 0, periodOf: PeriodOf): KeepRule['keeps'] {
  const seen = new Set<number>();
  return (candidate) => {
    const period = periodOf(candidate);
    if (seen.size >= periods || seen.has(period)) return false;
    seen.add(period);
    return true;
  };
}

/** What the last recoveries saved, and the candidate before each: what was there, whatever was thought of it. */
function aroundRecoveries(): KeepRule['keeps'] {
  let left = KEPT_RECOVERIES;
  let isNextBefore = false;
  return ({ operation }) => {
    const isBefore = isNextBefore;
    isNextBefore = left > 0 && operation?.startsWith(RECOVERY_OPERATION) === true;
    if (isNextBefore) left--;
    return isNextBefore || isBefore;
  };
}

interface Wanted {
  readonly candidate: RetentionCandidate;
  readonly reasons: readonly KeepReason[];
}

/** Sequences that a limit takes although a rule keeps them. `wanted` comes newest first. */
function takenByLimits(wanted: readonly Wanted[], { retention, nowMs }: RetentionMoment): Map<number, RemovalReason> {
  const { maxBytes = Number.POSITIVE_INFINITY, maxAgeMs = Number.POSITIVE_INFINITY } = retention;
  const taken = new Map<number, RemovalReason>();
  let keptBytes = wanted.reduce((sum, { candidate }) => sum + candidate.storedBytes, 0);
  const take = ({ sequence, storedBytes }: RetentionCandidate, reason: RemovalReason) => {
    taken.set(sequence, reason);
    keptBytes -= storedBytes;
  };
  const loose = wanted.filter(({ reasons }) => !reasons.some(isPin)).map(({ candidate }) => candidate);
  // Age first: what is too old for it must not push out something younger.
  for (const candidate of loose) if (nowMs - candidate.savedAtMs > maxAgeMs) take(candidate, 'max-age');
  for (const candidate of loose.toReversed()) {
    if (keptBytes <= maxBytes) break;
    if (!taken.has(candidate.sequence)) take(candidate, 'max-bytes');
  }
  return taken;
}

const isPin = (reason: KeepReason): boolean =>
  reason === 'newest-intact' || reason === 'label' || reason === 'recovery';

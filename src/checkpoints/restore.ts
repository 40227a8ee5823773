import { CorruptionError } from '../base/errors.js';
import { MissingCheckpointError, type RestoredCheckpoint, type SkippedCheckpoint } from './checkpoint.js';
import { type CheckpointRecords, isDamage, type ReadCheckpoint } from './checkpoint-records.js';
import type { CheckpointBase } from './checkpoint-writer.js';
import type { RestoreOptions } from './options.js';

/** A checkpoint that came back, and what a writer needs to go on from it. */
export interface Found {
  readonly restored: RestoredCheckpoint<unknown>;
  readonly base: CheckpointBase;
  /** The newest sequence there is, damaged or not. */
  readonly newest: number;
}

type OnSkipped = (skipped: SkippedCheckpoint) => void;

/** Walks from the newest wanted checkpoint towards older ones until one is intact. See `CheckpointManager.restore`. */
export async function restoreCheckpoint(
  records: CheckpointRecords,
  session: string,
  wanted: RestoreOptions,
  onSkipped: OnSkipped,
): Promise<Found | undefined> {
  const skipped: SkippedCheckpoint[] = [];
  const skip = (one: SkippedCheckpoint) => {
    if (wanted.fallback === false) throw one.error;
    skipped.push(one);
    if (one.reason === 'corrupt') onSkipped(one);
  };
  let newest: number | undefined;
  const before = wanted.sequence === undefined ? undefined : wanted.sequence + 1;
  for await (const { sequence } of records.keys(session, before)) {
    newest ??= sequence;
    if (wanted.sequence !== undefined && skipped.length === 0 && sequence !== wanted.sequence) {
      skip(missing(session, wanted.sequence));
    }
    const read = await readOrSkip(records, session, sequence, skip);
    if (read === undefined || (wanted.label !== undefined && read.info.label !== wanted.label)) continue;
    requireAtLeast(session, sequence, wanted.atLeast);
    const degraded = skipped.length > 0 || read.isSuspect;
    const restored = { state: read.state, checkpoint: read.info, degraded, skipped };
    return { restored, base: { sequence, recordHash: read.recordHash, version: read.version }, newest };
  }
  await refuseLoss(records, session, wanted, skipped);
  return undefined;
}

async function readOrSkip(
  records: CheckpointRecords,
  session: string,
  sequence: number,
  skip: OnSkipped,
): Promise<(ReadCheckpoint & { state: unknown }) | undefined> {
  try {
    const read = await records.read(session, sequence);
    // Listed a moment ago and gone: pruned by another process, which is no damage.
    return read && { ...read, state: records.decode(read) };
  } catch (error) {
    if (!isDamage(error)) throw error;
    skip({ sequence, reason: 'corrupt', error });
    return undefined;
  }
}

/** Nothing was found: that is `undefined` only if it is certain that there was nothing to find. */
async function refuseLoss(
  records: CheckpointRecords,
  session: string,
  wanted: RestoreOptions,
  skipped: readonly SkippedCheckpoint[],
): Promise<void> {
  const damaged = skipped.filter(({ reason }) => reason === 'corrupt');
  if (damaged.length > 0) {
    const sequences = damaged.map(({ sequence }) => sequence).join(', ');
    const message = `No checkpoint of "${session}" that could be restored is intact: ${sequences} are damaged. They are left as they are.`;
    throw new CorruptionError(message, records.key(session, damaged[0]?.sequence ?? 1), { cause: damaged[0]?.error });
  }
  // A damaged store that cannot tell which keys it lost says so when it is asked for one.
  await records.read(session, wanted.sequence ?? 1);
  if (wanted.sequence !== undefined && (await records.newest(session, 1)).length > 0) {
    throw new MissingCheckpointError(session, wanted.sequence);
  }
  requireAtLeast(session, 0, wanted.atLeast);
}

function requireAtLeast(session: string, sequence: number, atLeast: number | undefined): void {
  if (atLeast === undefined || sequence >= atLeast) return;
  const newest = sequence === 0 ? 'has no checkpoint' : `has nothing intact newer than checkpoint ${sequence}`;
  throw new CorruptionError(
    `Session "${session}" ${newest}, but checkpoint ${atLeast} was saved: the store was cut, set back or damaged.`,
    session,
  );
}

function missing(session: string, sequence: number): SkippedCheckpoint {
  return { sequence, reason: 'missing', error: new MissingCheckpointError(session, sequence) };
}

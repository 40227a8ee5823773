import { CorruptionError } from '../base/errors.js';
import {
  type CheckpointInfo,
  MissingCheckpointError,
  type RestoredCheckpoint,
  type SkippedCheckpoint,
} from './checkpoint.js';
import { type CheckpointRecords, isDamage, PROVING, type StoredCheckpoint } from './checkpoint-records.js';
import { type Head, headOf } from './checkpoint-writer.js';
import { InvalidStateError, type StateSchema } from './migrate.js';
import type { RestoreOptions } from './options.js';
import { decodeState, type ReadState, readState } from './packs/state-reader.js';

/** A checkpoint that came back, and where a writer stands that goes on from it. */
export interface Found {
  readonly restored: RestoredCheckpoint<unknown>;
  readonly head: Head;
}

/** Where to look, and what is found there. */
export interface RestoreSource {
  readonly records: CheckpointRecords;
  readonly schema: StateSchema;
  readonly onSkipped: (skipped: SkippedCheckpoint) => void;
}

/** A state that was put together and made what this program expects. */
interface OpenedState {
  readonly read: ReadState;
  readonly state: unknown;
  readonly info: CheckpointInfo;
}

/** Thrown and caught here: what was being read is no longer there, so something newer is. */
const REMOVED = Symbol('removed while it was read');

/** Walks from the newest wanted checkpoint towards older ones until one is intact. See `CheckpointManager.restore`. */
export async function restoreCheckpoint(
  source: RestoreSource,
  session: string,
  wanted: RestoreOptions,
): Promise<Found | undefined> {
  for (;;) {
    const found = await searchOnce(source, session, wanted);
    if (found !== REMOVED) return found;
  }
}

async function searchOnce(
  source: RestoreSource,
  session: string,
  wanted: RestoreOptions,
): Promise<Found | undefined | typeof REMOVED> {
  const { records } = source;
  const skipped: SkippedCheckpoint[] = [];
  const skip = (one: SkippedCheckpoint): undefined => {
    if (wanted.fallback === false) throw one.error;
    skipped.push(one);
    if (one.reason === 'corrupt') source.onSkipped(one);
  };
  let newest: number | undefined;
  const before = wanted.sequence === undefined ? undefined : wanted.sequence + 1;
  for await (const { sequence } of records.keys(session, { before })) {
    newest ??= sequence;
    if (wanted.sequence !== undefined && skipped.length === 0 && sequence !== wanted.sequence) {
      skip(missing(session, wanted.sequence));
    }
    const checkpoint = await unlessDamaged(records.read(session, sequence, PROVING), sequence, skip);
    if (checkpoint === undefined || (wanted.label !== undefined && checkpoint.meta.label !== wanted.label)) continue;
    const opened = await unlessDamaged(openState(source, checkpoint), sequence, skip);
    if (opened === REMOVED) return REMOVED;
    if (opened === undefined) continue;
    requireAtLeast(session, sequence, wanted.atLeast);
    const degraded = skipped.length > 0 || checkpoint.isSuspect;
    const restored = { state: opened.state, checkpoint: opened.info, degraded, skipped };
    return { restored, head: headOf(newest, checkpoint, opened.read) };
  }
  await refuseLoss(records, session, { wanted, skipped });
  return undefined;
}

async function openState(
  { records, schema }: RestoreSource,
  checkpoint: StoredCheckpoint,
): Promise<OpenedState | typeof REMOVED> {
  const { session, sequence, schemaVersion: version } = checkpoint.meta;
  schema.requireReadable({ session, sequence, version });
  const read = await readState(records, checkpoint);
  if (read === undefined) return REMOVED;
  const state = await schema.bringUpToDate(decodeState(records, checkpoint, read), { session, sequence, version });
  return { read, state, info: records.info(checkpoint) };
}

/** What is read, or nothing if it is damaged or does not fit the schema: then something older may stand in for it. */
async function unlessDamaged<Read>(
  reading: Promise<Read>,
  sequence: number,
  skip: (skipped: SkippedCheckpoint) => undefined,
): Promise<Read | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof InvalidStateError) return skip({ sequence, reason: 'schema', error });
    if (!isDamage(error)) throw error;
    return skip({ sequence, reason: 'corrupt', error });
  }
}

/** Nothing was found: that is `undefined` only if it is certain that there was nothing to find. */
async function refuseLoss(
  records: CheckpointRecords,
  session: string,
  { wanted, skipped }: { readonly wanted: RestoreOptions; readonly skipped: readonly SkippedCheckpoint[] },
): Promise<void> {
  const unfit = skipped.filter(({ reason }) => reason !== 'missing');
  const damaged = unfit.filter(({ reason }) => reason === 'corrupt');
  if (damaged.length > 0) {
    const sequences = damaged.map(({ sequence }) => sequence).join(', ');
    const message = `No checkpoint of "${session}" that could be restored is intact: ${sequences} are damaged. They are left as they are.`;
    throw new CorruptionError(message, records.key(session, damaged[0]?.sequence ?? 1), { cause: damaged[0]?.error });
  }
  if (unfit[0]) throw unfit[0].error; // All there are do not fit the schema: the newest says why.
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

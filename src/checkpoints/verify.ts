import { CorruptionError } from '../base/errors.js';
import type { SkippedCheckpoint, VerifyReport } from './checkpoint.js';
import { type CheckpointRecords, isDamage, type ReadCheckpoint } from './checkpoint-records.js';

/** See `CheckpointManager.verify`. */
export async function verifySession(
  records: CheckpointRecords,
  session: string,
  depth: 'fast' | 'deep',
): Promise<VerifyReport> {
  const damaged: SkippedCheckpoint[] = [];
  /** What a newer checkpoint says the hash of an older one is, by that one's sequence. */
  const expectedHashes = new Map<number, string>();
  let checked = 0;
  let newestIntact: number | undefined;
  let isSuspect = false;
  for await (const { sequence } of records.keys(session)) {
    checked++;
    try {
      const read = await (depth === 'fast'
        ? records.readHeader(session, sequence)
        : verifyDeep(records, session, sequence, expectedHashes));
      if (read?.isSuspect) isSuspect = true;
      newestIntact ??= sequence;
    } catch (error) {
      if (!isDamage(error)) throw error;
      damaged.push({ sequence, reason: 'corrupt', error });
    }
  }
  if (checked === 0) await records.read(session, 1); // A damaged store says so when it is asked for a key.
  const found = newestIntact === undefined ? {} : { newestIntact };
  return { session, isIntact: damaged.length === 0 && !isSuspect, isSuspect, checked, ...found, damaged };
}

async function verifyDeep(
  records: CheckpointRecords,
  session: string,
  sequence: number,
  expectedHashes: Map<number, string>,
): Promise<ReadCheckpoint | undefined> {
  const read = await records.read(session, sequence);
  if (read === undefined) return undefined;
  records.decode(read);
  const expected = expectedHashes.get(sequence);
  if (read.info.parent !== null && read.parentHash !== null) expectedHashes.set(read.info.parent, read.parentHash);
  if (expected === undefined || expected === read.recordHash) return read;
  const key = records.key(session, sequence);
  throw new CorruptionError(
    `Checkpoint ${sequence} of "${session}" is not the one that later ones were made from.`,
    key,
  );
}

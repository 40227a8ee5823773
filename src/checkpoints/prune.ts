import { randomUUID } from 'node:crypto';
import { sealRecord } from '../records/envelope.js';
import { ConflictError } from '../storage/adapter.js';
import type { SkippedCheckpoint } from './checkpoint.js';
import { isRetired, type RetiredMeta } from './checkpoint-meta.js';
import { type CheckpointRecords, isDamage, type StoredCheckpoint, type StoredRecord } from './checkpoint-records.js';
import { readState } from './packs/state-reader.js';
import { restoreStatisticsKey } from './restore-statistics.js';
import { decideRetention, type PruneReport, type RetentionDecision, type RetentionMoment } from './retention.js';

/** What is to be pruned, and by which rules. */
export interface PruneTask extends RetentionMoment {
  readonly session: string;
  readonly isDryRun: boolean;
  /** Sequence of the newest intact checkpoint, if that is known. Else it is searched for, which reads its state. */
  readonly newestIntact?: number | undefined;
  readonly onDamage: (skipped: SkippedCheckpoint) => void;
}

/** A session's records as they are, newest first. */
interface SessionRecords {
  readonly checkpoints: readonly StoredCheckpoint[];
  readonly retired: readonly StoredRecord[];
}

/**
 * Removes checkpoints that retention does not keep. Two phases, so that nobody is cut: the checkpoints go first, the ones
 * that others build on last, and a pack that a kept checkpoint needs stays, with nothing but its chunks. What a reader
 * has begun to read may go from under it; it finds the newest again. A writer's base is the newest, which never goes.
 * See `CheckpointManager.prune`.
 */
export async function pruneSession(records: CheckpointRecords, task: PruneTask): Promise<PruneReport> {
  const { session, isDryRun } = task;
  const { checkpoints, retired } = await readRecords(records, task);
  const candidates = checkpoints.map((checkpoint) => {
    const { sequence, savedAtMs, label, operation } = checkpoint.meta;
    return { sequence, savedAtMs, label, operation, storedBytes: checkpoint.sizeBytes };
  });
  const newestIntact = task.newestIntact ?? (await findIntact(records, checkpoints, task));
  // What was saved behind it in the meantime is not for these rules yet: the newest of it must stay, whatever they say.
  const since = candidates.filter(({ sequence }) => sequence > (task.newestIntact ?? sequence));
  const decisions = [
    ...since.map(({ sequence }): RetentionDecision => ({ sequence, keep: true, reasons: ['newest-intact'] })),
    ...decideRetention(candidates.slice(since.length), newestIntact, task),
  ];
  const keeping = new Set(decisions.filter(({ keep }) => keep).map(({ sequence }) => sequence));
  const kept = checkpoints.filter(({ meta }) => keeping.has(meta.sequence));
  const removed = checkpoints.filter(({ meta }) => !keeping.has(meta.sequence));
  const needed = new Set(kept.flatMap(({ meta }) => meta.packs));
  // Above the newest checkpoint, what a repair left of one keeps its number from being given again.
  const outlived = retired.filter(({ meta }) => meta.sequence < (checkpoints[0]?.meta.sequence ?? 0));
  const unneeded = [...removed, ...outlived].filter(({ meta }) => !needed.has(meta.sequence));
  if (!isDryRun) {
    for (const record of removed) if (needed.has(record.meta.sequence)) await retire(records, record);
    unneeded.sort((one, other) => other.meta.sequence - one.meta.sequence);
    for (const record of unneeded) await removeRecord(records, record);
  }
  return {
    session,
    isDryRun,
    kept: kept.map(({ meta }) => meta.sequence),
    removed: removed.map(({ meta }) => meta.sequence),
    decisions,
    freedBytes: unneeded.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  };
}

/**
 * Removes every record of a session, all at once where the store can; else the oldest first, so that what a crash leaves
 * is never an older state that passes for the newest. How many checkpoints and remains of such there were.
 */
export async function deleteSession(records: CheckpointRecords, session: string): Promise<number> {
  const { storage } = records;
  await storage.delete(restoreStatisticsKey(session));
  for (let removed = 0; ; ) {
    const partKeys = await records.partKeys(session);
    const keys: string[] = [];
    for await (const { key } of records.keys(session)) keys.push(key);
    // What is saved meanwhile needs what is removed here: it goes, too.
    if (keys.length === 0 && partKeys.length === 0) return removed;
    if (storage.batch && storage.capabilities.atomicBatch) {
      await storage.batch([...keys, ...partKeys].map((key) => ({ type: 'delete', key })));
    } else {
      for (const key of keys.toReversed()) await storage.delete(key);
      for (const key of partKeys) await storage.delete(key);
    }
    removed += keys.length;
  }
}

async function readRecords(records: CheckpointRecords, { session, onDamage }: PruneTask): Promise<SessionRecords> {
  const checkpoints: StoredCheckpoint[] = [];
  const retired: StoredRecord[] = [];
  for await (const { sequence } of records.keys(session)) {
    try {
      const record = await records.readRecord(session, sequence);
      if (record === undefined) continue;
      // Their packs are read again when they are needed: not all states of a session fit into memory.
      const light = { ...record, body: Buffer.alloc(0) };
      if (isRetired(light.meta)) retired.push(light);
      else checkpoints.push(light as StoredCheckpoint);
    } catch (error) {
      if (!isDamage(error)) throw error;
      onDamage({ sequence, reason: 'corrupt', error }); // Left as it is: repair looks at it.
    }
  }
  return { checkpoints, retired };
}

async function findIntact(
  records: CheckpointRecords,
  checkpoints: readonly StoredCheckpoint[],
  { session, onDamage }: PruneTask,
): Promise<number | undefined> {
  for (const { meta } of checkpoints) {
    const { sequence } = meta;
    try {
      const checkpoint = await records.read(session, sequence);
      if (checkpoint && (await readState(records, checkpoint))) return sequence;
    } catch (error) {
      if (!isDamage(error)) throw error;
      onDamage({ sequence, reason: 'corrupt', error });
    }
  }
  return undefined;
}

/** Leaves the pack of a checkpoint and takes away that it is one. Somebody else may be doing the same. */
async function retire(records: CheckpointRecords, { meta, version }: StoredCheckpoint): Promise<void> {
  const { session, sequence, parts } = meta;
  const record = await records.readRecord(session, sequence);
  if (record?.version !== version) return;
  const key = records.key(session, sequence);
  const retired: RetiredMeta = { session, sequence, retired: true, ...(parts ? { parts } : {}) };
  const { bytes } = sealRecord({ key, id: randomUUID(), parent: null, meta: retired }, record.body);
  await unlessChanged(records.storage.put(key, bytes, { ifVersion: version }));
}

async function removeRecord(records: CheckpointRecords, { meta, version }: StoredRecord): Promise<void> {
  const { session, sequence, parts = [] } = meta;
  await unlessChanged(records.storage.delete(records.key(session, sequence), { ifVersion: version }));
  for (const { name } of parts) await records.storage.delete(records.partKey(session, name));
}

async function unlessChanged(writing: Promise<unknown>): Promise<void> {
  try {
    await writing;
  } catch (error) {
    if (!(error instanceof ConflictError)) throw error; // Pruned by somebody else in the meantime.
  }
}

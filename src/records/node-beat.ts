import { ConflictError, OutcomeUnknownError, type StorageAdapter, type Version } from '../storage/adapter.js';
import { FencedError } from './lease.js';
import { type NodeRecord, nodeKey, openNodeRecord, sealNodeRecord } from './node-record.js';

/** One moment, on both clocks. */
export interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

/** One attempt to write a beat. */
export interface BeatAttempt {
  readonly record: NodeRecord;
  /** The beat before; `null` if this is the first. */
  readonly ifVersion: Version | null;
  readonly sentAt: Moment;
  /** When this beat was first attempted: attempts before may have happened although they gave no answer. */
  readonly firstSentAt: Moment;
}

/** A beat that is in the storage, and the earliest moment at which it can have been there. */
export interface ConfirmedBeat {
  readonly version: Version;
  readonly sentAt: Moment;
}

/**
 * Writes a beat; an unknown outcome is decided by reading.
 * @throws FencedError if the record is not the node's any more: somebody declared it dead. Any other error: try again.
 */
export async function writeBeat(storage: StorageAdapter, attempt: BeatAttempt): Promise<ConfirmedBeat> {
  const { record, ifVersion, sentAt } = attempt;
  try {
    return { version: await storage.put(nodeKey(record.node), sealNodeRecord(record), { ifVersion }), sentAt };
  } catch (error) {
    // A conflict, too, may be with an attempt of our own that gave no answer.
    if (error instanceof ConflictError || error instanceof OutcomeUnknownError) return decide(storage, attempt, error);
    throw error;
  }
}

async function decide(storage: StorageAdapter, attempt: BeatAttempt, error: Error): Promise<ConfirmedBeat> {
  const { record, ifVersion, firstSentAt } = attempt;
  const entry = await storage.get(nodeKey(record.node));
  if ((entry?.version ?? null) === ifVersion) throw error; // It did not happen, or not yet.
  const found = entry && openNodeRecord(entry);
  // Which of the attempts it was cannot be told. To take it for the earliest is safe.
  if (entry && found?.beat === record.beat) return { version: entry.version, sentAt: firstSentAt };
  throw new FencedError(`node ${record.node}`, { cause: error });
}

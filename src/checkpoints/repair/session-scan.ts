import { CorruptionError } from '../../base/errors.js';
import type { Version } from '../../storage/adapter.js';
import { type CheckpointMeta, isRetired } from '../checkpoint-meta.js';
import { type CheckpointKey, type CheckpointRecords, isDamage, type StoredRecord } from '../checkpoint-records.js';
import type { ChunkId } from '../packs/chunk.js';
import { missing, provePack } from './pack-proof.js';

/** One record of a session, without its pack. */
export interface ScannedRecord {
  readonly sequence: number;
  /** `null` if it is missing while checkpoints name it. */
  readonly version: Version | null;
  /** What its header holds; `undefined` if it is missing or its header cannot be proved. */
  readonly header: ScannedHeader | undefined;
  readonly failure: CorruptionError | undefined;
  /** Keys of its further records, the missing ones among them. */
  readonly partKeys: readonly string[];
}

type ScannedHeader = Omit<StoredRecord, 'body'>;

/** A record that is a checkpoint. */
export interface ScannedCheckpoint extends ScannedRecord {
  readonly version: Version;
  readonly header: ScannedHeader & { readonly meta: CheckpointMeta };
}

/** What all records of a session are, and what is wrong with them. */
export interface SessionScan {
  readonly session: string;
  /** Newest first. */
  readonly records: readonly ScannedRecord[];
  /** Keys of all further records of packs, named by one or not. */
  readonly partKeys: readonly string[];
  /** The newest sequence there is; 0 if there is none. */
  readonly newest: number;
  /** The store is damaged where it cannot tell which keys were there. */
  readonly isSuspect: boolean;
}

/** Is given each good chunk of each pack. */
export type ScanVisitor = (pack: number, id: ChunkId, bytes: Buffer) => void;

/**
 * Looks at every record of a session once: proves its header, and that all that it names is there. With `visit` every
 * byte of its pack is proved, too, and that each checkpoint names the very one it was made from.
 */
export async function scanSession(
  records: CheckpointRecords,
  session: string,
  visit?: ScanVisitor,
): Promise<SessionScan> {
  let doubt: CorruptionError | undefined;
  const onSuspect = (error: CorruptionError) => {
    doubt = error;
  };
  // Before what names them: what is written meanwhile is not among them.
  const partKeys = await records.partKeys(session, { onSuspect });
  const found: ScannedRecord[] = [];
  let newest = 0;
  for await (const key of records.keys(session, { onSuspect })) {
    newest ||= key.sequence;
    const record = await scanRecord(records, key, { session, partKeys: new Set(partKeys), visit });
    if (record) found.push(record);
  }
  if (newest === 0 && doubt) throw doubt;
  found.push(...(await findMissing(records, session, found)));
  found.sort((one, other) => other.sequence - one.sequence);
  const isSuspect = doubt !== undefined || found.some(({ header }) => header?.isSuspect);
  return { session, records: visit ? compareParents(records, session, found) : found, partKeys, newest, isSuspect };
}

export function isCheckpoint(record: ScannedRecord): record is ScannedCheckpoint {
  return record.header !== undefined && !isRetired(record.header.meta);
}

/** Sequences of all records whose packs hold chunks of a checkpoint, its own the first. */
export function packsOf({ header }: ScannedCheckpoint): number[] {
  return [header.meta.sequence, ...header.meta.packs];
}

/** A checkpoint can be restored only by looking for its parts, and the next prune may remove them. */
export function inUnnamedPacks(key: string): CorruptionError {
  return new CorruptionError(
    `Parts of the state of "${key}" are in records that it does not name. Repair the session.`,
    key,
  );
}

/** The sequence that a further record of a pack was written for, by its key. */
export function sequenceOfPart(partKey: string): number {
  return Number.parseInt(partKey.slice(partKey.lastIndexOf('/') + 1), 10);
}

/** How a record is looked at. */
interface Look {
  readonly session: string;
  readonly partKeys: ReadonlySet<string>;
  readonly visit: ScanVisitor | undefined;
}

/** `undefined` if it was removed since it was listed. What is written anew while it is looked at is looked at again. */
async function scanRecord(
  records: CheckpointRecords,
  key: CheckpointKey,
  look: Look,
): Promise<ScannedRecord | undefined> {
  for (let listed: Version | undefined = key.version; listed !== undefined; ) {
    const record = await scanOnce(records, { ...key, version: listed }, look);
    if (record?.failure === undefined) return record;
    listed = await versionOf(records, key.key);
    if (listed === record.version) return record;
  }
  return undefined;
}

async function scanOnce(
  records: CheckpointRecords,
  { sequence, version }: CheckpointKey,
  { session, partKeys, visit }: Look,
): Promise<ScannedRecord | undefined> {
  const { header, failure } = await readHeader(records, session, sequence);
  if (header === undefined && failure === undefined) return undefined;
  const own = header
    ? (header.meta.parts ?? []).map(({ name }) => records.partKey(session, name))
    : [...partKeys].filter((partKey) => sequenceOfPart(partKey) === sequence); // They can be nobody else's.
  const record = { sequence, version: header?.version ?? version, header, failure, partKeys: own };
  if (visit) {
    const place = { session, sequence, partKeys: own };
    const wrong = await provePack(records, place, (id, bytes) => visit(sequence, id, bytes));
    return { ...record, failure: failure ?? wrong };
  }
  for (const partKey of own) {
    const isThere = partKeys.has(partKey) || (await versionOf(records, partKey)) !== undefined;
    if (!isThere) return { ...record, failure: failure ?? missing(partKey) };
  }
  return record;
}

async function readHeader(
  records: CheckpointRecords,
  session: string,
  sequence: number,
): Promise<Pick<ScannedRecord, 'header' | 'failure'>> {
  try {
    const record = await records.readRecord(session, sequence);
    if (record === undefined) return { header: undefined, failure: undefined };
    const { body: _, ...header } = record; // Not all packs of a session fit into memory.
    return { header, failure: undefined };
  } catch (failure) {
    if (!isDamage(failure)) throw failure;
    return { header: undefined, failure };
  }
}

/** Records that checkpoints name and that are not there, unless those are gone meanwhile, too. */
async function findMissing(
  records: CheckpointRecords,
  session: string,
  found: readonly ScannedRecord[],
): Promise<ScannedRecord[]> {
  const there = new Set(found.map(({ sequence }) => sequence));
  const absent: ScannedRecord[] = [];
  for (const checkpoint of found.filter(isCheckpoint)) {
    for (const sequence of checkpoint.header.meta.packs) {
      if (there.has(sequence)) continue;
      const isNeeded = (await versionOf(records, records.key(session, checkpoint.sequence))) === checkpoint.version;
      const key = records.key(session, sequence);
      if (!isNeeded || (await versionOf(records, key)) !== undefined) continue;
      there.add(sequence);
      absent.push({ sequence, version: null, header: undefined, failure: missing(key), partKeys: [] });
    }
  }
  return absent;
}

/** Each checkpoint names the hash of the one it was made from, which another record cannot have. */
function compareParents(records: CheckpointRecords, session: string, found: readonly ScannedRecord[]): ScannedRecord[] {
  const hashes = new Map<number, string>();
  for (const { header } of found.filter(isCheckpoint)) {
    const { parentSequence, repaired } = header.meta;
    if (parentSequence !== null && header.parentHash !== null && !repaired)
      hashes.set(parentSequence, header.parentHash);
  }
  return found.map((record) => {
    const expected = hashes.get(record.sequence);
    if (record.failure || expected === undefined || !isCheckpoint(record)) return record;
    const { recordHash, meta } = record.header;
    if (recordHash === expected || meta.repaired) return record;
    const message = `Checkpoint ${record.sequence} of "${session}" is not the one that later ones were made from.`;
    return { ...record, failure: new CorruptionError(message, records.key(session, record.sequence)) };
  });
}

/** The version that a key has now, without its bytes, which may be damaged; `undefined` if it is not there. */
export async function versionOf({ storage }: CheckpointRecords, key: string): Promise<Version | undefined> {
  const [entry] = (await storage.list(key, { limit: 1 })).entries;
  return entry?.key === key ? entry.version : undefined;
}

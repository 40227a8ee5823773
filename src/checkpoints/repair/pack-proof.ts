import type { CorruptionError } from '../../base/errors.js';
import { assumedBody, openRecord } from '../../records/envelope.js';
import { isCheckpointOrRetired, isPart } from '../checkpoint-meta.js';
import { type CheckpointRecords, damagedChunk, isDamage, missingRecord } from '../checkpoint-records.js';
import { type ChunkId, chunkIdOf } from '../packs/chunk.js';
import { readPackIndex } from '../packs/pack.js';

/** The records that a pack is spread over. */
export interface PackPlace {
  readonly session: string;
  readonly sequence: number;
  /** Keys of its further records. */
  readonly partKeys: readonly string[];
}

/** Is given each chunk that is what its id says. */
export type ChunkVisitor = (id: ChunkId, bytes: Buffer) => void;

/**
 * Proves every byte of a pack; what is wrong with it, if anything is. `visit` is also given what is still good in a pack
 * that is damaged: a chunk proves itself, whatever became of the rest.
 */
export async function provePack(
  records: CheckpointRecords,
  { session, sequence, partKeys }: PackPlace,
  visit: ChunkVisitor,
): Promise<CorruptionError | undefined> {
  const first = { key: records.key(session, sequence), isMeta: isCheckpointOrRetired };
  const others = partKeys.map((key) => ({ key, isMeta: isPart }));
  const failures: CorruptionError[] = [];
  for (const record of [first, ...others]) failures.push(...(await proveRecord(records, record, visit)));
  return failures[0];
}

/** Which record, and how what its header holds is recognised. */
interface RecordToProve {
  readonly key: string;
  readonly isMeta: (meta: unknown) => meta is object;
}

async function proveRecord(
  { storage }: CheckpointRecords,
  { key, isMeta }: RecordToProve,
  visit: ChunkVisitor,
): Promise<CorruptionError[]> {
  try {
    const entry = await storage.get(key);
    if (entry === undefined) return [missing(key)];
    const isWhole = visitChunks(assumedBody(entry.value), visit);
    openRecord(key, entry.value, isMeta);
    return isWhole ? [] : [damagedChunk(key)];
  } catch (error) {
    if (!isDamage(error)) throw error;
    return [error];
  }
}

/** A record that is named by others and is not there. */
export function missing(key: string): CorruptionError {
  return missingRecord(key);
}

/** Visits every chunk that can be told; true if the pack is exactly what its index says. */
function visitChunks(body: Buffer, visit: ChunkVisitor): boolean {
  const { entries, chunksAt, isCut } = readPackIndex(body);
  const indexedBytes = entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  // One size in the index that is wrong moves all that stands behind it by this much.
  const shift = body.length - chunksAt - indexedBytes;
  let isWhole = !isCut && shift === 0;
  let start = chunksAt;
  for (const { id, sizeBytes } of entries) {
    const found = findChunk(body, id, { start, end: start + sizeBytes, shift });
    if (found[0] !== id) isWhole = false;
    visit(...found);
    start += sizeBytes;
  }
  return isWhole;
}

/** The chunk as the index places it, or as it stands if one size in the index is wrong, its own or one before it. */
function findChunk(
  body: Buffer,
  id: ChunkId,
  { start, end, shift }: { readonly start: number; readonly end: number; readonly shift: number },
): readonly [id: ChunkId, bytes: Buffer] {
  const indexed = body.subarray(start, end);
  const indexedId = chunkIdOf(indexed);
  if (indexedId === id || shift === 0) return [indexedId, indexed]; // If it is the id that is damaged, this is the right one.
  const shiftedEnd = Math.max(0, end + shift);
  const others = [body.subarray(Math.max(0, start + shift), shiftedEnd), body.subarray(start, shiftedEnd)];
  const bytes = others.find((other) => chunkIdOf(other) === id);
  return bytes ? [id, bytes] : [indexedId, indexed];
}

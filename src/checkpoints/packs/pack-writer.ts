import { randomUUID } from 'node:crypto';
import { CorruptionError, LimitError } from '../../base/errors.js';
import { type SealedRecord, sealRecord } from '../../records/envelope.js';
import type { CheckpointMeta, PartMeta, RetiredMeta } from '../checkpoint-meta.js';
import { type CheckpointRecords, damagedChunk, isDamage, missingRecord } from '../checkpoint-records.js';
import { type ChunkId, chunkIdOf } from './chunk.js';
import type { LiveChunks } from './live-chunks.js';
import { encodePack, type PackedChunk, splitPack } from './pack.js';
import { packsToMerge } from './pack-merge.js';
import type { EncodedState } from './state-encoder.js';

/** A state that waits to be written. */
export interface PendingState {
  readonly state: EncodedState;
  /** Where the chunks are that it was taken without; `undefined` if it was taken with all of them. */
  readonly without: LiveChunks | undefined;
}

/** What goes into the pack of one checkpoint. */
export interface PackContent {
  readonly chunks: PackedChunk[];
  /** Older packs that hold the rest of the state, ascending. */
  readonly packs: readonly number[];
}

/** A place among the records of a session. */
interface Place {
  readonly session: string;
  readonly sequence: number;
}

/** Which pack is to be gathered. */
interface PackTask extends Place, PendingState {
  /** What the state before is made of; goes on to this one. */
  readonly live: LiveChunks;
}

/**
 * Gathers what a checkpoint has to hold: chunks that no other pack has, and those of packs that it merges.
 * @throws CorruptionError if a pack that is to be merged is damaged: then the state before is damaged, too.
 */
export async function gatherPack(
  records: CheckpointRecords,
  { session, sequence, state, without, live }: PackTask,
): Promise<PackContent> {
  const chunks: PackedChunk[] = [];
  const elsewhere = new Map<number, ChunkId[]>();
  for (const id of live.moveTo(state.root, () => sequence)) {
    const content = state.fresh.get(id)?.content;
    if (content !== undefined) chunks.push([id, content]);
    else addTo(elsewhere, without?.packOf(id) ?? 0, id); // The writer goes on from another state than it thought.
  }
  state.fresh.clear(); // A large state must not stand in memory more often than it has to.
  for (const pack of packsToMerge(live.packs, sequence)) {
    const ids = live.idsIn(pack);
    for (const id of ids) addTo(elsewhere, pack, id);
    live.place(ids, sequence);
  }
  if (elsewhere.size > 0) {
    const fetched = [...elsewhere].map(([pack, ids]) => fetchChunks(records, { session, sequence: pack }, ids));
    for (const some of await Promise.all(fetched)) for (const chunk of some) chunks.push(chunk);
  }
  return { chunks, packs: live.packsBeside(sequence) };
}

/** A pack as records: its first one, and those that the rest of it goes into if the store takes no value so large. */
export interface SealedPack<Meta> {
  readonly record: SealedRecord<Meta>;
  readonly parts: readonly { readonly key: string; readonly bytes: Buffer }[];
  /** Of all of them. */
  readonly sizeBytes: number;
}

/** Room for what surrounds a pack in a record, metadata and the session's name aside. */
const RECORD_BYTES = 1024;

/** Make the records of a pack. The further ones are to be written first: nothing names them before the first one does. */
export function sealPack<Meta extends CheckpointMeta | RetiredMeta>(
  records: CheckpointRecords,
  { meta, parent }: { readonly meta: Meta; readonly parent: string | null },
  chunks: readonly PackedChunk[],
): SealedPack<Meta> {
  const { session, sequence } = meta;
  const key = records.key(session, sequence);
  const { maxValueBytes = Number.POSITIVE_INFINITY } = records.storage.capabilities;
  const whole = sealRecord({ key, id: randomUUID(), parent, meta }, encodePack(chunks));
  if (whole.bytes.length <= maxValueBytes) return { record: whole, parts: [], sizeBytes: whole.bytes.length };
  const around = RECORD_BYTES + Buffer.byteLength(JSON.stringify(meta));
  const parts = splitPack(chunks, maxValueBytes - around).map((some, at) => {
    const part = `${key.slice(key.lastIndexOf('/') + 1)}-${randomUUID()}-${at}`;
    const partKey = records.partKey(session, part);
    const partMeta: PartMeta = { session, part };
    const { bytes } = sealRecord({ key: partKey, id: part, parent: null, meta: partMeta }, encodePack(some));
    return { key: partKey, bytes, name: part, sizeBytes: bytes.length };
  });
  const tooLarge = parts.find(({ sizeBytes }) => sizeBytes > maxValueBytes);
  if (tooLarge) throw unsplittable(records, tooLarge.sizeBytes, maxValueBytes);
  const named = { ...meta, parts: parts.map(({ name, sizeBytes }) => ({ name, sizeBytes })) };
  const record = sealRecord({ key, id: randomUUID(), parent, meta: named }, encodePack([]));
  if (record.bytes.length > maxValueBytes) throw unsplittable(records, record.bytes.length, maxValueBytes);
  return { record, parts, sizeBytes: parts.reduce((sum, part) => sum + part.sizeBytes, record.bytes.length) };
}

/** Before anything is written: a chunk is some 50 KiB at most, and the record that names the parts has 120 bytes for each. */
function unsplittable({ storage }: CheckpointRecords, sizeBytes: number, maxValueBytes: number): LimitError {
  const message = `A record of ${sizeBytes} bytes is needed, and ${storage.name} takes ${maxValueBytes}. Use a store that takes larger values.`;
  return new LimitError(message, 'maxValueBytes', maxValueBytes);
}

function addTo(lists: Map<number, ChunkId[]>, pack: number, id: ChunkId): void {
  const list = lists.get(pack);
  if (list) list.push(id);
  else lists.set(pack, [id]);
}

async function fetchChunks(
  records: CheckpointRecords,
  { session, sequence }: Place,
  ids: readonly ChunkId[],
): Promise<PackedChunk[]> {
  const key = records.key(session, sequence);
  try {
    const record = await records.readRecord(session, sequence);
    if (record === undefined) throw missingRecord(key);
    const pack = await records.readPack(record);
    return ids.map((id) => {
      const bytes = pack.get(id);
      if (bytes === undefined || chunkIdOf(bytes) !== id) {
        throw damagedChunk(key);
      }
      return [id, bytes];
    });
  } catch (cause) {
    if (!isDamage(cause)) throw cause;
    const message = `Session "${session}" cannot go on from checkpoints that need the record "${key}", which is damaged. Save again: the next save stores the whole state anew.`;
    throw new CorruptionError(message, key, { cause });
  }
}

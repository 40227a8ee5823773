import { assumedBody } from '../../records/envelope.js';
import { type CheckpointMeta, checkpointMeta } from '../checkpoint-meta.js';
import type { CheckpointRecords } from '../checkpoint-records.js';
import { type ChunkId, idToHex } from '../packs/chunk.js';
import { LiveChunks } from '../packs/live-chunks.js';
import { decodePack } from '../packs/pack.js';
import { packsToMerge } from '../packs/pack-merge.js';
import { type SealedPack, sealPack } from '../packs/pack-writer.js';
import type { ImportedChunk, ImportedSession } from './import-lines.js';

/**
 * Records of an imported session, oldest first, as if its checkpoints had been saved one after the other: each has the
 * chunks that no older one has, small packs are merged, and each names the very record it was made from, if that is here.
 */
export function sealSession(
  records: CheckpointRecords,
  session: string,
  { checkpoints, chunks }: ImportedSession,
): SealedPack<CheckpointMeta>[] {
  const live = new LiveChunks();
  /** The newest pack with each chunk. */
  const homes = new Map<ChunkId, number>();
  const hashes = new Map<number, string>();
  return checkpoints.map((checkpoint) => {
    const { sequence, parent, root } = checkpoint;
    live.moveTo(root, (id) => homes.get(id) ?? sequence);
    for (const pack of packsToMerge(live.packs, sequence)) live.place(live.idsIn(pack), sequence);
    const own = live.idsIn(sequence).map((id) => chunks.get(id) as ImportedChunk);
    for (const { id } of own) homes.set(id, sequence);
    const { savedAtMs, schemaVersion, label, operation, metadata } = checkpoint;
    const meta = checkpointMeta({
      session,
      sequence,
      parentSequence: parent,
      savedAtMs,
      schemaVersion,
      label,
      operation,
      metadata,
      root: idToHex(root.id),
      sizeBytes: root.sizeBytes,
      packs: live.packsBeside(sequence),
    });
    const place = { meta, parent: hashes.get(parent ?? 0) ?? null };
    const pack = sealPack(
      records,
      place,
      own.map(({ id, bytes }) => [id, bytes]),
    );
    keepOnce(chunks, pack);
    hashes.set(sequence, pack.record.recordHash);
    return pack;
  });
}

/** Lets go of the bytes that came with the import: the same are in the record now. */
function keepOnce(chunks: ReadonlyMap<ChunkId, ImportedChunk>, { record, parts }: SealedPack<CheckpointMeta>): void {
  for (const { bytes } of [record, ...parts]) {
    const pack = decodePack(assumedBody(bytes)) as ReadonlyMap<ChunkId, Buffer>;
    for (const [id, own] of pack) (chunks.get(id) as ImportedChunk).bytes = own;
  }
}

import { assumedBody } from '../../records/envelope.js';
import type { CheckpointMeta } from '../checkpoint-meta.js';
import type { CheckpointRecords } from '../checkpoint-records.js';
import { type ChunkId, idToHex } from '../packs/chunk.js';
import { LiveChunks } from '../packs/live-chunks.js';
import { decodePack } from '../packs/pack.js';
import { packsToMerge } from '../packs/pack-merge.js';
import { type SealedPack, sealPack } from '../packs/pack-writer.js';
import type { ImportedCheckpoint, ImportedChunk, ImportedSession } from './import-lines.js';

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
    const packs = [...live.packs.keys()].filter((pack) => pack !== sequence).sort((one, other) => one - other);
    const place = { meta: metaOf(checkpoint, session, packs), parent: hashes.get(parent ?? 0) ?? null };
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

function metaOf(checkpoint: ImportedCheckpoint, session: string, packs: readonly number[]): CheckpointMeta {
  const { sequence, parent: parentSequence, savedAtMs, schemaVersion, label, operation, metadata, root } = checkpoint;
  return {
    session,
    sequence,
    parentSequence,
    savedAtMs,
    schemaVersion,
    ...(label === undefined ? {} : { label }),
    ...(operation === undefined ? {} : { operation }),
    ...(metadata === undefined ? {} : { metadata }),
    root: idToHex(root.id),
    sizeBytes: root.sizeBytes,
    packs,
  };
}

/** Lets go of the bytes that came with the import: the same are in the record now. */
function keepOnce(chunks: ReadonlyMap<ChunkId, ImportedChunk>, { record, parts }: SealedPack<CheckpointMeta>): void {
  for (const { bytes } of [record, ...parts]) {
    const pack = decodePack(assumedBody(bytes)) as ReadonlyMap<ChunkId, Buffer>;
    for (const [id, own] of pack) (chunks.get(id) as ImportedChunk).bytes = own;
  }
}

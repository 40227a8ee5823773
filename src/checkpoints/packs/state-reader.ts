import { CorruptionError, LimitError } from '../../base/errors.js';
import { decodeValue } from '../../records/decode.js';
import { MissingCheckpointError } from '../checkpoint.js';
import type { CheckpointRecords, StoredCheckpoint } from '../checkpoint-records.js';
import { type Chunk, type ChunkId, idFromHex, REFERENCE_BYTES, REFERENCE_MARK, referencesIn } from './chunk.js';
import { type LiveChunk, LiveChunks } from './live-chunks.js';
import { SessionChunks } from './session-chunks.js';

/** A state that was put together from its chunks, each proved. */
export interface ReadState {
  /** Canonical JSON. */
  readonly bytes: Buffer;
  /** Which chunks it is made of and where they are: what a writer needs to go on from it. */
  readonly live: LiveChunks;
  /** Packs that the checkpoint names and that are damaged or missing; other packs had the same chunks. */
  readonly damagedPacks: readonly number[];
}

/** A chunk while its state is put together. */
export interface OpenChunk extends Chunk {
  /** Empty once the state is put together: a view keeps all of its pack in memory. */
  bytes: Buffer;
  readonly parts: readonly OpenChunk[];
}

/** The chunks of a state, each once, the root first. */
type OpenState = Map<ChunkId, LiveChunk & { readonly chunk: OpenChunk }>;

/**
 * The state of a checkpoint, proved down to the last byte. A pack that is damaged or missing does no harm if another pack
 * of the session holds the same chunks; `undefined` if the checkpoint was removed while it was read.
 * @throws CorruptionError if a chunk is nowhere to be had, or the state is not what the checkpoint says.
 * @throws LimitError if it is larger than this program allows.
 */
export async function readState(
  records: CheckpointRecords,
  checkpoint: StoredCheckpoint,
): Promise<ReadState | undefined> {
  requireAllowedSize(records, checkpoint);
  const { session, sequence, sizeBytes } = checkpoint.meta;
  const chunks = new SessionChunks(records, session);
  await chunks.load(checkpoint);
  const open = await openState(chunks, checkpoint).catch((error) => {
    if (error instanceof MissingCheckpointError) return undefined;
    throw error;
  });
  const root = open?.get(idFromHex(checkpoint.meta.root));
  if (open === undefined || root === undefined) return undefined;
  const bytes = assemble(root.chunk, sizeBytes);
  if (bytes === undefined) {
    const key = records.key(session, sequence);
    throw new CorruptionError(`The state of checkpoint ${sequence} of "${session}" has not the size it had.`, key);
  }
  for (const { chunk } of open.values()) chunk.bytes = NO_BYTES;
  return { bytes, live: new LiveChunks(open), damagedPacks: chunks.damagedPacks };
}

/** @throws LimitError if the state of the checkpoint is larger than this program allows. */
export function requireAllowedSize({ codec }: CheckpointRecords, { meta }: StoredCheckpoint): void {
  const { session, sequence, sizeBytes } = meta;
  const { maxBytes } = codec;
  if (sizeBytes <= maxBytes) return;
  const message = `Checkpoint ${sequence} of "${session}" is larger than maxBytes (${maxBytes}). Raise the limit to read it.`;
  throw new LimitError(message, 'maxBytes', maxBytes);
}

/** What `bytes` of a state were made from. @throws CorruptionError, UnknownCodecError, LimitError */
export function decodeState(records: CheckpointRecords, { meta }: StoredCheckpoint, { bytes }: ReadState): unknown {
  return decodeValue(bytes, records.codec, records.key(meta.session, meta.sequence));
}

const NO_BYTES = Buffer.alloc(0);
/** Of the many chunks that refer to none. */
const NO_PARTS: never[] = [];

async function openState(chunks: SessionChunks, checkpoint: StoredCheckpoint): Promise<OpenState> {
  const open: OpenState = new Map();
  const pending: { readonly parts: OpenChunk[]; readonly ids: readonly ChunkId[] }[] = [];
  const add = (id: ChunkId, bytes: Buffer): OpenChunk => {
    const ids = referencesIn(bytes) ?? NO_PARTS;
    const parts: OpenChunk[] = ids.length === 0 ? NO_PARTS : [];
    const chunk: OpenChunk = { id, ownBytes: bytes.length, bytes, parts };
    open.set(id, { chunk, pack: chunks.packOf(id), uses: 1 });
    if (ids.length > 0) pending.push({ parts, ids });
    return chunk;
  };
  const root = idFromHex(checkpoint.meta.root);
  add(root, await chunks.get(root, checkpoint));
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const id of next.ids) {
      const known = open.get(id);
      if (known) known.uses++;
      // Awaiting what is at hand would take longer than to find it.
      next.parts.push(known ? known.chunk : add(id, chunks.find(id) ?? (await chunks.get(id, checkpoint))));
    }
  }
  return open;
}

/** The text of a chunk with every reference replaced; `undefined` if that has not `sizeBytes` bytes. */
export function assemble(root: OpenChunk, sizeBytes: number): Buffer | undefined {
  const target = Buffer.allocUnsafe(sizeBytes);
  let length = 0;
  /** Each chunk adds a byte at least, so more of them than bytes are a bomb. */
  let chunksLeft = sizeBytes + 64;
  const open = [{ chunk: root, at: 0, part: 0 }];
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const { bytes, parts } = top.chunk;
    const mark = bytes.indexOf(REFERENCE_MARK, top.at);
    const end = mark === -1 ? bytes.length : mark;
    if (length + end - top.at > sizeBytes) return undefined;
    length += bytes.copy(target, length, top.at, end);
    if (mark === -1) open.pop();
    else {
      open.push({ chunk: parts[top.part] as OpenChunk, at: 0, part: 0 });
      top.at = mark + REFERENCE_BYTES;
      top.part++;
      if (--chunksLeft < 0) return undefined;
    }
  }
  return length === sizeBytes ? target : undefined;
}

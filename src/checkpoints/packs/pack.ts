import type { RecordPieces } from '../../records/envelope.js';
import type { ChunkContent, ChunkId } from './chunk.js';

/*
 * The body of a checkpoint's record is a pack: the chunks of the state that no older pack of the session has.
 *
 *   offset  bytes  what
 *   0       4      number of chunks n, little-endian
 *   4       36 n   for each chunk its id (SHA-256 of its bytes) and its length, little-endian
 *   4+36n          the chunks, back to back
 *
 * Each chunk proves itself by its id, so nothing else needs to be hashed to trust it.
 */
const COUNT_BYTES = 4;
const ID_BYTES = 32;
const ENTRY_BYTES = ID_BYTES + 4;

/** A chunk with what is in it. */
export type PackedChunk = readonly [id: ChunkId, content: ChunkContent];

/** A pack's bytes in pieces, to be written one behind the other. */
export function encodePack(chunks: readonly PackedChunk[]): RecordPieces {
  const index = Buffer.allocUnsafe(COUNT_BYTES + ENTRY_BYTES * chunks.length);
  const pieces: ChunkContent[] = [index];
  let sizeBytes = index.length;
  let at = index.writeUInt32LE(chunks.length, 0);
  for (const [id, content] of chunks) {
    const length = Buffer.byteLength(content);
    at += index.write(id, at, ID_BYTES, 'latin1');
    at = index.writeUInt32LE(length, at);
    pieces.push(content);
    sizeBytes += length;
  }
  return { sizeBytes, pieces };
}

/** The chunks in as few packs of at most `maxBytes` as they fit into in this order. One that is larger goes alone. */
export function splitPack(chunks: readonly PackedChunk[], maxBytes: number): PackedChunk[][] {
  const packs: PackedChunk[][] = [];
  let room = 0;
  for (const chunk of chunks) {
    const bytes = ENTRY_BYTES + Buffer.byteLength(chunk[1]);
    if (bytes > room) {
      packs.push([]);
      room = maxBytes - COUNT_BYTES;
    }
    room -= bytes;
    packs.at(-1)?.push(chunk);
  }
  return packs;
}

/** The chunks in a pack, not proved yet; `undefined` if the bytes cannot be those of a pack. */
export function decodePack(body: Buffer): Map<ChunkId, Buffer> | undefined {
  const chunks = new Map<ChunkId, Buffer>();
  const isPack = walkPack(body, ({ id, start, end }) => chunks.set(id, body.subarray(start, end)));
  return isPack ? chunks : undefined;
}

/** Where a chunk stands in a pack. */
export interface PlacedChunk {
  readonly id: ChunkId;
  readonly body: Buffer;
  readonly start: number;
  readonly end: number;
}

/** Shows the chunks in a pack, not proved yet, in order; false if the bytes cannot be those of a pack. */
export function walkPack(body: Buffer, visit: (chunk: PlacedChunk) => void): boolean {
  if (body.length < COUNT_BYTES) return false;
  const count = body.readUInt32LE(0);
  let start = COUNT_BYTES + ENTRY_BYTES * count;
  if (start > body.length) return false;
  for (let at = COUNT_BYTES; at < COUNT_BYTES + ENTRY_BYTES * count; at += ENTRY_BYTES) {
    const end = start + body.readUInt32LE(at + ID_BYTES);
    if (end > body.length) return false;
    visit({ id: body.toString('latin1', at, at + ID_BYTES), body, start, end });
    start = end;
  }
  return start === body.length;
}

/** What stands in the index of a pack, not proved. */
export interface PackIndex {
  readonly entries: readonly { readonly id: ChunkId; readonly sizeBytes: number }[];
  /** Where the chunks begin. */
  readonly chunksAt: number;
  /** The index says that it is longer than the whole pack. */
  readonly isCut: boolean;
}

/** The index of a pack that may be damaged, as far as it goes. */
export function readPackIndex(body: Buffer): PackIndex {
  const count = body.length < COUNT_BYTES ? 1 : body.readUInt32LE(0);
  const room = Math.max(0, Math.floor((body.length - COUNT_BYTES) / ENTRY_BYTES));
  const entries = Array.from({ length: Math.min(count, room) }, (_, index) => {
    const at = COUNT_BYTES + ENTRY_BYTES * index;
    return { id: body.toString('latin1', at, at + ID_BYTES), sizeBytes: body.readUInt32LE(at + ID_BYTES) };
  });
  return { entries, chunksAt: COUNT_BYTES + ENTRY_BYTES * entries.length, isCut: count > room };
}

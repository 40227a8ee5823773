import { hash } from 'node:crypto';

/*
 * A state is kept as chunks of its canonical JSON. A chunk is a stretch of that text in UTF-8 in which longer stretches
 * are replaced by references to chunks of their own:
 *
 *   offset  bytes  what
 *   0       1      0x01, which JSON text never contains
 *   1       32     SHA-256 of the chunk that belongs here
 *   33      4      what that chunk is, little-endian: 0 a whole value, 0xffffffff a piece of a string, else a run of so
 *                  many neighbouring items of an array or members of an object
 *
 * Putting every chunk in its place gives the canonical bytes back, whatever rule cut them. A chunk's hash covers the
 * hashes in it, so the hash of the first chunk proves the whole state: a Merkle tree.
 */
export const REFERENCE_MARK = 0x01;
const ID_BYTES = 32;
export const REFERENCE_BYTES = 1 + ID_BYTES + 4;

/** `items` of a reference to a whole value. */
export const WHOLE_VALUE = 0;
/** `items` of a reference to a piece of a string's text. */
export const STRING_PIECE = 0xffffffff;

/** SHA-256 of a chunk as a string of 32 characters, one for each byte: half the memory of hexadecimal. */
export type ChunkId = string;

/** The bytes of a chunk, or its text if it has no references: what was written as text is kept so, once. */
export type ChunkContent = Buffer | string;

/** A chunk without its bytes, with the chunks it refers to, in order. */
export interface Chunk {
  readonly id: ChunkId;
  readonly ownBytes: number;
  readonly parts: readonly Chunk[];
}

/** A reference as it stands in a chunk. */
export interface Reference {
  readonly id: ChunkId;
  readonly items: number;
}

/** The id of a chunk with these bytes, or with this text if it has no references. */
export function chunkIdOf(content: Uint8Array | string): ChunkId {
  return hash('sha256', content, 'binary');
}

export function idToHex(id: ChunkId): string {
  return Buffer.from(id, 'latin1').toString('hex');
}

export function idFromHex(hex: string): ChunkId {
  return Buffer.from(hex, 'hex').toString('latin1');
}

/** Write a reference at `offset`; where it ends. */
export function writeReference(target: Buffer, offset: number, { id, items }: Reference): number {
  target[offset] = REFERENCE_MARK;
  target.write(id, offset + 1, ID_BYTES, 'latin1');
  return target.writeUInt32LE(items, offset + 1 + ID_BYTES);
}

/**
 * The text of a chunk between its references, and these, in order: `visit` is given the bytes before each reference with
 * it, and what is behind the last one without. False if the bytes are not those of a chunk.
 */
export function readPieces(chunk: Buffer, visit: (text: Buffer, reference: Reference | undefined) => void): boolean {
  let start = 0;
  for (let at = chunk.indexOf(REFERENCE_MARK); at !== -1; at = chunk.indexOf(REFERENCE_MARK, start)) {
    const end = at + REFERENCE_BYTES;
    if (end > chunk.length) return false;
    const id = chunk.toString('latin1', at + 1, at + 1 + ID_BYTES);
    visit(chunk.subarray(start, at), { id, items: chunk.readUInt32LE(end - 4) });
    start = end;
  }
  visit(chunk.subarray(start), undefined);
  return true;
}

/** The chunks that a chunk refers to, in order, as often as it does; `undefined` if the bytes are not those of a chunk. */
export function referencesIn(chunk: Buffer): ChunkId[] | undefined {
  const ids: ChunkId[] = [];
  for (let at = chunk.indexOf(REFERENCE_MARK); at !== -1; at = chunk.indexOf(REFERENCE_MARK, at + REFERENCE_BYTES)) {
    if (at + REFERENCE_BYTES > chunk.length) return undefined;
    ids.push(chunk.toString('latin1', at + 1, at + 1 + ID_BYTES));
  }
  return ids;
}

import { isUtf8 } from 'node:buffer';
import * as z from 'zod';
import {
  idFromHex,
  idToHex,
  REFERENCE_BYTES,
  REFERENCE_MARK,
  readPieces,
  STRING_PIECE,
  writeReference,
} from '../packs/chunk.js';

/*
 * A session as text: NDJSON, one object a line. Shortened:
 *
 *   {"holdfast":"checkpoints","version":1,"session":"research-42","checkpoints":2}
 *   {"chunk":"5a01…","text":["{\"content\":\"Hello\",\"role\":\"user\"}"]}
 *   {"chunk":"c3d2…","text":["{\"messages\":[",{"ref":"5a01…","items":0},"]}"]}
 *   {"checkpoint":{"sequence":6,"parent":null,"savedAtMs":1767225600000,"schemaVersion":1,"root":"c3d2…","sizeBytes":52}}
 *   {"checkpoint":{"sequence":7,"parent":6,"savedAtMs":1767225601000,"label":"same again", …}}
 *   {"end":true,"lines":5,"sha256":"e9b0…"}
 *
 * First what it is and how many checkpoints follow. Then these, oldest first; before each the chunks of its state that no
 * line before has, each behind those it refers to. `chunk` is the SHA-256 of the chunk's bytes, which are its text in
 * UTF-8 with each reference as chunk.ts lays it out: `items` is what it says there, 4294967295 a piece of a string.
 * `metadata` is JSON as a state's: a text, so that it comes back to the byte. The last line has the number of lines
 * before it and the SHA-256 of these, each with its line feed: what `head -n -1 | sha256sum` gives.
 */
export const EXPORT_KIND = 'checkpoints';
export const EXPORT_VERSION = 1;

const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in lower-case hexadecimal');
const countSchema = z.int().min(1);
const nameSchema = z.string().min(1).max(256);

export const headLineSchema = z.strictObject({
  holdfast: z.literal(EXPORT_KIND),
  version: z.literal(EXPORT_VERSION),
  session: z.string(),
  checkpoints: z.int().min(0),
});

export const chunkLineSchema = z.strictObject({
  chunk: sha256Schema,
  text: z.array(z.union([z.string(), z.strictObject({ ref: sha256Schema, items: z.int().min(0).max(STRING_PIECE) })])),
});

export const checkpointLineSchema = z.strictObject({
  checkpoint: z.strictObject({
    sequence: countSchema,
    parent: countSchema.nullable(),
    savedAtMs: z.number(),
    schemaVersion: countSchema,
    label: nameSchema.optional(),
    operation: nameSchema.optional(),
    metadata: z.string().optional(),
    root: sha256Schema,
    sizeBytes: countSchema,
  }),
});

export const endLineSchema = z.strictObject({ end: z.literal(true), lines: countSchema, sha256: sha256Schema });

export type HeadLine = z.output<typeof headLineSchema>;
export type ChunkLine = z.output<typeof chunkLineSchema>;
export type CheckpointLine = z.output<typeof checkpointLineSchema>;
export type EndLine = z.output<typeof endLineSchema>;

/** The text of a chunk and what it refers to, in order. */
export type ChunkText = ChunkLine['text'];

/** A chunk as it stands in its line; `undefined` if its bytes cannot be those of a chunk. */
export function textOf(chunk: Buffer): ChunkText | undefined {
  const text: ChunkText = [];
  let isText = true;
  const isChunk = readPieces(chunk, (bytes, reference) => {
    if (!isUtf8(bytes)) isText = false;
    if (bytes.length > 0) text.push(bytes.toString('utf8'));
    if (reference) text.push({ ref: idToHex(reference.id), items: reference.items });
  });
  return isChunk && isText ? text : undefined;
}

/** The bytes that `textOf` was given; `undefined` if it cannot have given this. */
export function bytesOf(text: ChunkText): Buffer | undefined {
  const pieces: Buffer[] = [];
  for (const piece of text) {
    if (typeof piece === 'string') {
      if (piece.includes(MARK)) return undefined; // It would make references of what stands behind it.
      pieces.push(Buffer.from(piece));
    } else {
      const reference = Buffer.allocUnsafe(REFERENCE_BYTES);
      writeReference(reference, 0, { id: idFromHex(piece.ref), items: piece.items });
      pieces.push(reference);
    }
  }
  return Buffer.concat(pieces);
}

const MARK = String.fromCharCode(REFERENCE_MARK);

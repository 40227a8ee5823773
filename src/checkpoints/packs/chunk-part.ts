import { crc32 } from 'node:zlib';
import { type CopiedPart, type KnownValue, StandIn } from '../../records/copy-taker.js';
import { type Chunk, type ChunkContent, REFERENCE_BYTES, type Reference, writeReference } from './chunk.js';

/** A chunk that was just cut, which knows how much canonical JSON it stands for. */
export interface SizedChunk extends Chunk {
  readonly parts: readonly SizedChunk[];
  readonly sizeBytes: number;
}

/** Stretches of text, and references to chunks that belong between them. */
export type Piece = string | ChunkReference;

/** A value, or a list of neighbouring ones, on its way into a chunk. */
export type Part = WrittenPart | FixedValue | SeenValue;

/** A part as it was written just now. */
export type WrittenPart = string | ChunkReference | MixedPart;

/** A chunk, where it is referred to. */
export class ChunkReference implements Reference {
  /** The run that begins here, as it was cut the last time. */
  run: KnownRun | undefined;
  constructor(
    readonly chunk: SizedChunk,
    readonly items: number,
  ) {}

  get id(): string {
    return this.chunk.id;
  }
}

/** Text with references in it. */
export class MixedPart {
  constructor(
    readonly pieces: readonly Piece[],
    /** Characters, a reference counting as its bytes. */
    readonly length: number,
  ) {}
}

/** Stands in a copy for a part that was written and is not remembered. */
export class WrittenValue extends StandIn {
  constructor(
    readonly part: WrittenPart,
    readonly weight: number,
  ) {
    super();
  }
}

/** What is remembered of a value, so that it need not be written as text again. */
export abstract class KnownPart extends StandIn {
  readonly weight: number;
  /** The run that begins with it, as it was cut the last time. */
  run: KnownRun | undefined;
  readonly length: number;
  readonly fingerprint: number;
  /** What stands for it in its container; nothing for a short text, which is made again when it is needed. */
  readonly part: ChunkReference | MixedPart | undefined;

  constructor(weight: number, part: WrittenPart) {
    super();
    this.weight = weight;
    this.length = lengthOf(part);
    this.fingerprint = fingerprintOf(part);
    this.part = typeof part === 'string' ? undefined : part;
  }
}

/** What is remembered of a value that can never change, so that it need not be looked into again. */
export class FixedValue extends KnownPart implements KnownValue {
  readonly sizeBytes: number;
  readonly levels: number;

  constructor(
    readonly source: object,
    { sizeBytes, levels, weight }: CopiedPart,
    part: WrittenPart,
  ) {
    super(weight, part);
    this.sizeBytes = sizeBytes;
    this.levels = levels;
  }
}

/** What is remembered of a value that may change: good for as long as a new copy of it is the same. */
export class SeenValue extends KnownPart {
  readonly copy: object;

  constructor({ copy, weight }: CopiedPart, part: WrittenPart) {
    super(weight, part);
    this.copy = copy;
  }
}

/** A run whose parts are known by identity: the same parts again are the same chunk. */
export interface KnownRun {
  readonly names?: readonly string[] | undefined;
  readonly parts: readonly Part[];
  readonly reference: ChunkReference;
  /** It ended because the list did: with more behind it, it might go on. */
  readonly isLast: boolean;
}

export function lengthOf(part: Part): number {
  return part instanceof ChunkReference ? REFERENCE_BYTES : part.length;
}

/** 32 bits of what the part holds, evenly spread: they decide whether a run ends with it. */
export function fingerprintOf(part: Part): number {
  if (typeof part === 'string') return crc32(part);
  if (part instanceof KnownPart) return part.fingerprint;
  if (part instanceof ChunkReference) return Buffer.from(part.id.slice(0, 4), 'latin1').readUInt32LE(0);
  return part.pieces.reduce((sum, piece) => crc32(typeof piece === 'string' ? piece : piece.id, sum), 0);
}

/** What a chunk of these pieces holds: their text, or bytes if there are references among it. */
export function contentOf(pieces: readonly Piece[]): ChunkContent {
  const [text] = pieces;
  if (pieces.length === 1 && typeof text === 'string') return text;
  const length = pieces.reduce(
    (sum, piece) => sum + (typeof piece === 'string' ? Buffer.byteLength(piece) : REFERENCE_BYTES),
    0,
  );
  const bytes = Buffer.allocUnsafe(length);
  let at = 0;
  for (const piece of pieces) {
    at = typeof piece === 'string' ? at + bytes.write(piece, at) : writeReference(bytes, at, piece);
  }
  return bytes;
}

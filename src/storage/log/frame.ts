import { createHash, hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { sha256Base64Url } from '../../base/digest.js';
import { LimitError } from '../../base/errors.js';
import type { Version } from '../adapter.js';
import { asItIsNow } from '../unchanging.js';

/*
 * A frame, the unit that is appended to a log and is whole or void:
 *
 *   offset  bytes  what
 *   0       4      "HFL1"
 *   4       8      salt of the store: bytes of another store, kept as a value in this one, can never pass for frames
 *   12      4      head length, little-endian
 *   16      4      body length, little-endian
 *   20      4      CRC-32 of the 20 bytes before it: lengths that can be believed tell a cut frame from a damaged one
 *   24      h      head, JSON: the changes, side by side, with the SHA-256 of every value
 *   24+h    32     SHA-256 of everything before it
 *   56+h    b      body: the values, back to back
 *   56+h+b  16     first bytes of that SHA-256 again: present only if the write came to its end
 */
const MAGIC = Buffer.from('HFL1', 'latin1');
const SALT_BYTES = 8;
export const PREFIX_BYTES = 24;
const SHA_BYTES = 32;
export const END_BYTES = 16;
/** A head larger than this is not one of ours; keeps a hostile length from asking for gigabytes. */
const MAX_HEAD_BYTES = 64 * 1024 * 1024;
const MAX_BODY_BYTES = 1024 * 1024 * 1024;
/** Values of one frame that are handed to the operating system one by one. */
export const MAX_VALUE_PIECES = 64;
/**
 * Operations that share a frame, unless one change has more: as many as one damaged head may cost callers who have nothing
 * to do with each other, and enough that each bears little of what a frame costs.
 */
export const MAX_SHARED_OPERATIONS = 32;
/** Zero bytes in a row that text, hashes and lengths never contain: the mark of a page that a power cut lost. */
export const ZERO_RUN = Buffer.alloc(16);

/** One change of a key. Names are short because they are stored with every write. */
export interface FrameOperation {
  /** Key. */
  readonly k: string;
  /** Condition: absent: none; `null`: only if the key is absent; else the version it must have. */
  readonly x?: Version | null | undefined;
  /** Length of the value in the body, for a put. */
  readonly n?: number;
  /** SHA-256 of the value, base64url. */
  readonly h?: string;
  /** The value has long runs of zero bytes of its own, so zeros are no sign of a lost page. */
  readonly z?: 1;
  /** The version the key keeps, when compaction moves an older write. */
  readonly v?: Version;
  /** The value was already damaged when compaction moved it; reading the key says so. */
  readonly bad?: 1;
  /** Delete the key. */
  readonly del?: 1;
}

/** All of these, or none if one condition does not hold. An operation without `n` and `del` only checks. */
export type FrameChange = readonly FrameOperation[];

/** What a frame says. */
export interface FrameHead {
  /** The writer's random name and its counter: how a writer finds its own frames again. */
  readonly i: string;
  /** The writer knows that the segment is on disk up to this offset. */
  readonly d?: number;
  /** Changes of different callers, each decided by itself and after the one before it. */
  readonly o?: readonly FrameChange[];
  /** Nothing behind this frame counts: the next segment goes on from here. */
  readonly seal?: 1;
  /** Ranges found torn after a power cut: never acknowledged, never to be applied. */
  readonly torn?: readonly (readonly [from: number, to: number])[];
  /** Last frame of what compaction wrote before it published the segment: without it the file was cut. */
  readonly ready?: 1;
  /** First frame of a segment: its number, and the positions of damage whose keys are unknown. */
  readonly segment?: { readonly number: number; readonly damage: readonly Version[] };
}

/** A frame as it stands in a file. */
export interface PlacedFrame {
  readonly head: FrameHead;
  readonly offset: number;
  readonly bodyOffset: number;
  readonly end: number;
}

/** A frame ready to be appended: its pieces in order, and their length together. */
export interface EncodedFrame {
  readonly head: FrameHead;
  readonly chunks: readonly Uint8Array[];
  readonly headLength: number;
  readonly length: number;
}

/** A put with the bytes it stands for, which nobody changes: the caller may go on using its buffer. */
export interface SealedPut {
  readonly operation: FrameOperation;
  readonly bytes: Buffer;
}

/** Take and fingerprint a value for a frame. */
export function sealPut(key: string, value: Uint8Array, ifVersion: Version | null | undefined): SealedPut {
  const bytes = asItIsNow(value);
  const operation: FrameOperation = { k: key, x: ifVersion, n: bytes.length, h: sha256Base64Url(bytes) };
  return { bytes, operation: bytes.includes(ZERO_RUN) ? { ...operation, z: 1 } : operation };
}

/** The salt of a store: from its random id, so that it can be had from any intact place that names the store. */
export function saltOf(storeId: string): Buffer {
  return createHash('sha256').update(storeId).digest().subarray(0, SALT_BYTES);
}

/** What every frame of the store begins with. */
export function frameStart(salt: Uint8Array): Buffer {
  return Buffer.concat([MAGIC, salt]);
}

/** Encode a frame. `values` are the bodies of its puts, in their order. */
export function encodeFrame(start: Buffer, head: FrameHead, values: readonly Buffer[] = []): EncodedFrame {
  // More pieces than one write takes would be written by several, and others' frames could come in between.
  const body = values.length > MAX_VALUE_PIECES ? [Buffer.concat(values)] : values;
  const text = JSON.stringify(head); // Keys, versions and hashes are ASCII: as many bytes as characters.
  const front = Buffer.allocUnsafe(PREFIX_BYTES + text.length + SHA_BYTES);
  const bodyLength = values.reduce((sum, value) => sum + value.length, 0);
  start.copy(front);
  front.writeUInt32LE(text.length, 12);
  front.writeUInt32LE(bodyLength, 16);
  front.writeUInt32LE(crc32(front.subarray(0, 20)), 20);
  front.write(text, PREFIX_BYTES, 'latin1');
  const shaAt = PREFIX_BYTES + text.length;
  const sha = hash('sha256', front.subarray(0, shaAt), 'buffer');
  sha.copy(front, shaAt);
  const chunks = [front, ...body, sha.subarray(0, END_BYTES)];
  return { head, chunks, headLength: text.length, length: front.length + bodyLength + END_BYTES };
}

/** @throws LimitError if operations with values of so many bytes are too many for one frame. */
export function requireFrameSize(operations: readonly FrameOperation[], bodyBytes: number): void {
  if (bodyBytes > MAX_BODY_BYTES) {
    throw new LimitError(`The values of a batch have ${bodyBytes} bytes together.`, 'batchBytes', MAX_BODY_BYTES);
  }
  // An operation is its key and some 150 characters more.
  const headBytes = operations.reduce((sum, { k }) => sum + k.length + 200, 0);
  if (headBytes > MAX_HEAD_BYTES) {
    const message = `A batch of ${operations.length} operations is too large for one write: split it.`;
    throw new LimitError(message, 'batchOperations', Math.floor(MAX_HEAD_BYTES / 712));
  }
}

/** An encoded frame as it stands in a file once it is written at `offset`. */
export function placeAt(offset: number, { head, headLength, length }: EncodedFrame): PlacedFrame {
  return { head, offset, bodyOffset: offset + bodyStart(headLength), end: offset + length };
}

/** Where the body of an encoded frame begins, counted from the frame's own start. */
export function bodyStart(headLength: number): number {
  return PREFIX_BYTES + headLength + SHA_BYTES;
}

/** The end mark that belongs to a frame with this front (everything up to its body). */
export function endMark(front: Buffer): Buffer {
  const shaAt = front.length - SHA_BYTES;
  return front.subarray(shaAt, shaAt + END_BYTES);
}

/** The lengths a prefix names, or `undefined` if these 24 bytes are not an intact prefix. */
export function parsePrefix(bytes: Buffer, start: Buffer): { headLength: number; total: number } | undefined {
  if (bytes.length < PREFIX_BYTES || bytes.compare(start, 0, start.length, 0, start.length) !== 0) return undefined;
  if (crc32(bytes.subarray(0, 20)) !== bytes.readUInt32LE(20)) return undefined;
  const headLength = bytes.readUInt32LE(12);
  if (headLength > MAX_HEAD_BYTES) return undefined;
  return { headLength, total: bodyStart(headLength) + bytes.readUInt32LE(16) + END_BYTES };
}

/** The head in `front` (a frame up to its body), or `undefined` if it is not what was written. */
export function parseHead(front: Buffer, headLength: number): FrameHead | undefined {
  const shaAt = PREFIX_BYTES + headLength;
  const sha = hash('sha256', front.subarray(0, shaAt), 'buffer');
  if (front.compare(sha, 0, SHA_BYTES, shaAt, shaAt + SHA_BYTES) !== 0) return undefined;
  try {
    const head: unknown = JSON.parse(front.toString('latin1', PREFIX_BYTES, shaAt));
    return isHead(head, front.readUInt32LE(16)) ? head : undefined;
  } catch {
    return undefined; // Not JSON under a valid hash: forged, and as unreadable as any other damage.
  }
}

/** A hash is no signature: a head is checked for shape before anything in it is used. */
function isHead(head: unknown, bodyLength: number): head is FrameHead {
  if (typeof head !== 'object' || head === null) return false;
  const { i, d, o, torn, segment } = head as Record<keyof FrameHead, unknown>;
  if (typeof i !== 'string' || (d !== undefined && !Number.isSafeInteger(d))) return false;
  if (torn !== undefined && !(Array.isArray(torn) && torn.every(isRange))) return false;
  if (segment !== undefined && !isSegmentMark(segment)) return false;
  if (o === undefined) return bodyLength === 0;
  if (!Array.isArray(o) || !o.every(isChange)) return false;
  let valueBytes = 0;
  for (const change of o) for (const { n = 0 } of change) valueBytes += n;
  return valueBytes === bodyLength;
}

function isChange(change: unknown): change is FrameChange {
  return Array.isArray(change) && change.every(isOperation);
}

function isOperation(operation: unknown): operation is FrameOperation {
  if (typeof operation !== 'object' || operation === null) return false;
  const { k, x, n, h, v } = operation as Record<keyof FrameOperation, unknown>;
  if (typeof k !== 'string' || (x !== undefined && x !== null && typeof x !== 'string')) return false;
  if (v !== undefined && typeof v !== 'string') return false;
  return n === undefined || (Number.isSafeInteger(n) && (n as number) >= 0 && typeof h === 'string');
}

function isRange(range: unknown): boolean {
  return Array.isArray(range) && range.length === 2 && range.every(Number.isSafeInteger);
}

function isSegmentMark(segment: unknown): boolean {
  if (typeof segment !== 'object' || segment === null) return false;
  const { number, damage } = segment as Record<string, unknown>;
  return Number.isSafeInteger(number) && Array.isArray(damage) && damage.every((at) => typeof at === 'string');
}

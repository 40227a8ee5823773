import { promisify } from 'node:util';
import {
  type BrotliOptions,
  brotliCompress,
  brotliCompressSync,
  brotliDecompress,
  brotliDecompressSync,
  constants,
  crc32,
  gunzip,
  gunzipSync,
  gzip,
  gzipSync,
} from 'node:zlib';
import { CorruptionError, LimitError } from '../base/errors.js';

/*
 * A value as it is stored:
 *
 *   offset  bytes  what
 *   0       4      "HFC1": compressed, format 1
 *   4       1      how: 0 as it is, 1 brotli, 2 gzip
 *   5       4      size of the value, little-endian; of a compressed one always more than is stored of it
 *   9       4      CRC-32 of what stands before and behind it, little-endian
 *   13      n      the value, compressed
 */
const MAGIC = Buffer.from('HFC1', 'latin1');
const MAGIC_FAMILY = 'HFC';
const CODING_AT = 4;
const SIZE_AT = 5;
const CHECKSUM_AT = 9;
const BODY_AT = 13;

/** Bytes that a stored value has beyond the value, compressed or not. */
export const OVERHEAD_BYTES = BODY_AT;

/** Up to this size the way to another thread and back takes longer than the work. */
const SYNC_BYTES = 32 * 1024;

/** zlib's least size of an output buffer. */
const MIN_CHUNK_BYTES = 64;

const brotliInThread = promisify(brotliCompress);
const unbrotliInThread = promisify(brotliDecompress);
const gzipInThread = promisify(gzip);
const gunzipInThread = promisify(gunzip);

/** One way to make bytes smaller. What it decompresses has `sizeBytes` at most, in memory too; else it is an error. */
interface Coding {
  /** Names it in a stored value, for ever. */
  readonly mark: number;
  compress(value: Uint8Array): Promise<Uint8Array>;
  compressNow(value: Uint8Array): Uint8Array;
  decompress(body: Uint8Array, sizeBytes: number): Promise<Uint8Array>;
  decompressNow(body: Uint8Array, sizeBytes: number): Uint8Array;
}

const AS_IT_IS = 0;

const CODINGS = {
  brotli: {
    mark: 1,
    compress: (value) => brotliInThread(value, brotliOptions(value)),
    compressNow: (value) => brotliCompressSync(value, brotliOptions(value)),
    decompress: (body, sizeBytes) => unbrotliInThread(body, room(sizeBytes)),
    decompressNow: (body, sizeBytes) => brotliDecompressSync(body, room(sizeBytes)),
  },
  gzip: {
    mark: 2,
    compress: (value) => gzipInThread(value, { chunkSize: chunkFor(value) }),
    compressNow: (value) => gzipSync(value, { chunkSize: chunkFor(value) }),
    decompress: (body, sizeBytes) => gunzipInThread(body, room(sizeBytes)),
    decompressNow: (body, sizeBytes) => gunzipSync(body, room(sizeBytes)),
  },
} satisfies Record<string, Coding>;

const CODINGS_BY_MARK = new Map<number, Coding>(Object.values(CODINGS).map((coding) => [coding.mark, coding]));

/** The bytes to store: compressed from `minBytes` on, if that makes them fewer. The value is taken before this returns. */
export function compressValue(
  value: Uint8Array,
  algorithm: keyof typeof CODINGS,
  minBytes: number,
): Uint8Array | Promise<Uint8Array> {
  if (value.byteLength < minBytes) return framed(AS_IT_IS, value.byteLength, value);
  const coding: Coding = CODINGS[algorithm];
  if (value.byteLength <= SYNC_BYTES) return smaller(value, coding.compressNow(value), coding.mark);
  const own = new Uint8Array(value); // Another thread reads it while the caller goes on.
  return coding.compress(own).then((body) => smaller(own, body, coding.mark));
}

/**
 * The value that was stored.
 * @throws LimitError when it says that it is larger than `maxBytes`; no memory was taken for it.
 * @throws CorruptionError for bytes that are not those that were stored, or were not stored by `compressValue`.
 */
export function openCompressed(key: string, stored: Uint8Array, maxBytes: number): Uint8Array | Promise<Uint8Array> {
  const { coding, sizeBytes, body } = parseStored(key, stored);
  if (sizeBytes > maxBytes) throw tooLarge(key, sizeBytes, maxBytes);
  if (coding === undefined) return body;
  const requireWhole = (value: Uint8Array): Uint8Array => {
    if (value.byteLength !== sizeBytes) throw corrupt(key, `decompresses to ${value.byteLength} of ${sizeBytes} bytes`);
    return value;
  };
  const fail = (cause: unknown): never => {
    // Without a code it is not zlib that speaks: there is no memory, which says nothing about the value.
    if (typeof (cause as { code?: unknown }).code !== 'string') throw cause;
    throw corrupt(key, `does not decompress to ${sizeBytes} bytes`, cause);
  };
  if (sizeBytes > SYNC_BYTES) return coding.decompress(body, sizeBytes).then(requireWhole, fail);
  let value: Uint8Array;
  try {
    value = coding.decompressNow(body, sizeBytes);
  } catch (cause) {
    return fail(cause);
  }
  return requireWhole(value);
}

/** What a stored value says of itself, once its CRC-32 is right. Without a coding the body is the value. */
interface StoredValue {
  readonly coding: Coding | undefined;
  readonly sizeBytes: number;
  readonly body: Uint8Array;
}

function parseStored(key: string, stored: Uint8Array): StoredValue {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) {
    const isFamily = bytes.toString('latin1', 0, MAGIC_FAMILY.length) === MAGIC_FAMILY;
    const newer = 'has a format that is unknown: it is damaged, or was written by a newer holdfast';
    throw corrupt(key, isFamily ? newer : 'was not written through `compressed`, or is damaged beyond recognition');
  }
  if (bytes.length < BODY_AT) throw corrupt(key, 'is damaged: its end is missing');
  if (checksumOf(bytes) !== bytes.readUInt32LE(CHECKSUM_AT)) throw corrupt(key, 'is damaged: its CRC-32 is wrong');
  const mark = bytes[CODING_AT] as number;
  const sizeBytes = bytes.readUInt32LE(SIZE_AT);
  const body = bytes.subarray(BODY_AT);
  const coding = CODINGS_BY_MARK.get(mark);
  const isSound = mark === AS_IT_IS ? body.length === sizeBytes : coding !== undefined && body.length < sizeBytes;
  if (!isSound) throw corrupt(key, 'is none that holdfast writes, though its CRC-32 is right');
  return { coding, sizeBytes, body };
}

function smaller(value: Uint8Array, body: Uint8Array, mark: number): Uint8Array {
  const isSmaller = body.byteLength < value.byteLength;
  return framed(isSmaller ? mark : AS_IT_IS, value.byteLength, isSmaller ? body : value);
}

function framed(mark: number, sizeBytes: number, body: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(BODY_AT + body.byteLength);
  bytes.set(MAGIC, 0);
  bytes[CODING_AT] = mark;
  bytes.writeUInt32LE(sizeBytes, SIZE_AT);
  bytes.set(body, BODY_AT);
  bytes.writeUInt32LE(checksumOf(bytes), CHECKSUM_AT);
  return bytes;
}

function checksumOf(bytes: Buffer): number {
  return crc32(bytes.subarray(BODY_AT), crc32(bytes.subarray(0, CHECKSUM_AT)));
}

/** At a higher quality it would take several times as long to save a few percent of most JSON. */
function brotliOptions(value: Uint8Array): BrotliOptions {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 1, [constants.BROTLI_PARAM_SIZE_HINT]: value.byteLength };
  return { params, chunkSize: chunkFor(value) };
}

/** In one piece: what takes more than the value itself is thrown away anyway. */
function chunkFor(value: Uint8Array): number {
  return Math.max(MIN_CHUNK_BYTES, value.byteLength);
}

/** Room for the whole in one piece, so that it is never there twice. One byte over: zlib gets itself more when it is full. */
function room(sizeBytes: number): { readonly chunkSize: number; readonly maxOutputLength: number } {
  return { chunkSize: Math.max(MIN_CHUNK_BYTES, sizeBytes + 1), maxOutputLength: sizeBytes };
}

function tooLarge(key: string, sizeBytes: number, maxBytes: number): LimitError {
  const message = `The value of "${key}" says that it has ${sizeBytes} bytes, more than maxBytes (${maxBytes}).`;
  return new LimitError(`${message} Raise the limit of \`compressed\` if you wrote it.`, 'maxBytes', maxBytes);
}

function corrupt(key: string, what: string, cause?: unknown): CorruptionError {
  return new CorruptionError(`The value of "${key}" ${what}.`, key, { cause });
}

import { sha256Hex } from '../base/digest.js';
import { CorruptionError } from '../base/errors.js';
import { willNotChange } from '../storage/unchanging.js';

/*
 * A record as it is stored:
 *
 *   offset  bytes  what
 *   0       4      "HFR1": record, format 1
 *   4       32     SHA-256 of everything from offset 36 to the end of the header
 *   36      4      header length, little-endian
 *   40      h      header, JSON; holds the length and the SHA-256 of the body
 *   40+h    b      body
 *
 * The body is hashed once and the header names that hash, so one SHA-256 proves both, metadata can be trusted without
 * reading the body, and the body's hash is the checksum that users see: equal states have equal checksums.
 */
const MAGIC = Buffer.from('HFR1', 'latin1');
const MAGIC_FAMILY = 'HFR';
const SHA_BYTES = 32;
const HEADER_AT = 40;
const MAX_HEADER_BYTES = 16 * 1024 * 1024;

/** Stands in the text of a header for the hash of the body until that is known. */
const NO_SHA = '0'.repeat(2 * SHA_BYTES);
/** Where that is, counted from the end: the hash is the last thing in the header. */
const SHA_FROM_END = NO_SHA.length + '"}}'.length;

/** A body that is not in one piece yet: each is its bytes, or the text whose UTF-8 they are. */
export interface RecordPieces {
  readonly sizeBytes: number;
  readonly pieces: readonly (Buffer | string)[];
}

/** What a record says of itself. Everything but `body` is the caller's; names are short because each record has them. */
export interface RecordHeader<Meta> {
  /** The storage key it was written under: a record copied to another key is found out. */
  readonly key: string;
  /** Random, so that two writers that write the same content still write different records. */
  readonly id: string;
  /** SHA-256 of the record before it, if it has one: `recordHash` of that record. */
  readonly parent: string | null;
  readonly meta: Meta;
  readonly body: { readonly sizeBytes: number; readonly sha256: string };
}

/** A record that was read and proved, its body only where that is said. */
export interface OpenedRecord<Meta> {
  readonly header: RecordHeader<Meta>;
  /** Names this very record; the next one keeps it as `parent`. */
  readonly recordHash: string;
  readonly body: Buffer;
}

/** A record ready to be stored: its bytes as they are, never to be changed. */
export interface SealedRecord<Meta> {
  readonly header: RecordHeader<Meta>;
  readonly recordHash: string;
  readonly bytes: Buffer;
}

/** Make a record of a header and a body. */
export function sealRecord<Meta>(
  { key, id, parent, meta }: Omit<RecordHeader<Meta>, 'body'>,
  body: Buffer | RecordPieces,
): SealedRecord<Meta> {
  const { sizeBytes, pieces } = Buffer.isBuffer(body) ? { sizeBytes: body.length, pieces: [body] } : body;
  const sum = { sizeBytes, sha256: NO_SHA };
  const header = { key, id, parent, meta, body: sum };
  const text = JSON.stringify(header);
  const headerLength = Buffer.byteLength(text);
  const bodyAt = HEADER_AT + headerLength;
  const bytes = Buffer.allocUnsafe(bodyAt + sizeBytes);
  let at = bodyAt;
  for (const piece of pieces) at += typeof piece === 'string' ? bytes.write(piece, at) : piece.copy(bytes, at);
  // Hashed where it stands: each piece is touched once, and its hash has its place at the end of the header.
  sum.sha256 = sha256Hex(bytes.subarray(bodyAt));
  bytes.set(MAGIC, 0);
  bytes.writeUInt32LE(headerLength, 36);
  bytes.write(text, HEADER_AT);
  bytes.write(sum.sha256, bodyAt - SHA_FROM_END, 'latin1');
  const recordHash = sha256Hex(bytes.subarray(36, bodyAt));
  bytes.write(recordHash, 4, SHA_BYTES, 'hex');
  willNotChange(bytes);
  return { header, recordHash, bytes };
}

/**
 * Proves a record before anything of it is used. `isMeta` checks the shape of what the caller keeps in the header.
 * @throws CorruptionError if the bytes are not those of a record written under `key`.
 */
export function openRecord<Meta>(
  key: string,
  bytes: Uint8Array,
  isMeta: (meta: unknown) => meta is Meta,
): OpenedRecord<Meta> {
  const { header, recordHash, body } = openHeader(key, bytes, isMeta);
  if (body.length !== header.body.sizeBytes)
    throw corrupt(key, `its body has ${body.length} of ${header.body.sizeBytes} bytes`);
  if (sha256Hex(body) !== header.body.sha256) throw corrupt(key, 'its body does not match its SHA-256');
  return { header, recordHash, body };
}

/** Proves the header alone; the body may still be damaged. Same errors as `openRecord`. */
export function openHeader<Meta>(
  key: string,
  value: Uint8Array,
  isMeta: (meta: unknown) => meta is Meta,
): OpenedRecord<Meta> {
  const bytes = asBuffer(value);
  if (bytes.length < HEADER_AT) throw corrupt(key, `it has ${bytes.length} bytes, too few for a record`);
  if (bytes.compare(MAGIC, 0, MAGIC.length, 0, MAGIC.length) !== 0) throw badMagic(key, bytes);
  const headerLength = bytes.readUInt32LE(36);
  const bodyAt = HEADER_AT + headerLength;
  if (headerLength > MAX_HEADER_BYTES || bodyAt > bytes.length) throw corrupt(key, 'its header is cut');
  const recordHash = sha256Hex(bytes.subarray(36, bodyAt));
  if (recordHash !== bytes.toString('hex', 4, 4 + SHA_BYTES))
    throw corrupt(key, 'its header does not match its SHA-256');
  const header = parseHeader(key, bytes.toString('utf8', HEADER_AT, bodyAt), isMeta);
  if (header.key !== key) throw corrupt(key, `it was written as "${header.key}" and put here afterwards`);
  return { header, recordHash, body: bytes.subarray(bodyAt) };
}

/** What should be the body of a record that cannot be opened. Nothing of it is proved. */
export function assumedBody(value: Uint8Array): Buffer {
  const bytes = asBuffer(value);
  return bytes.subarray(bytes.length < HEADER_AT ? bytes.length : HEADER_AT + bytes.readUInt32LE(36));
}

function parseHeader<Meta>(key: string, text: string, isMeta: (meta: unknown) => meta is Meta): RecordHeader<Meta> {
  try {
    const header = JSON.parse(text) as RecordHeader<unknown> | null;
    const isWhole =
      typeof header?.key === 'string' &&
      (header.parent === null || typeof header.parent === 'string') &&
      Number.isSafeInteger(header.body?.sizeBytes) &&
      typeof header.body.sha256 === 'string' &&
      isMeta(header.meta);
    if (isWhole) return header as RecordHeader<Meta>;
  } catch (cause) {
    throw corrupt(key, 'its header is not JSON', cause);
  }
  throw corrupt(key, 'its header is not one that this library writes');
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A magic one digit on is a later format, not damage: a newer library may read it. */
function badMagic(key: string, bytes: Buffer): CorruptionError {
  const isFamily = bytes.toString('latin1', 0, 3) === MAGIC_FAMILY;
  const hint = isFamily
    ? 'its format is unknown: damaged, or written by a newer holdfast'
    : 'it does not begin like a record';
  return corrupt(key, hint);
}

function corrupt(key: string, what: string, cause?: unknown): CorruptionError {
  return new CorruptionError(`The record "${key}" is damaged: ${what}.`, key, { cause });
}

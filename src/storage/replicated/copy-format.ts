import { sha256HexOfPieces } from '../../base/digest.js';
import { CorruptionError, LimitError } from '../../base/errors.js';
import { StorageError, type Version } from '../adapter.js';

/** What a backup keeps under a key: a value as it was under a version of the primary, or a place held for one. */
export type Copy =
  | { readonly kind: 'place' }
  | {
      readonly kind: 'value';
      readonly value: Uint8Array;
      /** The primary's version of this value. */
      readonly version: Version;
      /** The primary's later versions sort after its earlier ones. */
      readonly isOrdered: boolean;
    };

/*
 * Bytes of a copy, format 1:
 *   0  `HFCOPY`
 *   6  format, 1
 *   7  kind: 0 a place held, 1 a value, 2 a value under versions that are ordered
 *   8  length of the version in bytes, unsigned, 16 bits, big-endian
 *  10  the version in UTF-8
 *   …  SHA-256 of all before, the storage key, a zero and the value: 32 bytes
 *   …  the value
 */
const MAGIC = Buffer.from('HFCOPY');
const FORMAT = 1;
const KINDS = { place: 0, value: 1, orderedValue: 2 } as const;
const FIXED_BYTES = 10;
const DIGEST_BYTES = 32;

/** Longest version, in bytes, that a copy can carry. Those of the library's own stores have 40 at most. */
const MAX_VERSION_BYTES = 512;

/** What a copy takes beside its value, at most. */
export const COPY_ROOM_BYTES = FIXED_BYTES + MAX_VERSION_BYTES + DIGEST_BYTES;

/** The bytes of a copy that is kept under `key`. @throws LimitError for a version above 512 bytes */
export function copyBytes(key: string, copy: Copy): Uint8Array {
  const version = Buffer.from(copy.kind === 'value' ? copy.version : '');
  if (version.length > MAX_VERSION_BYTES) {
    const message = `The version of "${key}" has ${version.length} bytes; a copy in a backup carries ${MAX_VERSION_BYTES}.`;
    throw new LimitError(message, 'versionBytes', MAX_VERSION_BYTES);
  }
  const value = copy.kind === 'value' ? copy.value : new Uint8Array();
  const kind = copy.kind === 'place' ? KINDS.place : copy.isOrdered ? KINDS.orderedValue : KINDS.value;
  const header = Buffer.concat([
    MAGIC,
    Buffer.from([FORMAT, kind, version.length >> 8, version.length & 0xff]),
    version,
  ]);
  return Buffer.concat([header, digest(header, key, value), value]);
}

/** Do these bytes begin like a copy? It says nothing about whether they are intact. */
export function looksLikeCopy(bytes: Uint8Array): boolean {
  return MAGIC.equals(bytes.subarray(0, MAGIC.length));
}

/**
 * The copy under `key`.
 * @throws CorruptionError unless it is to the last bit what was put there, and put under this key; StorageError for one of
 * a newer format, which is intact and not to be overwritten.
 */
export function readCopy(key: string, bytes: Uint8Array): Copy {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [kind] = view.subarray(7);
  const headerEnd = FIXED_BYTES + (view.length >= FIXED_BYTES ? view.readUInt16BE(8) : 0);
  const header = view.subarray(0, headerEnd);
  const value = view.subarray(headerEnd + DIGEST_BYTES);
  const proof = view.subarray(headerEnd, headerEnd + DIGEST_BYTES);
  if (!looksLikeCopy(view) || !digest(header, key, value).equals(proof)) {
    throw new CorruptionError(`What the backup has under "${key}" is damaged, or is no copy. See repair().`, key);
  }
  if (view[6] !== FORMAT) {
    throw new StorageError(`The copy of "${key}" was written by a newer version of the program. Run that version.`);
  }
  if (kind === KINDS.place) return { kind: 'place' };
  const version = header.toString('utf8', FIXED_BYTES);
  return { kind: 'value', value: new Uint8Array(value), version, isOrdered: kind === KINDS.orderedValue };
}

function digest(header: Uint8Array, key: string, value: Uint8Array): Buffer {
  return Buffer.from(sha256HexOfPieces([header, Buffer.from(`${key}\0`), value]), 'hex');
}

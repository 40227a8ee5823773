import { sha256Hex } from '../base/digest.js';
import { InvalidInputError } from '../base/errors.js';

/** Longest id a user may choose, in bytes of UTF-8. */
export const MAX_ID_BYTES = 1_024;

/** Longest encoded id: leaves room in a storage key for what the library puts before and behind it. */
const MAX_ENCODED_LENGTH = 200;
const HALF_SURROGATE = /\p{Surrogate}/u;
const SAFE = /^[A-Za-z0-9._-]+$/;
const UNSAFE_BYTE = /[^A-Za-z0-9.-]/g;

/**
 * An id of the user's as part of a storage key. Plain ids (`A-Z a-z 0-9 . _ -`) stay readable; other characters become
 * `_` and two hexadecimal digits per byte; what gets too long is cut and ends in its SHA-256. Different ids always give
 * different parts: the three forms begin with different letters. The exact id is kept and verified inside the record.
 * @throws InvalidInputError for an empty id, one over 1,024 bytes, or one with half a surrogate pair.
 */
export function encodeId(id: unknown, name: string): string {
  if (typeof id !== 'string' || id === '')
    throw new InvalidInputError(`${name}: must be a string that is not empty.`, name);
  if (HALF_SURROGATE.test(id)) {
    throw new InvalidInputError(`${name}: ${JSON.stringify(id.slice(0, 80))} has half a surrogate pair in it.`, name);
  }
  const bytes = Buffer.byteLength(id);
  if (bytes > MAX_ID_BYTES) {
    throw new InvalidInputError(`${name}: ${bytes} bytes long; ${MAX_ID_BYTES} are allowed.`, name);
  }
  if (id.length <= MAX_ENCODED_LENGTH && SAFE.test(id)) return `p=${id}`;
  const escaped = escapeBytes(id);
  if (escaped.length <= MAX_ENCODED_LENGTH) return `e=${escaped}`;
  return `h=${escaped.slice(0, MAX_ENCODED_LENGTH - 65)}_${sha256Hex(id)}`;
}

function escapeBytes(id: string): string {
  const bytes = Buffer.from(id, 'utf8').toString('latin1');
  return bytes.replace(UNSAFE_BYTE, (byte) => `_${byte.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** The id that `encodeId` was given, or `undefined` if the part holds only its hash and the record must be asked. */
export function decodeId(part: string): string | undefined {
  const text = part.slice(2);
  if (part.startsWith('p=')) return text;
  if (!part.startsWith('e=')) return undefined;
  const bytes = text.replace(/_([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

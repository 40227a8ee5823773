import stableStringify from 'fast-json-stable-stringify';
import { CorruptionError } from '../../base/errors.js';
import type { CodecSettings, ValueCodec } from '../../records/codec.js';
import { decodeValue } from '../../records/decode.js';
import { isSorted } from '../../records/json-object.js';

/**
 * What `bytes` decode to, proved to be what some value is encoded as: canonical JSON, and nothing in it that cannot be
 * decoded. The host's codecs need not be known here: a value of theirs is what it was encoded as.
 * @throws CorruptionError if they are not; LimitError if they are larger or nested deeper than this program allows.
 */
export function decodeCanonical(bytes: Buffer, codec: CodecSettings): unknown {
  const value = decodeValue(bytes, { ...codec, codecs: [], codecsByTag: new AnyCodec() });
  const text = bytes.toString('utf8');
  const json: unknown = JSON.parse(text);
  // The package writes the same where keys are in order already, in ten times the time.
  const canonical = hasSortedKeys(json) ? JSON.stringify(json) : stableStringify(json);
  if (canonical === text) return value;
  throw new CorruptionError('The bytes are not canonical JSON.', '');
}

/** An object lists integer keys first, so it may say no where the text has them in order. */
function hasSortedKeys(json: unknown): boolean {
  const pending = [json];
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if (typeof value !== 'object' || value === null) continue;
    if (!Array.isArray(value) && !isSorted(Object.keys(value))) return false;
    for (const part of Object.values(value)) if (typeof part === 'object') pending.push(part);
  }
  return true;
}

/** A codec for every tag, which leaves values as what they were encoded as. */
class AnyCodec extends Map<string, ValueCodec> {
  override get(tag: string): ValueCodec {
    return { tag, is: () => false, encode: asItIs, decode: asItIs };
  }
}

function asItIs(encoded: unknown): unknown {
  return encoded;
}

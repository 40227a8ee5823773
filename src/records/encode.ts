import { isHoldfastError } from '../base/errors.js';
import { CanonicalWalk } from './canonical-walk.js';
import { type CodecSettings, DEFAULT_CODEC_SETTINGS, UnserializableError } from './codec.js';
import { tooDeep, tooLarge } from './codec-limits.js';

/**
 * `value` as canonical JSON in UTF-8: equal values give equal bytes, whatever the order of their keys. On plain JSON the
 * bytes are those of `fast-json-stable-stringify`, which there is RFC 8785 (keys in order of UTF-16 code units).
 * Shared references come back equal but no longer shared; objects of another realm come back as this realm's.
 * @throws UnserializableError for anything that would not come back equal, with its path.
 * @throws LimitError when the bytes or the nesting pass the settings' limits.
 */
export function encodeValue(value: unknown, settings: CodecSettings = DEFAULT_CODEC_SETTINGS): Buffer {
  return walkCanonically(settings, (walk) => {
    const json = walk.stringify(walk.copy(value));
    // UTF-8 never has fewer bytes than UTF-16 has units, so a text that is too long is not worth converting.
    if (json.length > settings.maxBytes) throw tooLarge(settings.maxBytes);
    const bytes = Buffer.from(json, 'utf8');
    if (bytes.length > settings.maxBytes) throw tooLarge(settings.maxBytes);
    return bytes;
  });
}

/** Gives `encode` a walk to encode one value with; what goes wrong is thrown as for `encodeValue`. */
export function walkCanonically<Encoded>(settings: CodecSettings, encode: (walk: CanonicalWalk) => Encoded): Encoded {
  if ('toJSON' in Array.prototype) {
    throw new UnserializableError(
      '$',
      'would be changed by the `toJSON` on Object.prototype or Array.prototype. Remove it.',
    );
  }
  const walk = new CanonicalWalk(settings);
  try {
    return encode(walk);
  } catch (error) {
    throw asHoldfastError(error, walk, settings);
  }
}

/** V8 reports a full call stack and a string past its maximum as RangeError. Anything else came from a getter. */
function asHoldfastError(error: unknown, walk: CanonicalWalk, { maxBytes, maxDepth }: CodecSettings): unknown {
  if (isHoldfastError(error)) return error;
  const rangeProblem = error instanceof RangeError ? error.message : undefined;
  if (rangeProblem === 'Maximum call stack size exceeded') return walk.cycle() ?? tooDeep(maxDepth);
  if (rangeProblem === 'Invalid string length') return tooLarge(maxBytes);
  return walk.unserializable('could not be read: a getter threw. See the cause.', error);
}

import { types } from 'node:util';
import stableStringify from 'fast-json-stable-stringify';
import { isHoldfastError, LimitError } from '../base/errors.js';
import type { BuiltInType, ValueWalk } from './built-in-type.js';
import { builtInTypeOf, encodePrimitive } from './built-in-types.js';
import { type CodecSettings, DEFAULT_CODEC_SETTINGS, UnserializableError, type ValueCodec } from './codec.js';
import { describeObject, formatPath, type Step } from './describe.js';
import {
  CODEC_MARKER,
  isArrayPrototype,
  isMarkerShaped,
  isObjectPrototype,
  isSorted,
  type JsonObject,
  NULL_PROTOTYPE_TAG,
  PLAIN_TAG,
  setOwn,
  sortKeys,
} from './json-object.js';

/**
 * `value` as canonical JSON in UTF-8: equal values give equal bytes, whatever the order of their keys. On plain JSON the
 * bytes are those of `fast-json-stable-stringify`, which there is RFC 8785 (keys in order of UTF-16 code units).
 * Shared references come back equal but no longer shared; objects of another realm come back as this realm's.
 * @throws UnserializableError for anything that would not come back equal, with its path.
 * @throws LimitError when the bytes or the nesting pass the settings' limits.
 */
export function encodeValue(value: unknown, settings: CodecSettings = DEFAULT_CODEC_SETTINGS): Buffer {
  if ('toJSON' in Array.prototype) {
    throw new UnserializableError(
      '$',
      'would be changed by the `toJSON` on Object.prototype or Array.prototype. Remove it.',
    );
  }
  const encoder = new Encoder(settings);
  try {
    const json = encoder.toJson(value);
    // UTF-8 never has fewer bytes than UTF-16 has units, so a text that is too long is not worth converting.
    if (json.length > settings.maxBytes) throw tooLarge(settings.maxBytes);
    const bytes = Buffer.from(json, 'utf8');
    if (bytes.length > settings.maxBytes) throw tooLarge(settings.maxBytes);
    return bytes;
  } catch (error) {
    throw asHoldfastError(error, encoder, settings);
  }
}

/**
 * Copies the value into plain JSON with sorted keys and markers. Every property is read exactly once, so a getter cannot
 * show the walk one value and the serialiser another, and no `toJSON` is ever met.
 */
class Encoder implements ValueWalk {
  readonly #settings: CodecSettings;
  /** By depth: which property of the container there is being walked; `undefined` while it is the container itself. */
  readonly #steps: Step[] = [undefined];
  /** By depth: the container. Only looked at when a limit is passed, which makes the search for cycles free until then. */
  readonly #ancestors: object[] = [];
  #depth = 0;
  /** Levels that markers add to the JSON beyond `#depth`. */
  #markerLevels = 0;
  /** Lower bound of the bytes so far. Every value counts the separator after it, and the last one has none. */
  #sizeBytes = -1;
  #needsStableStringify = false;

  constructor(settings: CodecSettings) {
    this.#settings = settings;
  }

  toJson(value: unknown): string {
    const copy = this.#encode(value);
    return this.#needsStableStringify ? stableStringify(copy) : JSON.stringify(copy);
  }

  child(step: string | number, value: unknown): unknown {
    this.#steps[this.#depth] = step;
    return this.#encode(value);
  }

  reserve(sizeBytes: number): void {
    this.#requireRoom(sizeBytes);
    this.#sizeBytes += sizeBytes;
  }

  unserializable(problem: string, cause?: unknown): UnserializableError {
    return new UnserializableError(formatPath(this.#steps, this.#depth), problem, cause === undefined ? {} : { cause });
  }

  /** With `#encodeArray` and `#encodeObject` the only recursion, kept to two frames a level: stack is what limits depth. */
  #encode(value: unknown): unknown {
    if (typeof value !== 'object' || value === null) return this.#encodePrimitive(value);
    const prototype = this.#prototypeOf(value);
    if (Array.isArray(value)) {
      if (isArrayPrototype(prototype)) return this.#encodeArray(value);
    } else if (isObjectPrototype(prototype)) {
      return this.#encodeObject(value, PLAIN_TAG);
    }
    const codec = this.#codecFor(value);
    if (codec !== undefined) return this.#encodeByCodec(value, codec);
    if (prototype === null && !Array.isArray(value)) return this.#encodeObject(value, NULL_PROTOTYPE_TAG);
    const type = builtInTypeOf(value, prototype);
    if (type === undefined) throw this.unserializable(describeObject(value, prototype));
    return this.#encodeBuiltIn(value, type);
  }

  #encodePrimitive(value: unknown): unknown {
    if (typeof value === 'string') {
      this.reserve(value.length + 3);
      return value;
    }
    if (typeof value === 'function') {
      throw this.unserializable('is a function. Leave it out, or keep a name by which you find it again.');
    }
    if (typeof value === 'symbol') {
      throw this.unserializable('is a symbol. Leave it out, or keep a string by which you find it again.');
    }
    return encodePrimitive(value, this);
  }

  #prototypeOf(value: object): object | null {
    if (types.isProxy(value)) {
      throw this.unserializable('is a Proxy, whose contents cannot be told from its traps. Keep a plain copy of it.');
    }
    return Object.getPrototypeOf(value);
  }

  #encodeArray(source: readonly unknown[]): unknown[] {
    this.#enter(source, 1);
    if (Object.getOwnPropertySymbols(source).length > 0) throw this.unserializable(SYMBOL_KEY);
    // Every item takes two bytes at least. Asked before the copy: a sparse array may claim four billion items.
    this.#requireRoom(source.length * 2);
    const copy = [...source];
    for (let index = 0; index < copy.length; index++) {
      const item = copy[index];
      this.#steps[this.#depth] = index;
      if (item === undefined && !Object.hasOwn(source, index)) throw this.unserializable(HOLE);
      const encoded = this.#encode(item);
      if (encoded !== item) copy[index] = encoded;
    }
    this.#steps[this.#depth] = undefined;
    if (Object.keys(source).length !== copy.length) throw this.unserializable(NAMED_PROPERTIES);
    this.#leave(1);
    return copy;
  }

  #encodeObject(source: object, tag: string): JsonObject {
    const keys = Object.keys(source);
    const isTagged = tag === NULL_PROTOTYPE_TAG || isMarkerShaped(keys);
    const levels = isTagged ? 2 : 1;
    this.#enter(source, levels);
    const copy = this.#shallowCopy(source, keys);
    for (const key of keys) {
      this.#steps[this.#depth] = key;
      this.#sizeBytes += key.length + 3;
      const value = copy[key];
      const encoded = this.#encode(value);
      if (encoded !== value) copy[key] = encoded; // Own already, so `__proto__` is a key like any other here.
    }
    this.#leave(levels);
    return isTagged ? { [tag]: copy } : copy;
  }

  /** The properties in canonical order, which `keys` is brought into; each is read once. */
  #shallowCopy(source: object, keys: string[]): JsonObject {
    if (Object.getOwnPropertySymbols(source).length > 0) this.#refuseSymbolKeys(source);
    if (isSorted(keys)) return { ...source };
    const copy: JsonObject = {};
    let hasDigitKey = false;
    for (const key of sortKeys(keys)) {
      setOwn(copy, key, (source as JsonObject)[key]);
      const first = key.charCodeAt(0);
      if (first <= DIGIT_NINE && first >= DIGIT_ZERO) hasDigitKey = true;
    }
    // An object lists integer keys first, by number, whatever order they were added in. Then its JSON is not canonical.
    if (hasDigitKey && !isSorted(Object.keys(copy))) this.#needsStableStringify = true;
    return copy;
  }

  #encodeByCodec(value: object, codec: ValueCodec): JsonObject {
    this.#enter(value, 1);
    this.reserve(CODEC_MARKER.length + codec.tag.length + 3);
    const payload = this.#encode(this.#ask(codec, () => codec.encode(value)));
    this.#leave(1);
    return { [CODEC_MARKER + codec.tag]: payload };
  }

  #encodeBuiltIn(value: object, type: BuiltInType): JsonObject {
    this.#enter(value, type.levels);
    this.reserve(type.tag.length + 3);
    const payload = type.encode(value, this);
    this.#leave(type.levels);
    return { [type.tag]: payload };
  }

  #codecFor(value: object): ValueCodec | undefined {
    for (const codec of this.#settings.codecs) {
      if (this.#ask(codec, () => codec.is(value))) return codec;
    }
    return undefined;
  }

  #ask<Answer>(codec: ValueCodec, question: () => Answer): Answer {
    try {
      return question();
    } catch (error) {
      throw this.unserializable(`could not be encoded: codec "${codec.tag}" threw. See the cause.`, error);
    }
  }

  #refuseSymbolKeys(source: object): void {
    for (const symbol of Object.getOwnPropertySymbols(source)) {
      if (Object.prototype.propertyIsEnumerable.call(source, symbol)) throw this.unserializable(SYMBOL_KEY);
    }
  }

  #requireRoom(sizeBytes: number): void {
    const { maxBytes } = this.#settings;
    if (this.#sizeBytes + sizeBytes > maxBytes) throw this.cycle() ?? tooLarge(maxBytes);
  }

  #enter(container: object, levels: number): void {
    this.#depth++;
    this.#markerLevels += levels - 1;
    this.#ancestors[this.#depth] = container;
    this.#steps[this.#depth] = undefined;
    const { maxDepth } = this.#settings;
    if (this.#depth + this.#markerLevels > maxDepth) throw this.cycle() ?? tooDeep(maxDepth);
    this.reserve(2);
  }

  #leave(levels: number): void {
    this.#depth--;
    this.#markerLevels -= levels - 1;
  }

  /** The error for a container that holds itself, if that is why a limit was passed. */
  cycle(): UnserializableError | undefined {
    const firstDepths = new Map<object, number>();
    for (let depth = 1; depth <= this.#depth; depth++) {
      const container = this.#ancestors[depth] as object;
      const firstDepth = firstDepths.get(container);
      if (firstDepth !== undefined) {
        const target = formatPath(this.#steps, firstDepth - 1);
        const problem = `points back to ${target}. Break the cycle, for example by keeping an id instead of the object.`;
        return new UnserializableError(formatPath(this.#steps, depth - 1), problem);
      }
      firstDepths.set(container, depth);
    }
    return undefined;
  }
}

const DIGIT_ZERO = 48;
const DIGIT_NINE = 57;
const HOLE = 'is a hole in a sparse array. Fill it, for example with null.';
const SYMBOL_KEY = 'has a symbol as a key. Use a string key.';
const NAMED_PROPERTIES = 'is an array with named properties. Keep them in an object beside the items.';

function tooLarge(maxBytes: number): LimitError {
  return new LimitError(
    `The value needs more than maxBytes (${maxBytes}). Keep less in it, or raise the limit.`,
    'maxBytes',
    maxBytes,
  );
}

function tooDeep(maxDepth: number): LimitError {
  return new LimitError(
    `The value is nested deeper than maxDepth (${maxDepth}). Flatten it, or raise the limit.`,
    'maxDepth',
    maxDepth,
  );
}

/** V8 reports a full call stack and a string past its maximum as RangeError. Anything else came from a getter. */
function asHoldfastError(error: unknown, encoder: Encoder, { maxBytes, maxDepth }: CodecSettings): unknown {
  if (isHoldfastError(error)) return error;
  const rangeProblem = error instanceof RangeError ? error.message : undefined;
  if (rangeProblem === 'Maximum call stack size exceeded') return encoder.cycle() ?? tooDeep(maxDepth);
  if (rangeProblem === 'Invalid string length') return tooLarge(maxBytes);
  return encoder.unserializable('could not be read: a getter threw. See the cause.', error);
}

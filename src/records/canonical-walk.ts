import { types } from 'node:util';
import stableStringify from 'fast-json-stable-stringify';
import type { BuiltInType, ValueWalk } from './built-in-type.js';
import { builtInTypeOf, encodePrimitive } from './built-in-types.js';
import { type CodecSettings, UnserializableError, type ValueCodec } from './codec.js';
import { tooDeep, tooLarge } from './codec-limits.js';
import type { KnownValue } from './copy-taker.js';
import { cycleOn } from './cycle.js';
import { describeObject, formatPath, HOLE, NAMED_PROPERTIES, type Step, SYMBOL_KEY } from './describe.js';
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
import type { OpenPart, PartGiver } from './part-giver.js';
import { CONTAINER_WEIGHT, weightOfKey } from './weight.js';

/**
 * Copies the value into plain JSON with sorted keys and markers. Every property is read exactly once, so a getter cannot
 * show the walk one value and the serialiser another, and no `toJSON` is ever met.
 */
export class CanonicalWalk implements ValueWalk {
  /** A known value stands somewhere in the copy. */
  hasKnown = false;
  readonly #settings: CodecSettings;
  /** Gives the copy away while it is made, if somebody takes it. */
  #giver: PartGiver | undefined;
  /** Deepest level of JSON since a container began that will want to know. */
  #deepest = 0;
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

  /** The value as plain JSON values, but for what `giver` has something stand in. */
  copy(value: unknown, giver?: PartGiver): unknown {
    this.#giver = giver;
    return this.#encode(value);
  }

  /** A known value as plain JSON values after all, its parts too. It has been counted already. */
  copyKnown(source: object): unknown {
    const giver = this.#giver;
    const sizeBytes = this.#sizeBytes;
    this.#giver = undefined;
    this.#sizeBytes = -1;
    const copy = this.#encode(source);
    this.#giver = giver;
    this.#sizeBytes = sizeBytes;
    return copy;
  }

  /** Canonical JSON of the copy, or of a part of it that holds no known value. */
  stringify(copy: unknown): string {
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
    const known = this.#giver?.find(value);
    if (known !== undefined) return this.#passOver(value, known);
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
    const encoded = encodePrimitive(value, this);
    if (typeof encoded === 'object' && encoded !== null) this.#giver?.leaf(encoded);
    return encoded;
  }

  #passOver(value: object, known: KnownValue): KnownValue {
    this.hasKnown = true;
    this.#enter(value, known.levels);
    this.#requireRoom(known.sizeBytes - 2);
    this.#sizeBytes += known.sizeBytes - 2; // The two that entering has counted are among them.
    this.#leave(known.levels);
    return known;
  }

  #prototypeOf(value: object): object | null {
    if (types.isProxy(value)) {
      throw this.unserializable('is a Proxy, whose contents cannot be told from its traps. Keep a plain copy of it.');
    }
    return Object.getPrototypeOf(value);
  }

  #encodeArray(source: readonly unknown[]): unknown[] {
    const part = this.#begin();
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
      if (part !== undefined) this.#giver?.add(part, copy, encoded);
    }
    this.#steps[this.#depth] = undefined;
    if (Object.keys(source).length !== copy.length) throw this.unserializable(NAMED_PROPERTIES);
    this.#leave(1);
    if (part !== undefined) this.#end(part, copy, source);
    return copy;
  }

  #encodeObject(source: object, tag: string): JsonObject {
    const keys = Object.keys(source);
    const isTagged = tag === NULL_PROTOTYPE_TAG || isMarkerShaped(keys);
    const part = this.#begin();
    const levels = isTagged ? 2 : 1;
    this.#enter(source, levels);
    const copy = this.#shallowCopy(source, keys);
    for (const key of keys) {
      this.#steps[this.#depth] = key;
      this.#sizeBytes += key.length + 3;
      const value = copy[key];
      const encoded = this.#encode(value);
      if (encoded !== value) copy[key] = encoded; // Own already, so `__proto__` is a key like any other here.
      if (part !== undefined) {
        part.weight += weightOfKey(key);
        this.#giver?.add(part, copy, encoded);
      }
    }
    this.#leave(levels);
    const encodedObject = isTagged ? { [tag]: copy } : copy;
    if (part !== undefined) {
      if (isTagged) part.weight += CONTAINER_WEIGHT + weightOfKey(tag);
      this.#end(part, encodedObject, source);
    }
    return encodedObject;
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
    const part = this.#begin();
    this.#enter(value, 1);
    this.reserve(CODEC_MARKER.length + codec.tag.length + 3);
    const payload = this.#encode(this.#ask(codec, () => codec.encode(value)));
    this.#leave(1);
    const marker = { [CODEC_MARKER + codec.tag]: payload };
    if (part !== undefined) this.#end(part, marker);
    return marker;
  }

  #encodeBuiltIn(value: object, type: BuiltInType): JsonObject {
    const part = this.#begin();
    this.#enter(value, type.levels);
    this.reserve(type.tag.length + 3);
    const payload = type.encode(value, this);
    this.#leave(type.levels);
    const marker = { [type.tag]: payload };
    if (part !== undefined) this.#end(part, marker);
    return marker;
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
    const level = this.#depth + this.#markerLevels;
    if (level > this.#deepest) this.#deepest = level;
    if (level > maxDepth) throw this.cycle() ?? tooDeep(maxDepth);
    this.reserve(2);
  }

  /** A container begins. Nothing where nobody takes its copy. */
  #begin(): OpenPart | undefined {
    const part = this.#giver?.begin();
    if (part === undefined) return undefined;
    part.sizeBytes = this.#sizeBytes;
    part.deepest = this.#deepest;
    this.#deepest = 0;
    return part;
  }

  /** Without a source: `copy` is a marker. */
  #end(part: OpenPart, copy: object, source?: object): void {
    part.sizeBytes = this.#sizeBytes - part.sizeBytes;
    part.levels = this.#deepest - this.#depth - this.#markerLevels;
    part.step = this.#steps[this.#depth];
    this.#deepest = Math.max(part.deepest, this.#deepest);
    if (source === undefined) this.#giver?.endMarker(part, copy);
    else this.#giver?.end(part, copy, source);
  }

  #leave(levels: number): void {
    this.#depth--;
    this.#markerLevels -= levels - 1;
  }

  /** The error for a container that holds itself, if that is why a limit was passed. */
  cycle(): UnserializableError | undefined {
    return cycleOn({ depth: this.#depth, ancestors: this.#ancestors, steps: this.#steps });
  }
}

const DIGIT_ZERO = 48;
const DIGIT_NINE = 57;

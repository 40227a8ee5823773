import { types } from 'node:util';

/** A JSON container under construction or being read in place. */
export type JsonObject = Record<string, unknown>;

/** Begins the one key of an object that stands for a value JSON cannot hold: `{"$hf:Date": 0}`. */
export const MARKER = '$hf:';

/** Marker of a user's own object that would read as a marker: `{"$hf:plain": {"$hf:Date": 0}}`. */
export const PLAIN_TAG = `${MARKER}plain`;

/** Marker of an object without a prototype. */
export const NULL_PROTOTYPE_TAG = `${MARKER}null-prototype`;

/** Begins the marker key of a value kept by a host's codec. */
export const CODEC_MARKER = `${MARKER}x-`;

/** Keys whose plain assignment could meet a setter (`__proto__`) or a frozen prototype instead of making a property. */
const INHERITED_KEYS = new Set(Object.getOwnPropertyNames(Object.prototype));

/** Make `key` an own data property of `target`, whatever the key is called. */
export function setOwn(target: JsonObject, key: string, value: unknown): void {
  if (INHERITED_KEYS.has(key)) {
    Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
  } else {
    target[key] = value;
  }
}

/** Whether `keys` are those of a marker, or of a user's object that looks like one. */
export function isMarkerShaped(keys: readonly string[]): boolean {
  return keys.length === 1 && (keys[0] as string).startsWith(MARKER);
}

/** Whether keys are in the order of UTF-16 code units, which is what `<` compares and what `sort()` makes. */
export function isSorted(keys: readonly string[]): boolean {
  for (let index = 1; index < keys.length; index++) {
    if ((keys[index] as string) < (keys[index - 1] as string)) return false;
  }
  return true;
}

/** Above this the square of an insertion sort outweighs what a call of the native sort costs. */
const FEW_KEYS = 24;

/** `keys` in canonical order, in place. By hand for the few keys of a usual object: seven times faster than native there. */
export function sortKeys(keys: string[]): string[] {
  if (keys.length > FEW_KEYS) return keys.sort();
  for (let end = 1; end < keys.length; end++) {
    const key = keys[end] as string;
    let place = end;
    for (; place > 0 && (keys[place - 1] as string) > key; place--) keys[place] = keys[place - 1] as string;
    keys[place] = key;
  }
  return keys;
}

const SOURCE_OF_OBJECT = Function.prototype.toString.call(Object);
const SOURCE_OF_ARRAY = Function.prototype.toString.call(Array);

/** Whether `prototype` is what `{}` has, here or in another realm (`node:vm`, where Jest runs its tests). */
export function isObjectPrototype(prototype: object | null): boolean {
  return prototype === Object.prototype || isForeignIntrinsic(prototype, SOURCE_OF_OBJECT);
}

/** Whether `prototype` is what `[]` has, here or in another realm. */
export function isArrayPrototype(prototype: object | null): boolean {
  return prototype === Array.prototype || isForeignIntrinsic(prototype, SOURCE_OF_ARRAY);
}

/** A built-in constructor's source text and its fixed `prototype` property cannot both be forged. */
function isForeignIntrinsic(prototype: object | null, source: string): boolean {
  if (prototype === null || types.isProxy(prototype)) return false;
  const creator: unknown = Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value;
  if (typeof creator !== 'function' || types.isProxy(creator) || creator.prototype !== prototype) return false;
  return Function.prototype.toString.call(creator) === source;
}

import type { UnserializableError } from './codec.js';

/** What a built-in type may ask of the walk that is encoding it. */
export interface ValueWalk {
  /** `value`, a part of the one being encoded, in its JSON form. `step` is how a path names the part. */
  child(step: string | number, value: unknown): unknown;
  /** Count bytes that are about to be written. Call it before building a large payload: it throws when the limit is passed. */
  reserve(sizeBytes: number): void;
  /** The error to throw for the value being encoded; `problem` continues a sentence that begins with its path. */
  unserializable(problem: string, cause?: unknown): UnserializableError;
}

/** How one of the language's own types is kept: `{ [tag]: payload }`. */
export interface BuiltInType<Value extends object = object> {
  readonly tag: string;
  /** Exactly this prototype: subclasses carry behaviour that would be lost. */
  readonly prototype: object;
  /** JSON levels from the marker down to the last container that holds parts of the value. */
  readonly levels: number;
  /** Whether the value has the type's internal slots; `Object.create(Date.prototype)` has not. */
  isGenuine(value: unknown): boolean;
  encode(value: Value, walk: ValueWalk): unknown;
  /** The value, or `MALFORMED`. Parts of the payload are decoded already. A throw means malformed, too. */
  decode(payload: unknown): unknown;
}

/** Returned by `decode` for a payload that `encode` cannot have made. */
export const MALFORMED = Symbol('malformed payload');

/**
 * Properties added to a built-in object have no place in its payload, so they must be an error. Hidden methods hold
 * nothing: Immer puts some on maps and sets, to freeze them.
 */
export function refuseOwnProperties(value: object, walk: ValueWalk, expectedCount = 0): void {
  const keys = Reflect.ownKeys(value);
  if (keys.length === expectedCount) return;
  const holding = keys.filter((key) => !isHiddenMethod(Object.getOwnPropertyDescriptor(value, key)));
  if (holding.length === expectedCount) return;
  throw walk.unserializable(
    `is a built-in object with properties of its own (${holding.map(String).join(', ')}). ${KEEP_BESIDE}`,
  );
}

function isHiddenMethod(property: PropertyDescriptor | undefined): boolean {
  return property?.enumerable === false && typeof property.value === 'function';
}

/** Advice for properties on an object that has no place for them. */
export const KEEP_BESIDE = 'Keep them in a plain object beside it.';

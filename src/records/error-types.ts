import { types } from 'node:util';
import { type BuiltInType, MALFORMED, type ValueWalk } from './built-in-type.js';
import { MARKER } from './json-object.js';

/** Properties that engines make non-enumerable. Others that are not enumerable are ignored, as everywhere. */
const HIDDEN_KEYS = new Set(['cause', 'errors', 'message', 'name', 'stack']);

/** One property: its key, its value, and whether it is enumerable. */
type ErrorProperty = readonly [key: string, value: unknown, isEnumerable: boolean];

/** The language's own error classes, each under its own name. Causes, aggregated errors, codes and stacks are kept. */
export const ERROR_TYPES: readonly BuiltInType[] = [
  errorType('Error', Error.prototype),
  errorType('EvalError', EvalError.prototype),
  errorType('RangeError', RangeError.prototype),
  errorType('ReferenceError', ReferenceError.prototype),
  errorType('SyntaxError', SyntaxError.prototype),
  errorType('TypeError', TypeError.prototype),
  errorType('URIError', URIError.prototype),
  errorType('AggregateError', AggregateError.prototype),
];

function errorType(name: string, prototype: object): BuiltInType<Error> {
  return {
    tag: MARKER + name,
    prototype,
    levels: 3,
    isGenuine: types.isNativeError,
    encode: encodeError,
    decode: (payload) => (isPropertyList(payload) ? decodeError(prototype, payload) : MALFORMED),
  };
}

function encodeError(error: Error, walk: ValueWalk): unknown[] {
  const properties: ErrorProperty[] = [];
  for (const key of Reflect.ownKeys(error)) {
    const isEnumerable = Object.prototype.propertyIsEnumerable.call(error, key);
    if (typeof key === 'symbol') {
      if (isEnumerable) throw walk.unserializable('is an Error with a symbol as a key. Use a string key.');
    } else if (isEnumerable || HIDDEN_KEYS.has(key)) {
      properties.push([key, (error as unknown as Record<string, unknown>)[key], isEnumerable]);
    }
  }
  properties.sort(([left], [right]) => (left < right ? -1 : 1));
  return properties.map(([key, value, isEnumerable]) => {
    walk.reserve(key.length + 10);
    return [key, walk.child(key, value), isEnumerable];
  });
}

function decodeError(prototype: object, properties: readonly ErrorProperty[]): Error {
  const error = new Error();
  // Only what was written: this stack would tell where the record was read, not where the error was made.
  delete error.stack;
  Object.setPrototypeOf(error, prototype);
  for (const [key, value, enumerable] of properties) {
    Object.defineProperty(error, key, { value, enumerable, writable: true, configurable: true });
  }
  return error;
}

function isPropertyList(payload: unknown): payload is readonly ErrorProperty[] {
  if (!Array.isArray(payload)) return false;
  let previous: string | undefined;
  for (const property of payload) {
    if (!Array.isArray(property) || property.length !== 3) return false;
    const [key, , isEnumerable] = property;
    if (typeof key !== 'string' || typeof isEnumerable !== 'boolean') return false;
    if (!isEnumerable && !HIDDEN_KEYS.has(key)) return false;
    if (previous !== undefined && key <= previous) return false;
    previous = key;
  }
  return true;
}

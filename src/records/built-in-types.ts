import { types } from 'node:util';
import { BINARY_TYPES } from './binary-types.js';
import { type BuiltInType, MALFORMED, refuseOwnProperties, type ValueWalk } from './built-in-type.js';
import { ERROR_TYPES } from './error-types.js';
import { MARKER } from './json-object.js';

const UNDEFINED_TAG = `${MARKER}undefined`;
const NUMBER_TAG = `${MARKER}number`;
const BIGINT_TAG = `${MARKER}bigint`;
const HEXADECIMAL = /^-?0x(?:0|[1-9a-f][0-9a-f]*)$/;

const DATE: BuiltInType<Date> = {
  tag: `${MARKER}Date`,
  prototype: Date.prototype,
  levels: 1,
  isGenuine: types.isDate,
  encode(date, walk) {
    refuseOwnProperties(date, walk);
    const timeMs = date.getTime();
    return Number.isNaN(timeMs) ? null : timeMs;
  },
  decode(payload) {
    if (payload === null) return new Date(Number.NaN);
    return Number.isInteger(payload) && Math.abs(payload as number) <= 8.64e15
      ? new Date(payload as number)
      : MALFORMED;
  },
};

const MAP: BuiltInType<ReadonlyMap<unknown, unknown>> = {
  tag: `${MARKER}Map`,
  prototype: Map.prototype,
  levels: 3,
  isGenuine: types.isMap,
  encode(map, walk) {
    refuseOwnProperties(map, walk);
    return Array.from(map, ([key, value], position) => [walk.child(position, key), walk.child(position, value)]);
  },
  decode(payload) {
    if (!Array.isArray(payload) || !payload.every((entry) => Array.isArray(entry) && entry.length === 2))
      return MALFORMED;
    const map = new Map(payload);
    return map.size === payload.length ? map : MALFORMED;
  },
};

const SET: BuiltInType<ReadonlySet<unknown>> = {
  tag: `${MARKER}Set`,
  prototype: Set.prototype,
  levels: 2,
  isGenuine: types.isSet,
  encode(set, walk) {
    refuseOwnProperties(set, walk);
    return Array.from(set, (item, position) => walk.child(position, item));
  },
  decode(payload) {
    if (!Array.isArray(payload)) return MALFORMED;
    const set = new Set(payload);
    return set.size === payload.length ? set : MALFORMED;
  },
};

const REG_EXP: BuiltInType<RegExp> = {
  tag: `${MARKER}RegExp`,
  prototype: RegExp.prototype,
  levels: 2,
  isGenuine: types.isRegExp,
  encode(pattern, walk) {
    refuseOwnProperties(pattern, walk, 1); // `lastIndex`
    if (typeof pattern.lastIndex !== 'number')
      throw walk.unserializable('has a lastIndex that is not a number. Reset it.');
    walk.reserve(pattern.source.length);
    return [pattern.source, pattern.flags, walk.child('lastIndex', pattern.lastIndex)];
  },
  decode(payload) {
    if (!Array.isArray(payload) || payload.length !== 3) return MALFORMED;
    const [source, flags, lastIndex] = payload;
    if (typeof source !== 'string' || typeof flags !== 'string' || typeof lastIndex !== 'number') return MALFORMED;
    const pattern = new RegExp(source, flags);
    pattern.lastIndex = lastIndex;
    return pattern.source === source && pattern.flags === flags ? pattern : MALFORMED;
  },
};

const WEB_URL: BuiltInType<URL> = {
  tag: `${MARKER}URL`,
  prototype: URL.prototype,
  levels: 1,
  isGenuine: isUrl,
  encode(url, walk) {
    refuseOwnProperties(url, walk);
    const { href } = url;
    if (!URL.canParse(href) || new URL(href).href !== href) {
      throw walk.unserializable('is a URL that its own text does not lead back to. Keep the text.');
    }
    walk.reserve(href.length);
    return href;
  },
  decode(payload) {
    if (typeof payload !== 'string') return MALFORMED;
    const url = new URL(payload);
    return url.href === payload ? url : MALFORMED;
  },
};

const BUILT_IN_TYPES: readonly BuiltInType[] = [DATE, MAP, SET, REG_EXP, WEB_URL, ...ERROR_TYPES, ...BINARY_TYPES];

const BY_PROTOTYPE = new Map(BUILT_IN_TYPES.map((type) => [type.prototype, type]));

/** The type of an object with built-in behaviour, or `undefined` if it is of none that can be kept. */
export function builtInTypeOf(value: object, prototype: object | null): BuiltInType | undefined {
  const type = prototype === null ? undefined : BY_PROTOTYPE.get(prototype);
  return type?.isGenuine(value) ? type : undefined;
}

/** `undefined`, a number, a bigint or a boolean in its JSON form. */
export function encodePrimitive(value: unknown, walk: ValueWalk): unknown {
  if (typeof value === 'number') {
    walk.reserve(2);
    if (Number.isFinite(value) && !Object.is(value, -0)) return value;
    return { [NUMBER_TAG]: Object.is(value, -0) ? '-0' : String(value) };
  }
  if (typeof value === 'bigint') return { [BIGINT_TAG]: encodeBigint(value, walk) };
  walk.reserve(5);
  return value === undefined ? { [UNDEFINED_TAG]: null } : value;
}

/** Hexadecimal, because reading a long decimal takes time that grows with the square of its length. */
function encodeBigint(value: bigint, walk: ValueWalk): string {
  const text = value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
  walk.reserve(text.length);
  return text;
}

function decodeBigint(payload: unknown): unknown {
  if (typeof payload !== 'string' || payload === '-0x0' || !HEXADECIMAL.test(payload)) return MALFORMED;
  return payload.startsWith('-') ? -BigInt(payload.slice(1)) : BigInt(payload);
}

const SPECIAL_NUMBERS = new Map<unknown, number>([
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
  ['-0', -0],
]);

/**
 * Marker to decoder, for primitives and built-in types. Closed: a name in a record is looked up here and nowhere else,
 * so a record cannot name a constructor of its choice.
 */
export const DECODERS: ReadonlyMap<string, (payload: unknown) => unknown> = new Map<
  string,
  (payload: unknown) => unknown
>([
  [UNDEFINED_TAG, (payload) => (payload === null ? undefined : MALFORMED)],
  [NUMBER_TAG, (payload) => SPECIAL_NUMBERS.get(payload) ?? MALFORMED],
  [BIGINT_TAG, decodeBigint],
  ...BUILT_IN_TYPES.map((type) => [type.tag, type.decode] as const),
]);

/** A URL keeps its parts in private fields, which only its own accessor can find. */
const readHref = Object.getOwnPropertyDescriptor(URL.prototype, 'href')?.get;

function isUrl(value: unknown): boolean {
  try {
    return typeof readHref?.call(value) === 'string';
  } catch {
    return false; // An object made with URL's prototype by other means.
  }
}

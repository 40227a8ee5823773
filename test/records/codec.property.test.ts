import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import stableStringify from 'fast-json-stable-stringify';
import { expect, test } from 'vitest';
import { isHoldfastError, LimitError } from '../../src/base/errors.js';
import { prepareCodecs } from '../../src/records/codec.js';
import { decodeValue } from '../../src/records/decode.js';
import { encodeValue } from '../../src/records/encode.js';

const MARKER_WORDS = [
  '$hf:',
  '$hf:plain',
  '$hf:Date',
  '$hf:Map',
  '$hf:number',
  '$hf:undefined',
  '$hf:null-prototype',
  '$hf:x-a',
  '$hf:Error',
];
const AWKWARD_KEYS = [
  '__proto__',
  'constructor',
  'toString',
  'toJSON',
  'length',
  '',
  '0',
  '9',
  '10',
  '01',
  '-1',
  '4294967294',
  '4294967295',
  '1e3',
  '\ud800',
  '\uffff',
  '😀',
  'é',
];

const anyString = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom('', '\ud800', 'a\udc00b', '"\\', '\u2028', '\u0000'),
);
const anyKey = fc.oneof(anyString, fc.constantFrom(...MARKER_WORDS, ...AWKWARD_KEYS), fc.nat(20).map(String));
const finite = fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => (number === 0 ? 0 : number));

/** An object with own properties, whatever they are called and in the order given. */
const objectOf = (entries: readonly (readonly [string, unknown])[], prototype: object | null = Object.prototype) => {
  const object = Object.create(prototype);
  for (const [key, value] of entries)
    Object.defineProperty(object, key, { value, enumerable: true, writable: true, configurable: true });
  return object;
};
const entriesOf = (child: fc.Arbitrary<unknown>) =>
  fc.uniqueArray(fc.tuple(anyKey, child), { selector: ([key]) => key, maxLength: 6 });

const { json } = fc.letrec((tie) => ({
  leaf: fc.oneof(anyString, finite, fc.integer(), fc.boolean(), fc.constant(null)),
  json: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('leaf'),
    fc.array(tie('json'), { maxLength: 6 }),
    entriesOf(tie('json')).map((entries) => objectOf(entries)),
  ),
}));

const errorWith = ([ErrorClass, message, cause, code]: [ErrorConstructor, string, unknown, unknown]) =>
  Object.assign(new ErrorClass(message, { cause }), { code });

const { rich } = fc.letrec((tie) => ({
  leaf: fc.oneof(
    anyString,
    fc.double(),
    fc.integer(),
    fc.boolean(),
    fc.bigInt(),
    fc.constantFrom(null, undefined, -0, Number.NaN, Number.POSITIVE_INFINITY),
    fc.date({ noInvalidDate: true }),
    fc.webUrl({ size: 'xsmall' }).map((href) => new URL(href)),
    fc.constantFrom(/a/g, /[/]\n/u, /(?:)/),
    fc.uint8Array({ maxLength: 5 }),
    fc.float64Array({ maxLength: 4 }),
    fc.bigInt64Array({ maxLength: 4 }),
    fc.uint8Array({ maxLength: 5 }).map((bytes) => Buffer.from(bytes)),
    fc.uint8Array({ maxLength: 5 }).map((bytes) => new Uint8Array(bytes).buffer),
  ),
  rich: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('leaf'),
    fc.array(tie('rich'), { maxLength: 5 }),
    entriesOf(tie('rich')).map((entries) => objectOf(entries)),
    entriesOf(tie('rich')).map((entries) => objectOf(entries, null)),
    fc.array(fc.tuple(tie('rich'), tie('rich')), { maxLength: 4 }).map((entries) => new Map(entries)),
    fc.array(tie('rich'), { maxLength: 4 }).map((items) => new Set(items)),
    fc
      .tuple(
        fc.constantFrom(Error, TypeError, RangeError) as fc.Arbitrary<ErrorConstructor>,
        anyString,
        tie('rich'),
        tie('rich'),
      )
      .map(errorWith),
  ),
}));

const { markerLike } = fc.letrec((tie) => ({
  leaf: fc.constantFrom(null, 0, 'NaN', [], {}, new Date(0), undefined),
  markerLike: fc.oneof(
    { depthSize: 'medium' },
    tie('leaf'),
    fc.tuple(fc.constantFrom(...MARKER_WORDS, '__proto__'), tie('markerLike')).map((entry) => objectOf([entry])),
    fc.tuple(fc.constantFrom(...MARKER_WORDS), tie('markerLike')).map((entry) => objectOf([entry], null)),
    fc.array(tie('markerLike'), { maxLength: 2 }),
  ),
}));

/** Whether the oracle's bytes are ours, too: not for objects that are escaped. */
const holdsMarkerShape = (value: unknown): boolean => {
  if (typeof value !== 'object' || value === null) return false;
  const keys = Object.keys(value);
  return (keys.length === 1 && keys[0]?.startsWith('$hf:')) || Object.values(value).some(holdsMarkerShape);
};
const reversedKeys = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(reversedKeys);
  if (typeof value !== 'object' || value === null) return value;
  return objectOf(
    Object.keys(value)
      .reverse()
      .map((key) => [key, reversedKeys((value as Record<string, unknown>)[key])]),
  );
};
const comesBackEqual = (value: unknown) => {
  const bytes = encodeValue(value);
  const decoded = decodeValue(bytes);
  return isDeepStrictEqual(decoded, value) && encodeValue(decoded).equals(bytes);
};

test('JSON values have exactly the bytes of fast-json-stable-stringify', () => {
  fc.assert(
    fc.property(
      fc.jsonValue(),
      (value) =>
        encodeValue(JSON.parse(JSON.stringify(value))).toString() ===
        stableStringify(JSON.parse(JSON.stringify(value))),
    ),
    { numRuns: 3_000 },
  );
});

test('objects with awkward keys have exactly the bytes of fast-json-stable-stringify', () => {
  const property = fc.property(json, (value) => {
    fc.pre(!holdsMarkerShape(value));
    expect(encodeValue(value).toString()).toBe(stableStringify(value));
  });
  fc.assert(property, { numRuns: 5_000 });
});

test('values that differ only in the order of keys have equal bytes', () => {
  fc.assert(
    fc.property(json, (value) => encodeValue(reversedKeys(value)).equals(encodeValue(value))),
    { numRuns: 3_000 },
  );
});

test('rich values come back deeply and strictly equal and encode to the same bytes again', () => {
  fc.assert(fc.property(rich, comesBackEqual), { numRuns: 10_000 });
}, 60_000);

test('a rich value fits exactly the bytes it has, and not one byte less', () => {
  const property = fc.property(rich, (value) => {
    const bytes = encodeValue(value);
    fc.pre(bytes.length > 1); // A limit of no bytes is not accepted.
    expect(encodeValue(value, prepareCodecs({ maxBytes: bytes.length })).equals(bytes)).toBe(true);
    expect(() => encodeValue(value, prepareCodecs({ maxBytes: bytes.length - 1 }))).toThrow(LimitError);
  });
  fc.assert(property, { numRuns: 2_000 });
});

test('user data built from marker words comes back equal', () => {
  fc.assert(fc.property(markerLike, comesBackEqual), { numRuns: 5_000 });
});

test('anything at all comes back equal or is refused with a typed error', () => {
  const anything = fc.anything({
    withBigInt: true,
    withBoxedValues: true,
    withDate: false,
    withMap: true,
    withNullPrototype: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
    key: anyKey,
  });
  const isEqualOrLoud = (value: unknown) => {
    try {
      return comesBackEqual(value);
    } catch (error) {
      return isHoldfastError(error);
    }
  };
  fc.assert(fc.property(anything, isEqualOrLoud), { numRuns: 5_000 });
});

import { isDeepStrictEqual } from 'node:util';
import { runInNewContext } from 'node:vm';
import stableStringify from 'fast-json-stable-stringify';
import { expect, test } from 'vitest';
import { InvalidInputError, LimitError } from '../../src/base/errors.js';
import { type CodecOptions, prepareCodecs, UnserializableError, type ValueCodec } from '../../src/records/codec.js';
import { decodeValue } from '../../src/records/decode.js';
import { encodeValue } from '../../src/records/encode.js';
import { nest, thrownBy } from '../support/codec.js';

const text = (value: unknown, options?: CodecOptions) => encodeValue(value, prepareCodecs(options)).toString();
const roundTrip = (value: unknown, options?: CodecOptions) => {
  const settings = prepareCodecs(options);
  return decodeValue(encodeValue(value, settings), settings);
};

class Point {
  constructor(
    readonly x: number,
    readonly y: number,
  ) {}
}
class Polyline {
  constructor(readonly points: readonly Point[]) {}
}
const pointCodec: ValueCodec<Point> = {
  tag: 'point',
  is: (value) => value instanceof Point,
  encode: ({ x, y }) => [x, y],
  decode: (encoded) => new Point(...(encoded as [number, number])),
};
const polylineCodec: ValueCodec<Polyline> = {
  tag: 'poly-line.v2',
  is: (value) => value instanceof Polyline,
  encode: ({ points }) => new Set(points),
  decode: (encoded) => new Polyline([...(encoded as Set<Point>)]),
};

test('keys are written in the order of UTF-16 code units, whatever order they were added in', () => {
  expect(text({ b: 1, '\ufb33': 2, '\ud83d\ude00': 3, 10: 4, 9: 5, a: { d: 1, c: 2 } })).toBe(
    '{"10":4,"9":5,"a":{"c":2,"d":1},"b":1,"😀":3,"\ufb33":2}',
  );
});

test.each([2, 24, 25, 100])('%i keys are sorted like any other number of them', (count) => {
  const entries = Array.from({ length: count }, (_, index) => [`k${(index * 37) % count}`, index]);
  expect(text(Object.fromEntries(entries))).toBe(stableStringify(Object.fromEntries(entries)));
});

test('an Error keeps its stack, its hidden properties hidden and nothing that it did not have', () => {
  const bare = new Error('bare');
  delete bare.stack;
  const [full, stackless] = roundTrip([new EvalError('full', { cause: 1 }), bare]) as [Error, Error];
  expect(full).toBeInstanceOf(EvalError);
  expect(Object.keys(full)).toEqual([]);
  expect(full.stack).toContain('codec.test');
  expect(full.cause).toBe(1);
  expect(Object.getOwnPropertyNames(stackless)).toEqual(['message']);
});

test('an invalid Date comes back invalid', () => {
  expect(Number.isNaN((roundTrip(new Date(Number.NaN)) as Date).getTime())).toBe(true);
});

test('prototypes come back: Buffer, Uint8Array, none', () => {
  const decoded = roundTrip([Buffer.from('a'), new Uint8Array(1), Object.create(null)]) as object[];
  const prototypes = decoded.map((value) => Object.getPrototypeOf(value));
  expect(prototypes[0]).toBe(Buffer.prototype);
  expect(prototypes[1]).toBe(Uint8Array.prototype);
  expect(prototypes[2]).toBe(null);
});

test('the order of Map entries and Set items is kept, the order of keys in them is not', () => {
  expect(
    text(
      new Map([
        ['b', { z: 1, a: 2 }],
        ['a', {}],
      ]),
    ),
  ).toBe('{"$hf:Map":[["b",{"a":2,"z":1}],["a",{}]]}');
  expect(text(new Set(['b', 'a']))).toBe('{"$hf:Set":["b","a"]}');
});

test('plain objects and arrays of another realm come back as this realm’s', () => {
  const foreign = runInNewContext('({ z: [1, { y: undefined }], a: "text" })');
  expect(isDeepStrictEqual(roundTrip(foreign), { z: [1, { y: undefined }], a: 'text' })).toBe(true);
});

test('a value that is referenced twice comes back twice', () => {
  const shared = { a: 1 };
  expect(roundTrip([shared, shared])).toEqual([{ a: 1 }, { a: 1 }]);
});

test('encoding does not change the value', () => {
  const inner = Object.freeze({ z: new Date(0), a: Object.freeze([undefined]) });
  const value = Object.freeze({ y: inner, b: inner });
  text(value);
  expect(Object.keys(value)).toEqual(['y', 'b']);
  expect(value.y.a).toEqual([undefined]);
});

test('a getter is read once, so what it answers later cannot slip past the checks', () => {
  const answers: unknown[] = ['fine', () => 'not fine', -0];
  const value = {
    get a() {
      return answers.shift();
    },
  };
  expect(roundTrip(value)).toEqual({ a: 'fine' });
  expect(answers).toHaveLength(2);
});

test('a non-enumerable toJSON is never called', () => {
  const object = Object.defineProperty({ a: 1 }, 'toJSON', { value: () => 'changed' });
  const array = Object.defineProperty([1], 'toJSON', { value: () => 'changed' });
  expect(text({ object })).toBe('{"object":{"a":1}}');
  expect(text({ z: 1, array })).toBe('{"array":[1],"z":1}');
});

test('a toJSON on Object.prototype is refused, even one that no plain object of the value would meet', () => {
  Object.defineProperty(Object.prototype, 'toJSON', { value: () => 'changed', configurable: true });
  const error = thrownBy(() => encodeValue(new Map()));
  Reflect.deleteProperty(Object.prototype, 'toJSON');
  expect(error).toBeInstanceOf(UnserializableError);
});

const cyclic: Record<string, unknown> = { a: {} };
(cyclic.a as Record<string, unknown>).b = cyclic;

test('a cycle is reported by its shortest path and where it leads', () => {
  expect(() => encodeValue(cyclic)).toThrow('$.a.b points back to $.');
});

test('a sparse array that claims four billion items is refused before it is copied', () => {
  expect(thrownBy(() => encodeValue({ list: new Array(2 ** 32 - 1) }))).toMatchObject({ limit: 'maxBytes' });
});

test.each([
  ['text', 'text'],
  ['empty lists', []],
  ['empty objects', {}],
  ['empty Maps', new Map()],
  ['undefined', undefined],
])('shared references that would write 2^40 times %s are stopped by maxBytes', (_name, bottom) => {
  const bomb = nest(40, (inner) => (inner === 'bottom' ? [bottom, bottom] : [inner, inner]));
  const error = thrownBy(() => encodeValue(bomb, prepareCodecs({ maxBytes: 10_000 })));
  expect(error).toMatchObject({ limit: 'maxBytes', allowed: 10_000 });
});

test.each([
  ['a string', 'x'.repeat(10), 12],
  ['characters of three bytes', '€'.repeat(10), 32],
  ['escapes', '\u0001'.repeat(10), 62],
  ['a number', -12.5, 5],
  ['nested containers', [[], {}, [1, 2], { a: null }], 24],
  ['a Buffer', Buffer.alloc(30), 57],
  ['undefined', undefined, 22],
  ['a bigint', 255n, 21],
  ['a Map', new Map([[1, 2]]), 19],
  ['a Set', new Set([1, 2]), 17],
])('maxBytes is exact for %s', (_name, value, sizeBytes) => {
  expect(encodeValue(value, prepareCodecs({ maxBytes: sizeBytes }))).toHaveLength(sizeBytes);
  expect(thrownBy(() => encodeValue(value, prepareCodecs({ maxBytes: sizeBytes - 1 })))).toMatchObject({
    limit: 'maxBytes',
  });
});

test.each([
  ['arrays', (inner: unknown) => [inner], 1],
  ['objects', (inner: unknown) => ({ inner }), 1],
  ['escaped objects', (inner: unknown) => ({ '$hf:Map': inner }), 2],
  ['objects without prototype', (inner: unknown) => Object.assign(Object.create(null), { inner }), 2],
  ['Sets', (inner: unknown) => new Set([inner]), 2],
  ['Maps', (inner: unknown) => new Map([[1, inner]]), 3],
  ['Errors', (inner: unknown) => new Error('x', { cause: inner }), 3],
  ['polylines', (inner: unknown) => new Polyline([inner as Point]), 3],
])('maxDepth counts levels of JSON alike for writing and reading %s', (_name, wrap, levels) => {
  const codecs = [polylineCodec];
  const value = nest(10, wrap);
  const exact = prepareCodecs({ codecs, maxDepth: 10 * levels });
  const short = prepareCodecs({ codecs, maxDepth: 10 * levels - 1 });
  const bytes = encodeValue(value, exact);
  expect(isDeepStrictEqual(decodeValue(bytes, exact), value)).toBe(true);
  expect(thrownBy(() => encodeValue(value, short))).toMatchObject({ limit: 'maxDepth', allowed: 10 * levels - 1 });
  expect(thrownBy(() => decodeValue(bytes, short))).toMatchObject({ limit: 'maxDepth' });
});

test('levels are given back: beside each other any number of Maps, Sets and Errors fit under one maxDepth', () => {
  const siblings = Array.from({ length: 50 }, () => [
    new Map([[1, 2]]),
    new Set([1]),
    Object.create(null),
    { '$hf:': 1 },
  ]);
  expect(isDeepStrictEqual(roundTrip(siblings, { maxDepth: 5 }), siblings)).toBe(true);
});

test('undefined, as deep as anything may be, is a leaf', () => {
  expect(roundTrip([[undefined]], { maxDepth: 2 })).toEqual([[undefined]]);
});

test('a call stack that is full counts as maxDepth', () => {
  const value = nest(200_000, (inner) => [inner]);
  const error = thrownBy(() => encodeValue(value, prepareCodecs({ maxDepth: 1_000_000 })));
  expect(error).toBeInstanceOf(LimitError);
  expect(error).toMatchObject({ limit: 'maxDepth' });
});

test('a cycle is named as one even when the call stack is full before maxDepth', () => {
  expect(() => text(cyclic, { maxDepth: 1_000_000 })).toThrow('$.a.b points back to $.');
});

test('codecs keep classes, also inside each other', () => {
  const value = { line: new Polyline([new Point(1, -0), new Point(2, Number.NaN)]) };
  const codecs = [pointCodec, polylineCodec];
  expect(isDeepStrictEqual(roundTrip(value, { codecs }), value)).toBe(true);
  expect(text(new Point(1, 2), { codecs })).toBe('{"$hf:x-point":[1,2]}');
});

test('a codec is asked before the built-in types', () => {
  const stamp: ValueCodec<Date> = {
    tag: 'stamp',
    is: (value) => value instanceof Date,
    encode: (date) => date.toISOString(),
    decode: (encoded) => new Date(encoded as string),
  };
  expect(text(new Date(0), { codecs: [stamp] })).toBe('{"$hf:x-stamp":"1970-01-01T00:00:00.000Z"}');
});

test('a codec that throws while encoding is reported with the path and its error as the cause', () => {
  const cause = new Error('cannot');
  const broken = {
    ...pointCodec,
    encode: () => {
      throw cause;
    },
  };
  const error = thrownBy(() => text({ at: [new Point(1, 2)] }, { codecs: [broken] }));
  expect(error).toMatchObject({ code: 'HOLDFAST_UNSERIALIZABLE', path: '$.at[0]', cause });
});

test('what a codec returns is checked like everything else', () => {
  const broken = { ...pointCodec, encode: () => ({ f: () => 0 }) };
  expect(thrownBy(() => text([new Point(1, 2)], { codecs: [broken] }))).toMatchObject({ path: '$[0].f' });
});

test('a codec that returns the value itself is reported as a cycle', () => {
  const broken = { ...pointCodec, encode: (point: Point) => point };
  expect(() => text([new Point(1, 2)], { codecs: [broken] })).toThrow('$[0] points back to $[0].');
});

test('a codec that returns ever new values ends at maxDepth', () => {
  const broken = { ...pointCodec, encode: () => [new Point(1, 2)] };
  expect(thrownBy(() => text(new Point(1, 2), { codecs: [broken] }))).toMatchObject({ limit: 'maxDepth' });
});

test.each([
  ['an empty tag', [{ ...pointCodec, tag: '' }], 'options.codecs.0.tag'],
  ['a tag of 65 characters', [{ ...pointCodec, tag: 'x'.repeat(65) }], 'options.codecs.0.tag'],
  ['a tag with a quote', [{ ...pointCodec, tag: 'a"b' }], 'options.codecs.0.tag'],
  ['a tag that is used twice', [pointCodec, pointCodec], 'options.codecs.1.tag'],
  ['a codec without decode', [{ ...pointCodec, decode: undefined as never }], 'options.codecs.0'],
])('%s is not accepted', (_name, codecs, path) => {
  const error = thrownBy(() => prepareCodecs({ codecs }));
  expect(error).toBeInstanceOf(InvalidInputError);
  expect(error).toMatchObject({ path });
});

test('a misspelt option and limits below one are not accepted', () => {
  expect(() => prepareCodecs({ maxByte: 1 } as CodecOptions)).toThrow(InvalidInputError);
  expect(() => prepareCodecs({ maxBytes: 0 })).toThrow(InvalidInputError);
  expect(() => prepareCodecs({ maxDepth: 0 })).toThrow(InvalidInputError);
});

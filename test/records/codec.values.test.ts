import { isDeepStrictEqual } from 'node:util';
import { runInNewContext } from 'node:vm';
import stableStringify from 'fast-json-stable-stringify';
import { expect, test } from 'vitest';
import { UnserializableError } from '../../src/records/codec.js';
import { decodeValue } from '../../src/records/decode.js';
import { encodeValue } from '../../src/records/encode.js';
import { nest, thrownBy } from '../support/codec.js';

const withKey = (key: PropertyKey, value: unknown, target: object = {}) =>
  Object.defineProperty(target, key, { value, enumerable: true, writable: true, configurable: true });
const pattern = /a(?<b>[/\n])/giu;
pattern.lastIndex = 3;
class Point {
  readonly x = 1;
}

const KEPT: [name: string, value: unknown][] = [
  ['undefined', undefined],
  ['null', null],
  ['false', false],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
  ['-0', -0],
  ['the largest number', Number.MAX_VALUE],
  ['the smallest number', Number.MIN_VALUE],
  ['an unsafe integer', 2 ** 53 + 2],
  ['a bigint', 12345678901234567890n],
  ['a negative bigint', -255n],
  ['0n', 0n],
  ['a bigint of 100,000 bits', 1n << 100_000n],
  ['an empty string', ''],
  ['a string that spells a marker', '{"$hf:Date":0}'],
  ['lone surrogates', '\ud800 and \udc00'],
  ['a lone surrogate as a key', { '\udfff': 1, '\ud800': 2 }],
  ['NUL and line separators', '\u0000\u2028\u2029'],
  ['an empty object', {}],
  ['an empty array', []],
  ['undefined as a property', { gone: undefined }],
  ['undefined as an item', [undefined, 1]],
  ['an own __proto__', withKey('__proto__', { polluted: true })],
  ['an own __proto__ among unsorted keys', withKey('__proto__', [1], { z: 1, a: 2 })],
  ['keys named like inherited members', { toString: 1, constructor: 2, hasOwnProperty: 3 }],
  ['an own toJSON that is no function', { toJSON: 'text' }],
  ['an empty key', { '': { '': 1 } }],
  ['a key with NUL', { 'a\u0000b': 1 }],
  ['integer-like keys', { 10: 'a', 9: 'b', '-1': 'c', '01': 'd', 4294967295: 'e', 4294967294: 'f' }],
  ['an object without prototype', Object.assign(Object.create(null), { b: 1, a: 2 })],
  ['a marker-like object without prototype', Object.assign(Object.create(null), { '$hf:Date': 1 })],
  ['a user object that looks like a Date marker', { '$hf:Date': 0 }],
  ['a user object that looks like an escape', { '$hf:plain': { '$hf:plain': { '$hf:Date': 0 } } }],
  ['a user object that looks like a codec marker', { '$hf:x-point': [1, 2] }],
  ['a user object with a marker key beside another', { '$hf:Date': 0, other: 1 }],
  ['a marker-like object that holds a Date', { '$hf:Date': new Date(5) }],
  ['a Date', new Date('2024-02-29T12:00:00.001Z')],
  ['the earliest Date', new Date(-8.64e15)],
  [
    'a Map with objects as keys',
    new Map<unknown, unknown>([
      [{ b: 1, a: 2 }, 'x'],
      [Number.NaN, new Map([[[], -0]])],
    ]),
  ],
  ['a Map that looks like a prototype', new Map([['__proto__', 1]])],
  ['a Set of Sets', new Set([new Set([1, 'a']), new Set(), undefined])],
  ['a RegExp with lastIndex', pattern],
  ['an empty RegExp', /(?:)/],
  ['a URL', new URL('https://user:pw@example.com:8080/a b?q=ü#h')],
  [
    'an Error with cause and code',
    Object.assign(new TypeError('boom', { cause: new Error('root') }), { code: 'E_BOOM', errno: -2 }),
  ],
  ['an Error without a message', new RangeError()],
  ['an Error with an enumerable message', withKey('message', 'seen', new Error('hidden'))],
  [
    'an Error with its own name and __proto__',
    withKey('__proto__', 1, Object.assign(new Error('x'), { name: 'Custom' })),
  ],
  ['an AggregateError', new AggregateError([new SyntaxError('a'), new URIError('b'), 3], 'many')],
  ['an ArrayBuffer', new Uint8Array([1, 2, 255]).buffer],
  ['an empty ArrayBuffer', new ArrayBuffer(0)],
  ['a slice of a Buffer', Buffer.from('hello world').subarray(2, 7)],
  ['a Uint8Array over part of its buffer', new Uint8Array(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2)],
  ['a Float64Array with -0 and NaN', new Float64Array([-0, Number.NaN, 1.5])],
  ['a Float32Array', new Float32Array([1.1, -0])],
  ['a BigInt64Array', new BigInt64Array([-1n, 2n ** 62n])],
  ['a BigUint64Array', new BigUint64Array([2n ** 64n - 1n])],
  [
    'the other typed arrays',
    [
      new Int8Array([-1]),
      new Uint8ClampedArray([300]),
      new Int16Array([-2]),
      new Uint16Array([3]),
      new Int32Array([-4]),
      new Uint32Array([5]),
    ],
  ],
  ['a DataView over part of its buffer', new DataView(new Uint8Array([1, 2, 3]).buffer, 1)],
  ['Maps 600 deep', nest(600, (inner) => new Map([['in', inner]]))],
  ['a frozen object in a frozen array', Object.freeze([Object.freeze({ b: 1, a: undefined })])],
  [
    'a stable getter',
    {
      get answer() {
        return 42;
      },
    },
  ],
];

test.each(KEPT)('%s comes back deeply and strictly equal, and encodes to the same bytes again', (_name, value) => {
  const decoded = decodeValue(encodeValue(value));
  expect(isDeepStrictEqual(decoded, value)).toBe(true);
  expect(Object.is(decoded, -0)).toBe(Object.is(value, -0));
  expect(encodeValue(decoded).equals(encodeValue(value))).toBe(true);
});

test.each([
  ['arrays', (inner: unknown) => [inner]],
  ['objects', (inner: unknown) => ({ z: 1, a: inner })],
  ['objects whose canonical order no object can have', (inner: unknown) => ({ 9: 1, 10: inner })],
])('%s 1,900 deep come back, and encode to the same bytes again', (_name, wrap) => {
  const bytes = encodeValue(nest(1_900, wrap));
  expect(encodeValue(decodeValue(bytes)).equals(bytes)).toBe(true);
  expect(bytes.toString()).toBe(stableStringify(nest(1_900, wrap)));
});

const cyclic: Record<string, unknown> = { a: {} };
(cyclic.a as Record<string, unknown>).b = cyclic;
const cyclicMap = new Map<string, unknown>();
cyclicMap.set('self', [cyclicMap]);
const broadCycle = { a: 'x'.repeat(1_000_000), b: {} };
broadCycle.b = broadCycle;
const detached = new Uint8Array(4);
structuredClone(detached, { transfer: [detached.buffer] });

const REFUSED: [name: string, value: unknown, path: string][] = [
  ['a function', { steps: [0, 1, 2, { fn: () => 0 }] }, '$.steps[3].fn'],
  ['a function at the root', () => 0, '$'],
  ['a class', { 'a b': Point }, '$["a b"]'],
  ['a symbol', [[Symbol('s')]], '$[0][0]'],
  ['a symbol as a key', { z: 0, a: { [Symbol('s')]: 1 } }, '$.a'],
  ['a symbol as a key of an array', [withKey(Symbol('s'), 1, [1])], '$[0]'],
  ['a class instance', { at: [new Point()] }, '$.at[0]'],
  ['an instance of a class that extends null', Object.create(Object.create(null)), '$'],
  ['an object whose prototype claims to be plain', Object.create({ constructor: Object }), '$'],
  ['a subclass of Map', new (class extends Map {})(), '$'],
  ['a subclass of Error', new (class extends Error {})('x'), '$'],
  ['a subclass of Array', [new (class extends Array {})()], '$[0]'],
  ['a forged Date', { date: Object.create(Date.prototype) }, '$.date'],
  ['a forged Error', [Object.create(Error.prototype)], '$[0]'],
  ['a forged URL', Object.create(URL.prototype), '$'],
  ['an array with the prototype of Map', Object.setPrototypeOf([], Map.prototype), '$'],
  ['a Date of another realm', [runInNewContext('new Date(0)')], '$[0]'],
  ['a Proxy of an object', { p: new Proxy({}, {}) }, '$.p'],
  ['a Proxy of an array', [new Proxy([], {})], '$[0]'],
  ['an object whose prototype is a Proxy', Object.create(new Proxy({}, {})), '$'],
  ['a boxed number', { n: Object(1) }, '$.n'],
  ['a boxed symbol', Object(Symbol('s')), '$'],
  ['a Promise', { p: Promise.resolve() }, '$.p'],
  ['a WeakMap', new WeakMap(), '$'],
  ['a WeakRef', new WeakRef({}), '$'],
  ['a SharedArrayBuffer', new SharedArrayBuffer(1), '$'],
  ['a view of shared memory', { v: new Uint8Array(new SharedArrayBuffer(1)) }, '$.v'],
  [
    'a resizable buffer',
    new (ArrayBuffer as unknown as new (size: number, options: object) => object)(1, { maxByteLength: 2 }),
    '$',
  ],
  ['a detached view', { v: detached }, '$.v'],
  ['a generator', (function* () {})(), '$'],
  ['an array without prototype', Object.setPrototypeOf([], null), '$'],
  // biome-ignore lint/suspicious/noSparseArray: the hole is what is tested.
  ['a sparse array', { list: [1, , 3] }, '$.list[1]'],
  ['a named property on an array', [withKey('extra', 1, [1])], '$[0]'],
  ['a property on a Map', withKey('extra', 1, new Map()), '$'],
  ['a property on a Date', { d: withKey('getTime', () => 0, new Date()) }, '$.d'],
  ['a property on a RegExp', withKey('extra', 1, /a/), '$'],
  ['a property on a Buffer', withKey('extra', 1, Buffer.from('a')), '$'],
  ['a hidden length on a typed array', Object.defineProperty(new Uint8Array(2), 'byteLength', { value: 1 }), '$'],
  ['a symbol as a key of an Error', withKey(Symbol('s'), 1, new Error('x')), '$'],
  ['a function on an Error', [withKey('retry', () => 0, new Error('x'))], '$[0].retry'],
  [
    'a function in the cause of a cause',
    new Error('a', { cause: new Error('b', { cause: () => 0 }) }),
    '$.cause.cause',
  ],
  [
    'a function as a value in a Map',
    {
      m: new Map([
        ['a', 1 as unknown],
        ['b', () => 0],
      ]),
    },
    '$.m[1]',
  ],
  ['a function in a Set', new Set([1, [() => 0]]), '$[1][0]'],
  ['a function in an object without prototype', Object.assign(Object.create(null), { f: () => 0 }), '$.f'],
  ['a function in a marker-like object', { '$hf:Date': () => 0 }, '$["$hf:Date"]'],
  ['a lastIndex that is no number', { r: Object.assign(/a/, { lastIndex: 'x' }) }, '$.r'],
  ['an own toJSON', { a: { toJSON: () => 1 } }, '$.a.toJSON'],
  [
    'a getter that throws',
    {
      z: 1,
      a: {
        z: 1,
        get a() {
          throw new Error('no');
        },
      },
    },
    '$.a',
  ],
  ['a cycle', cyclic, '$.a.b'],
  ['a cycle through a Map', { m: cyclicMap }, '$.m[0][0]'],
  ['a cycle that passes maxBytes before maxDepth', broadCycle, '$.b'],
];

test.each(REFUSED)('%s is refused with its path', (_name, value, path) => {
  const error = thrownBy(() => encodeValue(value));
  expect(error).toBeInstanceOf(UnserializableError);
  expect(error).toMatchObject({ code: 'HOLDFAST_UNSERIALIZABLE', path });
  expect((error as Error).message.startsWith(`${path} `)).toBe(true);
});

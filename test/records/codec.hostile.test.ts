import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CorruptionError, LimitError } from '../../src/base/errors.js';
import { prepareCodecs, UnknownCodecError } from '../../src/records/codec.js';
import { decodeValue } from '../../src/records/decode.js';
import { encodeValue } from '../../src/records/encode.js';

const decodeText = (text: string) => decodeValue(Buffer.from(text), undefined, 'runs/7');
const thrownBy = (act: () => unknown): unknown => {
  try {
    return act();
  } catch (error) {
    return error;
  }
};
const MILLION = 1_000_000;

test.each([
  ['nothing', ''],
  ['no JSON', '{"a":'],
  ['a byte order mark', '\ufeff{}'],
  ['an unknown marker', '{"$hf:Function":"return 1"}'],
  ['a bare marker prefix', '{"$hf:":1}'],
  ['a marker named like an inherited member', '{"$hf:constructor":[]}'],
  ['an unknown marker deep inside', '[{"a":{"$hf:Map":[[1,{"$hf:nope":1}]]}}]'],
  ['undefined with a payload', '{"$hf:undefined":1}'],
  ['a number that JSON could hold', '{"$hf:number":"1"}'],
  ['a number that is no string', '{"$hf:number":1}'],
  ['a decimal bigint', '{"$hf:bigint":"12"}'],
  ['a bigint of -0', '{"$hf:bigint":"-0x0"}'],
  ['a bigint with leading zeros', '{"$hf:bigint":"0x00"}'],
  ['a Date from text', '{"$hf:Date":"2024-01-01"}'],
  ['a Date beyond the range', '{"$hf:Date":8640000000000001}'],
  ['a Date between milliseconds', '{"$hf:Date":0.5}'],
  ['a Map that is no list', '{"$hf:Map":{}}'],
  ['a Map entry of three', '{"$hf:Map":[[1,2,3]]}'],
  ['a Map entry that is a Set', '{"$hf:Map":[{"$hf:Set":[1,2]}]}'],
  ['a Map with a key twice', '{"$hf:Map":[[1,2],[1,3]]}'],
  ['a Set that is no list', '{"$hf:Set":"ab"}'],
  ['a Set with an item twice', '{"$hf:Set":["a","a"]}'],
  ['an invalid RegExp', '{"$hf:RegExp":["(","",0]}'],
  ['RegExp flags that do not exist', '{"$hf:RegExp":["a","zz",0]}'],
  ['a RegExp without lastIndex', '{"$hf:RegExp":["a",""]}'],
  ['a RegExp with a lastIndex of text', '{"$hf:RegExp":["a","","0"]}'],
  ['an ill-formed URL', '{"$hf:URL":"not a url"}'],
  ['a URL that is not normal', '{"$hf:URL":"HTTP://A"}'],
  ['a URL that is no text', '{"$hf:URL":["http://a/"]}'],
  ['bad base64', '{"$hf:Buffer":"a$=="}'],
  ['base64 without padding', '{"$hf:Uint8Array":"YQ"}'],
  ['bytes that are no text', '{"$hf:ArrayBuffer":[1]}'],
  ['half a float', '{"$hf:Float64Array":"AAAA"}'],
  ['half a DataView', '{"$hf:DataView":5}'],
  ['an Error that is no list', '{"$hf:Error":"boom"}'],
  ['an Error property without a flag', '{"$hf:Error":[["message","x"]]}'],
  ['an Error property that is hidden but not one of those', '{"$hf:Error":[["code","x",false]]}'],
  ['an Error property twice', '{"$hf:Error":[["code",1,true],["code",2,true]]}'],
  ['an Error property of a number', '{"$hf:Error":[[1,"x",true]]}'],
  ['an escape around nothing to escape', '{"$hf:plain":{"a":1}}'],
  ['an escape around a list', '{"$hf:plain":[]}'],
  ['an object without prototype that is a number', '{"$hf:null-prototype":5}'],
  ['an object without prototype that is a list', '{"$hf:null-prototype":[]}'],
  ['an object without prototype that is null', '{"$hf:null-prototype":null}'],
])('%s is reported as corruption of its key', (_name, text) => {
  const error = thrownBy(() => decodeText(text));
  expect(error).toBeInstanceOf(CorruptionError);
  expect(error).toMatchObject({ key: 'runs/7' });
});

test('bytes that are not UTF-8 are reported as corruption', () => {
  expect(() => decodeValue(Buffer.from([0x22, 0xff, 0x22]))).toThrow(CorruptionError);
  expect(() => decodeValue(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]))).toThrow(CorruptionError);
});

test.each([
  ['arrays', '['.repeat(MILLION) + ']'.repeat(MILLION)],
  ['objects', `${'{"a":'.repeat(MILLION)}1${'}'.repeat(MILLION)}`],
  ['escapes', `${'{"$hf:plain":{"$hf:Map":'.repeat(MILLION)}1${'}}'.repeat(MILLION)}`],
  ['Sets', `${'{"$hf:Set":['.repeat(MILLION)}1${']}'.repeat(MILLION)}`],
  ['codec markers', `${'{"$hf:x-a":'.repeat(MILLION)}1${'}'.repeat(MILLION)}`],
])('a million nested %s pass maxDepth instead of the call stack', (_name, text) => {
  expect(thrownBy(() => decodeText(text))).toBeInstanceOf(LimitError);
});

test('a million brackets that are never closed are corruption', () => {
  expect(thrownBy(() => decodeText('['.repeat(MILLION)))).toBeInstanceOf(CorruptionError);
});

test('a bigint of a million digits is read in a time that grows with its length only', () => {
  expect(decodeText(`{"$hf:bigint":"0x1${'0'.repeat(MILLION)}"}`)).toBe(1n << BigInt(4 * MILLION));
});

test('more bytes than maxBytes are not parsed', () => {
  const settings = prepareCodecs({ maxBytes: 10 });
  expect(thrownBy(() => decodeValue(Buffer.from('x'.repeat(11)), settings))).toMatchObject({
    limit: 'maxBytes',
    allowed: 10,
  });
  expect(decodeValue(Buffer.from('1234567890'), settings)).toBe(1_234_567_890);
});

test('a value of a codec that is not registered is named by its tag', () => {
  const error = thrownBy(() => decodeText('[{"$hf:x-money":[1,"EUR"]}]'));
  expect(error).toBeInstanceOf(UnknownCodecError);
  expect(error).toMatchObject({ code: 'HOLDFAST_UNKNOWN_CODEC', tag: 'money' });
});

test('a codec that throws while decoding is reported as corruption with its error as the cause', () => {
  const cause = new TypeError('not mine');
  const decode = () => {
    throw cause;
  };
  const settings = prepareCodecs({ codecs: [{ tag: 'a', is: () => false, encode: () => 0, decode }] });
  const error = thrownBy(() => decodeValue(Buffer.from('{"$hf:x-a":1}'), settings));
  expect(error).toBeInstanceOf(CorruptionError);
  expect(error).toMatchObject({ cause });
});

test('own __proto__ keys stay data and change no prototype, as a name, as a marker’s place and in an Error', () => {
  const text =
    '{"__proto__":{"$hf:Set":["a"]},"b":{"__proto__":{"isAdmin":true}},"c":{"$hf:Error":[["__proto__",{"isAdmin":true},true]]}}';
  const decoded = decodeText(text) as { b: { isAdmin?: boolean }; c: { isAdmin?: boolean } };
  expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype);
  expect(Object.getOwnPropertyDescriptor(decoded, '__proto__')?.value).toEqual(new Set(['a']));
  expect([decoded.b.isAdmin, decoded.c.isAdmin, ({} as { isAdmin?: boolean }).isAdmin]).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
});

test('typed arrays come back in memory of their own', () => {
  const decoded = decodeValue(encodeValue(new Uint8Array([1, 2]))) as Uint8Array;
  expect(decoded.buffer.byteLength).toBe(2);
});

const SEEDS = [
  { b: [1, -0, Number.NaN, 5n, undefined], a: { '$hf:Date': 1 }, at: new Date(5), url: new URL('http://a/b') },
  new Map<unknown, unknown>([
    [/a/g, new Set([1, Buffer.from('abc')])],
    ['k', new AggregateError([new TypeError('x')], 'y', { cause: null })],
  ]),
  [new Float64Array([1, 2]), new DataView(new ArrayBuffer(3)), Object.assign(Object.create(null), { x: '\ud800é€' })],
].map((value) => encodeValue(value));
const FRAGMENTS = [
  '"$hf:Map"',
  '"$hf:plain"',
  '[',
  ']',
  '{',
  '}',
  '"',
  ':',
  ',',
  '-',
  '0',
  'null',
  '\\u0024',
  '\\',
  '\u0000',
  '1e999',
  '"__proto__"',
].map((text) => Buffer.from(text));

/** Where, how many bytes go, and what comes instead. */
const mutation = fc.tuple(
  fc.nat(400),
  fc.nat(4),
  fc.oneof(
    fc.constantFrom(...FRAGMENTS),
    fc.uint8Array({ maxLength: 2 }).map((bytes) => Buffer.from(bytes)),
  ),
);
const mutate = (bytes: Buffer, [at, gone, instead]: [number, number, Buffer]) => {
  const start = at % (bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, start), instead, bytes.subarray(start + gone)]);
};
const TYPED = [CorruptionError, LimitError, UnknownCodecError];
const endsInValueOrTypedError = (bytes: Buffer) => {
  try {
    decodeValue(bytes);
    return true;
  } catch (error) {
    return TYPED.some((type) => error instanceof type);
  }
};

test('damaged bytes end in a value or a typed error, never in anything else', () => {
  const damaged = fc
    .tuple(fc.constantFrom(...SEEDS), fc.array(mutation, { minLength: 1, maxLength: 3 }))
    .map(([bytes, mutations]) => mutations.reduce(mutate, bytes));
  fc.assert(fc.property(damaged, endsInValueOrTypedError), {
    numRuns: Number(process.env.HOLDFAST_FUZZ_RUNS ?? 20_000),
  });
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { retryAfterMsOf } from '../../src/policies/retry-after.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

const NOON = Date.UTC(2026, 10, 1, 12);
const clock = new VirtualClock({ nowMs: NOON });
const asked = (failure: unknown) => retryAfterMsOf(failure, clock);
const header = (name: string, value: unknown) => asked({ headers: { [name]: value } });
const limited = (headers: Record<string, unknown>, status = 429) => asked({ status, headers });

describe('where it is found', () => {
  test.each([
    ['a fetch Response', new Response('', { status: 429, headers: { 'Retry-After': '5' } })],
    ['an error with Headers', { headers: new Headers({ 'retry-after': '5' }) }],
    ['an error with a Map', { headers: new Map([['Retry-After', '5']]) }],
    ['an error with a plain object', { headers: { 'retry-after': '5' } }],
    ['names in any case', { headers: { 'RETRY-After': '5' } }],
    ['an array of values', { headers: { 'retry-after': ['5', '7'] } }],
    ['a number', { headers: { 'retry-after': 5 } }],
    ['text with blanks around', { headers: { 'retry-after': ' 5 ' } }],
    ['headers without a prototype', { headers: Object.assign(Object.create(null), { 'retry-after': '5' }) }],
    ['the response of an error (axios, got)', { response: { headers: { 'retry-after': '5' } } }],
    [
      'headers with a get method of their own (axios)',
      { headers: { get: (name: string) => (name === 'retry-after' ? '5' : null) } },
    ],
    ['the $response of an error (AWS SDK)', { $response: { headers: { 'retry-after': '5' } } }],
    [
      'the response when the error has other headers',
      { headers: { a: 'b' }, response: { headers: { 'retry-after': '5' } } },
    ],
    ['a thrown function', Object.assign(() => {}, { headers: { 'retry-after': '5' } })],
  ])('%s', (_where, failure) => {
    expect(asked(failure)).toBe(5_000);
  });

  test('the cause is another story', () => {
    expect(asked(new Error('x', { cause: { headers: { 'retry-after': '5' } } }))).toBeUndefined();
  });

  test.each([undefined, null, 5, 'retry-after: 5', new Error('busy'), {}, { headers: null }, { headers: 'x' }])(
    'not in %o',
    (failure) => {
      expect(asked(failure)).toBeUndefined();
    },
  );
});

describe('the order', () => {
  const everything = {
    'retry-after-ms': '20',
    'retry-after': '1',
    'x-ratelimit-reset-after': '2',
    'ratelimit-reset': '3',
    'x-ratelimit-reset': '4',
  };

  test('the number of the error itself comes first', () => {
    expect(asked({ retryAfterMs: 0, status: 429, headers: everything })).toBe(0);
  });

  test.each([Number.NaN, -1, Number.POSITIVE_INFINITY, '10'])('%o is no number of its own', (retryAfterMs) => {
    expect(asked({ retryAfterMs, headers: everything })).toBe(20);
  });

  test.each([
    ['retry-after-ms', 20],
    ['retry-after', 1_000],
    ['x-ratelimit-reset-after', 2_000],
    ['ratelimit-reset', 3_000],
    ['x-ratelimit-reset', 4_000],
  ])('%s comes before those after it', (name, ms) => {
    const names = Object.keys(everything);
    const rest = Object.entries(everything).slice(names.indexOf(name));
    expect(limited(Object.fromEntries(rest))).toBe(ms);
  });

  test('one that cannot be read gives way to the next', () => {
    expect(limited({ 'retry-after-ms': 'soon', 'retry-after': '-1', 'x-ratelimit-reset': '4' })).toBe(4_000);
  });
});

describe('Retry-After', () => {
  test.each([
    ['0', 0],
    ['120', 120_000],
    ['1.5', 1_500],
    ['Sun, 01 Nov 2026 12:00:30 GMT', 30_000],
    ['Sunday, 01-Nov-26 12:00:30 GMT', 30_000],
    ['Sun Nov  1 12:00:30 2026', 30_000],
    ['2026-11-01T12:00:30Z', 30_000],
    ['2026-11-01T13:00:30.250+01:00', 30_250],
    ['Sun, 01 Nov 2026 11:00:00 GMT', 0],
  ])('%s is %d ms', (value, ms) => {
    expect(header('retry-after', value)).toBe(ms);
  });

  test.each([
    '',
    '-5',
    '+5',
    'NaN',
    'Infinity',
    '1e3',
    '0x10',
    '5s',
    '5, 7',
    '.5',
    '9'.repeat(400),
    'soon',
    'Sun, 99 Nov 2026 12:00:30 GMT',
    'Sun, 01 Nov 2026 12:00:30 CET',
    'in 5 minutes 2026',
    '2026-13-01T12:00:30Z',
    '2026-11-01T12:00:30',
    Number.NaN,
    -1,
    Number.POSITIVE_INFINITY,
    1e308,
    [],
    [[5]],
    true,
    { seconds: 5 },
    5n,
    Symbol('5'),
    Promise.resolve('5'),
  ])('%o says nothing', (value) => {
    expect(header('retry-after', value)).toBeUndefined();
  });

  test("a date is taken relative to the response's own date, not to our clock", () => {
    const headers = { 'retry-after': 'Sun, 01 Nov 2026 08:00:30 GMT', date: 'Sun, 01 Nov 2026 08:00:00 GMT' };
    expect(asked({ headers })).toBe(30_000);
  });

  test('a date of the response that cannot be read is not used', () => {
    const headers = { 'retry-after': 'Sun, 01 Nov 2026 12:00:30 GMT', date: 'yesterday' };
    expect(asked({ headers })).toBe(30_000);
  });
});

describe('rate limits', () => {
  const epochSeconds = NOON / 1_000 + 60;

  test.each([
    ['x-ratelimit-reset-after', '1.5', 1_500],
    ['ratelimit-reset', '50', 50_000],
    ['x-ratelimit-reset', '50', 50_000],
    ['x-ratelimit-reset', String(epochSeconds), 60_000],
    ['x-ratelimit-reset', String(epochSeconds * 1_000), 60_000],
    ['x-ratelimit-reset', String(epochSeconds - 120), 0],
    ['x-ratelimit-reset', '2026-11-01T12:01:00Z', 60_000],
    ['x-ratelimit-reset', 'Sun, 01 Nov 2026 12:01:00 GMT', 60_000],
    ['ratelimit-reset', 60, 60_000],
    ['x-ratelimit-reset', '999999999', 999_999_999_000],
  ])('%s: %s is %d ms', (name, value, ms) => {
    expect(limited({ [name]: value })).toBe(ms);
  });

  test.each(['x-ratelimit-reset-after', 'ratelimit-reset', 'x-ratelimit-reset'])('%s may be garbage', (name) => {
    expect(limited({ [name]: 'later' })).toBeUndefined();
    expect(limited({ [name]: '-1' })).toBeUndefined();
  });

  test.each([403, 503])('with %d the quota has to be used up', (status) => {
    expect(limited({ 'x-ratelimit-reset': '50', 'x-ratelimit-remaining': '0' }, status)).toBe(50_000);
    expect(limited({ 'x-ratelimit-reset': '50', 'x-ratelimit-remaining': '1' }, status)).toBeUndefined();
    expect(limited({ 'x-ratelimit-reset': '50' }, status)).toBeUndefined();
  });

  test.each([200, 404, 500])('with %d they are news about the quota and no request', (status) => {
    expect(limited({ 'x-ratelimit-reset': '50', 'x-ratelimit-remaining': '0' }, status)).toBeUndefined();
  });
});

describe('hostile failures', () => {
  const throwing = (): never => {
    throw new Error('no');
  };
  const trap = new Proxy(
    {},
    { get: throwing, ownKeys: throwing, getOwnPropertyDescriptor: throwing, getPrototypeOf: throwing, has: throwing },
  );

  class HostileMap extends Map<string, string> {
    override entries = throwing;
    override [Symbol.iterator] = throwing;
  }

  test.each([
    ['a proxy', trap],
    ['headers that are a proxy', { headers: trap }],
    ['a response that is a proxy', { response: trap }],
    ['a get method that throws', { headers: { get: throwing } }],
    ['a getter that throws', Object.defineProperty({}, 'headers', { get: throwing })],
    ['a value that is a proxy', { headers: { 'retry-after': trap } }],
    ['an array that is a proxy', { headers: { 'retry-after': new Proxy([], { get: throwing }) } }],
    ['a map behind a proxy', { headers: new Proxy(new Map([['retry-after', '5']]), {}) }],
    ['a megabyte of digits', { headers: { 'retry-after': '1'.repeat(1_000_000) } }],
    ['a megabyte of blanks', { headers: { 'retry-after': ' '.repeat(1_000_000) } }],
    ['a megabyte that begins like a date', { headers: { 'retry-after': `Sun, ${'0 '.repeat(500_000)}` } }],
    [
      'keys of a map that are no text',
      {
        headers: new Map<unknown, unknown>([
          [1, '5'],
          [null, '5'],
          [{}, '5'],
        ]),
      },
    ],
    ['no prototype', Object.create(null)],
  ])('%s asks for nothing and throws nothing', (_what, failure) => {
    expect(asked(failure)).toBeUndefined();
  });

  test('a map that lies about its entries is read as a map', () => {
    expect(asked({ headers: new HostileMap([['retry-after', '5']]) })).toBe(5_000);
  });

  const isAnswer = (ms: number | undefined) => ms === undefined || (ms >= 0 && Number.isFinite(ms));
  const anything = fc.anything({
    withNullPrototype: true,
    withBigInt: true,
    withMap: true,
    withObjectString: true,
    withDate: true,
  });
  const names = [
    'retry-after',
    'retry-after-ms',
    'x-ratelimit-reset',
    'ratelimit-reset',
    'x-ratelimit-reset-after',
    'date',
  ];

  test('whatever it is, the answer is a wait or nothing', () => {
    fc.assert(
      fc.property(anything, (failure) => isAnswer(asked(failure))),
      { numRuns: 1_000 },
    );
  });

  test('whatever a header says, the answer is a wait or nothing', () => {
    const value = fc.oneof(
      anything,
      fc.double(),
      fc.double().map(String),
      fc.date({ noInvalidDate: true }).map((date) => date.toUTCString()),
    );
    const headers = fc.dictionary(fc.constantFrom(...names), value);
    fc.assert(
      fc.property(headers, (given) => isAnswer(limited(given))),
      { numRuns: 2_000 },
    );
  });
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { InvalidInputError } from '../../src/base/errors.js';
import { decodeId, encodeId, MAX_ID_BYTES } from '../../src/records/keys.js';

const HOSTILE = [
  '../../etc/passwd',
  '/',
  '.',
  '..',
  '\\',
  'a:b',
  'a\nb',
  'a\0b',
  'CON',
  '\u00e9',
  'e\u0301',
  'A',
  'a',
  '__proto__',
  ' ',
  'p=x',
];

test('hostile ids become safe key parts, all different, that give the id back', () => {
  const parts = HOSTILE.map((id) => encodeId(id, 'session'));
  expect(new Set(parts).size).toBe(HOSTILE.length);
  for (const part of parts) expect(part).toMatch(/^[A-Za-z0-9._=-]{1,202}$/);
  expect(parts.map(decodeId)).toEqual(HOSTILE);
});

test('two different ids never share a key part', () => {
  const id = fc.string({
    unit: fc.constantFrom('a', '_', '5', 'f', '.', '/', 'é', '=', '😀', '%'),
    minLength: 1,
    maxLength: 8,
  });
  fc.assert(
    fc.property(id, id, (one, two) => {
      expect(encodeId(one, 'id') === encodeId(two, 'id')).toBe(one === two);
      expect(decodeId(encodeId(one, 'id'))).toBe(one);
    }),
    { numRuns: 5_000 },
  );
});

test('long ids differ by their hash even when they begin alike, and cannot be read from the key', () => {
  const [one, two] = [`${'x'.repeat(900)}1`, `${'x'.repeat(900)}2`];
  const parts = [encodeId(one, 'id'), encodeId(two, 'id')];
  expect(parts[0]).not.toBe(parts[1]);
  expect(parts.every((part) => part.length <= 202 && decodeId(part) === undefined)).toBe(true);
});

test('an id that is empty, too long, half a surrogate pair or no string is refused by name', () => {
  const fits = 'é'.repeat(MAX_ID_BYTES / 2);
  expect(() => encodeId(fits, 'session')).not.toThrow();
  for (const bad of ['', `${fits}x`, '\ud800', 'a\udc00b', 7, null, undefined, {}]) {
    expect(() => encodeId(bad, 'session')).toThrow(InvalidInputError);
    expect(() => encodeId(bad, 'session')).toThrow(/^session: /);
  }
});

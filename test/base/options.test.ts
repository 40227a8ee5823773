import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import type { InvalidInputError } from '../../src/base/errors.js';
import { parseOptions } from '../../src/base/options.js';

/** What `options` were refused with. */
function refusal(schema: z.ZodType, options: unknown, name?: string): InvalidInputError {
  try {
    parseOptions(schema, options, name);
  } catch (error) {
    return error as InvalidInputError;
  }
  return expect.fail('these options were taken');
}

const limits = z.strictObject({ maxBytes: z.int().min(1).default(5), label: z.string().min(1).optional() });

describe('options', () => {
  test('that are not given are the defaults; anything else that is no object is refused', () => {
    expect(parseOptions(limits, undefined)).toEqual({ maxBytes: 5 });
    expect([null, 0, '', false, []].map((options) => refusal(limits, options).path)).toEqual(Array(5).fill('options'));
  });

  test('are named by the name of their argument, and by the way to what is wrong', () => {
    const schema = z.strictObject({ steps: z.array(z.strictObject({ ms: z.number() })) });
    const error = refusal(schema, { steps: [{ ms: 1 }, { ms: 'x' }] }, 'plan');
    expect(error).toMatchObject({ code: 'HOLDFAST_INVALID_INPUT', path: 'plan.steps.1.ms' });
    expect(error.message).toMatch(/^plan\.steps\.1\.ms: /);
  });

  test('are named also where a name is a symbol', () => {
    const schema = z.record(z.symbol(), z.number());
    expect(refusal(schema, { [Symbol('x')]: 'no number' }).path).toBe('options.Symbol(x)');
  });

  test('are refused with what the schema said as the cause', () => {
    expect(refusal(limits, { maxBytes: 0 }).cause).toBeInstanceOf(z.ZodError);
  });
});

describe('what was given', () => {
  const picky = z.strictObject({ of: z.custom<never>(() => false, 'must be better') });

  test.each([
    [5, ', not 5'],
    [Number.NaN, ', not NaN'],
    [false, ', not false'],
    [null, ', not null'],
    ['five "5"', ', not "five \\"5\\""'],
    ['x'.repeat(100), `, not "${'x'.repeat(100)}"`],
  ])('is said where it is short: %j', (of, said) => {
    expect(refusal(picky, { of }).message).toBe(`options.of: must be better${said}.`);
  });

  test.each([['x'.repeat(101)], [{ secret: 1 }], [[1]], [() => 1], [undefined]])('is not said otherwise: %j', (of) => {
    expect(refusal(picky, { of }).message).toBe('options.of: must be better.');
  });

  test('is not said twice', () => {
    const saidBefore = z.strictObject({ of: z.custom<never>(() => false, 'must be better, not worse') });
    expect(refusal(saidBefore, { of: 5 }).message).toBe('options.of: must be better, not worse.');
    expect(refusal(limits, { maxBytes: 'wide' }).message).toMatch(/received string\.$/);
  });

  test('is not looked for in what is not there', () => {
    const needy = z.strictObject({ inner: z.strictObject({ of: z.number() }) });
    expect(refusal(needy, {}).path).toBe('options.inner');
    expect(refusal(z.strictObject({ of: z.string() }), undefined).path).toBe('options.of');
    const picky = z.strictObject({ of: z.custom<never>(() => false, 'must be there') });
    expect(refusal(picky, undefined).message).toBe('options.of: must be there.');
  });
});

describe('of several shapes', () => {
  const circle = z.strictObject({ kind: z.literal('circle'), radius: z.number().min(0) });
  const square = z.strictObject({ kind: z.literal('square'), side: z.number() });
  const choice = z.strictObject({ shape: z.union([z.literal('none'), circle]) });

  test('the fault in the one that comes closest is told', () => {
    const error = refusal(choice, { shape: { kind: 'circle', radius: -1 } });
    expect(error.path).toBe('options.shape.radius');
    expect(error.message).toMatch(/, not -1\.$/);
  });

  test('an unknown name in one of them is told', () => {
    expect(refusal(choice, { shape: { kind: 'circle', radius: 1, color: 'red' } }).message).toContain('color');
  });

  test('an unknown name is told also where it would be unknown in several', () => {
    const near = z.union([
      z.strictObject({ a: z.number() }),
      z.strictObject({ a: z.number(), b: z.number().optional() }),
    ]);
    expect(refusal(z.strictObject({ near }), { near: { a: 1, color: 'red' } }).message).toContain('color');
  });

  test('nothing closer is told where the value is like none of them', () => {
    expect(refusal(choice, { shape: 5 })).toMatchObject({
      path: 'options.shape',
      message: expect.stringMatching(/^options\.shape: .*, not 5\.$/),
    });
  });

  test('one that is a choice itself is looked into', () => {
    const nested = z.strictObject({
      shapes: z.union([z.literal('none'), z.strictObject({ first: z.union([z.literal('none'), circle, square]) })]),
    });
    const path = 'options.shapes.first.radius';
    expect(refusal(nested, { shapes: { first: { kind: 'circle', radius: 'wide' } } }).path).toBe(path);
  });
});

import { expect, test } from 'vitest';
import { isHoldfastError } from '../../src/base/errors.js';
import { RefusalError } from '../../src/policies/refusal-error.js';

class Refused extends RefusalError {
  readonly code = 'HOLDFAST_REFUSED';
}

test('a refusal has its name, message and cause, and no stack', () => {
  const error = new Refused('Not now.', { cause: 'why' });
  expect(error).toMatchObject({ name: 'Refused', message: 'Not now.', cause: 'why' });
  expect([String(error), isHoldfastError(error)]).toEqual(['Refused: Not now.', true]);
  expect(error.stack).not.toContain('\n');
});

test('other errors keep their stacks', () => {
  const { stackTraceLimit } = Error;
  new Refused('Not now.');
  expect(Error.stackTraceLimit).toBe(stackTraceLimit);
});

test('where the host froze the built-ins a refusal has a stack, and is a refusal all the same', async () => {
  const descriptor = Object.getOwnPropertyDescriptor(Error, 'stackTraceLimit') as PropertyDescriptor;
  Object.defineProperty(Error, 'stackTraceLimit', { ...descriptor, writable: false });
  try {
    const fresh: typeof import('../../src/policies/refusal-error.js') = await import(
      '../../src/policies/refusal-error.js?frozen' as string
    );
    class RefusedFrozen extends fresh.RefusalError {
      readonly code = 'HOLDFAST_REFUSED';
    }
    expect(new RefusedFrozen('Not now.').stack).toContain('\n');
  } finally {
    Object.defineProperty(Error, 'stackTraceLimit', descriptor);
  }
});

import { getEventListeners } from 'node:events';
import { expect, test } from 'vitest';
import * as z from 'zod';
import { systemClock } from '../../src/base/clock.js';
import { sha256Base64Url, sha256Hex } from '../../src/base/digest.js';
import { emit } from '../../src/base/emit.js';
import {
  ClosedError,
  CorruptionError,
  HoldfastError,
  InvalidInputError,
  isHoldfastError,
} from '../../src/base/errors.js';
import { parseOptions } from '../../src/base/options.js';
import { StorageError } from '../../src/storage/adapter.js';

test('an error of another copy of the package is recognised by its brand, a plain one is not', () => {
  const foreign = Object.assign(new Error('x'), { [Symbol.for('holdfast.error')]: true });
  expect(isHoldfastError(foreign)).toBe(true);
  expect(isHoldfastError(new ClosedError('It'))).toBe(true);
  expect([new Error('x'), null, undefined, 'HOLDFAST', {}].some(isHoldfastError)).toBe(false);
});

test('an error carries its class name, its code and its cause', () => {
  const cause = new Error('why');
  const error = new InvalidInputError('no', 'options.x', { cause });
  expect(error).toBeInstanceOf(HoldfastError);
  expect(error).toMatchObject({ name: 'InvalidInputError', code: 'HOLDFAST_INVALID_INPUT', path: 'options.x', cause });
});

test('a listener that throws cannot fail the call: the process is warned instead', async () => {
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
  const bad = () => {
    throw new Error('listener is broken');
  };
  expect(() => emit(bad, { type: 'x' })).not.toThrow();
  expect((await warned).message).toContain('listener is broken');
});

test('a listener that throws something that is no error is warned about as well', async () => {
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
  emit(() => {
    throw 'just text';
  }, {});
  expect((await warned).message).toContain('just text');
});

test('an error in a log has its message, its plain fields and its causes in words', () => {
  const cause = new StorageError('The store is down.', { cause: new TypeError('fetch failed', { cause: 'no route' }) });
  const logged = JSON.parse(JSON.stringify({ error: new CorruptionError('It is damaged.', 'a/b', { cause }) }));
  expect(logged.error).toEqual({
    name: 'CorruptionError',
    code: 'HOLDFAST_CORRUPTION',
    message: 'It is damaged.',
    key: 'a/b',
    cause: 'StorageError: The store is down., caused by TypeError: fetch failed, caused by no route',
  });
  expect(JSON.parse(JSON.stringify(new ClosedError('It')))).not.toHaveProperty('cause');
});

test('an error in a log brings nothing that hangs on the errors of others, and is never circular', () => {
  class HostError extends HoldfastError {
    readonly code = 'HOLDFAST_HOST';
    readonly steps = ['a', 'b'];
    readonly self = this;
    readonly big = 1n;
    readonly mixed = [{ deep: true }];
  }
  const endless = Object.assign(new Error('connection lost'), { config: { password: 'secret' } });
  endless.cause = endless;
  const error = new HostError('It broke.', { cause: endless });
  const logged = JSON.stringify(error);
  expect(logged).not.toMatch(/secret|self|big|mixed/);
  expect(JSON.parse(logged)).toMatchObject({ steps: ['a', 'b'], cause: expect.stringContaining('connection lost') });
  const hostile = new HostError('It broke.', {
    cause: {
      toString: () => {
        throw error;
      },
    },
  });
  expect(JSON.parse(JSON.stringify(hostile))).toMatchObject({ cause: 'something that cannot be printed' });
});

test('an unknown option is refused with its path, and so is a wrong one', () => {
  const schema = z.strictObject({
    leaseMs: z.int().min(1).default(5),
    inner: z.strictObject({ a: z.string() }).optional(),
  });
  expect(parseOptions(schema, undefined)).toEqual({ leaseMs: 5 });
  expect(() => parseOptions(schema, { leasMs: 1 })).toThrow(/leasMs/);
  expect(() => parseOptions(schema, { inner: { a: 1 } }, 'settings')).toThrow(/settings\.inner\.a/);
  expect(() => parseOptions(schema, null)).toThrow(InvalidInputError);
});

test('both digests are SHA-256 of the same bytes', () => {
  const bytes = Buffer.from('holdfast');
  expect(Buffer.from(sha256Base64Url(bytes), 'base64url').toString('hex')).toBe(sha256Hex(bytes));
  expect(sha256Hex('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});

test('the system clock waits at least as long as it was told, and not at all for zero', async () => {
  const start = systemClock.monotonicMs();
  await systemClock.sleep(15);
  expect(systemClock.monotonicMs() - start).toBeGreaterThanOrEqual(14);
  await systemClock.sleep(0, { unref: true });
  expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(1_000);
});

test('a wait ends with the reason of its signal and leaves no listener behind', async () => {
  const controller = new AbortController();
  const reason = new Error('enough');
  const waiting = systemClock.sleep(2 ** 33, { signal: controller.signal, unref: true });
  controller.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  await expect(systemClock.sleep(1, { signal: controller.signal })).rejects.toBe(reason);
  const calm = new AbortController();
  await systemClock.sleep(1, { signal: calm.signal });
  expect(getEventListeners(calm.signal, 'abort')).toHaveLength(0);
});

test('a listener that throws what cannot be printed is reported all the same', async () => {
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
  emit(
    () => {
      throw Object.create(null);
    },
    { type: 'x' },
  );
  expect((await warned).message).toContain('cannot be printed');
});

test('an async listener that rejects is reported, and does not end the process', async () => {
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
  emit(
    async () => {
      throw new Error('log shipper is down');
    },
    { type: 'x' },
  );
  expect((await warned).message).toContain('log shipper is down');
});

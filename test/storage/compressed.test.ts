import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { type CompressedStorageOptions, compressed } from '../../src/storage/compressed.js';
import { encrypted } from '../../src/storage/encrypted/encrypted.js';
import { memoryStorage } from '../../src/storage/memory.js';

const OVERHEAD = 13;
const keyring = { current: 'a', keys: { a: new Uint8Array(32).fill(1) } };

/** JSON text of exactly this size, as agents write it. */
function json(size: number): Buffer {
  let text = '';
  for (let step = 0; text.length < size; step++) {
    text += `{"step":${step},"tool":"search","query":"status of order ${step * 7}","result":"pending"},`;
  }
  return Buffer.from(text.slice(0, size));
}

async function storedUnder(store: StorageAdapter, key: string): Promise<Buffer> {
  return Buffer.from((await store.get(key))?.value ?? []);
}

/** Puts the value through a compressed store; what is stored of it, and what is got. */
async function roundTrip(value: Uint8Array, options?: CompressedStorageOptions) {
  const inner = memoryStorage();
  const store = compressed(inner, options);
  await store.put('key', value);
  return { stored: await storedUnder(inner, 'key'), got: await storedUnder(store, 'key') };
}

describe.each(['brotli', 'gzip'] as const)('%s', (algorithm) => {
  // Around the least size, the size up to which it is done at once, and one that takes several buffers.
  test.each([0, 1, 2, 12, 13, 14, 1023, 1024, 1025, 32_767, 32_768, 32_769, 65_537, 1_000_003])(
    'a value of %i bytes comes back, text or noise, compressed or not',
    async (size) => {
      for (const value of [json(size), randomBytes(size), Buffer.alloc(size)]) {
        for (const minBytes of [0, 1024]) {
          const { stored, got } = await roundTrip(value, { algorithm, minBytes });
          expect(got.equals(value)).toBe(true);
          expect(stored.length).toBeLessThanOrEqual(size + OVERHEAD);
        }
      }
    },
  );

  test.each([1024, 32_768, 32_769, 200_000])('%i bytes of JSON shrink to less than half', async (size) => {
    const { stored } = await roundTrip(json(size), { algorithm });
    expect(stored.length).toBeLessThan(size / 2);
  });

  test('values of a batch are compressed too, small and large', async () => {
    const inner = memoryStorage();
    const store = compressed(inner, { algorithm });
    const [small, large] = [json(2_000), json(200_000)];
    await store.batch?.([
      { type: 'put', key: 'large', value: large },
      { type: 'put', key: 'small', value: small, ifVersion: null },
      { type: 'check', key: 'absent', ifVersion: null },
      { type: 'delete', key: 'gone' },
    ]);
    expect([await storedUnder(store, 'small'), await storedUnder(store, 'large')]).toEqual([small, large]);
    expect((await storedUnder(inner, 'large')).length).toBeLessThan(100_000);
  });
});

test.each([
  ['brotli', 'SEZDMQFkAAAA7Z1xPosxAACAqqqq6v90pfuFTnThA8MBXPxKk2oSG4w5dlTuxNc=', 'kept '.repeat(20)],
  ['gzip', 'SEZDMQJkAAAAw6JMbB+LCAAAAAAAAAPLTi0oUcimLQEAUE7Ex2QAAAA=', 'kept '.repeat(20)],
  ['no compression', 'SEZDMQAEAAAAXDsZoWtlcHQ=', 'kept'],
])('a value of format 1 with %s is read for ever', async (_what, stored, text) => {
  const inner = memoryStorage();
  await inner.put('key', Buffer.from(stored, 'base64'));
  expect((await storedUnder(compressed(inner), 'key')).toString()).toBe(text);
});

test('values are read whatever the options they were written with', async () => {
  const inner = memoryStorage();
  const value = json(5_000);
  await compressed(inner, { algorithm: 'gzip' }).put('gzip', value);
  await compressed(inner, { minBytes: 10_000 }).put('as-it-is', value);
  const store = compressed(inner);
  expect([await storedUnder(store, 'gzip'), await storedUnder(store, 'as-it-is')]).toEqual([value, value]);
});

describe('sizes', () => {
  test('below minBytes a value is kept as it is, from there on it is compressed', async () => {
    const options = { minBytes: 500 };
    expect((await roundTrip(json(499), options)).stored).toHaveLength(499 + OVERHEAD);
    expect((await roundTrip(json(500), options)).stored.length).toBeLessThan(400);
    expect((await roundTrip(json(1023))).stored).toHaveLength(1023 + OVERHEAD);
    expect((await roundTrip(json(1024))).stored.length).toBeLessThan(800);
  });

  test.each([2_000, 40_000])('%i bytes that do not get smaller are kept as they are', async (size) => {
    const value = randomBytes(size);
    const { stored } = await roundTrip(value);
    expect(stored.subarray(OVERHEAD).equals(value)).toBe(true);
  });

  test('list shows the size of a value that is kept as it is, and what is left of a compressed one', async () => {
    const inner = memoryStorage();
    const store = compressed(inner);
    await store.put('compressed', json(100_000));
    await store.put('kept', json(1_000));
    const [small, kept] = (await store.list('')).entries;
    expect(small?.sizeBytes).toBe((await storedUnder(inner, 'compressed')).length - OVERHEAD);
    expect(kept?.sizeBytes).toBe(1_000);
  });

  test('the largest value is maxBytes, or what the store takes with the overhead', () => {
    const inner = memoryStorage();
    const small = { ...inner, capabilities: { ...inner.capabilities, maxValueBytes: 1_013 } };
    expect(compressed(inner).capabilities.maxValueBytes).toBe(256 * 1024 * 1024);
    expect(compressed(inner, { maxBytes: 77 }).capabilities.maxValueBytes).toBe(77);
    expect(compressed(small).capabilities).toEqual({ ...small.capabilities, maxValueBytes: 1_000 });
  });

  test('a larger value is refused and nothing is stored', async () => {
    const inner = memoryStorage();
    const store = compressed(inner, { maxBytes: 5_000 });
    await store.put('key', Buffer.alloc(5_000));
    await expect(store.put('key', Buffer.alloc(5_001))).rejects.toMatchObject({
      code: 'HOLDFAST_LIMIT',
      allowed: 5_000,
    });
    expect((await storedUnder(store, 'key')).length).toBe(5_000);
  });
});

test('compressed values are encrypted, and come back', async () => {
  const inner = memoryStorage();
  const store = compressed(encrypted(inner, keyring));
  const value = json(100_000);
  await store.put('key', value);
  const stored = await storedUnder(inner, 'key');
  expect(stored.length).toBeLessThan(50_000);
  expect(stored.toString('latin1', 0, 4)).toBe('HFE1');
  expect(await storedUnder(store, 'key')).toEqual(value);
});

test.each<[object, string]>([
  [{ algorithm: 'zstd' }, 'options.algorithm'],
  [{ minBytes: -1 }, 'options.minBytes'],
  [{ minBytes: 1.5 }, 'options.minBytes'],
  [{ maxBytes: 0 }, 'options.maxBytes'],
  [{ maxBytes: 2 ** 31 }, 'options.maxBytes'],
  [{ level: 9 }, 'options.level'],
])('options %j are refused', (options, path) => {
  expect(() => compressed(memoryStorage(), options)).toThrow(expect.objectContaining({ path }));
});

import { brotliCompressSync, crc32, gzipSync } from 'node:zlib';
import { describe, expect, test, vi } from 'vitest';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { compressed } from '../../src/storage/compressed.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { seededRandom } from '../../src/testing/seeded-random.js';

const MARKS = { asItIs: 0, brotli: 1, gzip: 2 } as const;

/** A value as an attacker would store it, who can make the checksum right. */
function forged(mark: number, sizeBytes: number, body: Uint8Array): Buffer {
  const stored = Buffer.alloc(13 + body.byteLength);
  stored.write('HFC1', 'latin1');
  stored[4] = mark;
  stored.writeUInt32LE(sizeBytes, 5);
  stored.set(body, 13);
  stored.writeUInt32LE(crc32(stored.subarray(13), crc32(stored.subarray(0, 9))), 9);
  return stored;
}

/** What `get` makes of these bytes: the value’s size, or the error’s code. */
async function readOf(stored: Uint8Array, options = {}): Promise<string | number | undefined> {
  const inner = memoryStorage();
  await inner.put('key', stored);
  return ending(compressed(inner, options).get('key'));
}

async function ending(read: ReturnType<StorageAdapter['get']>): Promise<string | number | undefined> {
  return read.then(
    (entry) => entry?.value.byteLength,
    (error: { code: string }) => error.code,
  );
}

async function errorOf(stored: Uint8Array): Promise<unknown> {
  const inner = memoryStorage();
  await inner.put('key', stored);
  return compressed(inner)
    .get('key')
    .catch((error: unknown) => error);
}

/** What a compressed store keeps of the value. */
async function storedOf(value: Uint8Array, options = {}): Promise<Uint8Array> {
  const inner = memoryStorage();
  await compressed(inner, options).put('key', value);
  return (await inner.get('key'))?.value ?? new Uint8Array();
}

const JSON_TEXT = Buffer.from(Array.from({ length: 9_000 }, (_, step) => `{"step":${step}}`).join());
const SMALL = JSON_TEXT.subarray(0, 3_000);
const LARGE = JSON_TEXT;

describe('damage', () => {
  test.each([
    ['brotli', SMALL, {}],
    ['gzip', SMALL, { algorithm: 'gzip' }],
    ['brotli on another thread', LARGE, {}],
    ['no compression', SMALL.subarray(0, 500), {}],
  ] as const)(
    'each of 5,000 changed bytes is found before anything is decompressed: %s',
    async (_how, value, options) => {
      const random = seededRandom('flips of compressed values');
      const stored = await storedOf(value, options);
      const endings = new Set<unknown>();
      for (let flip = 0; flip < 5_000; flip++) {
        const at = random.integer(stored.length);
        endings.add(await readOf(stored.with(at, (stored[at] as number) ^ (1 + random.integer(255)))));
      }
      expect([...endings]).toEqual(['HOLDFAST_CORRUPTION']);
    },
  );

  test('a value that is cut anywhere, or has bytes behind it, is found', async () => {
    const stored = await storedOf(SMALL);
    const endings = new Set<unknown>();
    for (let length = 0; length < stored.length; length++) endings.add(await readOf(stored.subarray(0, length)));
    endings.add(await readOf(Buffer.concat([stored, Buffer.of(0)])));
    expect([...endings]).toEqual(['HOLDFAST_CORRUPTION']);
  });

  test.each([
    ['', 'was not written through `compressed`'],
    ['{"plain":true}', 'was not written through `compressed`'],
    ['HFC2 and what comes then', 'written by a newer holdfast'],
    ['HFC1', 'its end is missing'],
    ['HFC1 but what follows is none of ours', 'its CRC-32 is wrong'],
  ])('%j is told to be what it is', async (text, message) => {
    const error = await errorOf(Buffer.from(text));
    expect(error).toMatchObject({ code: 'HOLDFAST_CORRUPTION', key: 'key', message: expect.stringContaining(message) });
  });
});

describe('what was forged', () => {
  const body = brotliCompressSync(SMALL);

  test.each<[string, Buffer]>([
    ['an unknown way of compression', forged(3, 3_000, body)],
    ['a size below what is stored', forged(MARKS.brotli, body.length, body)],
    ['a size of nothing', forged(MARKS.brotli, 0, Buffer.alloc(0))],
    ['another size than that of the bytes', forged(MARKS.asItIs, 2_999, SMALL)],
    ['one byte too few', forged(MARKS.brotli, 2_999, body)],
    ['one byte too many', forged(MARKS.brotli, 3_001, body)],
    ['one byte too few, large', forged(MARKS.gzip, LARGE.length - 1, gzipSync(LARGE))],
    ['one byte too many, large', forged(MARKS.gzip, LARGE.length + 1, gzipSync(LARGE))],
    ['the wrong way of compression', forged(MARKS.gzip, 3_000, body)],
    ['a stream that is cut', forged(MARKS.brotli, 3_000, body.subarray(0, -5))],
    ['an empty stream', forged(MARKS.gzip, 1, Buffer.alloc(0))],
    ['an empty stream, large', forged(MARKS.brotli, 100_000, Buffer.alloc(0))],
  ])('%s is a CorruptionError', async (_what, stored) => {
    expect(await readOf(stored)).toBe('HOLDFAST_CORRUPTION');
  });

  test.each(['brotli', 'gzip'] as const)(
    '2,000 streams of noise end as CorruptionError or as declared: %s',
    async (way) => {
      const random = seededRandom(`noise as ${way}`);
      const honest = way === 'gzip' ? gzipSync(SMALL) : body;
      const endings = new Set<unknown>();
      for (let round = 0; round < 2_000; round++) {
        const noise = Buffer.from(honest);
        for (let flips = 1 + random.integer(8); flips > 0; flips--)
          noise[random.integer(noise.length)] = random.integer(256);
        endings.add(await readOf(forged(MARKS[way], 3_000, noise)));
      }
      endings.delete(3_000); // What was forged with the right size cannot be told.
      expect([...endings]).toEqual(['HOLDFAST_CORRUPTION']);
    },
  );

  test('bytes that spell __proto__ are bytes', async () => {
    const text = JSON.stringify(JSON.parse('{"__proto__":{"polluted":true}}'));
    expect(await readOf(await storedOf(Buffer.from(text.repeat(100))))).toBe(3_100);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });
});

describe('maxBytes', () => {
  test('a value that declares more is refused, however little of it is there', async () => {
    const error = await errorOf(forged(MARKS.brotli, 2 ** 32 - 1, brotliCompressSync(SMALL)));
    expect(error).toMatchObject({ code: 'HOLDFAST_LIMIT', limit: 'maxBytes', allowed: 256 * 1024 * 1024 });
  });

  test('a value of exactly that is read, one of a byte more is not, compressed or not', async () => {
    for (const options of [{}, { minBytes: 1_000_000 }]) {
      const stored = await storedOf(SMALL, options);
      expect(await readOf(stored, { maxBytes: 3_000 })).toBe(3_000);
      expect(await readOf(stored, { maxBytes: 2_999 })).toBe('HOLDFAST_LIMIT');
    }
  });
});

test.each([SMALL, LARGE])('too little memory is not taken for damage', async (value) => {
  const inner = memoryStorage();
  const store = compressed(inner);
  await store.put('key', value);
  const allocate = vi.spyOn(Buffer, 'allocUnsafe').mockImplementation(() => {
    throw new RangeError('Array buffer allocation failed');
  });
  const code = await ending(store.get('key')).finally(() => allocate.mockRestore());
  expect(code).toBe('HOLDFAST_STORAGE');
});

import { setImmediate as nextTurn } from 'node:timers/promises';
import { constants, crc32, createBrotliCompress, createGzip } from 'node:zlib';
import { expect, test } from 'vitest';
import { compressed } from '../../src/storage/compressed.js';
import { memoryStorage } from '../../src/storage/memory.js';

const MARKS = { brotli: 1, gzip: 2 } as const;
const MIB = 1024 * 1024;
const ways = ['brotli', 'gzip'] as const;

/** Zeros, many of them, compressed a piece at a time, so that this process never holds them. */
async function bomb(algorithm: 'brotli' | 'gzip', sizeBytes: number): Promise<Buffer> {
  const stream =
    algorithm === 'gzip' ? createGzip() : createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 5 } });
  const zeros = Buffer.alloc(MIB);
  const pieces: Buffer[] = [];
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  for (let written = 0; written < sizeBytes; written += MIB) {
    await new Promise((resolve) => stream.write(zeros, resolve));
  }
  await new Promise((resolve) => stream.on('end', resolve).end());
  return Buffer.concat(pieces);
}

/** A store in which an attacker put a value that says it has `sizeBytes`, and made its checksum right. */
async function attacked(stored: { way: (typeof ways)[number]; sizeBytes: number; body: Uint8Array }) {
  const { way, sizeBytes, body } = stored;
  const bytes = Buffer.alloc(13 + body.byteLength);
  bytes.write('HFC1', 'latin1');
  bytes[4] = MARKS[way];
  bytes.writeUInt32LE(sizeBytes, 5);
  bytes.set(body, 13);
  bytes.writeUInt32LE(crc32(bytes.subarray(13), crc32(bytes.subarray(0, 9))), 9);
  const inner = memoryStorage();
  await inner.put('key', bytes);
  return inner;
}

/** By how many bytes this process was larger at most while it ran. */
async function growthDuring(run: () => Promise<unknown>): Promise<number> {
  const before = process.memoryUsage.rss();
  let peak = before;
  let isOver = false;
  const running = run().finally(() => {
    isOver = true;
  });
  while (!isOver) {
    peak = Math.max(peak, process.memoryUsage.rss());
    await nextTurn();
  }
  await running;
  return Math.max(peak, process.memoryUsage.rss()) - before;
}

// First and one only: what an earlier test gave back would be taken again, and not be seen as growth.
test('a value as large as the limit is never in memory twice', async () => {
  const limit = 96 * MIB;
  const body = await bomb('gzip', limit);
  const store = compressed(await attacked({ way: 'gzip', sizeBytes: limit, body }), { maxBytes: limit });
  const grownBytes = await growthDuring(async () => expect((await store.get('key'))?.value.byteLength).toBe(limit));
  expect(grownBytes).toBeLessThan(1.5 * limit);
});

test.each(ways)('a bomb of 512 MiB costs less than twice the limit, and is no value: %s', async (way) => {
  const limit = 96 * MIB;
  const store = compressed(await attacked({ way, sizeBytes: limit, body: await bomb(way, 512 * MIB) }), {
    maxBytes: limit,
  });
  const grownBytes = await growthDuring(() =>
    expect(store.get('key')).rejects.toMatchObject({ code: 'HOLDFAST_CORRUPTION' }),
  );
  expect(grownBytes).toBeLessThan(1.5 * limit);
});

test.each(ways)('a bomb that declares little stops at that: %s', async (way) => {
  const body = await bomb(way, 128 * MIB);
  const store = compressed(await attacked({ way, sizeBytes: 200_000, body: body.subarray(0, 199_999) }));
  const grownBytes = await growthDuring(() =>
    expect(store.get('key')).rejects.toMatchObject({ code: 'HOLDFAST_CORRUPTION' }),
  );
  expect(grownBytes).toBeLessThan(32 * MIB);
});

test.each(ways)('a bomb that declares more than the limit is refused before it takes memory: %s', async (way) => {
  const body = await bomb(way, 128 * MIB);
  const store = compressed(await attacked({ way, sizeBytes: 128 * MIB, body }), { maxBytes: 127 * MIB });
  const grownBytes = await growthDuring(() =>
    expect(store.get('key')).rejects.toMatchObject({ code: 'HOLDFAST_LIMIT', allowed: 127 * MIB }),
  );
  expect(grownBytes).toBeLessThan(32 * MIB);
});

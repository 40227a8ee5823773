import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { encrypted } from '../../src/storage/encrypted/encrypted.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { seededRandom } from '../../src/testing/seeded-random.js';

const KEY = new Uint8Array(32).fill(7);
const keyring = { current: 'key-1', keys: { 'key-1': KEY } };
const TAG_BYTES = 16;

const bytes = (text: string) => Buffer.from(text);

/** An encrypted value on a store of its own, with means to replace what is stored. */
async function sealed(text = 'what was written', key = 'key') {
  const inner = memoryStorage();
  await encrypted(inner, keyring).put(key, bytes(text));
  const stored = Buffer.from((await inner.get(key))?.value ?? []);
  const read = async (changed: Uint8Array, options = {}) => {
    await inner.put(key, changed);
    return encrypted(inner, keyring, options).get(key);
  };
  return { inner, stored, read };
}

/** How a read ended: with an error’s code, or with the text that was read. */
async function ending(read: ReturnType<StorageAdapter['get']>): Promise<string | undefined> {
  return read.then(
    (entry) => entry && Buffer.from(entry.value).toString(),
    (error: { code: string }) => error.code,
  );
}

/** The bytes with a random one changed to another. */
function flipped(stored: Buffer, random: ReturnType<typeof seededRandom>): Uint8Array {
  const at = random.integer(stored.length);
  return stored.with(at, (stored[at] as number) ^ (1 + random.integer(255)));
}

describe('damage', () => {
  test.each([false, true])('each of 5,000 changed bytes is found, allowPlaintext %s', async (allowPlaintext) => {
    const random = seededRandom('flips of encrypted values');
    const { stored, read } = await sealed('{"state":"as it was saved","step":12}');
    const endings = new Set<unknown>();
    for (let flip = 0; flip < 5_000; flip++)
      endings.add(await ending(read(flipped(stored, random), { allowPlaintext })));
    expect([...endings]).toEqual(['HOLDFAST_CORRUPTION']);
  });

  test('a value that is cut anywhere is found', async () => {
    const { stored, read } = await sealed();
    const endings = new Set<unknown>();
    for (let length = 0; length < stored.length; length++) endings.add(await ending(read(stored.subarray(0, length))));
    expect([...endings]).toEqual(['HOLDFAST_CORRUPTION']);
  });

  test.each([4, 8, 12, 15])('a tag of %i bytes proves nothing', async (length) => {
    const { stored, read } = await sealed();
    const tagAt = stored.length - TAG_BYTES;
    expect(await ending(read(stored.subarray(0, tagAt + length)))).toBe('HOLDFAST_CORRUPTION');
    const short = Buffer.concat([stored.subarray(0, tagAt), Buffer.alloc(TAG_BYTES - length), stored.subarray(tagAt)]);
    expect(await ending(read(short.subarray(0, stored.length)))).toBe('HOLDFAST_CORRUPTION');
  });

  test('a value with bytes behind it is found', async () => {
    const { stored, read } = await sealed();
    expect(await ending(read(Buffer.concat([stored, Buffer.of(0)])))).toBe('HOLDFAST_CORRUPTION');
  });

  test('an empty value proves itself too', async () => {
    const { stored, read } = await sealed('');
    expect(await ending(read(stored))).toBe('');
    expect(await ending(read(stored.with(90, 1 ^ (stored[90] as number))))).toBe('HOLDFAST_CORRUPTION');
  });
});

describe('forgery', () => {
  test('a value copied to another key is refused, and so are two that were swapped', async () => {
    const { inner, stored } = await sealed('of a', 'a');
    const store = encrypted(inner, keyring);
    await store.put('b', bytes('of b'));
    const other = Buffer.from((await inner.get('b'))?.value ?? []);
    await inner.put('copy', stored);
    await inner.put('a', other);
    await inner.put('b', stored);
    for (const key of ['copy', 'a', 'b']) expect(await ending(store.get(key))).toBe('HOLDFAST_CORRUPTION');
  });

  test('a key that continues the name of another does not fit its values', async () => {
    const { inner, stored } = await sealed('of a', 'a');
    await inner.put('a/b', stored);
    expect(await ending(encrypted(inner, keyring).get('a/b'))).toBe('HOLDFAST_CORRUPTION');
  });

  test('an id exchanged for that of another key, checksum and all, is refused', async () => {
    const { inner, stored } = await sealed();
    stored.write('key-2', 4, 'latin1');
    stored.writeUInt32LE(crc32(stored.subarray(0, 68)), 68);
    await inner.put('key', stored);
    const both = encrypted(inner, { current: 'key-1', keys: { 'key-1': KEY, 'key-2': KEY } });
    expect(await ending(both.get('key'))).toBe('HOLDFAST_CORRUPTION');
  });

  test('an older value of the same key that is put back is not noticed, as the documentation says', async () => {
    const { inner, stored } = await sealed('old');
    const store = encrypted(inner, keyring);
    await store.put('key', bytes('new'));
    await inner.put('key', stored);
    expect(await ending(store.get('key'))).toBe('old');
  });
});

describe('keys', () => {
  test('other bytes under the same id are a CorruptionError that says so', async () => {
    const { inner } = await sealed();
    const other = encrypted(inner, { current: 'key-1', keys: { 'key-1': randomBytes(32) } });
    await expect(other.get('key')).rejects.toMatchObject({
      code: 'HOLDFAST_CORRUPTION',
      message: expect.stringContaining('unless "key-1" in the keyring is another key than it was'),
    });
  });

  test('an id that the keyring lacks is named, and is no corruption', async () => {
    const { inner } = await sealed();
    const other = encrypted(inner, { current: 'key-2', keys: { 'key-2': KEY } });
    await expect(other.get('key')).rejects.toMatchObject({
      code: 'HOLDFAST_UNKNOWN_ENCRYPTION_KEY',
      key: 'key',
      keyId: 'key-1',
      message: '"key" is encrypted under the key "key-1", which the keyring does not have. Add it to keyring.keys.',
    });
  });

  test('the names of inherited properties are no ids', async () => {
    const { inner, stored } = await sealed();
    stored.fill(0, 4, 68).write('__proto__', 4, 'latin1');
    stored.writeUInt32LE(crc32(stored.subarray(0, 68)), 68);
    await inner.put('key', stored);
    await expect(encrypted(inner, keyring).get('key')).rejects.toMatchObject({ keyId: '__proto__' });
  });
});

describe('values that are not encrypted', () => {
  const plain = bytes(
    '{"plain":"a value that was there before encryption was, and is longer than its overhead of 100"}',
  );

  test.each([plain, bytes('{}'), bytes('')])('%s is refused unless allowPlaintext is set', async (value) => {
    const { read } = await sealed();
    await expect(read(value)).rejects.toMatchObject({
      code: 'HOLDFAST_CORRUPTION',
      message: expect.stringContaining('is not encrypted by holdfast'),
    });
    expect(await ending(read(value, { allowPlaintext: true }))).toBe(value.toString());
  });

  test('one that begins like an encrypted value is refused even then', async () => {
    const { read } = await sealed();
    for (const value of ['HFE1', 'HFE1{"plain":true}', `HFE9${'.'.repeat(200)}`]) {
      expect(await ending(read(bytes(value), { allowPlaintext: true }))).toBe('HOLDFAST_CORRUPTION');
    }
    expect(await ending(read(bytes('HFEx'), { allowPlaintext: true }))).toBe('HFEx');
  });

  test('an encrypted value of a later format is refused even then, and the message says what it may be', async () => {
    const { stored, read } = await sealed();
    const later = stored.with(3, '2'.charCodeAt(0));
    await expect(read(later, { allowPlaintext: true })).rejects.toMatchObject({
      message: expect.stringContaining('written by a newer holdfast'),
    });
  });

  test('sizes of plain values in a listing are never negative', async () => {
    const { inner } = await sealed();
    await inner.put('plain', bytes('{}'));
    const { entries } = await encrypted(inner, keyring, { allowPlaintext: true }).list('plain');
    expect(entries).toMatchObject([{ key: 'plain', sizeBytes: 0 }]);
  });
});

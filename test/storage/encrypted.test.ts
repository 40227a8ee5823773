import { createHmac, createSecretKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { isHoldfastError } from '../../src/base/errors.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { compressed } from '../../src/storage/compressed.js';
import { encrypted } from '../../src/storage/encrypted/encrypted.js';
import type { Keyring } from '../../src/storage/encrypted/keyring.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { observed } from '../../src/storage/observed.js';
import { prefixed } from '../../src/storage/prefixed.js';
import { replicated } from '../../src/storage/replicated/replicated.js';

const KEY = Buffer.from('a key of thirty-two bytes, no less.').subarray(0, 32);
const keyring: Keyring = { current: '2026-11', keys: { '2026-11': KEY } };
const OVERHEAD = 100;

const bytes = (text: string) => Buffer.from(text);

/** What the store beneath holds under the key. */
async function storedUnder(store: StorageAdapter, key: string): Promise<Buffer> {
  return Buffer.from((await store.get(key))?.value ?? []);
}

async function textAt(store: StorageAdapter, key: string): Promise<string | undefined> {
  const entry = await store.get(key);
  return entry && Buffer.from(entry.value).toString();
}

/** Neither the error nor anything it carries shows the text, plain or encoded. */
function tells(error: unknown, secret: Buffer | string): boolean {
  const shown = inspect(error, { depth: Number.POSITIVE_INFINITY, maxArrayLength: null, showHidden: true });
  const forms =
    typeof secret === 'string' ? [secret] : [secret.toString('hex'), secret.toString('latin1'), [...secret].join(', ')];
  return forms.some((form) => shown.includes(form));
}

describe('what is stored', () => {
  test.each([0, 1, 15, 16, 17, 4096])('a value of %i bytes comes back, and takes 100 bytes more', async (size) => {
    const inner = memoryStorage();
    const store = encrypted(inner, keyring);
    const value = randomBytes(size);
    await store.put('key', value);
    expect(await storedUnder(inner, 'key')).toHaveLength(size + OVERHEAD);
    expect(Buffer.from((await store.get('key'))?.value ?? [])).toEqual(value);
  });

  test('neither the value nor the key is among the bytes', async () => {
    const inner = memoryStorage();
    await encrypted(inner, keyring).put('key', bytes('the launch code is 0000'));
    const stored = await storedUnder(inner, 'key');
    expect(stored.includes('launch')).toBe(false);
    expect(stored.includes(KEY)).toBe(false);
  });

  test('values of a batch are encrypted too, and its deletes and checks are done', async () => {
    const inner = memoryStorage();
    const store = encrypted(inner, keyring);
    await store.put('old', bytes('old'));
    await store.batch?.([
      { type: 'put', key: 'new', value: bytes('secret') },
      { type: 'delete', key: 'old' },
      { type: 'check', key: 'absent', ifVersion: null },
    ]);
    expect((await storedUnder(inner, 'new')).includes('secret')).toBe(false);
    expect(await textAt(store, 'new')).toBe('secret');
    expect(await store.get('old')).toBeUndefined();
  });

  test('list shows the sizes of the values, whatever the length of the key’s id', async () => {
    const inner = memoryStorage();
    await encrypted(inner, { current: 'k', keys: { k: KEY } }).put('short', bytes('12345'));
    const long = 'k'.repeat(64);
    const store = encrypted(inner, { current: long, keys: { [long]: KEY, k: KEY } });
    await store.put('long', bytes('12345'));
    expect((await store.list('')).entries).toMatchObject([{ sizeBytes: 5 }, { sizeBytes: 5 }]);
    expect(await textAt(store, 'long')).toBe('12345');
    expect(await textAt(store, 'short')).toBe('12345');
  });

  test('a value of format 1 is read for ever', async () => {
    const inner = memoryStorage();
    const stored =
      'SEZFMTIwMjYtMTEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACwKoNhsM3vtcQwddMuk9c2pIiQ9kA/tfqXBrqOLC11SlFlKOk=';
    await inner.put('key', Buffer.from(stored, 'base64'));
    expect(await textAt(encrypted(inner, keyring), 'key')).toBe('kept');
  });

  test('no nonce is used twice in 100,000 writes', async () => {
    const nonces = new Set<string>();
    const sink: StorageAdapter = {
      ...memoryStorage(),
      put: async (_key, value) => {
        nonces.add(Buffer.from(value.subarray(72, 84)).toString('latin1'));
        return 'version';
      },
    };
    const store = encrypted(sink, keyring);
    const value = bytes('the same');
    for (let write = 0; write < 100_000; write++) await store.put('key', value);
    expect(nonces.size).toBe(100_000);
  });
});

describe('the keyring', () => {
  test('a KeyObject and its bytes are the same key', async () => {
    const inner = memoryStorage();
    await encrypted(inner, { current: 'a', keys: { a: createSecretKey(KEY) } }).put('key', bytes('value'));
    expect(await textAt(encrypted(inner, { current: 'a', keys: { a: KEY } }), 'key')).toBe('value');
  });

  test('changing the bytes or the keyring afterwards changes nothing', async () => {
    const own = Buffer.from(KEY);
    const keys: Record<string, Uint8Array> = { a: own };
    const store = encrypted(memoryStorage(), { current: 'a', keys });
    own.fill(0);
    delete keys.a;
    await store.put('key', bytes('value'));
    expect(await textAt(store, 'key')).toBe('value');
  });

  test('values under any of the keys are read, new ones are written under the current one', async () => {
    const inner = memoryStorage();
    await encrypted(inner, { current: 'a', keys: { a: KEY } }).put('old', bytes('old'));
    const store = encrypted(inner, { current: 'b', keys: { a: KEY, b: randomBytes(32) } });
    await store.put('new', bytes('new'));
    expect([await textAt(store, 'old'), await textAt(store, 'new')]).toEqual(['old', 'new']);
    await expect(encrypted(inner, { current: 'a', keys: { a: KEY } }).get('new')).rejects.toMatchObject({ keyId: 'b' });
  });

  const SECRET = createHmac('sha256', 'secret').digest();
  const pair = generateKeyPairSync('ed25519');
  test.each<[string, unknown, string]>([
    ['31 bytes', { current: 'a', keys: { a: SECRET.subarray(1) } }, 'keyring.keys.a'],
    ['33 bytes', { current: 'a', keys: { a: Buffer.concat([SECRET, SECRET]).subarray(0, 33) } }, 'keyring.keys.a'],
    ['text', { current: 'a', keys: { a: SECRET.toString('hex') } }, 'keyring.keys.a'],
    ['a KeyObject of 16 bytes', { current: 'a', keys: { a: createSecretKey(SECRET.subarray(16)) } }, 'keyring.keys.a'],
    ['a public KeyObject', { current: 'a', keys: { a: pair.publicKey } }, 'keyring.keys.a'],
    ['an empty id', { current: '', keys: { '': SECRET } }, 'keyring.keys'],
    ['an id of 65 characters', { current: 'a', keys: { a: SECRET, ['a'.repeat(65)]: SECRET } }, 'keyring.keys'],
    ['an id that is not ASCII', { current: 'ключ', keys: { ключ: SECRET } }, 'keyring.keys'],
    ['a current key that is not there', { current: 'b', keys: { a: SECRET } }, 'keyring.current'],
    ['a current key that is inherited', { current: 'toString', keys: { a: SECRET } }, 'keyring.current'],
    ['a secret as the current id', { current: SECRET.toString('hex'), keys: { a: SECRET } }, 'keyring.current'],
    ['no current key', { keys: { a: SECRET } }, 'keyring.current'],
    ['the key itself', SECRET, 'keyring.current'],
    ['the key itself as text', SECRET.toString('hex'), 'keyring'],
    ['nothing', undefined, 'keyring.current'],
    ['a misspelt part', { current: 'a', keys: { a: SECRET }, key: SECRET.toString('hex') }, 'keyring.key'],
  ])('%s is refused without being quoted', (_what, given, path) => {
    let refusal: unknown;
    try {
      encrypted(memoryStorage(), given as Keyring);
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toMatchObject({ code: 'HOLDFAST_INVALID_INPUT', path });
    expect([tells(refusal, SECRET), tells(refusal, SECRET.toString('hex'))]).toEqual([false, false]);
  });

  test('no key shows in the errors of damaged values', async () => {
    const inner = memoryStorage();
    const store = encrypted(inner, keyring);
    await store.put('key', bytes('value'));
    await inner.put('key', (await storedUnder(inner, 'key')).fill(0, 90));
    const error = await store.get('key').catch((error) => error);
    expect(error).toMatchObject({ code: 'HOLDFAST_CORRUPTION', key: 'key' });
    expect(tells(error, KEY)).toBe(false);
  });
});

describe('the store beneath', () => {
  test('its largest value shrinks by what encryption takes', () => {
    const inner = memoryStorage();
    const limited = { ...inner, capabilities: { ...inner.capabilities, maxValueBytes: 1000 } };
    expect(encrypted(limited, keyring).capabilities).toEqual({ ...limited.capabilities, maxValueBytes: 900 });
  });

  test('what it promises is asked anew, for a server knows it late', () => {
    const inner = { ...memoryStorage() };
    const store = encrypted(inner, keyring);
    Object.assign(inner, { capabilities: { ...inner.capabilities, durability: 'replicated' } });
    expect(store.capabilities.durability).toBe('replicated');
  });

  test('a store for values that are too small is refused', () => {
    const inner = memoryStorage();
    const tiny = { ...inner, capabilities: { ...inner.capabilities, maxValueBytes: 100 } };
    expect(() => encrypted(tiny, keyring)).toThrow('memory takes values of 100 bytes at most');
  });

  test('a compressed store is refused: the other way round it serves its purpose', () => {
    const nested = () => encrypted(compressed(memoryStorage()), keyring);
    expect(nested).toThrow('compressed(encrypted(storage, keyring))');
    expect(() => compressed(encrypted(memoryStorage(), keyring))).not.toThrow();
  });

  test.each<[string, (storage: StorageAdapter) => StorageAdapter]>([
    ['prefixed', (storage) => prefixed(storage, 'room')],
    ['observed', (storage) => observed(storage, () => {})],
    ['replicated', (storage) => replicated([storage, memoryStorage()])],
    [
      'several',
      (storage) =>
        prefixed(
          observed(prefixed(storage, 'a'), () => {}),
          'b',
        ),
    ],
  ])('a compressed store is refused below %s, and no other is', (_, wrapped) => {
    expect(() => encrypted(wrapped(compressed(memoryStorage())), keyring)).toThrow('compressed(encrypted(');
    expect(() => compressed(wrapped(encrypted(wrapped(memoryStorage()), keyring)))).not.toThrow();
  });

  test('its mark for what may not be the newest is passed on', async () => {
    const inner = memoryStorage();
    await encrypted(inner, keyring).put('key', bytes('value'));
    const suspect: StorageAdapter = {
      ...inner,
      get: async (key) => ({ ...(await inner.get(key)), suspect: true }) as never,
    };
    expect(await encrypted(suspect, keyring).get('key')).toMatchObject({ key: 'key', suspect: true });
  });

  test('its errors pass through as they are', async () => {
    const failure = new Error('the disk is on fire');
    const broken: StorageAdapter = { ...memoryStorage(), get: () => Promise.reject(failure) };
    const error = await encrypted(broken, keyring)
      .get('key')
      .catch((error) => error);
    expect(isHoldfastError(error) && error.cause).toBe(failure);
  });

  test('an unknown option is refused', () => {
    const misspelt = { allowPlainText: true } as object;
    expect(() => encrypted(memoryStorage(), keyring, misspelt)).toThrow('options.allowPlainText');
  });
});

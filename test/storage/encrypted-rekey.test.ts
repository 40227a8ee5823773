import { describe, expect, test } from 'vitest';
import { type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { type EncryptedStorage, encrypted } from '../../src/storage/encrypted/encrypted.js';
import { memoryStorage } from '../../src/storage/memory.js';

const keys = { old: new Uint8Array(32).fill(1), new: new Uint8Array(32).fill(2) };
const before = { current: 'old', keys: { old: keys.old } };
const rotating = { current: 'new', keys };
const after = { current: 'new', keys: { new: keys.new } };
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];

const bytes = (text: string) => Buffer.from(text);

/** A store with one value per name, each its own name, under the old key. */
async function storeUnderOldKey(names: readonly string[] = NAMES): Promise<StorageAdapter> {
  const inner = memoryStorage();
  for (const name of names) await encrypted(inner, before).put(name, bytes(name));
  return inner;
}

/** Every value that can be read with the keyring, as text. */
async function textsIn(inner: StorageAdapter, keyring: typeof before | typeof after): Promise<readonly string[]> {
  const store = encrypted(inner, keyring);
  const { entries } = await store.list('');
  const values = await Promise.all(entries.map(({ key }) => store.get(key)));
  return values.map((entry) => Buffer.from(entry?.value ?? []).toString());
}

/** The store, which fails at the given write and at all later ones; `isDone` says whether that write still happens. */
function cutOff(inner: StorageAdapter, atWrite: number, isDone: boolean): StorageAdapter {
  let writes = 0;
  return {
    ...inner,
    async put(key, value, options) {
      if (writes++ < atWrite) return inner.put(key, value, options);
      if (isDone && writes === atWrite + 1) await inner.put(key, value, options);
      throw new StorageError('cut off');
    },
  };
}

/** The store, in which somebody else does something right before the first write. */
function interfered(inner: StorageAdapter, interfere: () => Promise<unknown>): StorageAdapter {
  let isFirst = true;
  return {
    ...inner,
    async put(key, value, options) {
      if (isFirst) {
        isFirst = false;
        await interfere();
      }
      return inner.put(key, value, options);
    },
  };
}

describe('rekey', () => {
  test('afterwards no value needs the old key', async () => {
    const inner = await storeUnderOldKey();
    const report = await encrypted(inner, rotating).rekey();
    expect(report).toEqual({ rekeyed: 6, upToDate: 0, changedMeanwhile: 0, damaged: [], isSuspect: false });
    expect(await textsIn(inner, after)).toEqual(NAMES);
  });

  test('a second run writes nothing', async () => {
    const inner = await storeUnderOldKey();
    await encrypted(inner, rotating).rekey();
    const versions = (await inner.list('')).entries;
    const report = await encrypted(inner, rotating).rekey();
    expect(report).toEqual({ rekeyed: 0, upToDate: 6, changedMeanwhile: 0, damaged: [], isSuspect: false });
    expect((await inner.list('')).entries).toEqual(versions);
  });

  test('each value that is written gets a new version', async () => {
    const inner = await storeUnderOldKey(['lease']);
    const version = (await inner.get('lease'))?.version as string;
    const store = encrypted(inner, rotating);
    await store.rekey();
    const renewal = store.put('lease', bytes('mine'), { ifVersion: version });
    await expect(renewal).rejects.toMatchObject({ code: 'HOLDFAST_CONFLICT' });
  });

  test('every page of a large store is done', async () => {
    const names = Array.from({ length: 2_345 }, (_, at) => `key-${String(at).padStart(4, '0')}`);
    const inner = await storeUnderOldKey(names);
    expect(await encrypted(inner, rotating).rekey()).toMatchObject({ rekeyed: 2_345 });
    expect(await encrypted(inner, after).rekey()).toMatchObject({
      rekeyed: 0,
      upToDate: 2_345,
      damaged: [],
      isSuspect: false,
    });
  });

  test('a prefix leaves the other keys alone', async () => {
    const inner = await storeUnderOldKey(['done/1', 'done/2', 'running/1']);
    const running = (await inner.get('running/1'))?.version;
    expect(await encrypted(inner, rotating).rekey({ prefix: 'done/' })).toMatchObject({ rekeyed: 2, upToDate: 0 });
    expect((await inner.get('running/1'))?.version).toBe(running);
  });

  test('plain values are encrypted if they are allowed', async () => {
    const inner = await storeUnderOldKey(['a']);
    await inner.put('plain', bytes('plain'));
    expect(await encrypted(inner, rotating, { allowPlaintext: true }).rekey()).toMatchObject({ rekeyed: 2 });
    expect(await textsIn(inner, after)).toEqual(['a', 'plain']);
  });

  test.each([
    ['an unknown option', { prefixes: 'a' }, 'options.prefixes'],
    ['a prefix that no key has', { prefix: '*' }, 'prefix'],
  ])('%s is refused', async (_what, options, path) => {
    const rekeying = encrypted(await storeUnderOldKey(), rotating).rekey(options as object);
    await expect(rekeying).rejects.toMatchObject({ code: 'HOLDFAST_INVALID_INPUT', path });
  });
});

describe('rekey that is interrupted', () => {
  const cuts = NAMES.flatMap((_, write) => [true, false].map((isDone) => ({ write, isDone })));

  test.each(cuts)('by a crash at write $write (done: $isDone), it can be continued', async ({ write, isDone }) => {
    const inner = await storeUnderOldKey();
    const crashing = encrypted(cutOff(inner, write, isDone), rotating).rekey();
    await expect(crashing).rejects.toThrow('cut off');
    const done = write + (isDone ? 1 : 0);
    expect(await textsIn(inner, rotating)).toEqual(NAMES);
    const report = await encrypted(inner, rotating).rekey();
    expect(report).toEqual({
      rekeyed: NAMES.length - done,
      upToDate: done,
      changedMeanwhile: 0,
      damaged: [],
      isSuspect: false,
    });
    expect(await textsIn(inner, after)).toEqual(NAMES);
  });

  test('by an abort, it ends with the reason after the value under way', async () => {
    const inner = await storeUnderOldKey();
    const controller = new AbortController();
    const reason = new Error('enough');
    const aborting = interfered(inner, async () => controller.abort(reason));
    const store = encrypted(aborting, rotating);
    await expect(store.rekey({ signal: controller.signal })).rejects.toBe(reason);
    const { rekeyed, upToDate } = await encrypted(inner, rotating).rekey();
    expect(rekeyed + upToDate).toBe(6);
    expect(upToDate).toBeLessThanOrEqual(1);
  });
});

describe('what rekey leaves alone', () => {
  test('a value that somebody else wrote meanwhile stands, and is counted', async () => {
    const inner = await storeUnderOldKey(['a', 'b']);
    const others = encrypted(inner, before);
    const report = await encrypted(
      interfered(inner, () => others.put('a', bytes('newer'))),
      rotating,
    ).rekey();
    expect(report).toEqual({ rekeyed: 1, upToDate: 0, changedMeanwhile: 1, damaged: [], isSuspect: false });
    expect(await textsIn(inner, rotating as typeof before)).toEqual(['newer', 'b']);
    expect(await encrypted(inner, rotating).rekey()).toMatchObject({ rekeyed: 1, upToDate: 1 });
  });

  test('a value that somebody deleted meanwhile does not come back', async () => {
    const inner = await storeUnderOldKey(['a', 'b', 'c']);
    const removing = interfered(inner, () => Promise.all([inner.delete('a'), inner.delete('b')]));
    const report = await encrypted(removing, rotating).rekey();
    expect(report).toEqual({ rekeyed: 1, upToDate: 0, changedMeanwhile: 1, damaged: [], isSuspect: false });
    expect(await textsIn(inner, after)).toEqual(['c']);
  });

  test('values that cannot be read are named with what is wrong, and stay as they are', async () => {
    const inner = await storeUnderOldKey(['a', 'good']);
    await encrypted(inner, { current: 'lost', keys: { lost: keys.old } }).put('lost', bytes('lost'));
    await inner.put('plain', bytes('plain'));
    await inner.put('copied', (await inner.get('a'))?.value as Uint8Array);
    await inner.delete('a');
    const left = await Promise.all(['copied', 'lost', 'plain'].map((key) => inner.get(key)));
    const report = await encrypted(inner, rotating).rekey();
    expect(report).toMatchObject({
      rekeyed: 1,
      damaged: [
        { key: 'copied', error: { code: 'HOLDFAST_CORRUPTION', key: 'copied' } },
        { key: 'lost', error: { code: 'HOLDFAST_UNKNOWN_ENCRYPTION_KEY', keyId: 'lost' } },
        { key: 'plain', error: { code: 'HOLDFAST_CORRUPTION', key: 'plain' } },
      ],
    });
    expect(await Promise.all(['copied', 'lost', 'plain'].map((key) => inner.get(key)))).toEqual(left);
  });

  test('a value that is damaged under the current key is named too', async () => {
    const inner = memoryStorage();
    const store: EncryptedStorage = encrypted(inner, after);
    await store.put('key', bytes('value'));
    const stored = await inner.get('key');
    await inner.put('key', stored?.value.fill(0, 84) as Uint8Array);
    expect(await store.rekey()).toMatchObject({ upToDate: 0, damaged: [{ key: 'key' }] });
  });

  test('a value that may not be the newest is not made to look as if it were', async () => {
    const inner = await storeUnderOldKey(['key']);
    const suspecting: StorageAdapter = {
      ...inner,
      get: async (key) => ({ ...(await inner.get(key)), suspect: true }) as never,
    };
    const report = await encrypted(suspecting, rotating).rekey();
    expect(report).toMatchObject({ rekeyed: 0, damaged: [{ key: 'key', error: { code: 'HOLDFAST_CORRUPTION' } }] });
    expect(await textsIn(inner, before)).toEqual(['key']);
  });
});

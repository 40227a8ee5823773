import { describe, expect, test } from 'vitest';
import { InvalidInputError } from '../../src/base/errors.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { withRecentReads } from '../../src/checkpoints/repair/recent-reads.js';
import { guardedStorage } from '../../src/records/guarded-storage.js';
import type { ReadOptions, StorageAdapter } from '../../src/storage/adapter.js';
import { checked } from '../../src/storage/checked.js';
import { compressed } from '../../src/storage/compressed.js';
import { encrypted } from '../../src/storage/encrypted/encrypted.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { observed } from '../../src/storage/observed.js';
import { prefixed } from '../../src/storage/prefixed.js';
import { replicated } from '../../src/storage/replicated/replicated.js';
import { bytes } from '../../src/testing/contract/entries.js';

/** A store that notes with which options it is read. */
function noting() {
  const inner = memoryStorage();
  const reads: (ReadOptions | undefined)[] = [];
  const get: StorageAdapter['get'] = (key, options) => {
    reads.push(options);
    return inner.get(key);
  };
  return { storage: { ...inner, get }, reads };
}

const keyring = { current: 'one', keys: { one: new Uint8Array(32) } };
const guardOf = (storage: StorageAdapter) => ({ storage, key: 'guard', version: () => '1', confirm: async () => {} });
const { signal } = new AbortController();

describe('who says that it proves a value itself', () => {
  test.each<[string, (inner: StorageAdapter) => StorageAdapter]>([
    ['checked', checked],
    ['prefixed', (inner) => prefixed(inner, 'room')],
    ['observed', (inner) => observed(inner, () => {})],
    ['guarded', (inner) => guardedStorage(inner, guardOf(inner))],
  ])('is heard through a %s store', async (_, wrapped) => {
    const { storage, reads } = noting();
    await wrapped(storage).get('key', { callerProves: true, signal });
    expect(reads).toEqual([{ callerProves: true, signal }]);
  });

  test.each<[string, (inner: StorageAdapter) => StorageAdapter]>([
    ['compressed', compressed],
    ['encrypted', (inner) => encrypted(inner, keyring)],
    ['replicated', (inner) => replicated([inner, memoryStorage()])],
    ['remembering', (inner) => withRecentReads(inner, 100)],
  ])('is not heard below a %s store, which needs it proved for itself', async (_, wrapped) => {
    const { storage, reads } = noting();
    const store = wrapped(storage);
    await store.put('key', bytes('value'));
    reads.length = 0;
    await store.get('key', { callerProves: true, signal });
    await store.get('other', { callerProves: true });
    expect(reads).toEqual([{ signal }, undefined]);
  });

  test('says so with true or false', async () => {
    const reading = checked(memoryStorage()).get('key', { callerProves: 'yes' as never });
    await expect(reading).rejects.toThrow(InvalidInputError);
  });
});

describe('checkpoints', () => {
  test('prove themselves what a restore reads, but not what is verified or exported', async () => {
    const { storage, reads } = noting();
    const checkpoints = new CheckpointManager({ storage });
    const messages = Array.from({ length: 40 }, (_, at) => `message ${at} ${'.'.repeat(600)}`);
    for (const count of [30, 40]) await checkpoints.save('agent', messages.slice(0, count));
    reads.length = 0;
    await checkpoints.restore('agent');
    await checkpoints.drained();
    expect(reads).toEqual([{ callerProves: true }, { callerProves: true }, undefined]); // The last is the count.
    reads.length = 0;
    await checkpoints.verify('agent', { depth: 'deep' });
    for await (const _ of checkpoints.export('agent'));
    expect(new Set(reads)).toEqual(new Set([undefined]));
  });
});

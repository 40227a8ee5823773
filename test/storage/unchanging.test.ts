import { describe, expect, test } from 'vitest';
import { sealRecord } from '../../src/records/envelope.js';
import { guardedStorage } from '../../src/records/guarded-storage.js';
import { type BatchOperation, ConflictError, type StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { asItIsNow } from '../../src/storage/unchanging.js';
import { modelStore } from '../support/model-store.js';

const LARGE_BYTES = 100_000;

/** A record that is large enough for a copy of it to matter. */
const record = () => sealRecord({ key: 'k', id: 'i', parent: null, meta: {} }, Buffer.alloc(LARGE_BYTES, 'x')).bytes;

describe('a value as it is now', () => {
  test.each([0, 10, LARGE_BYTES])('is a copy of a buffer of %i bytes that its owner may change', (length) => {
    const value = Buffer.alloc(length, 1);
    const taken = asItIsNow(value);
    value.fill(2);
    expect(taken.equals(Buffer.alloc(length, 1))).toBe(true);
  });

  test('is not copied if it is a record, which nobody changes', () => {
    const bytes = record();
    expect(asItIsNow(bytes).buffer).toBe(bytes.buffer);
    expect(asItIsNow(bytes).equals(bytes)).toBe(true);
  });

  test('is copied if it is a piece of such a record, which somebody may have been given', () => {
    const bytes = record();
    expect(asItIsNow(bytes.subarray(1)).buffer).not.toBe(bytes.buffer);
  });
});

describe('a large value', () => {
  test('is stored in a file as it was when put and batch were called', async () => {
    const { storage } = modelStore();
    const value = Buffer.alloc(LARGE_BYTES, 1);
    const writing = [storage.put('put', value), storage.batch([{ type: 'put', key: 'batch', value }])];
    value.fill(2);
    await Promise.all(writing);
    for (const key of ['put', 'batch']) {
      expect(Buffer.alloc(LARGE_BYTES, 1).equals((await storage.get(key))?.value as Uint8Array)).toBe(true);
    }
  });

  test('of a holder is the same when it has to be written twice', async () => {
    const inner = memoryStorage();
    let version = await inner.put('guard', Buffer.from('1'));
    let attempts = 0;
    const batch = async (operations: readonly BatchOperation[]) => {
      if (attempts++ === 0) throw new ConflictError('guard', version);
      return (inner as Required<StorageAdapter>).batch(operations);
    };
    const storage = { ...inner, batch };
    const confirm = async () => {
      version = (await inner.get('guard'))?.version as string;
    };
    const guarded = guardedStorage(storage, { storage, key: 'guard', version: () => version, confirm });
    const value = Buffer.alloc(LARGE_BYTES, 1);
    const writing = guarded.put('key', value);
    value.fill(2);
    await writing;
    expect(attempts).toBe(2);
    expect(Buffer.alloc(LARGE_BYTES, 1).equals((await inner.get('key'))?.value as Uint8Array)).toBe(true);
  });
});

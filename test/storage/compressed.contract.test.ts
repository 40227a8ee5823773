import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { compressed } from '../../src/storage/compressed.js';
import { encrypted } from '../../src/storage/encrypted/encrypted.js';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { type StorageUnderTest, storageContract } from '../../src/testing/storage-contract.js';
import { plainStore } from '../testing/plain-store.js';

const keyring = { current: 'key-1', keys: { 'key-1': new Uint8Array(32).fill(1) } };

/** Instances over one memory, of which a byte in the middle of a value can be changed. */
function overMemory(wrap: (storage: StorageAdapter) => StorageAdapter): StorageUnderTest {
  const { close: _stays, ...memory } = memoryStorage();
  return {
    open: () => wrap(memory),
    async damage(key) {
      const value = (await memory.get(key))?.value ?? new Uint8Array();
      const middle = value.length >> 1;
      await memory.put(key, value.with(middle, 0xff & ~(value[middle] ?? 0)));
    },
  };
}

async function overFile(wrap: (storage: StorageAdapter) => StorageAdapter): Promise<StorageUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-wrapped-'));
  return {
    open: () => wrap(fileStorage(directory, { durability: 'process' })),
    destroy: () => rm(directory, { recursive: true }),
  };
}

const OVER_MEMORY = ['watch', 'durability', 'close', 'processes', 'interrupt'] as const;
const OVER_FILE = ['watch', 'processes', 'damage', 'interrupt'] as const;
const OVER_PLAIN = [...OVER_MEMORY, 'damage', 'reopen', 'atomicBatch', 'monotonicVersions'] as const;

const compress = (storage: StorageAdapter) => compressed(storage);
const compressAll = (storage: StorageAdapter) => compressed(storage, { minBytes: 0 });
const compressAndEncrypt = (storage: StorageAdapter) => compressed(encrypted(storage, keyring));

storageContract('compressed, in memory', () => overMemory(compress), { lacks: OVER_MEMORY });
storageContract('compressed, in files', () => overFile(compressAll), { lacks: OVER_FILE });
storageContract('compressed, without batch', () => compress(plainStore()), { lacks: OVER_PLAIN });
storageContract('compressed, then encrypted', () => overMemory(compressAndEncrypt), { lacks: OVER_MEMORY });

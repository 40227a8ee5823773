import type { StorageAdapter } from '../../src/storage/adapter.js';
import { compressed } from '../../src/storage/compressed.js';
import { encrypted } from '../../src/storage/encrypted/encrypted.js';
import { storageContract } from '../../src/testing/storage-contract.js';
import { plainStore } from '../testing/plain-store.js';
import { filesIn, overFiles, overFragileMemory } from './inner-stores.js';

const keyring = { current: 'key-1', keys: { 'key-1': new Uint8Array(32).fill(1) } };

const OVER_MEMORY = ['watch', 'durability', 'close', 'processes', 'interrupt'] as const;
const OVER_FILE = ['watch', 'processes', 'damage', 'interrupt'] as const;
const OVER_PLAIN = [...OVER_MEMORY, 'damage', 'reopen', 'atomicBatch', 'monotonicVersions'] as const;

const compress = (storage: StorageAdapter) => compressed(storage);
const compressAll = (storage: StorageAdapter) => compressed(storage, { minBytes: 0 });
const compressAndEncrypt = (storage: StorageAdapter) => compressed(encrypted(storage, keyring));

storageContract('compressed, in memory', () => overFragileMemory(compress), { lacks: OVER_MEMORY });
storageContract('compressed, in files', () => overFiles((folder) => compressAll(filesIn(folder))), {
  lacks: OVER_FILE,
});
storageContract('compressed, without batch', () => compress(plainStore()), { lacks: OVER_PLAIN });
storageContract('compressed, then encrypted', () => overFragileMemory(compressAndEncrypt), { lacks: OVER_MEMORY });

import type { StorageAdapter } from '../../src/storage/adapter.js';
import { encrypted } from '../../src/storage/encrypted/encrypted.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { storageContract } from '../../src/testing/storage-contract.js';
import { plainStore } from '../testing/plain-store.js';
import { filesIn, overFiles, overFragileMemory, watchable } from './inner-stores.js';

const keyring = { current: 'key-1', keys: { 'key-1': new Uint8Array(32).fill(1) } };

const OVER_MEMORY = ['watch', 'durability', 'close', 'processes', 'interrupt'] as const;
const OVER_FILE = ['watch', 'processes', 'damage', 'interrupt'] as const;
const OVER_PLAIN = [...OVER_MEMORY, 'damage', 'reopen', 'atomicBatch', 'monotonicVersions'] as const;
const OVER_WATCHED = ['reopen', 'durability', 'processes', 'damage', 'interrupt'] as const;

const encrypt = (storage: StorageAdapter) => encrypted(storage, keyring);

storageContract('encrypted, in memory', () => overFragileMemory(encrypt), { lacks: OVER_MEMORY });
storageContract('encrypted, in files', () => overFiles((folder) => encrypt(filesIn(folder))), { lacks: OVER_FILE });
storageContract('encrypted, without batch', () => encrypt(plainStore()), { lacks: OVER_PLAIN });
storageContract('encrypted, with watch', () => encrypt(watchable(memoryStorage())), { lacks: OVER_WATCHED });

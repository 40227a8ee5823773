import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StorageAdapter } from '../../src/storage/adapter.js';
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

/** A memory store that can be watched. */
function watchedStore(): StorageAdapter {
  const store = memoryStorage();
  const hints = new EventTarget();
  const hinting = async <Result>(keys: readonly string[], write: Promise<Result>): Promise<Result> => {
    const result = await write;
    for (const key of keys) hints.dispatchEvent(new CustomEvent('hint', { detail: key }));
    return result;
  };
  return {
    ...store,
    capabilities: { ...store.capabilities, watch: true },
    put: (key, value, options) => hinting([key], store.put(key, value, options)),
    delete: (key, options) => hinting([key], store.delete(key, options)),
    batch: (operations) =>
      hinting(
        operations.map(({ key }) => key),
        (store as Required<StorageAdapter>).batch(operations),
      ),
    async watch(prefix, onChange) {
      const listener = (hint: Event) => {
        const key = (hint as CustomEvent<string>).detail;
        if (key.startsWith(prefix)) hintTo(onChange, key);
      };
      hints.addEventListener('hint', listener);
      return async () => hints.removeEventListener('hint', listener);
    },
  };
}

function hintTo(onChange: (key: string) => void, key: string): void {
  try {
    onChange(key);
  } catch {
    // Correctness never depends on a listener.
  }
}

const OVER_MEMORY = ['watch', 'durability', 'close', 'processes', 'interrupt'] as const;
const OVER_FILE = ['watch', 'processes', 'damage', 'interrupt'] as const;
const OVER_PLAIN = [...OVER_MEMORY, 'damage', 'reopen', 'atomicBatch', 'monotonicVersions'] as const;
const OVER_WATCHED = ['reopen', 'durability', 'processes', 'damage', 'interrupt'] as const;

const encrypt = (storage: StorageAdapter) => encrypted(storage, keyring);

storageContract('encrypted, in memory', () => overMemory(encrypt), { lacks: OVER_MEMORY });
storageContract('encrypted, in files', () => overFile(encrypt), { lacks: OVER_FILE });
storageContract('encrypted, without batch', () => encrypt(plainStore()), { lacks: OVER_PLAIN });
storageContract('encrypted, with watch', () => encrypt(watchedStore()), { lacks: OVER_WATCHED });

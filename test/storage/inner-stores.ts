import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BatchOperation, StorageAdapter } from '../../src/storage/adapter.js';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import { memoryStorage } from '../../src/storage/memory.js';
import type { StorageUnderTest } from '../../src/testing/storage-contract.js';

/** The same store for one of several users: closing it closes only this. */
export function connectionTo(store: StorageAdapter): StorageAdapter {
  const { close: _, ...methods } = store;
  return { ...methods, capabilities: store.capabilities };
}

/** The same store, as one that has no batches. */
export function withoutBatch(store: StorageAdapter): StorageAdapter {
  const { batch: _, ...methods } = store;
  return { ...methods, capabilities: { ...store.capabilities, atomicBatch: false } };
}

/** The same store, as one that can be watched. */
export function watchable(store: StorageAdapter): StorageAdapter {
  const listeners = new Set<(key: string) => void>();
  const changed = (key: string) => {
    for (const listener of listeners) queueMicrotask(() => listeners.has(listener) && listener(key));
  };
  const { batch } = store;
  return {
    ...store,
    capabilities: { ...store.capabilities, watch: true },
    async put(key, value, options) {
      const version = await store.put(key, value, options);
      changed(key);
      return version;
    },
    async delete(key, options) {
      const existed = await store.delete(key, options);
      if (existed) changed(key);
      return existed;
    },
    ...(batch && {
      async batch(operations: readonly BatchOperation[]) {
        const version = await batch(operations);
        for (const { key } of operations) changed(key);
        return version;
      },
    }),
    async watch(prefix, onChange) {
      const listener = (key: string) => {
        try {
          if (key.startsWith(prefix)) onChange(key);
        } catch {
          // A listener that throws harms nobody else.
        }
      };
      listeners.add(listener);
      return async () => void listeners.delete(listener);
    },
  };
}

/** Several instances over what one memory holds. `instance` makes them of connections to it. */
export function overMemory(instance: (memory: StorageAdapter) => StorageAdapter): StorageUnderTest {
  const memory = memoryStorage();
  return { open: () => instance(memory) };
}

/** As `overMemory`, where closing an instance closes only that, and a byte in the middle of a value can be changed. */
export function overFragileMemory(instance: (memory: StorageAdapter) => StorageAdapter): StorageUnderTest {
  const memory = connectionTo(memoryStorage());
  return {
    open: () => instance(memory),
    async damage(key) {
      const value = (await memory.get(key))?.value ?? new Uint8Array();
      const middle = value.length >> 1;
      await memory.put(key, value.with(middle, 0xff & ~(value[middle] ?? 0)));
    },
  };
}

/** Several instances over directories of one folder. `instance` makes them, and opens what it needs. */
export async function overFiles(instance: (folder: string) => StorageAdapter): Promise<StorageUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-wrapped-'));
  // Stores below are left open by some wrappers, and may be writing still.
  return { open: () => instance(folder), destroy: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }) };
}

/** A file store that does not sync: tests of wrappers are not about power cuts. */
export function filesIn(folder: string, name = 'store'): StorageAdapter {
  return fileStorage(join(folder, name), { durability: 'process' });
}

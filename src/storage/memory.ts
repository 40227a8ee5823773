import { ClosedError } from '../base/errors.js';
import { type BatchOperation, ConflictError, type StorageAdapter, type Version } from './adapter.js';
import { checked } from './checked.js';
import { KeyIndex } from './key-index.js';

interface MemoryEntry {
  readonly value: Uint8Array;
  readonly version: Version;
}

/**
 * A store in this process's memory: for tests, and for work that may be lost. `durability: 'none'`. Values are copied
 * in and out, so neither side can change what the other holds.
 */
export function memoryStorage(): StorageAdapter {
  const entries = new KeyIndex<MemoryEntry>();
  let writes = 0;
  let isClosed = false;
  const requireOpen = () => {
    if (isClosed) throw new ClosedError('The memory store');
  };
  const requireVersion = (key: string, ifVersion: Version | null | undefined) => {
    const current = entries.get(key)?.version;
    if (ifVersion !== undefined && (current ?? null) !== ifVersion) throw new ConflictError(key, current);
  };
  const apply = (operations: readonly BatchOperation[]): Version => {
    requireOpen();
    for (const { key, ifVersion } of operations) requireVersion(key, ifVersion);
    const version = String(++writes).padStart(16, '0');
    for (const operation of operations) {
      if (operation.type === 'put') entries.set(operation.key, { value: new Uint8Array(operation.value), version });
      if (operation.type === 'delete') entries.delete(operation.key);
    }
    return version;
  };
  return checked({
    name: 'memory',
    capabilities: { durability: 'none', scope: 'process', atomicBatch: true, monotonicVersions: true, watch: false },
    async get(key) {
      requireOpen();
      const entry = entries.get(key);
      return entry && { key, value: new Uint8Array(entry.value), version: entry.version };
    },
    put: async (key, value, options) => apply([{ type: 'put', key, value, ...condition(options?.ifVersion) }]),
    async delete(key, options) {
      requireOpen();
      const existed = entries.get(key) !== undefined;
      apply([{ type: 'delete', key, ...(options?.ifVersion === undefined ? {} : { ifVersion: options.ifVersion }) }]);
      return existed;
    },
    async list(prefix, { after, limit = 1_000, reverse = false } = {}) {
      requireOpen();
      const { found, more } = entries.page(prefix, limit, after, reverse);
      const listed = found.map(([key, { version, value }]) => ({ key, version, sizeBytes: value.byteLength }));
      const last = listed.at(-1);
      return more && last ? { entries: listed, next: last.key } : { entries: listed };
    },
    batch: async (operations) => apply(operations),
    async close() {
      isClosed = true;
    },
  });
}

function condition(ifVersion: Version | null | undefined): { ifVersion?: Version | null } {
  return ifVersion === undefined ? {} : { ifVersion };
}

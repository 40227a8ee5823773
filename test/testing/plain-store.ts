import { type BatchOperation, ConflictError, type StorageAdapter, type Version } from '../../src/storage/adapter.js';

/** What a plain store keeps under a key. */
interface PlainEntry {
  readonly value: Uint8Array;
  readonly version: Version;
}

/** The parts of a plain store, each of which a test may replace by a broken one. */
export interface PlainParts {
  readonly entries: Map<string, PlainEntry>;
  /** A version for a write of this key and value. */
  nextVersion(key: string, value: Uint8Array): Version;
  /** @throws ConflictError */
  requireVersion(key: string, ifVersion: Version | null | undefined): void;
  copyIn(value: Uint8Array): Uint8Array;
  copyOut(value: Uint8Array): Uint8Array;
  /** The keys of a listing, in the order in which they are shown. */
  keysOf(prefix: string): string[];
}

/** What a host may write in an afternoon: four methods over a Map. It keeps the contract. */
export function plainStore(broken: (parts: PlainParts) => Partial<PlainParts> = () => ({})): StorageAdapter {
  const parts = plainParts();
  Object.assign(parts, broken({ ...parts }));
  return {
    name: 'plain',
    capabilities: { durability: 'none', scope: 'process', atomicBatch: false, monotonicVersions: false, watch: false },
    async get(key) {
      const entry = parts.entries.get(key);
      return entry && { key, value: parts.copyOut(entry.value), version: entry.version };
    },
    async put(key, value, options) {
      parts.requireVersion(key, options?.ifVersion);
      const version = parts.nextVersion(key, value);
      parts.entries.set(key, { value: parts.copyIn(value), version });
      return version;
    },
    async delete(key, options) {
      parts.requireVersion(key, options?.ifVersion);
      return parts.entries.delete(key);
    },
    async list(prefix, { after, limit = 1_000, reverse = false } = {}) {
      const keys = reverse ? parts.keysOf(prefix).reverse() : parts.keysOf(prefix);
      const rest = after === undefined ? keys : keys.filter((key) => (reverse ? key < after : key > after));
      const entries = rest.slice(0, limit).map((key) => listed(key, parts.entries.get(key) as PlainEntry));
      return rest.length > limit ? { entries, next: rest[limit - 1] as string } : { entries };
    },
  };
}

/** A plain store whose `batch` does one operation after the other. It breaks the contract if one in the middle fails. */
export function oneByOneBatchStore(): StorageAdapter {
  const store = plainStore();
  const apply = async (operation: BatchOperation): Promise<Version> => {
    const { key, ifVersion } = operation;
    if (operation.type === 'put') return store.put(key, operation.value, ifVersion === undefined ? {} : { ifVersion });
    if (operation.type === 'delete') await store.delete(key, operation.ifVersion === undefined ? {} : operation);
    return 'none';
  };
  return {
    ...store,
    capabilities: { ...store.capabilities, atomicBatch: true },
    async batch(operations) {
      let version = 'none';
      for (const operation of operations) version = await apply(operation);
      return version;
    },
  };
}

function plainParts(): PlainParts {
  const entries = new Map<string, PlainEntry>();
  let writes = 0;
  return {
    entries,
    nextVersion: () => `v${++writes}`,
    requireVersion(key, ifVersion) {
      const current = entries.get(key)?.version;
      if (ifVersion !== undefined && ifVersion !== (current ?? null)) throw new ConflictError(key, current);
    },
    copyIn: (value) => new Uint8Array(value),
    copyOut: (value) => new Uint8Array(value),
    keysOf: (prefix) => [...entries.keys()].filter((key) => key.startsWith(prefix)).sort(),
  };
}

function listed(key: string, { value, version }: PlainEntry) {
  return { key, version, sizeBytes: value.byteLength };
}

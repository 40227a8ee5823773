import type { StorageAdapter, StoredEntry } from '../../storage/adapter.js';

/** The same store, which gives what was read lately again without asking: at most `maxBytes` of it are kept. */
export function withRecentReads(storage: StorageAdapter, maxBytes: number): StorageAdapter {
  const recent = new Map<string, StoredEntry>();
  let keptBytes = 0;
  const keep = (key: string, entry: StoredEntry): void => {
    recent.set(key, entry);
    keptBytes += entry.value.byteLength;
    for (const [oldest, { value }] of recent) {
      if (keptBytes <= maxBytes) return;
      recent.delete(oldest);
      keptBytes -= value.byteLength;
    }
  };
  return {
    ...storage,
    async get(key, { signal } = {}) {
      const known = recent.get(key);
      if (known) {
        recent.delete(key); // Used last is dropped last.
        recent.set(key, known);
        return known;
      }
      const entry = await storage.get(key, signal && { signal }); // Proved: the next one who asks may not do so.
      if (entry && !recent.has(key)) keep(key, entry);
      return entry;
    },
  };
}

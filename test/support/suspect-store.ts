import type { StorageAdapter } from '../../src/storage/adapter.js';

/** The same store, as one that is damaged where it cannot tell which keys were there. */
export function suspectStore(inner: StorageAdapter): StorageAdapter {
  return { ...inner, list: async (prefix, options) => ({ ...(await inner.list(prefix, options)), suspect: true }) };
}

import type { StorageAdapter } from '../adapter.js';
import { listedEntries } from '../listed-entries.js';

/** Calls under way at once while all keys are gone through. */
const GROUP_KEYS = 16;

/** A store whose keys are gone through. */
export interface ListedStore {
  readonly store: StorageAdapter;
  /** Hears why the listing broke off; the others go on without it. Left out: it ends them all. */
  readonly onFailure?: (error: unknown) => void;
  /** Hears that the store cannot tell which keys were there: some may be missing. */
  readonly onSuspect: () => void;
}

/** The keys that any of the stores has, each once, in order and in groups to be looked at together. */
export async function* keyGroups(
  stores: readonly ListedStore[],
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly string[]> {
  let group: string[] = [];
  for await (const key of keysOfAll(stores, signal)) {
    group.push(key);
    if (group.length < GROUP_KEYS) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

async function* keysOfAll(stores: readonly ListedStore[], signal: AbortSignal | undefined): AsyncGenerator<string> {
  const listings = stores.map((listed) => keysOf(listed, signal));
  const heads = await Promise.all(listings.map((listing) => listing.next()));
  for (;;) {
    const waiting = heads.flatMap(({ done, value }) => (done ? [] : [value]));
    // Keys are ASCII: the order of strings is the order of bytes.
    const [first] = waiting.toSorted();
    if (first === undefined) return;
    yield first;
    for (const [at, listing] of listings.entries()) {
      if (heads[at]?.value === first) heads[at] = await listing.next();
    }
  }
}

async function* keysOf(
  { store, onFailure, onSuspect }: ListedStore,
  signal: AbortSignal | undefined,
): AsyncGenerator<string, undefined> {
  try {
    for await (const { key } of listedEntries(store, '', { ...(signal && { signal }), onSuspect })) yield key;
  } catch (error) {
    signal?.throwIfAborted();
    if (onFailure === undefined) throw error;
    onFailure(error);
  }
}

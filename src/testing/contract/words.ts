import { isHoldfastError } from '../../base/errors.js';
import type { BatchOperation, StorageAdapter, Version } from '../../storage/adapter.js';
import { bytes, text } from './entries.js';
import type { BatchingStore } from './rule.js';

// A value that is a list of words, to which each write adds one of its own, tells which writes took part in it: a lost
// one is missing, one done twice is there twice. A counter would hide a loss behind a repetition.

/** More conflicts in a row than any fair race brings: a store that always conflicts must end the test, not hang it. */
const MAX_CONFLICTS = 5_000;

/** The words under `key`, in the order in which they were added. */
export async function wordsAt(store: StorageAdapter, key: string): Promise<readonly string[]> {
  return split(text((await store.get(key))?.value));
}

/** Adds a word by compare-and-swap: one attempt, which conflicts if someone else was first. */
export async function addWord(store: StorageAdapter, key: string, word: string): Promise<Version> {
  const { value, ifVersion } = await extended(store, key, word);
  return store.put(key, value, { ifVersion });
}

/** Adds a word under each of the keys, by one batch. */
export async function addWordToAll(store: BatchingStore, keys: readonly string[], word: string): Promise<Version> {
  const operations = keys.map(async (key): Promise<BatchOperation> => {
    return { type: 'put', key, ...(await extended(store, key, word)) };
  });
  return store.batch(await Promise.all(operations));
}

async function extended(store: StorageAdapter, key: string, word: string) {
  const entry = await store.get(key);
  return { value: bytes([...split(text(entry?.value)), word].join(' ')), ifVersion: entry?.version ?? null };
}

function split(words: string | undefined): readonly string[] {
  return words?.split(' ') ?? [];
}

/** Read, decide, write under the version read; again from the start whenever someone else was first. */
export async function untilNoConflict<Result>(attempt: () => Promise<Result>): Promise<Result> {
  for (let conflicts = 0; ; conflicts++) {
    try {
      return await attempt();
    } catch (error) {
      if (!isConflict(error) || conflicts === MAX_CONFLICTS) throw error;
    }
  }
}

/** Was the write refused because of its condition? Also when it was refused in another process. */
export function isConflict(error: unknown): boolean {
  return isHoldfastError(error) && error.code === 'HOLDFAST_CONFLICT';
}

import type { ListedEntry, ListOptions, StorageAdapter, Version } from '../../storage/adapter.js';

/** `text` as bytes. */
export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Bytes as text; `undefined` stays. */
export function text(value: Uint8Array | undefined): string | undefined {
  return value && new TextDecoder().decode(value);
}

/** The value of `key` as text; `undefined` if it is absent. */
export async function textAt(store: StorageAdapter, key: string): Promise<string | undefined> {
  return text((await store.get(key))?.value);
}

/** Stores each key with its own name as value, all at once, and returns their versions in the same order. */
export async function putAll(store: StorageAdapter, keys: readonly string[]): Promise<readonly Version[]> {
  return Promise.all(keys.map((key) => store.put(key, bytes(key))));
}

/** Pages of one listing at most; a `next` that leads in a circle must end the test, not hang it. */
const MAX_PAGES = 2_000;

/** Every entry of a listing, page by page. */
export async function listAll(
  store: StorageAdapter,
  prefix: string,
  options: ListOptions = {},
): Promise<readonly ListedEntry[]> {
  const entries: ListedEntry[] = [];
  let after = options.after;
  for (let page = 0; page < MAX_PAGES; page++) {
    const { entries: found, next } = await store.list(prefix, after === undefined ? options : { ...options, after });
    entries.push(...found);
    if (next === undefined) return entries;
    after = next;
  }
  throw new Error(`The listing of "${prefix}" did not end within ${MAX_PAGES} pages.`);
}

/** Every key of a listing, page by page. */
export async function keysOf(store: StorageAdapter, prefix: string, options?: ListOptions): Promise<readonly string[]> {
  return (await listAll(store, prefix, options)).map(({ key }) => key);
}

/** What a `ConflictError` looks like, for `toMatchObject`. */
export function conflict(key: string, currentVersion: Version | undefined): object {
  return { code: 'HOLDFAST_CONFLICT', key, currentVersion };
}

/** A version that no write ever got. It is no number, because versions need not be numbers. */
export const NEVER_A_VERSION = 'never-a-version';

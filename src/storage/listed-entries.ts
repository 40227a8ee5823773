import { CorruptionError } from '../base/errors.js';
import type { ListedEntry, ListOptions, StorageAdapter } from './adapter.js';

/** For `listedEntries`. */
export interface ListedEntriesOptions extends Pick<ListOptions, 'after' | 'signal'> {
  /** Hears, once, that keys may be missing from what is listed. Left out: it is thrown behind the last entry. */
  readonly onSuspect?: (error: CorruptionError) => void;
}

/**
 * Every entry below `prefix`, however many pages they fill.
 * @throws CorruptionError behind the last one, if the store cannot tell whether that was all and nobody listens.
 */
export async function* listedEntries(
  storage: StorageAdapter,
  prefix: string,
  { onSuspect, ...options }: ListedEntriesOptions = {},
): AsyncGenerator<ListedEntry, undefined> {
  let { after } = options;
  let isSuspect = false;
  do {
    const page = await storage.list(prefix, { ...options, ...(after !== undefined && { after }) });
    isSuspect ||= page.suspect === true;
    yield* page.entries;
    after = page.next;
  } while (after !== undefined);
  if (isSuspect) tellSuspect(storage, prefix, onSuspect);
}

/** For who turns the pages of a suspect listing himself: as at the end of `listedEntries`. */
export function tellSuspect(
  { name }: StorageAdapter,
  prefix: string,
  onSuspect?: ListedEntriesOptions['onSuspect'],
): void {
  const about = prefix === '' ? '' : ` that begin with "${prefix}"`;
  const message = `${name} is damaged where it cannot tell which keys were there: keys${about} may be missing from its list. Repair the store.`;
  const error = new CorruptionError(message, prefix);
  if (onSuspect === undefined) throw error;
  onSuspect(error);
}

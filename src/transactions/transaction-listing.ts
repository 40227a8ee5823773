import type { CorruptionError } from '../base/errors.js';
import { decodeId } from '../records/keys.js';
import type { ListedEntry, StorageAdapter } from '../storage/adapter.js';
import { listedEntries } from '../storage/listed-entries.js';
import { ENDED, isEnd, keysOf, OPEN, type TransactionHead, type TransactionRecords } from './transaction-records.js';

/** Heads read at once. Many: what a recovery goes on with meanwhile asks the same store, and would come in between. */
const READ_AT_ONCE = 64;

/** A transaction whose record cannot be read. The others can. */
export interface UnreadableTransaction {
  /** Of the record; `transactions/open/` or `transactions/ended/` itself if it cannot be told which are missing. */
  readonly key: string;
  /** `undefined` if the key does not tell it. */
  readonly id: string | undefined;
  readonly error: unknown;
}

/** Heads of those that have not ended. What has ended and still stands among them is moved to where it belongs. */
export function openHeads(records: TransactionRecords): AsyncGenerator<TransactionHead | UnreadableTransaction> {
  return headsBelow(OPEN, records.storage, (key) => readOpen(records, key));
}

/** Heads of all there are, each once, those that have not ended first. */
export async function* allHeads(records: TransactionRecords): AsyncGenerator<TransactionHead | UnreadableTransaction> {
  const read = (key: string) => records.read(key);
  // In this order: one that ends meanwhile is seen twice rather than not at all.
  const seen = new Set<string>();
  for await (const found of headsBelow(OPEN, records.storage, read)) {
    if ('head' in found) seen.add(found.head.about.id);
    yield found;
  }
  for await (const found of headsBelow(ENDED, records.storage, read)) {
    if (!('head' in found && seen.has(found.head.about.id))) yield found;
  }
}

/** Groups of what comes, so that a store far away is not asked for one thing at a time. */
async function* grouped<Item>(items: AsyncIterable<Item>): AsyncGenerator<Item[]> {
  let group: Item[] = [];
  for await (const item of items) {
    group.push(item);
    if (group.length < READ_AT_ONCE) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

async function* headsBelow(
  prefix: string,
  storage: StorageAdapter,
  read: (key: string) => Promise<TransactionHead | undefined>,
): AsyncGenerator<TransactionHead | UnreadableTransaction> {
  const readOne = ({ key }: ListedEntry) =>
    read(key).catch((error: unknown) => ({ key, id: decodeId(key.slice(prefix.length)), error }));
  let doubt: UnreadableTransaction | undefined;
  const onSuspect = (error: CorruptionError) => {
    doubt = { key: prefix, id: undefined, error };
  };
  for await (const group of grouped(listedEntries(storage, prefix, { onSuspect }))) {
    for (const found of await Promise.all(group.map(readOne))) if (found) yield found;
  }
  if (doubt) yield doubt;
}

/** `undefined` if it is not an open transaction, or not any more. */
async function readOpen(records: TransactionRecords, key: string): Promise<TransactionHead | undefined> {
  const found = await records.read(key);
  if (found === undefined) return undefined;
  const { about } = found.head;
  const keys = keysOf(about.id);
  if (isEnd(about)) {
    await records.moveEnded(keys, found, found.version);
    return undefined;
  }
  // Without batches a second beginner may have died before it took its record back.
  const isSecond = !records.batch && (await records.read(keys.ended)) !== undefined;
  return isSecond ? undefined : found;
}

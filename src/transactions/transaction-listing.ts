import { CorruptionError } from '../base/errors.js';
import { decodeId } from '../records/keys.js';
import type { ListedEntry, StorageAdapter } from '../storage/adapter.js';
import { listedEntries } from '../storage/listed-entries.js';
import { HEADS, isEnd, markedBy, OPEN, type TransactionHead, type TransactionRecords } from './transaction-records.js';

/** Heads read at once. Many: what a recovery goes on with meanwhile asks the same store, and would come in between. */
const READ_AT_ONCE = 64;

/** A transaction whose record cannot be read. The others can. */
export interface UnreadableTransaction {
  /** Of the record; `transactions/open/` or `transactions/heads/` itself if it cannot be told which are missing. */
  readonly key: string;
  /** `undefined` if the key does not tell it. */
  readonly id: string | undefined;
  readonly error: unknown;
}

/** Heads of those that have not ended. A mark that an end left behind is taken away. */
export function openHeads(records: TransactionRecords): AsyncGenerator<TransactionHead | UnreadableTransaction> {
  return headsBelow(OPEN, records.storage, {
    headOf: (mark) => markedBy(mark).head,
    read: (mark) => readOpen(records, mark),
  });
}

/** Heads of all there are, each once. */
export function allHeads(records: TransactionRecords): AsyncGenerator<TransactionHead | UnreadableTransaction> {
  return headsBelow(HEADS, records.storage, { headOf: (key) => key, read: (key) => records.read(key) });
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

/** How what is listed leads to a head. */
interface Listed {
  /** The key of the head. */
  headOf(listed: string): string;
  /** The head, if it is to be given. */
  read(listed: string): Promise<TransactionHead | undefined>;
}

async function* headsBelow(
  prefix: string,
  storage: StorageAdapter,
  { headOf, read }: Listed,
): AsyncGenerator<TransactionHead | UnreadableTransaction> {
  const readOne = ({ key: listed }: ListedEntry) =>
    read(listed).catch((error: unknown) => {
      const key = headOf(listed);
      return { key, id: decodeId(key.slice(HEADS.length)), error };
    });
  let doubt: UnreadableTransaction | undefined;
  const onSuspect = (error: CorruptionError) => {
    doubt = { key: prefix, id: undefined, error };
  };
  for await (const group of grouped(listedEntries(storage, prefix, { onSuspect }))) {
    for (const found of await Promise.all(group.map(readOne))) if (found) yield found;
  }
  if (doubt) yield doubt;
}

/**
 * `undefined` if it is not open, or not any more.
 *
 * On a store without batches a mark may stand alone: somebody is between the two writes of a begin, or died there, or its
 * write failed and may still arrive. Nobody can prove that it will not, and an open head without a mark would be recovered by
 * nobody: so such a mark is left alone, and costs each recovery one read, for good.
 * @throws CorruptionError if the head is lost
 */
async function readOpen(records: TransactionRecords, mark: string): Promise<TransactionHead | undefined> {
  const { head: key, journal } = markedBy(mark);
  const { storage, batch } = records;
  const found = await records.read(key);
  if (found?.head.journal === journal) {
    if (!isEnd(found.head.about)) return found;
    await storage.delete(mark); // Its end has done so by now, or died before.
    return undefined;
  }
  // In one write with its head it came, and goes: as long as it stands, its head does.
  if (!batch || (await storage.get(mark)) === undefined) return undefined;
  const message = `"${mark}" says that a transaction has not ended, and its record "${key}" is lost. Restore the store from a backup, or look by hand after what it did and delete that key.`;
  throw new CorruptionError(message, key);
}

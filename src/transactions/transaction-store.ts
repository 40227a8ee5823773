import type { Clock } from '../base/clock.js';
import { CorruptionError, LimitError } from '../base/errors.js';
import { extended, newJournal, sealHead } from '../records/journal.js';
import { isFull, readLines } from '../records/journal-segments.js';
import { FencedError } from '../records/lease.js';
import { ConflictError, OutcomeUnknownError, type StorageAdapter, type Version } from '../storage/adapter.js';
import { listedEntries } from '../storage/listed-entries.js';
import { type JournalHolder, LiveJournal } from './live-journal.js';
import { allHeads, openHeads, type UnreadableTransaction } from './transaction-listing.js';
import {
  type Draft,
  isEnd,
  keysOf,
  type MetaChange,
  markOf,
  type TransactionHead,
  type TransactionKeys,
  type TransactionMeta,
  TransactionRecords,
} from './transaction-records.js';
import { unlessEnded } from './unless-ended.js';

/** A transaction as it stood when it was read. */
export interface StoredTransaction {
  readonly meta: TransactionMeta;
  readonly hasEnded: boolean;
  /** Of its head: an amendment happens to this version or not at all. */
  readonly version: Version;
  /** For the store: what an amendment builds upon. */
  readonly head: TransactionHead;
  /**
   * The whole journal, from the first line on, proved.
   * @throws CorruptionError; ConflictError if the transaction was deleted since it was read.
   */
  lines(): Promise<readonly Buffer[]>;
}

/** A write by somebody who becomes the holder with it. */
export interface Takeover {
  readonly line: Buffer;
  /** Who the owner is from now on, and its fence. */
  readonly change: MetaChange;
  readonly holder: JournalHolder;
}

/** One sending of a begin. */
interface Attempt {
  /** Asked before every write. @throws what is to be thrown instead */
  before(): void;
  /** Nothing was sent earlier that may still arrive. */
  readonly isFirst: boolean;
}

/** How often a write of unknown outcome is sent in all. */
const MAX_SENDS = 3;
const FIRST_WAIT_MS = 50;
/** Of a mark: its key says everything. */
const NO_BYTES = new Uint8Array();

/** The transactions of a storage. What is open is written by its owner alone, through a `LiveJournal`, or amended. */
export class TransactionStore {
  readonly #records: TransactionRecords;

  /** `storage` is `checked` already. */
  constructor(storage: StorageAdapter, clock: Clock) {
    this.#records = new TransactionRecords(storage, clock);
  }

  /**
   * Creates the record of a transaction with the first line of its journal, or gives what is there under that id.
   * @throws FencedError if the holder is lost before anything was sent. CorruptionError if what is there cannot be read.
   * What the store throws, when the record is not there; after an OutcomeUnknownError, also if the holder is lost before
   * the store answers, it may come to be there.
   */
  async begin(
    meta: TransactionMeta,
    line: Buffer,
    holder: JournalHolder,
  ): Promise<{ readonly begun: LiveJournal } | { readonly existing: StoredTransaction }> {
    requireHeld(holder, meta.id);
    const keys = keysOf(meta.id);
    const sealed = sealHead(keys.head, extended(newJournal(meta), [line], meta));
    let isSent = false;
    const create = () => {
      const before = () => requireHeld(holder, meta.id);
      before();
      const isFirst = !isSent;
      isSent = true;
      return this.#create(keys, sealed, { before, isFirst });
    };
    const there = await unlessEnded(
      () => this.#send(sealed, create),
      (end) =>
        holder.onLost((cause) => end(isSent ? new OutcomeUnknownError(keys.head, { cause }) : fenced(meta.id, cause))),
    );
    return isIn(there, sealed)
      ? { begun: new LiveJournal(this.#records, holder, there) }
      : { existing: this.#stored(there) };
  }

  /**
   * The transaction, proved as far as its head goes; `undefined` if there is none.
   * @throws CorruptionError if it is damaged, or may not be the newest that was written.
   */
  async read(id: string): Promise<StoredTransaction | undefined> {
    const head = await this.#records.read(keysOf(id).head);
    return head && this.#stored(head);
  }

  /** Those that have not ended. One that cannot be read does not hide the others. */
  async *open(): AsyncGenerator<StoredTransaction | UnreadableTransaction> {
    for await (const found of openHeads(this.#records)) yield 'head' in found ? this.#stored(found) : found;
  }

  /** All there are, each once. One that cannot be read does not hide the others. */
  async *list(): AsyncGenerator<StoredTransaction | UnreadableTransaction> {
    for await (const found of allHeads(this.#records)) yield 'head' in found ? this.#stored(found) : found;
  }

  /**
   * Adds a line and changes what is known, for somebody who does not hold the transaction and will not. An owner learns
   * of it with its next write, or when it looks: a `cancel` is told to it, anything else ends its right to go on.
   * @throws ConflictError if the transaction is no longer what was read. Nothing was changed.
   */
  async amend(stored: StoredTransaction, line: Buffer, change: MetaChange): Promise<StoredTransaction> {
    const { heldId } = stored.head;
    return this.#stored(await this.#replace(stored, { line, change, heldId }));
  }

  /**
   * As `amend`, and from then on it is ours. Whoever held it before is fenced.
   * @throws ConflictError as `amend`; FencedError if the holder is lost, also before the store answers.
   */
  async takeOver(stored: StoredTransaction, { line, change, holder }: Takeover): Promise<LiveJournal> {
    const { id } = stored.meta;
    const before = () => requireHeld(holder, id);
    before();
    const there = await unlessEnded(
      () => this.#replace(stored, { line, change, before }),
      (end) => holder.onLost((cause) => end(fenced(id, cause))),
    );
    return new LiveJournal(this.#records, holder, there);
  }

  /**
   * Removes a transaction that has ended. After a crash halfway it is there as a whole, or it is gone and segments are left
   * that nobody names: they are in nobody's way.
   * @throws ConflictError if it is no longer what was read, or has not ended.
   */
  async delete(stored: StoredTransaction): Promise<void> {
    const { storage } = this.#records;
    const { meta, version, head } = stored;
    const keys = keysOf(meta.id);
    if (!stored.hasEnded) throw notAsRead(keys.head, version);
    await this.#records.unmark(keys, head.head); // While its head still says that it has ended.
    // What is listed while the head is there is its own, not of one that is begun under its id later.
    const parts: string[] = [];
    for await (const { key } of listedEntries(storage, keys.parts)) parts.push(key);
    try {
      await storage.delete(keys.head, { ifVersion: version });
    } catch (error) {
      if (!(error instanceof OutcomeUnknownError) || (await this.#records.read(keys.head)) !== undefined) throw error;
    }
    for (const key of parts) await storage.delete(key);
  }

  #create(keys: TransactionKeys, draft: Draft, attempt: Attempt): Promise<Version> {
    const { batch } = this.#records;
    if (!batch) return this.#createApart(keys, draft, attempt);
    return batch([
      { type: 'put', key: keys.head, value: draft.bytes, ifVersion: null },
      { type: 'put', key: markOf(keys, draft.head), value: NO_BYTES },
    ]);
  }

  /** The mark comes first, so that an open head is never without one, whoever dies when. */
  async #createApart(keys: TransactionKeys, { head, bytes }: Draft, { before, isFirst }: Attempt): Promise<Version> {
    const { storage } = this.#records;
    const there = await this.#records.read(keys.head);
    if (there) throw notAsRead(there.key, there.version);
    before();
    await storage.put(markOf(keys, head), NO_BYTES);
    try {
      before();
      return await storage.put(keys.head, bytes, { ifVersion: null });
    } catch (error) {
      // A mark that stays costs each recovery a read: no reason to hide what failed.
      if (isFirst && isRefusal(error)) await this.#takeBack(keys, head).catch(() => undefined);
      throw error;
    }
  }

  /** The mark of a head that was refused. Not if the head is there after all: a store may send a write twice by itself. */
  async #takeBack(keys: TransactionKeys, { journal }: Draft['head']): Promise<void> {
    const there = await this.#records.read(keys.head);
    if (there?.head.journal !== journal) await this.#records.storage.delete(markOf(keys, { journal }));
  }

  async #replace(
    stored: StoredTransaction,
    { line, change, heldId, before }: Pick<Takeover, 'line' | 'change'> & { heldId?: string; before?: () => void },
  ): Promise<TransactionHead> {
    const { meta, version, hasEnded, head: read } = stored;
    if (hasEnded) throw notAsRead(read.key, version);
    const keys = keysOf(meta.id);
    const head = isFull(read.head, [line]) ? await this.#records.split(keys, read.head) : read.head;
    const sealed = sealHead(keys.head, extended(head, [line], this.#records.changed(meta, change)), heldId);
    const there = await this.#send(sealed, () => {
      before?.();
      return this.#records.replace(keys, sealed, version);
    });
    if (!isIn(there, sealed)) throw notAsRead(there.key, there.version);
    // It has ended already: a mark that stays is taken away by the next recovery.
    if (isEnd(sealed.head.about)) await this.#records.unmark(keys, sealed.head).catch(() => undefined);
    return there;
  }

  /** What is there afterwards: what was sent, or what was in its way. An unknown outcome is decided by reading. */
  async #send(sealed: Draft, put: () => Promise<Version>): Promise<TransactionHead> {
    for (let sends = 1; ; sends++) {
      try {
        const { key, head, id, heldId } = sealed;
        return { key, head, id, heldId, version: await put() };
      } catch (error) {
        const isConflict = error instanceof ConflictError;
        // Any failed write may have happened: a store of the host's own need not tell one kind from the other.
        const there = await this.#records.read(sealed.key).catch((unreadable: unknown) => {
          throw isConflict ? unreadable : error;
        });
        if (there && (isConflict || isIn(there, sealed))) return there;
        if (!(error instanceof OutcomeUnknownError) || sends === MAX_SENDS) throw error;
        await this.#records.clock.sleep(FIRST_WAIT_MS * 2 ** (sends - 1));
      }
    }
  }

  #stored(head: TransactionHead): StoredTransaction {
    const meta = head.head.about;
    return { meta, hasEnded: isEnd(meta), version: head.version, head, lines: () => this.#lines(head) };
  }

  async #lines({ key, version, head }: TransactionHead): Promise<readonly Buffer[]> {
    try {
      return await readLines(this.#records.storage, head);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      const now = await this.#records.read(key);
      throw now?.head.journal === head.journal ? error : notAsRead(key, version);
    }
  }
}

function requireHeld(holder: JournalHolder, id: string): void {
  if (!holder.isValid()) throw fenced(id);
}

function fenced(id: string, cause?: FencedError): FencedError {
  return new FencedError(`transaction "${id}"`, cause && { cause });
}

/** Is it certain that nothing was written, and nothing will be? */
function isRefusal(error: unknown): boolean {
  return error instanceof ConflictError || error instanceof LimitError || error instanceof FencedError;
}

/** Whether what is there is this very write, or was built upon it by somebody who amended it. */
function isIn(there: TransactionHead, { id }: Draft): boolean {
  return there.id === id || there.heldId === id;
}

function notAsRead(key: string, currentVersion: Version | undefined): ConflictError {
  return new ConflictError(key, currentVersion);
}

import type { Clock } from '../base/clock.js';
import { CorruptionError } from '../base/errors.js';
import { type JournalHead, openHead, type SealedHead, type StoredHead } from '../records/journal.js';
import { moveTail } from '../records/journal-segments.js';
import { encodeId } from '../records/keys.js';
import type { StorageAdapter, Version } from '../storage/adapter.js';
import type { Stuck, TransactionStatus } from './transaction.js';

/** What is known of a transaction without reading its journal. */
export interface TransactionMeta {
  readonly id: string;
  /** What it was defined as; `null` for one given to `run` or `execute`. */
  readonly name: string | null;
  readonly status: TransactionStatus;
  /** Id of the node that holds it; `null` when nobody does. */
  readonly owner: string | null;
  /** 1, and one more after every takeover. */
  readonly fence: number;
  /** Takeovers in a row without one more finished step. */
  readonly takeovers: number;
  /** Wall time: labels. */
  readonly startedAtMs: number;
  readonly updatedAtMs: number;
  /** What it waits for, while `status` is `stuck`. */
  readonly stuck?: Stuck | undefined;
  /** Why somebody wants it cancelled. */
  readonly cancel?: string | undefined;
}

/** What a write changes besides adding a line. `undefined` takes `stuck` and `cancel` away. */
export type MetaChange = Partial<Omit<TransactionMeta, 'id'>>;

/** The head of a transaction's journal in the storage. */
export type TransactionHead = StoredHead<TransactionMeta>;

/** A head that is to be written. */
export type Draft = SealedHead<TransactionMeta>;

/** Where the records of one transaction stand. */
export interface TransactionKeys {
  /** Its head, for its whole life. */
  readonly head: string;
  /** What the keys of its marks begin with. */
  readonly marks: string;
  /** What the keys of its segments begin with. */
  readonly parts: string;
}

export const HEADS = 'transactions/heads/';
/** Marks: a key without bytes for each journal that has not ended, so that a recovery reads what is open and nothing else. */
export const OPEN = 'transactions/open/';
const PARTS = 'transactions/parts/';

/** @throws InvalidInputError if this cannot name a transaction. */
export function keysOf(id: string): TransactionKeys {
  const encoded = encodeId(id, 'id');
  return { head: `${HEADS}${encoded}`, marks: `${OPEN}${encoded}/`, parts: `${PARTS}${encoded}/` };
}

/**
 * The mark of a journal. Nobody else's: who begins a transaction and finds that somebody was faster takes back what is its
 * own, however many begin it at once, and whatever was deleted meanwhile.
 */
export function markOf({ marks }: TransactionKeys, { journal }: { readonly journal: string }): string {
  return `${marks}${journal}`;
}

/** What a mark marks. */
export function markedBy(mark: string): { readonly head: string; readonly journal: string } {
  const end = mark.lastIndexOf('/');
  return { head: `${HEADS}${mark.slice(OPEN.length, end)}`, journal: mark.slice(end + 1) };
}

/** Has it come to an end, whichever? Nothing changes it any more. */
export function isEnd({ status, stuck }: TransactionMeta): boolean {
  return status === 'done' || status === 'rolled-back' || (status === 'stuck' && stuck?.reason === 'abandoned');
}

/** How one transaction is read and written, whoever does it. Knows nothing of who may. */
export class TransactionRecords {
  constructor(
    readonly storage: StorageAdapter,
    readonly clock: Clock,
  ) {}

  /** All or nothing, or `undefined`: a store without it takes several writes where one would do. */
  get batch(): StorageAdapter['batch'] {
    return this.storage.capabilities.atomicBatch ? this.storage.batch : undefined;
  }

  /** The head under `key`, proved. @throws CorruptionError; `undefined` only if there is none. */
  async read(key: string): Promise<TransactionHead | undefined> {
    const entry = await this.storage.get(key);
    if (entry === undefined) return undefined;
    const stored = openHead(entry, isTransactionMeta);
    const { id } = stored.head.about;
    if (key !== keysOf(id).head) {
      throw new CorruptionError(`The record "${key}" says it belongs to transaction "${id}".`, key);
    }
    return stored;
  }

  /** The head without its tail, which is durable in a segment when this resolves: for one that got long. */
  split({ parts }: TransactionKeys, head: JournalHead<TransactionMeta>): Promise<JournalHead<TransactionMeta>> {
    return moveTail(this.storage, parts, head);
  }

  /** What `change` makes of it now. */
  changed(about: TransactionMeta, change: MetaChange | undefined): TransactionMeta {
    return { ...about, ...change, updatedAtMs: this.clock.now() };
  }

  /**
   * Puts `draft` in place of the head of that version. With batches an end takes the mark away in the same write; without,
   * it is left to `unmark`.
   * @throws ConflictError if the head is another.
   */
  replace(keys: TransactionKeys, { key, head, bytes }: Draft, version: Version): Promise<Version> {
    const { storage, batch } = this;
    if (!batch || !isEnd(head.about)) return storage.put(key, bytes, { ifVersion: version });
    return batch([
      { type: 'put', key, value: bytes, ifVersion: version },
      { type: 'delete', key: markOf(keys, head) },
    ]);
  }

  /**
   * On a store without batches: takes the mark of a journal that has ended away. Whoever sees that it has may do so, at any
   * time, and as often as it likes.
   */
  async unmark(keys: TransactionKeys, head: JournalHead<TransactionMeta>): Promise<void> {
    if (!this.batch) await this.storage.delete(markOf(keys, head));
  }
}

function isTransactionMeta(meta: unknown): meta is TransactionMeta {
  if (typeof meta !== 'object' || meta === null) return false;
  const { id, name, status, owner, fence, takeovers, startedAtMs, updatedAtMs, stuck, cancel } = meta as Partial<
    Record<keyof TransactionMeta, unknown>
  >;
  return (
    typeof id === 'string' &&
    isTextOr(name, null) &&
    typeof status === 'string' &&
    STATUSES.has(status) &&
    isTextOr(owner, null) &&
    [fence, takeovers].every(Number.isSafeInteger) &&
    [startedAtMs, updatedAtMs].every(Number.isFinite) &&
    (stuck === undefined || isStuck(stuck)) &&
    isTextOr(cancel, undefined)
  );
}

const STATUSES: ReadonlySet<string> = new Set<TransactionStatus>([
  'running',
  'compensating',
  'done',
  'rolled-back',
  'stuck',
]);

function isTextOr(value: unknown, other: null | undefined): boolean {
  return typeof value === 'string' || value === other;
}

function isStuck(stuck: unknown): boolean {
  const { reason, step } = (stuck ?? {}) as Partial<Record<keyof Stuck, unknown>>;
  return typeof reason === 'string' && isTextOr(step, undefined);
}

import type { Clock } from '../base/clock.js';
import { CorruptionError } from '../base/errors.js';
import {
  type HeadWrite,
  type JournalHead,
  openHead,
  resealHead,
  type SealedHead,
  type StoredHead,
  sealHead,
} from '../records/journal.js';
import { moveTail } from '../records/journal-segments.js';
import { encodeId } from '../records/keys.js';
import { ConflictError, type StorageAdapter, type Version } from '../storage/adapter.js';
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
  /** Head of one that has not ended. */
  readonly open: string;
  /** Head of one that has. Apart, so that a recovery reads what is open and nothing else. */
  readonly ended: string;
  /** What the keys of its segments begin with. */
  readonly parts: string;
}

export const OPEN = 'transactions/open/';
export const ENDED = 'transactions/ended/';
const PARTS = 'transactions/parts/';

/** @throws InvalidInputError if this cannot name a transaction. */
export function keysOf(id: string): TransactionKeys {
  const encoded = encodeId(id, 'id');
  return { open: `${OPEN}${encoded}`, ended: `${ENDED}${encoded}`, parts: `${PARTS}${encoded}/` };
}

/** Has it come to an end, whichever? Nothing changes it any more, wherever its head stands. */
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
    const keys = keysOf(stored.head.about.id);
    if (key !== keys.open && key !== keys.ended) {
      throw new CorruptionError(`The record "${key}" says it belongs to transaction "${stored.head.about.id}".`, key);
    }
    return stored;
  }

  /** The head of a transaction. One that is there is found, also while it moves from one key to the other. */
  async find({ open, ended }: TransactionKeys): Promise<TransactionHead | undefined> {
    return (await this.read(ended)) ?? (await this.read(open)) ?? (await this.read(ended));
  }

  /** The head without its tail, which is durable in a segment when this resolves: for one that got long. */
  split({ parts }: TransactionKeys, head: JournalHead<TransactionMeta>): Promise<JournalHead<TransactionMeta>> {
    return moveTail(this.storage, parts, head);
  }

  /** What `change` makes of it now. */
  changed(about: TransactionMeta, change: MetaChange | undefined): TransactionMeta {
    return { ...about, ...change, updatedAtMs: this.clock.now() };
  }

  /** The next head, for the key it belongs under. `amends` as for `sealHead`. */
  seal({ open, ended }: TransactionKeys, head: JournalHead<TransactionMeta>, amends?: string): Draft {
    return sealHead(isEnd(head.about) && this.batch ? ended : open, head, amends);
  }

  /**
   * Puts `draft` in place of the open head of that version. With batches an end moves the head in the same write; without,
   * it is left to `moveEnded`.
   * @throws ConflictError if the open head is another.
   */
  replace({ open }: TransactionKeys, { key, bytes }: Draft, version: Version): Promise<Version> {
    const { storage, batch } = this;
    if (key === open || !batch) return storage.put(key, bytes, { ifVersion: version });
    return batch([
      { type: 'put', key, value: bytes, ifVersion: null },
      { type: 'delete', key: open, ifVersion: version },
    ]);
  }

  /**
   * Moves a head that has ended to where such heads stand, when the write that ended it could not. Anybody may do that, at
   * any time: two copies are the same write, and nothing changes either of them.
   */
  async moveEnded(
    { open, ended }: TransactionKeys,
    write: HeadWrite<TransactionMeta>,
    version: Version,
  ): Promise<void> {
    let copied: Version | undefined;
    try {
      copied = await this.storage.put(ended, resealHead(ended, write), { ifVersion: null });
    } catch (error) {
      // Somebody else is moving it, too; only its own copy lets the original go.
      if (!(error instanceof ConflictError) || (await this.read(ended))?.id !== write.id) throw error;
    }
    try {
      await this.storage.delete(open, { ifVersion: version });
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      // Moved, deleted and begun again while this slept: the copy brought back what was deleted.
      const isAnother = error.currentVersion !== undefined;
      if (isAnother && copied !== undefined) await this.storage.delete(ended, { ifVersion: copied });
    }
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

import { startTimer } from '../base/clock.js';
import { ClosedError, isClosed, LimitError } from '../base/errors.js';
import { extended, sealHead } from '../records/journal.js';
import { isFull, SPLIT_BYTES } from '../records/journal-segments.js';
import { FencedError } from '../records/lease.js';
import { ConflictError } from '../storage/adapter.js';
import {
  type Draft,
  isEnd,
  keysOf,
  type MetaChange,
  type TransactionHead,
  type TransactionKeys,
  type TransactionMeta,
  type TransactionRecords,
} from './transaction-records.js';

/** What the right to write depends on: the node that holds the transaction. */
export interface JournalHolder {
  /** No write is sent once this is false. */
  isValid(): boolean;
  /** Calls `listener` once, at once if it is lost already. Returns how to stop. */
  onLost(listener: (error: FencedError) => void): () => void;
}

/** A head that was written: what the next write builds on. */
export type Written = Pick<TransactionHead, 'head' | 'heldId' | 'version'>;

/** A line that waits to be written. */
interface Pending {
  readonly line: Buffer;
  readonly change: MetaChange | undefined;
  readonly isLast: boolean;
  resolve(): void;
  reject(error: unknown): void;
}

const FIRST_WAIT_MS = 50;
const MAX_WAIT_MS = 2_000;

/**
 * The journal of a transaction in the hands of its owner. What is appended is durable when `append` resolves. A store
 * that fails is asked again for as long as the holder may write, so no step has to run again because of it; whoever lost
 * the transaction is told by `FencedError`, once and for all, and writes nothing more.
 */
export class LiveJournal {
  /** Somebody asked for the transaction to be cancelled. Called once. */
  onCancel: ((reason: string) => void) | undefined;
  /** A write failed and is tried again; `attempt` counts from 1. */
  onDelayed: ((error: unknown, attempt: number) => void) | undefined;

  readonly #records: TransactionRecords;
  readonly #holder: JournalHolder;
  readonly #keys: TransactionKeys;
  readonly #lostListeners = new Set<(error: FencedError) => void>();
  /** In the order of the calls; those that are being written stay until they are answered. */
  #pending: Pending[] = [];
  /** So many of the first are written one by one: together they were too large for the store. */
  #alone = 0;
  #isWriting = false;
  #hasLast = false;
  #written: Written;
  #lost: FencedError | undefined;
  /** Why the write under way is delayed. */
  #failure: unknown;
  /** Ends the wait for the next try. */
  #wake: (() => void) | undefined;
  #leaveHolder: (() => void) | undefined;

  constructor(records: TransactionRecords, holder: JournalHolder, written: Written) {
    this.#records = records;
    this.#holder = holder;
    this.#written = written;
    this.#keys = keysOf(this.meta.id);
    this.#leaveHolder = holder.onLost((error) => this.#lose(error));
  }

  /** As last written. */
  get meta(): TransactionMeta {
    return this.#written.head.about;
  }

  /**
   * Adds a line, and changes what is known of the transaction. Durable when it resolves. Lines that come while a write is
   * under way share the next one; their order is that of the calls.
   * @throws FencedError once it is lost; LimitError if the store does not take a value of that size: then this line is not
   * in the journal, and the journal goes on; ClosedError after `finish`.
   */
  append(line: Buffer, change?: MetaChange): Promise<void> {
    return this.#add(line, change, false);
  }

  /**
   * Adds the last line of this owner: `change` makes the status an end, or lets go of the transaction (`owner: null`).
   * Resolves when all that was appended is durable; then nothing is heard of the holder any more. On a store without
   * batches one that has ended may be marked as open for a while: it is read as ended all the same.
   * @throws as `append`. After a LimitError it may be called again.
   */
  finish(line: Buffer, change: MetaChange): Promise<void> {
    return this.#add(line, change, true);
  }

  /**
   * Looks whether somebody asked for a cancel, or took the transaction over: `onCancel` and `onLost` tell. A write notices
   * both by itself.
   * @throws what the store throws. Nothing is known then; look again later.
   */
  async refresh(): Promise<void> {
    if (this.#isWriting || this.#lost || this.#hasLast) return;
    const before = this.#written;
    const found = await this.#find();
    const isStale = this.#isWriting || this.#lost !== undefined || this.#written !== before;
    if (!isStale && found?.version !== before.version) this.#follow(found, undefined);
  }

  /** Calls `listener` once when the journal is lost, at once if it is lost already. Returns how to stop. */
  onLost(listener: (error: FencedError) => void): () => void {
    if (this.#lost) listener(this.#lost);
    else this.#lostListeners.add(listener);
    return () => this.#lostListeners.delete(listener);
  }

  #add(line: Buffer, change: MetaChange | undefined, isLast: boolean): Promise<void> {
    if (this.#lost) return Promise.reject(this.#lost);
    if (this.#hasLast) return Promise.reject(new ClosedError(`The journal of ${this.#what}`));
    this.#hasLast = isLast;
    return new Promise((resolve, reject) => {
      this.#pending.push({ line, change, isLast, resolve, reject });
      if (!this.#isWriting) void this.#writeAll();
    });
  }

  /** Never rejects: each pending line is told for itself. */
  async #writeAll(): Promise<void> {
    this.#isWriting = true;
    while (this.#pending.length > 0) {
      const group = this.#pending.slice(0, this.#alone > 0 ? 1 : countThatFit(this.#pending));
      const refusal = await this.#write(group);
      if (this.#lost) break; // They were told.
      if (refusal && group.length > 1) this.#alone = group.length;
      else this.#answer(group, refusal);
    }
    this.#isWriting = false;
  }

  #answer(group: readonly Pending[], refusal: LimitError | undefined): void {
    this.#failure = undefined;
    this.#pending.splice(0, group.length);
    this.#alone = Math.max(0, this.#alone - 1);
    if (group.at(-1)?.isLast) {
      if (refusal) this.#hasLast = false;
      else this.#leaveHolder?.();
    }
    for (const { resolve, reject } of group) refusal ? reject(refusal) : resolve();
  }

  /** Until it is written, or the journal is lost. Returns the error if the store does not take it. */
  async #write(group: readonly Pending[]): Promise<LimitError | undefined> {
    const lines = group.map(({ line }) => line);
    let draft: Draft | undefined;
    for (let attempt = 1; !this.#isOver(); ) {
      try {
        if (draft === undefined && isFull(this.#written.head, lines)) {
          const head = await this.#records.split(this.#keys, this.#written.head);
          this.#written = { ...this.#written, head };
          continue; // It may be over by now.
        }
        draft ??= this.#draft(group, lines);
        const isWritten = await this.#send(draft);
        if (isWritten && isEnd(draft.head.about)) await this.#unmark(draft);
        if (isWritten) return undefined;
        draft = undefined; // It builds on what is no longer the newest.
      } catch (error) {
        if (error instanceof LimitError) return error;
        if (this.#isOver()) return undefined;
        this.#failure = error;
        if (isClosed(error)) this.#lose();
        else await this.#delay(error, attempt++);
      }
    }
    return undefined;
  }

  /** The next head. */
  #draft(group: readonly Pending[], lines: readonly Buffer[]): Draft {
    let about = this.meta;
    for (const { change } of group) about = this.#records.changed(about, change);
    return sealHead(this.#keys.head, extended(this.#written.head, lines, about));
  }

  /** True: it is written. False: there is something newer, to build upon. */
  #send(draft: Draft): Promise<boolean> {
    const { head, heldId } = draft;
    return this.#records.replace(this.#keys, draft, this.#written.version).then(
      (version) => {
        this.#written = { head, heldId, version };
        return true;
      },
      (error: unknown) => this.#sendFailed(draft, error),
    );
  }

  async #sendFailed(draft: Draft, error: unknown): Promise<boolean> {
    if (!(error instanceof ConflictError)) throw error;
    const found = await this.#find();
    if (this.#lost) return false;
    if (found !== undefined && found.version === this.#written.version) throw error;
    return this.#follow(found, draft);
  }

  /** It is ended already: what fails here is left to the next one that looks for open transactions. */
  async #unmark({ head }: Draft): Promise<void> {
    try {
      await this.#records.unmark(this.#keys, head);
    } catch (error) {
      this.onDelayed?.(error, 1);
    }
  }

  #find(): Promise<TransactionHead | undefined> {
    return this.#records.read(this.#keys.head);
  }

  /** What follows from a head that is not the one last written. True: `draft` is in it. */
  #follow(found: TransactionHead | undefined, draft: Draft | undefined): boolean {
    const base = [draft, this.#written].find((write) => write?.heldId === found?.heldId);
    if (!found || !base || !isAmendment(found.head.about, base.head.about)) {
      this.#lose();
      return false;
    }
    this.#written = found;
    const { cancel } = found.head.about;
    if (cancel !== undefined && base.head.about.cancel === undefined) this.onCancel?.(cancel);
    return base === draft;
  }

  /** Asked before every write. */
  #isOver(): boolean {
    if (!this.#lost && !this.#holder.isValid()) this.#lose();
    return this.#lost !== undefined;
  }

  #lose(reason?: unknown): void {
    if (this.#lost) return;
    const cause = this.#failure ?? reason;
    const lost = new FencedError(this.#what, cause === undefined ? {} : { cause });
    this.#lost = lost;
    this.#leaveHolder?.();
    this.#wake?.();
    // Not left to the write under way: a store that never answers must not keep its callers from hearing of it.
    for (const { reject } of this.#pending.splice(0)) reject(lost);
    for (const listener of this.#lostListeners) listener(lost);
    this.#lostListeners.clear();
  }

  async #delay(error: unknown, attempt: number): Promise<void> {
    this.onDelayed?.(error, attempt);
    if (this.#lost) return;
    await new Promise<void>((resolve) => {
      const timer = startTimer(this.#records.clock, Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempt - 1)), resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
    this.#wake = undefined;
  }

  get #what(): string {
    return `transaction "${this.meta.id}"`;
  }
}

/** How many of the first lines go into one write: a head stays small however many come at once. */
function countThatFit(pending: readonly Pending[]): number {
  let count = 0;
  for (let sizeBytes = 0; count < pending.length; count++) {
    sizeBytes += (pending[count] as Pending).line.length + 1;
    if (sizeBytes > SPLIT_BYTES) return Math.max(1, count);
  }
  return count;
}

/** Whether `found` leaves what the holder decides as it was: others may ask for a cancel, no more. */
function isAmendment(found: TransactionMeta, held: TransactionMeta): boolean {
  return found.owner === held.owner && found.fence === held.fence && found.status === held.status;
}

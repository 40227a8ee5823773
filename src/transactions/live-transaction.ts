import type { Clock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { type ClosedError, LimitError } from '../base/errors.js';
import { CallScope } from '../policies/call-scope.js';
import { inWords } from '../policies/in-words.js';
import type { RetryManager } from '../policies/retry-manager.js';
import type { CodecSettings } from '../records/codec.js';
import { decodeValue } from '../records/decode.js';
import { encodeValue } from '../records/encode.js';
import { FencedError } from '../records/lease.js';
import { encodeEntry, entryOf, type JournalEntry, type JournalFact } from './journal-entry.js';
import type { JournalHolder, LiveJournal } from './live-journal.js';
import { encodeThrown } from './recorded-error.js';
import type { StuckReason } from './transaction.js';
import { type CancelledError, StuckError } from './transaction-errors.js';
import type { TransactionEvent } from './transaction-event.js';
import type { MetaChange, TransactionMeta } from './transaction-records.js';
import type { TransactionState } from './transaction-state.js';

/** What all transactions of a manager share. */
export interface TransactionHome {
  readonly clock: Clock;
  readonly codec: CodecSettings;
  readonly retries: RetryManager;
  readonly emit: Sink<TransactionEvent> | undefined;
}

/** What ends the life of a transaction in this process, other than its own body. */
export type Interruption =
  | { readonly kind: 'lost'; readonly error: FencedError }
  | { readonly kind: 'closing'; readonly error: ClosedError }
  | { readonly kind: 'stuck'; readonly error: StuckError }
  | { readonly kind: 'cancelled'; readonly error: CancelledError }
  /** Its record is intact, but this process cannot read or write it: a codec is missing. Others may. */
  | { readonly kind: 'unreadable'; readonly error: unknown };

const RANK: Readonly<Record<Interruption['kind'], number>> = {
  cancelled: 1,
  closing: 2,
  stuck: 2,
  unreadable: 2,
  lost: 3,
};

/** What a live transaction is made of. */
export interface LiveParts {
  readonly journal: LiveJournal;
  readonly holder: JournalHolder;
  readonly state: TransactionState;
  /** The node it was taken from, which is gone; left out if nobody held it. */
  readonly from?: string | undefined;
}

/** Why a value cannot be kept. */
export interface Refusal {
  readonly error: unknown;
}

type EventOf<Event> = Event extends unknown ? Omit<Event, 'transaction' | 'name'> : never;

/** A transaction that is ours: what is known of it, its journal, and whether it still is ours. */
export class LiveTransaction {
  readonly home: TransactionHome;
  readonly state: TransactionState;
  readonly from: string | undefined;
  /** Around everything that must not stop when the transaction fails: aborted only when it is lost. */
  readonly backScope = new CallScope(1);
  /** Rejects when it is lost. */
  readonly lost: Promise<never>;
  /** Resolves at the first interruption. */
  readonly interrupted: Promise<void>;
  /** What a step was doing ended with this process: nothing is known of it, and the next life has to find out. */
  isUnclean = false;
  readonly #journal: LiveJournal;
  readonly #holder: JournalHolder;
  #interruption: Interruption | undefined;
  #interrupt: () => void = () => {};
  #ended: Promise<void> | undefined;
  #end: (() => void) | undefined;
  #lose: (error: FencedError) => void = () => {};

  constructor(home: TransactionHome, { journal, holder, state, from }: LiveParts) {
    this.home = home;
    this.state = state;
    this.from = from;
    this.#journal = journal;
    this.#holder = holder;
    this.interrupted = new Promise((resolve) => {
      this.#interrupt = resolve;
    });
    this.lost = new Promise((_, reject) => {
      this.#lose = reject;
    });
    this.lost.catch(() => {}); // It is asked for only by who waits.
    journal.onLost((error) => this.interrupt({ kind: 'lost', error }));
    journal.onDelayed = (error, attempt) => this.report({ type: 'journal.delayed', error: inWords(error), attempt });
  }

  get meta(): TransactionMeta {
    return this.#journal.meta;
  }

  get id(): string {
    return this.meta.id;
  }

  get interruption(): Interruption | undefined {
    return this.#interruption;
  }

  /** Hears of a cancel that somebody asks for elsewhere. */
  onCancel(listener: (reason: string) => void): void {
    this.#journal.onCancel = listener;
  }

  /** Looks whether it was cancelled, or taken over, elsewhere. What cannot be read now is read at the next look. */
  refresh(): void {
    this.#journal.refresh().catch((error: unknown) => {
      this.report({ type: 'journal.delayed', error: inWords(error), attempt: 1 });
    });
  }

  /** The first one counts. One that is cancelled may still be closed or get stuck on its way back, and anything be lost. */
  interrupt(interruption: Interruption): void {
    if (this.#interruption !== undefined && RANK[interruption.kind] <= RANK[this.#interruption.kind]) return;
    this.#interruption = interruption;
    this.#interrupt();
    if (interruption.kind === 'cancelled') return;
    this.#end?.();
    if (interruption.kind !== 'lost') return;
    this.backScope.abort(interruption.error);
    this.#lose(interruption.error);
  }

  /** Interrupts: it cannot go on or back by itself. Returns what to throw. */
  stuck(reason: StuckReason, step?: string, cause?: unknown): StuckError {
    const error = new StuckError(this.id, { reason, step, cause });
    this.interrupt({ kind: 'stuck', error });
    return error;
  }

  /** Resolves when this life ends here before its time: at an interruption that is no cancel. */
  get ended(): Promise<void> {
    this.#ended ??= this.hasEnded
      ? Promise.resolve()
      : new Promise((resolve) => {
          this.#end = resolve;
        });
    return this.#ended;
  }

  /** Has this life ended here before its time? One that is cancelled goes on, back. */
  get hasEnded(): boolean {
    return this.#interruption !== undefined && this.#interruption.kind !== 'cancelled';
  }

  /** @throws what ended this life, if something did */
  requireGoingOn(): void {
    if (this.hasEnded) throw this.#interruption?.error;
  }

  /** @throws FencedError unless it is certain to be ours at this moment. Asked before anything is started. */
  requireHeld(): void {
    if (this.#interruption?.kind === 'lost') throw this.#interruption.error;
    if (this.#holder.isValid()) return;
    const error = new FencedError(`transaction "${this.id}"`);
    this.interrupt({ kind: 'lost', error });
    throw error;
  }

  /** Writes a fact with what belongs to it. Durable when it resolves; facts stand in the order of the calls. */
  write(fact: JournalFact, value?: Buffer, change?: MetaChange): Promise<void> {
    const isProgress = fact.type === 'done' || fact.type === 'compensated';
    const progress = isProgress && this.meta.takeovers > 0 ? { ...change, takeovers: 0 } : change;
    return this.#journal.append(encodeEntry(this.#apply(fact, value)), progress);
  }

  /** As `write`, for the last fact there is. */
  finish(fact: JournalFact, value: Buffer | undefined, change: MetaChange): Promise<void> {
    return this.#journal.finish(encodeEntry(this.#apply(fact, value)), { owner: null, ...change });
  }

  /** Never throws: whatever the getters of a value do, it was given all the same. */
  tryEncode(value: unknown): Buffer | Refusal {
    try {
      return encodeValue(value, this.home.codec);
    } catch (error) {
      return { error };
    }
  }

  encodeError(thrown: unknown): Buffer {
    return encodeThrown(thrown, this.home.codec);
  }

  /**
   * What is recorded, for the body.
   * @throws what the codec does. That is no failure of the step, and nothing is rolled back for it.
   */
  recall(value: Buffer | undefined): unknown {
    try {
      return this.decode(value);
    } catch (error) {
      this.interrupt({ kind: 'unreadable', error });
      throw error;
    }
  }

  decode(value: Buffer | undefined): unknown {
    return value === undefined ? undefined : decodeValue(value, this.home.codec, this.id);
  }

  report(event: EventOf<TransactionEvent>): void {
    if (this.home.emit === undefined) return;
    const { id, name } = this.meta;
    emit(this.home.emit, { ...event, transaction: id, ...(name !== null && { name }) } as TransactionEvent);
  }

  #apply(fact: JournalFact, value: Buffer | undefined): JournalEntry {
    const entry = entryOf(fact, this.home.clock.now(), value);
    this.state.apply(entry);
    return entry;
  }
}

/** For the `catch` of a write: the store does not take a value of that size. */
export function ifTooLarge(error: unknown): Refusal {
  if (error instanceof LimitError) return { error };
  throw error;
}

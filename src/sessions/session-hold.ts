import { ClosedError } from '../base/errors.js';
import type { WriteGuard } from '../records/guarded-storage.js';
import type { Hold } from '../records/held-on-node.js';
import { FencedError } from '../records/lease.js';
import type { Tenure } from '../records/node.js';
import type { StorageAdapter, Version } from '../storage/adapter.js';
import { ConflictError } from '../storage/adapter.js';
import type { SessionRecord, StoredSession } from './session-record.js';
import type { SessionStore } from './session-store.js';

/** A session while it is this process's: its record as this process wrote it last, and the guard of all that it writes. */
export class SessionHold implements Hold, WriteGuard {
  readonly #store: SessionStore;
  readonly #over = new AbortController();
  #stored: StoredSession | undefined;
  #tenure: Tenure | undefined;
  #stopListening = () => {};
  #isCheckedBehind = false;
  /** What is read or written of the record, one behind the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    readonly id: string,
    store: SessionStore,
  ) {
    this.#store = store;
  }

  /** Aborted, with the reason, as soon as this process is known not to hold the session any more. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** Asks the tenure: a process that was stopped beyond its lease is told before its timers are. */
  get isLost(): boolean {
    if (this.#tenure?.isValid() === false) this.lose(new FencedError(this.#name));
    return this.signal.aborted;
  }

  get storage(): StorageAdapter {
    return this.#store.storage;
  }

  get key(): string {
    return this.#held.key;
  }

  get record(): SessionRecord {
    return this.#held.record;
  }

  /** Can a write of whoever held it before still come, unacknowledged? So it is where a write and its check are two. */
  get isCheckedBehind(): boolean {
    return this.#isCheckedBehind;
  }

  /** It became ours. */
  begin(stored: StoredSession, tenure: Tenure): void {
    this.#stored = stored;
    this.#tenure = tenure;
    this.#stopListening = tenure.onLost((cause) => this.lose(new FencedError(this.#name, { cause })));
  }

  version(): Version {
    if (this.isLost) throw this.signal.reason;
    return this.#held.version;
  }

  /** In its turn: an end that is being written is not taken for a loss. */
  async confirm(): Promise<void> {
    await this.#inTurn(() => this.#confirm());
  }

  checkedBehind(): void {
    this.#isCheckedBehind = true;
  }

  /**
   * Writes `change` of the record. One after the other, so that each grows out of the one before. It is over with the change
   * that leaves it without an owner.
   * @throws FencedError if it is another process's; ClosedError if it was over before.
   */
  async change(change: (record: SessionRecord) => SessionRecord): Promise<SessionRecord> {
    return this.#inTurn(() => this.#change(change));
  }

  /** It is not this process's any more, for this reason. The first reason stays. */
  lose(reason: unknown): void {
    if (this.signal.aborted) return;
    this.#stopListening();
    this.#over.abort(reason);
  }

  async #inTurn<Result>(act: () => Promise<Result>): Promise<Result> {
    const turn = this.#turn.then(act);
    this.#turn = turn.catch(() => undefined); // Whoever asked for that hears of it.
    return turn;
  }

  async #change(change: (record: SessionRecord) => SessionRecord): Promise<SessionRecord> {
    for (;;) {
      const version = this.version();
      try {
        this.#stored = await this.#store.write(change(this.record), version);
        if (this.record.owner === null) this.lose(new ClosedError(`Session "${this.id}"`));
        return this.record;
      } catch (error) {
        if (!(error instanceof ConflictError)) throw error;
        await this.#confirm(); // Ours all the same: an operator changed something of it.
      }
    }
  }

  async #confirm(): Promise<void> {
    this.version();
    const { record, key } = this.#held;
    const found = await this.#store.read(this.id);
    if (found?.record.owner !== record.owner || found.record.fence !== record.fence) {
      const now = found === undefined ? 'is gone' : `names node ${found.record.owner} and fence ${found.record.fence}`;
      this.lose(new FencedError(this.#name, { cause: new Error(`the record "${key}" ${now}`) }));
    }
    this.version();
    this.#stored = found;
  }

  get #held(): StoredSession {
    return this.#stored as StoredSession; // `begin` comes before all else.
  }

  get #name(): string {
    return `session "${this.id}"`;
  }
}

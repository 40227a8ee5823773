import { emit } from '../base/emit.js';
import type { HeldOnNode, Hold } from '../records/held-on-node.js';
import type { LeaseNode, Tenure } from '../records/node.js';
import { ConflictError } from '../storage/adapter.js';
import type { Closing } from './closing.js';
import { encodeEntry, type JournalFact } from './journal-entry.js';
import { LiveTransaction, type TransactionHome } from './live-transaction.js';
import { ifConflict, type ReadState, readState } from './stored-state.js';
import { StuckError } from './transaction-errors.js';
import type { TransactionMeta } from './transaction-records.js';
import { TransactionState } from './transaction-state.js';
import type { StoredTransaction, TransactionStore } from './transaction-store.js';

/** What an acquirer works with. */
export interface AcquirerParts {
  readonly home: TransactionHome;
  readonly store: TransactionStore;
  readonly node: LeaseNode;
  readonly held: HeldOnNode;
  readonly closing: Closing;
}

/** Who wants to take a transaction over, and on what terms. */
export interface Claim {
  readonly hold: Hold;
  readonly maxTakeovers: number;
}

/** What became of a claim, if it is not ours: somebody holds it, or was faster. */
export type Refused = 'held' | 'outrun';

/** Makes transactions ours: begins them, or takes them over from whoever is gone. */
export class TransactionAcquirer {
  readonly #parts: AcquirerParts;

  constructor(parts: AcquirerParts) {
    this.#parts = parts;
  }

  /**
   * Begins it, or gives what is there under its id.
   * @throws OutcomeUnknownError if it may have been begun; FencedError, ClosedError if it was not.
   */
  async begin(id: string, name: string | null, input: Buffer): Promise<LiveTransaction | StoredTransaction> {
    const { home, store, node, closing } = this.#parts;
    const tenure = await node.tenure();
    closing.requireOpen();
    const nowMs = home.clock.now();
    const line = { type: 'begun', value: input, atMs: nowMs } as const;
    const meta: TransactionMeta = {
      id,
      name,
      status: 'running',
      owner: tenure.id,
      fence: 1,
      takeovers: 0,
      startedAtMs: nowMs,
      updatedAtMs: nowMs,
    };
    const result = await store.begin(meta, encodeEntry(line), tenure);
    if ('existing' in result) return result.existing;
    const state = new TransactionState();
    state.apply(line);
    const live = new LiveTransaction(home, { journal: result.begun, holder: tenure, state });
    live.report({ type: 'transaction.started' });
    return live;
  }

  /**
   * Is nobody holding it, for certain? What is for `hold` to act for is free for it.
   * @throws CorruptionError if the record of its owner is damaged; what the storage throws.
   */
  async isFree({ meta: { id, owner } }: StoredTransaction, hold?: Hold): Promise<boolean> {
    const { node, held } = this.#parts;
    if (owner === null) return true;
    const { id: own } = await node.tenure();
    // Ours, and nobody runs it: it was begun, and the answer of the storage got lost.
    return owner === own ? !held.isTaken(id, hold) : node.isGone(owner);
  }

  /** @throws StuckError if it is in a crash loop; FencedError if the node was lost meanwhile; ClosedError */
  async takeOver(stored: StoredTransaction, { hold, maxTakeovers }: Claim): Promise<LiveTransaction | Refused> {
    const { node, held, closing } = this.#parts;
    if (!held.take(stored.meta.id, hold)) return 'held';
    const read = await closing.unlessClosed(async () => {
      if (!(await this.isFree(stored, hold))) return 'held';
      return readState(stored).catch(ifConflict); // Before the write: what cannot be read is left to its owner.
    });
    if (read === 'held') return read;
    if (read === undefined) return 'outrun';
    const tenure = await node.tenure();
    closing.requireOpen();
    const from = giverOf(stored, read, tenure);
    const takeovers = stored.meta.takeovers + (from === null ? 0 : 1);
    try {
      if (takeovers > maxTakeovers) return await this.#endCrashLoop(stored);
      return await this.#write(stored, { ...read, tenure, from, takeovers });
    } catch (error) {
      if (error instanceof ConflictError) return 'outrun';
      throw error;
    }
  }

  async #write(
    stored: StoredTransaction,
    { state, append, tenure, from, takeovers }: Taking,
  ): Promise<LiveTransaction> {
    const { home, store } = this.#parts;
    const fence = stored.meta.fence + 1;
    const owner = tenure.id;
    const fact: JournalFact = { type: 'taken-over', fence, owner, from };
    const line = append(fact, home.clock.now());
    const journal = await store.takeOver(stored, { line, change: { owner, fence, takeovers }, holder: tenure });
    const live = new LiveTransaction(home, { journal, holder: tenure, state, from: from ?? undefined });
    live.report({ type: 'transaction.taken-over', fence, ...(from !== null && { from }) });
    return live;
  }

  async #endCrashLoop(stored: StoredTransaction): Promise<never> {
    const { home, store } = this.#parts;
    const { id, name } = stored.meta;
    const stuck = { reason: 'crash-loop' } as const;
    const line = encodeEntry({ type: 'stuck', ...stuck, atMs: home.clock.now() });
    await store.amend(stored, line, { status: 'stuck', stuck, owner: null });
    emit(home.emit, { type: 'transaction.stuck', transaction: id, ...(name !== null && { name }), ...stuck });
    throw new StuckError(id, stuck);
  }
}

/** What a takeover writes. */
interface Taking extends ReadState {
  readonly tenure: Tenure;
  readonly from: string | null;
  readonly takeovers: number;
}

/** The node it is taken from. `null`: nobody ever ran it since it was let go of, or begun; so nobody crashed over it. */
function giverOf({ meta: { owner } }: StoredTransaction, { entries }: ReadState, tenure: Tenure): string | null {
  // Begun by this very node, which would know if it had run it: the answer to that write got lost.
  return owner === tenure.id && entries.length === 1 ? null : owner;
}

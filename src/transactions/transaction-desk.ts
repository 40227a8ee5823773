import { emit } from '../base/emit.js';
import { isHoldfastError } from '../base/errors.js';
import { encodeValue } from '../records/encode.js';
import { BusyError } from '../records/lease.js';
import type { TransactionHome } from './live-transaction.js';
import type { RecoveryParts } from './recover.js';
import { misfit, resolveStuck } from './resolve.js';
import { historyOf, ifConflict, readState, summaryOf, viewOf } from './stored-state.js';
import type {
  HistoryEntry,
  Resolution,
  TransactionFilter,
  TransactionStatus,
  TransactionSummary,
  TransactionView,
} from './transaction.js';
import { TransactionStateError } from './transaction-errors.js';
import type { TransactionMeta } from './transaction-records.js';
import type { StoredTransaction } from './transaction-store.js';

/** How a transaction ended is in its status; that others hold it, too, or that nobody here goes on with it. */
const TOLD_BY_STATUS: ReadonlySet<string> = new Set([
  'HOLDFAST_ROLLED_BACK',
  'HOLDFAST_STUCK',
  'HOLDFAST_BUSY',
  'HOLDFAST_FENCED',
  'HOLDFAST_CLOSED',
]);

/** Where people look at transactions and decide about them. */
export class TransactionDesk {
  readonly #home: TransactionHome;
  readonly #parts: RecoveryParts;

  constructor(home: TransactionHome, parts: RecoveryParts) {
    this.#home = home;
    this.#parts = parts;
  }

  async get(id: string): Promise<TransactionView | undefined> {
    const stored = await this.#parts.store.read(id);
    if (stored === undefined) return undefined;
    const read = await readState(stored).catch(ifConflict);
    return read === undefined ? this.get(id) : viewOf(stored, read.state, this.#home.codec);
  }

  async *list({ status, name, prefix = '' }: TransactionFilter): AsyncGenerator<TransactionSummary> {
    let unreadable: unknown;
    for await (const found of this.#parts.store.list()) {
      if ('error' in found) {
        unreadable ??= found.error;
        continue;
      }
      const { meta } = found;
      // One that was abandoned has the status it was given up in, and waits for nobody.
      const isWanted = status === undefined || (status === meta.status && !(status === 'stuck' && found.hasEnded));
      const fits = isWanted && (name ?? meta.name) === meta.name;
      if (fits && meta.id.startsWith(prefix)) yield summaryOf(found);
    }
    if (unreadable !== undefined) throw unreadable;
  }

  async history(id: string): Promise<readonly HistoryEntry[]> {
    const stored = await this.#parts.store.read(id);
    if (stored === undefined) return [];
    const read = await readState(stored).catch(ifConflict);
    return read?.entries.map((entry) => historyOf(entry, id, this.#home.codec)) ?? this.history(id);
  }

  async cancel(id: string, reason: string): Promise<TransactionStatus> {
    if (await this.#parts.runner.cancel(id, reason)) return (await this.#required(id)).meta.status;
    for (;;) {
      const stored = await this.#required(id);
      const { meta } = stored;
      if (meta.status === 'compensating' || meta.status === 'rolled-back') return meta.status;
      if (meta.status === 'done') throw misfit(meta, 'it is too late to cancel it', 'It went forward to its end');
      if (meta.status === 'stuck') throw misfit(meta, 'it waits for a decision', 'Use resolve()');
      const { state, append } = await readState(stored);
      const pivot = state.pivot('');
      if (pivot !== undefined) throw misfit(meta, `it is past its pivot "${pivot.step}"`, 'It can only go forward');
      const line = append({ type: 'cancel-requested', reason }, this.#home.clock.now());
      const amended = await this.#parts.store.amend(stored, line, { cancel: reason }).catch(ifConflict);
      if (amended === undefined) continue;
      emit(this.#home.emit, { type: 'transaction.cancelled', ...whose(meta), reason });
      return this.#carryOn(amended);
    }
  }

  async resolve(id: string, decision: Resolution): Promise<TransactionStatus> {
    const { store, runner } = this.#parts;
    const stored = await this.#required(id);
    const { meta } = stored;
    if (stored.hasEnded) throw misfit(meta, 'it has ended', 'Nothing can be decided any more');
    const isHeld = meta.status !== 'stuck' && !(await runner.isFree(stored));
    if (isHeld && decision.do === 'abandon') throw new BusyError(`transaction "${id}"`, meta.owner ?? 'this one');
    const { state, append } = await readState(stored);
    const { fact, change } = resolveStuck(meta, state, decision);
    const line = append(fact, this.#home.clock.now(), this.#valueOf(decision, fact.becomes));
    const amended = await store.amend(stored, line, change).catch(ifConflict);
    if (amended === undefined)
      throw misfit(meta, 'somebody else has decided about it just now', 'Look again with get()');
    const { do: made, step } = fact;
    emit(this.#home.emit, {
      type: 'transaction.resolved',
      ...whose(meta),
      decision: made,
      ...(step !== undefined && { step }),
    });
    return this.#carryOn(amended);
  }

  async delete(id: string): Promise<boolean> {
    const stored = await this.#parts.store.read(id);
    if (stored === undefined) return false;
    if (!stored.hasEnded) throw misfit(stored.meta, 'it has not ended', 'Recover, cancel or resolve it first');
    await this.#parts.store.delete(stored);
    return true;
  }

  /** Goes on with one that was amended, as far as that is up to this process. */
  async #carryOn(stored: StoredTransaction): Promise<TransactionStatus> {
    const { definitions, runner, store } = this.#parts;
    const { id, name } = stored.meta;
    const definition = name === null ? undefined : definitions.get(name);
    if (definition !== undefined && !stored.hasEnded) {
      await runner.takeUp(stored, definition, 0).catch((error: unknown) => {
        if (!isHoldfastError(error) || !TOLD_BY_STATUS.has(error.code)) throw error;
      });
    }
    const { meta } = (await store.read(id)) ?? stored;
    return meta.status;
  }

  async #required(id: string): Promise<StoredTransaction> {
    const stored = await this.#parts.store.read(id);
    if (stored !== undefined) return stored;
    throw new TransactionStateError(`There is no transaction "${id}". list() shows what there is.`, id, undefined);
  }

  #valueOf({ do: decision, result }: Resolution, becomes: string | undefined): Buffer | undefined {
    const isResult = becomes === 'done' || (decision === 'complete' && result !== undefined);
    return isResult ? encodeValue(result, this.#home.codec) : undefined;
  }
}

/** For events. */
function whose({ id, name }: TransactionMeta): { readonly transaction: string; readonly name?: string } {
  return { transaction: id, ...(name !== null && { name }) };
}

import { InvalidInputError } from '../base/errors.js';
import type { CodecSettings } from '../records/codec.js';
import { decodeValue } from '../records/decode.js';
import { ConflictError } from '../storage/adapter.js';
import { decodeEntry, encodeEntry, entryOf, type JournalEntry, type JournalFact } from './journal-entry.js';
import type { HistoryEntry, StepView, TransactionStatus, TransactionSummary, TransactionView } from './transaction.js';
import { RolledBackError, StuckError } from './transaction-errors.js';
import type { TransactionMeta } from './transaction-records.js';
import { TransactionState } from './transaction-state.js';
import type { StoredTransaction } from './transaction-store.js';

/** What a stored journal adds up to. */
export interface ReadState {
  readonly state: TransactionState;
  readonly entries: readonly JournalEntry[];
  /** Applies one more fact, and gives the line to write for it. */
  append(fact: JournalFact, atMs: number, value?: Buffer): Buffer;
}

/** @throws CorruptionError; ConflictError if it was deleted since it was read. */
export async function readState(stored: StoredTransaction): Promise<ReadState> {
  const lines = await stored.lines();
  const entries = lines.map((line) => decodeEntry(line, stored.meta.id));
  const state = new TransactionState();
  for (const entry of entries) state.apply(entry);
  return {
    state,
    entries,
    append(fact, atMs, value) {
      const entry = entryOf(fact, atMs, value);
      state.apply(entry);
      return encodeEntry(entry);
    },
  };
}

/**
 * What one that has ended gave, or that is stuck.
 * @throws RolledBackError, StuckError
 */
export function outcomeOf(meta: TransactionMeta, state: TransactionState, codec: CodecSettings): unknown {
  const { id, status, stuck } = meta;
  const outcome = decoded(state.outcome, codec, id);
  if (status === 'done') return outcome;
  if (status === 'stuck') throw new StuckError(id, { ...(stuck ?? { reason: 'abandoned' }), cause: outcome });
  const { compensated, leftBehindAtEnd } = state;
  throw new RolledBackError(id, { cause: outcome, compensated, leftBehind: leftBehindAtEnd });
}

/** A transaction as `list` shows it. */
export function summaryOf({ meta }: StoredTransaction): TransactionSummary {
  const { id, name, status, stuck, cancel, owner, fence, startedAtMs, updatedAtMs } = meta;
  return {
    id,
    ...(name !== null && { name }),
    status,
    ...(stuck !== undefined && { stuck }),
    ...(cancel !== undefined && { cancelled: cancel }),
    ...(owner !== null && { owner }),
    fence,
    startedAtMs,
    updatedAtMs,
  };
}

/** A transaction as `get` shows it. */
export function viewOf(stored: StoredTransaction, state: TransactionState, codec: CodecSettings): TransactionView {
  const { id, status } = stored.meta;
  const decode = (value: Buffer | undefined) => decoded(value, codec, id);
  const steps = Array.from(state.steps.values(), ({ step, status: stepStatus, value, atMs }): StepView => {
    const hasFailed = stepStatus === 'failed' || stepStatus === 'unknown';
    return { name: step, status: stepStatus, ...(value && { [hasFailed ? 'error' : 'result']: decode(value) }), atMs };
  });
  return {
    ...summaryOf(stored),
    input: decode(state.input),
    steps,
    ...endOf(status, state, decode),
  };
}

function endOf(
  status: TransactionStatus,
  { outcome, cause, compensated, leftBehindAtEnd }: TransactionState,
  decode: (value: Buffer | undefined) => unknown,
): Partial<TransactionView> {
  if (status === 'done') return { result: decode(outcome) };
  const error = outcome ?? cause;
  return {
    ...(error !== undefined && { error: decode(error) }),
    ...(compensated.length > 0 || status === 'rolled-back' ? { compensated } : {}),
    ...(status === 'rolled-back' && { leftBehind: leftBehindAtEnd }),
  };
}

/** A line of the journal as `history` shows it. */
export function historyOf(entry: JournalEntry, id: string, codec: CodecSettings): HistoryEntry {
  const { type, atMs, value, ...facts } = entry as JournalEntry & { readonly step?: string };
  const { step, ...others } = facts;
  return {
    type,
    atMs,
    ...(step !== undefined && { step }),
    ...(value !== undefined && { value: decoded(value, codec, id) }),
    facts: others,
  };
}

function decoded(value: Buffer | undefined, codec: CodecSettings, id: string): unknown {
  return value === undefined ? undefined : decodeValue(value, codec, id);
}

/**
 * An id stands for one definition and one input.
 * @throws InvalidInputError
 */
export function requireSame(
  id: string,
  known: { readonly name: string | null; readonly input: Buffer | undefined },
  given: { readonly name: string | null; readonly input: Buffer },
): void {
  if (known.name !== given.name) {
    const what = known.name === null ? 'without a definition' : `as "${known.name}"`;
    throw new InvalidInputError(`id: transaction "${id}" was begun ${what}. Use another id.`, 'id');
  }
  if (known.input !== undefined && !known.input.equals(given.input)) {
    throw new InvalidInputError(`input: transaction "${id}" was begun with another input. Use another id.`, 'input');
  }
}

/** For `catch`: somebody else wrote first, or it was deleted since it was read. The caller looks again. */
export function ifConflict(error: unknown): undefined {
  if (error instanceof ConflictError) return undefined;
  throw error;
}

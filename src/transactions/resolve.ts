import type { JournalFact, ResolvedStep } from './journal-entry.js';
import type { Resolution } from './transaction.js';
import { TransactionStateError } from './transaction-errors.js';
import type { MetaChange, TransactionMeta } from './transaction-records.js';
import type { StepRecord, TransactionState } from './transaction-state.js';

/** What a decision writes. */
export interface ResolvedFact {
  readonly fact: JournalFact & { readonly type: 'resolved' };
  readonly change: MetaChange;
}

/**
 * What a person's decision makes of a stuck transaction.
 * @throws TransactionStateError if it does not fit: what is the case, and what would fit.
 */
export function resolveStuck(meta: TransactionMeta, state: TransactionState, resolution: Resolution): ResolvedFact {
  const { do: decision } = resolution;
  const step = resolution.step ?? meta.stuck?.step;
  const at = step === undefined ? {} : { step };
  if (decision === 'abandon') {
    const fact = { type: 'resolved', do: decision, ...at } as const;
    return { fact, change: { status: 'stuck', stuck: { reason: 'abandoned', ...at }, owner: null } };
  }
  requireStuck(meta);
  if (decision === 'rollback') requireWayBack(meta, state);
  const becomes = decision === 'rollback' ? undefined : becomesOf({ meta, state, step }, decision);
  const goesBack = state.cause !== undefined || decision === 'rollback';
  return {
    fact: { type: 'resolved', do: decision, ...at, ...(becomes !== undefined && { becomes }) },
    change: { status: goesBack ? 'compensating' : 'running', stuck: undefined, owner: null, takeovers: 0 },
  };
}

interface Case {
  readonly meta: TransactionMeta;
  readonly state: TransactionState;
  readonly step: string | undefined;
}

function becomesOf(at: Case, decision: 'retry' | 'complete' | 'skip'): ResolvedStep | undefined {
  const { meta, state, step } = at;
  const record = step === undefined ? undefined : state.steps.get(step);
  if (decision === 'retry') return becomesByRetry(at, record);
  if (step === undefined) throw misfit(meta, `\`${decision}\` needs a step`, 'Name it, or retry, roll back or abandon');
  requireOpenStep(at, record);
  const isDone = record?.status === 'done';
  if (decision === 'complete') return isDone ? 'compensated' : 'done';
  return !isDone && isGoingBack(state, step) ? 'failed' : 'skipped';
}

/** On the way back an unknown outcome stays what it is, to be settled once more. */
function becomesByRetry({ state, step }: Case, record: StepRecord | undefined): ResolvedStep | undefined {
  if (step === undefined || record === undefined || isGoingBack(state, step)) return undefined;
  return record.status === 'done' || record.status === 'compensated' ? undefined : 'unrecorded';
}

/** Only what is not settled can be settled by hand: the step it is stuck at, one that failed, or whose outcome is unknown. */
function requireOpenStep({ meta, state, step }: Case, record: StepRecord | undefined): void {
  const isStuckAt = step === meta.stuck?.step;
  const isOpen = record !== undefined && ['announced', 'unknown', 'failed'].includes(record.status);
  if (isStuckAt || isOpen) return;
  const known = [...state.steps.keys()].slice(0, 20).join(', ');
  const status = record === undefined ? 'has no record' : `is ${record.status}`;
  throw misfit(meta, `step "${step}" ${status}`, `Steps: ${known}`);
}

function isGoingBack({ cause, nests }: TransactionState, step: string): boolean {
  if (cause !== undefined) return true;
  return [...nests].some(([nest, { isRolledBack }]) => !isRolledBack && step.startsWith(`${nest}/`));
}

function requireStuck(meta: TransactionMeta): void {
  if (meta.status !== 'stuck') throw misfit(meta, 'nothing waits for a decision', 'Call recover(), or cancel() it');
}

function requireWayBack(meta: TransactionMeta, state: TransactionState): void {
  if (state.cause !== undefined) throw misfit(meta, 'it is going back already', 'Retry, complete or skip the step');
  const pivot = state.pivot('');
  if (pivot !== undefined)
    throw misfit(meta, `it is past its pivot "${pivot.step}"`, 'Retry, complete or skip the step');
  const { stuck } = meta;
  if (stuck?.reason !== 'unknown-outcome') return;
  const next = `First say what happened: { do: 'complete', step: '${stuck.step}', result } or { do: 'skip', step: '${stuck.step}' }`;
  throw misfit(meta, `it is not known whether step "${stuck.step}" happened`, next);
}

/** @returns the error to throw. */
export function misfit({ id, status }: TransactionMeta, why: string, next: string): TransactionStateError {
  return new TransactionStateError(`Transaction "${id}" is ${status}: ${why}. ${next}.`, id, status);
}

import { encodeValue } from '../records/encode.js';
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
  const becomes =
    decision === 'rollback' ? becomesOnWayBack(meta, state, resolution) : becomesOf({ meta, state, step }, resolution);
  const goesBack = state.cause !== undefined || decision === 'rollback';
  const cause =
    decision === 'rollback' ? { cause: encodeValue(new Error('It was rolled back by hand.')).toString() } : {};
  return {
    fact: { type: 'resolved', do: decision, ...at, ...(becomes !== undefined && { becomes }), ...cause },
    change: { status: goesBack ? 'compensating' : 'running', stuck: undefined, owner: null, takeovers: 0 },
  };
}

interface Case {
  readonly meta: TransactionMeta;
  readonly state: TransactionState;
  readonly step: string | undefined;
}

function becomesOf(at: Case, resolution: Resolution): ResolvedStep | undefined {
  const { meta, state, step } = at;
  const { do: decision } = resolution;
  const record = step === undefined ? undefined : state.steps.get(step);
  if (step !== undefined) requireOpenStep(at, record);
  if (decision === 'retry') return becomesByRetry(at, record);
  if (step === undefined) throw misfit(meta, `\`${decision}\` needs a step`, 'Name it, or retry, roll back or abandon');
  const isDone = record?.status === 'done';
  if (decision === 'skip') return !isDone && isGoingBack(state, step) ? 'failed' : 'skipped';
  if (isDone) return 'compensated';
  if (!('result' in resolution)) {
    const next = `Say what it gave: { do: 'complete', step: '${step}', result }, with \`result: undefined\` if it gives nothing`;
    throw misfit(meta, `whoever goes on needs the result of step "${step}"`, next);
  }
  return 'done';
}

/** On the way back an unknown outcome stays what it is, to be settled once more. */
function becomesByRetry({ state, step }: Case, record: StepRecord | undefined): ResolvedStep | undefined {
  if (step === undefined || record === undefined || isGoingBack(state, step)) return undefined;
  return record.status === 'done' || record.status === 'compensated' ? undefined : 'unrecorded';
}

/** Only what is not settled can be settled by hand: the step it is stuck at, one whose outcome is unknown, or one that failed. */
function requireOpenStep({ meta, state, step }: Case, record: StepRecord | undefined): void {
  const { stuck } = meta;
  const isOpen = ({ status, step: path }: StepRecord) =>
    path === stuck?.step || status === 'announced' || status === 'unknown' || (status === 'failed' && !stuck?.step);
  if (step === stuck?.step || (record !== undefined && isOpen(record))) return;
  const open = [...state.steps.values()].filter(isOpen).map((other) => `"${other.step}"`);
  const status = record === undefined ? 'has no record' : `is ${record.status}`;
  const next =
    open.length === 0 ? 'No step waits for a decision: leave `step` out' : `Waiting for a decision: ${open.join(', ')}`;
  throw misfit(meta, `step "${step}" ${status}`, next);
}

function isGoingBack({ cause, nests }: TransactionState, step: string): boolean {
  if (cause !== undefined) return true;
  return [...nests].some(([nest, { isRolledBack }]) => !isRolledBack && step.startsWith(`${nest}/`));
}

function requireStuck(meta: TransactionMeta): void {
  if (meta.status !== 'stuck') throw misfit(meta, 'nothing waits for a decision', 'Call recover(), or cancel() it');
}

/** Going back needs to know what happened: a step that is named did not happen, unless its `result` is given. */
function becomesOnWayBack(
  meta: TransactionMeta,
  state: TransactionState,
  resolution: Resolution,
): ResolvedStep | undefined {
  if (state.cause !== undefined) throw misfit(meta, 'it is going back already', 'Retry, complete or skip the step');
  const pivot = state.pivot('');
  if (pivot !== undefined)
    throw misfit(meta, `it is past its pivot "${pivot.step}"`, 'Retry, complete or skip the step');
  const { stuck } = meta;
  if (stuck?.reason !== 'unknown-outcome') return undefined;
  const { step } = resolution;
  if (step === undefined) {
    const did = `{ do: 'rollback', step: '${stuck.step}', result } if it did`;
    const next = `Say so: { do: 'rollback', step: '${stuck.step}' } if it did not happen, ${did}`;
    throw misfit(meta, `it is not known whether step "${stuck.step}" happened`, next);
  }
  requireOpenStep({ meta, state, step }, state.steps.get(step));
  if (!('result' in resolution)) return 'failed';
  const isPivot = state.steps.get(step)?.isPivot === true;
  if (isPivot)
    throw misfit(
      meta,
      `step "${step}" is its pivot, and happened`,
      `Complete it: { do: 'complete', step: '${step}', result }`,
    );
  return 'done';
}

/** @returns the error to throw. */
export function misfit({ id, status }: TransactionMeta, why: string, next: string): TransactionStateError {
  return new TransactionStateError(`Transaction "${id}" is ${status}: ${why}. ${next}.`, id, status);
}

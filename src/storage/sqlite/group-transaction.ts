import { type BatchOperation, ConflictError, OutcomeUnknownError } from '../adapter.js';
import { driverFault } from '../driver-fault.js';
import type { QueuedWrite } from '../write-queue.js';
import type { SqliteDatabase } from './sqlite-database.js';
import { isBusy, isFull } from './sqlite-fault.js';
import { rollBack, type SqliteTable, versionOf } from './sqlite-table.js';

/** Where a group is written. */
export interface TransactionTarget {
  readonly database: SqliteDatabase;
  readonly table: SqliteTable;
  /** Throws if what is written can no longer be found by anybody. */
  readonly requireInPlace: () => void;
}

/** Answers one write of a group, now that what it says is durable. */
type Answer = () => void;

/**
 * The writes in one transaction, begun and ended in this very call: no reader of this handle can see half of it. A write
 * whose condition fails is left out and the others are written. Returns how each is to be answered, once that is durable.
 * @throws whatever the database threw; then nothing of the group was written.
 */
export function writeInOneTransaction(target: TransactionTarget, group: readonly QueuedWrite[]): readonly Answer[] {
  const { database, table, requireInPlace } = target;
  database.exec('BEGIN IMMEDIATE'); // Outside: what fails here is a transaction of somebody else's.
  let last: number;
  let answers: readonly Verdict[];
  try {
    requireInPlace();
    last = table.reserve(group.length);
    const first = last - group.length + 1;
    answers = group.map((write, at) => judged(table, write, first + at));
    if (!answers.some(({ isWritten }) => isWritten)) {
      database.exec('ROLLBACK');
      return answers.map(({ answer }) => answer);
    }
  } catch (error) {
    rollBack(database);
    throw error;
  }
  const doubt = commit(target, last - group.length);
  if (doubt === undefined) return answers.map(({ answer }) => answer);
  return group.map((write) => () => write.reject(new OutcomeUnknownError(firstKey(write), { cause: doubt })));
}

interface Verdict {
  readonly isWritten: boolean;
  readonly answer: Answer;
}

/** Writes one write, unless one of its conditions fails. */
function judged(table: SqliteTable, { operations, resolve, reject }: QueuedWrite, write: number): Verdict {
  let existed = false;
  for (const operation of operations) {
    const { key, ifVersion } = operation;
    if (ifVersion === undefined && operation.type === 'put') continue; // Whatever is there.
    const current = table.versionOf(key);
    existed = current !== undefined;
    if (ifVersion === undefined || ifVersion === (current ?? null)) continue;
    return { isWritten: false, answer: () => reject(new ConflictError(key, current)) };
  }
  for (const operation of operations) apply(table, operation, write);
  return { isWritten: true, answer: () => resolve({ version: versionOf(write), existed }) };
}

function apply(table: SqliteTable, operation: BatchOperation, write: number): void {
  if (operation.type === 'put') table.put(operation.key, write, operation.value);
  if (operation.type === 'delete') table.delete(operation.key);
}

function firstKey({ operations }: QueuedWrite): string {
  return (operations[0] as BatchOperation).key; // Every write has one.
}

/**
 * `before` is the number of the newest write before this transaction. Returns what COMMIT threw if it cannot be told what
 * became of it.
 * @throws what COMMIT threw if nothing was written.
 */
function commit(target: TransactionTarget, before: number): Error | undefined {
  try {
    target.database.exec('COMMIT');
    return undefined;
  } catch (error) {
    rollBack(target.database);
    // Busy: the transaction was still open. Full: its last frame, the one that ends it, was never whole.
    if (isBusy(error) || isFull(error) || isUndone(target, before)) throw error;
    return driverFault(error);
  }
}

/**
 * After a failed commit the transaction is undone for all who look, but its frames may stand whole in the log behind what
 * counts, and a crash now would let recovery find them. Another commit takes their place, so that "not written" stays
 * true. It shows also whether any write got in: then it cannot be told whether it was this one.
 */
function isUndone({ database, table }: TransactionTarget, before: number): boolean {
  try {
    database.exec('BEGIN IMMEDIATE');
    const isUnchanged = table.reserve(1) === before + 1;
    database.exec('COMMIT');
    return isUnchanged;
  } catch {
    rollBack(database);
    return false; // What COMMIT threw says more than what came of asking.
  }
}

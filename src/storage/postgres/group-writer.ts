import { uniqueId } from '../../base/unique-id.js';
import type { BatchOperation, Version } from '../adapter.js';
import { ConflictError, OutcomeUnknownError } from '../adapter.js';
import { driverFault } from '../driver-fault.js';
import type { GroupTarget, QueuedWrite } from '../write-queue.js';
import { backOffMs } from './back-off.js';
import { type CallFailure, type Connections, failureOf } from './connections.js';
import { type MarkedWrite, refusalBy, type Verdict } from './group-statement.js';
import { isMisplaced } from './kept-plans.js';
import { asStorageError } from './postgres-errors.js';
import type { PostgresClient } from './postgres-pool.js';
import { putKindOf } from './put-groups.js';
import { isMarked } from './row-version.js';
import type { Statements } from './statements.js';
import type { StoreTable } from './table.js';

/** What a writer of groups works with. */
export interface GroupWriterParts {
  readonly connections: Connections;
  readonly statements: Statements;
  readonly table: StoreTable;
  readonly timeoutMs: number;
  /** Hears of the writes that happened. */
  readonly onWritten: (operations: readonly BatchOperation[]) => void;
}

/** A write that waits to be answered. */
type OpenWrite = QueuedWrite & MarkedWrite;

/**
 * Nothing happened, and it was nobody's fault: a serialization failure, a deadlock, a key that somebody else created while
 * the statement ran (it divides by zero then).
 */
const PASSING: readonly unknown[] = ['40001', '40P01', '22012'];

/** Tries in the face of those at most. Each means that somebody else got on. */
const MAX_TRIES = 12;

/** Of the time a call may take: the rest is kept for finding out what became of a write. */
export const SENDING_SHARE = 0.75;

/**
 * Writes groups of writes, a statement each or two, and finds out what became of those whose answer was lost: a connection that
 * breaks in a commit tells nobody whether it happened.
 */
export class GroupWriter implements GroupTarget {
  /** One is written while the next is made. */
  readonly groupsAtOnce = 2;
  readonly repeatsKeys = false;
  readonly #parts: GroupWriterParts;

  constructor(parts: GroupWriterParts) {
    this.#parts = parts;
  }

  async writeGroup(group: readonly QueuedWrite[]): Promise<void> {
    const { connections, statements, timeoutMs, table } = this.#parts;
    let open = group.map(({ operations, resolve, reject }): OpenWrite => {
      return { operations, resolve, reject, mark: uniqueId() };
    });
    const startMs = connections.clock.monotonicMs();
    const dueMs = startMs + timeoutMs * SENDING_SHARE;
    try {
      const kind = putKindOf(open);
      // What is done is answered at once: the rest may fail, or be tried again.
      if (kind)
        open = this.#settleAll(open, await this.#send(dueMs, (client) => statements.puts.write(client, kind, open)));
      if (open.length > 0) this.#settleAll(open, await this.#send(dueMs, (client) => statements.write(client, open)));
    } catch (error) {
      const failure = failureOf(error);
      if (failure.kind !== 'lost') throw asStorageError(failure, table, 'be written to');
      await this.#findOut(open, failure, startMs + timeoutMs);
    }
  }

  /** Sends the statement, again if it met others. */
  async #send<Answer>(dueMs: number, statement: (client: PostgresClient) => Promise<Answer>): Promise<Answer> {
    const { connections } = this.#parts;
    for (let tries = 1; ; tries++) {
      try {
        return await connections.run(this.#leftMs(dueMs), statement);
      } catch (error) {
        const { kind, sqlState } = failureOf(error);
        const mayPass = kind === 'refused' && (PASSING.includes(sqlState) || isMisplaced(sqlState));
        if (!mayPass || tries === MAX_TRIES || this.#leftMs(dueMs) === 0) throw error;
        await this.#pause(tries, dueMs);
      }
    }
  }

  /**
   * Decides each write by what is there now, on another connection, until all are decided or the time is over.
   * - A key has its mark: it happened.
   * - All its conditions hold still, and its own success would have broken one: it has not happened. It is sent again under
   *   the same mark; should the first one arrive after all, it meets a condition that fails (a creation does so as long as
   *   nobody has deleted the key again by then).
   * - It only checks: it is sent again, there is nothing to happen twice.
   * - Anything else: nobody can know. It may have happened and been overwritten since; sent again it would undo that.
   */
  async #findOut(open: readonly OpenWrite[], lost: CallFailure, dueMs: number): Promise<void> {
    const undecided = new Set(open);
    for (let tries = 1; undecided.size > 0; tries++) {
      try {
        await this.#decide(undecided, lost, dueMs);
      } catch (error) {
        failureOf(error);
        if (this.#leftMs(dueMs) === 0) break;
      }
      if (undecided.size > 0) await this.#pause(tries, dueMs);
    }
    for (const write of undecided) write.reject(unknown(write, lost));
  }

  /** Settles what one look can tell. What stays met others when it was sent again: it needs another look. */
  async #decide(undecided: Set<OpenWrite>, lost: CallFailure, dueMs: number): Promise<void> {
    const { connections, statements } = this.#parts;
    const keys = [...undecided].flatMap(({ operations }) => operations.map(({ key }) => key));
    const versions = await connections.run(this.#leftMs(dueMs), (client) => statements.versionsOf(client, keys));
    for (const write of undecided) {
      const version = versionUnder(write, versions);
      if (version === undefined && isRepeatable(write, versions)) continue;
      undecided.delete(write);
      if (version === undefined) write.reject(unknown(write, lost));
      else this.#settle(write, { written: { version, existed: false } });
    }
    const again = [...undecided];
    const verdicts = again.length === 0 ? [] : await this.#send(dueMs, (client) => statements.write(client, again));
    for (const [at, verdict] of verdicts.entries()) {
      const write = again[at] as OpenWrite;
      if ('refusal' in verdict && !onlyChecks(write)) continue;
      undecided.delete(write);
      this.#settle(write, verdict);
    }
  }

  /** Answers each write that has a verdict; the others. */
  #settleAll(open: readonly OpenWrite[], verdicts: readonly (Verdict | undefined)[]): OpenWrite[] {
    return open.filter((write, at) => {
      const verdict = verdicts[at];
      if (verdict) this.#settle(write, verdict);
      return verdict === undefined;
    });
  }

  #settle(write: OpenWrite, verdict: Verdict): void {
    if ('refusal' in verdict) {
      write.reject(new ConflictError(verdict.refusal.key, verdict.refusal.currentVersion));
    } else {
      this.#parts.onWritten(write.operations);
      write.resolve(verdict.written);
    }
  }

  #leftMs(dueMs: number): number {
    return Math.max(0, dueMs - this.#parts.connections.clock.monotonicMs());
  }

  #pause(tries: number, dueMs: number): Promise<void> {
    return this.#parts.connections.clock.sleep(Math.min(this.#leftMs(dueMs), backOffMs(tries)));
  }
}

/** The version that the write has, if one of its keys still has it. */
function versionUnder({ operations, mark }: OpenWrite, versions: ReadonlyMap<string, Version>): Version | undefined {
  const found = operations.map(({ key }) => versions.get(key));
  return found.find((version) => isMarked(version, mark));
}

function isRepeatable(write: OpenWrite, versions: ReadonlyMap<string, Version>): boolean {
  if (onlyChecks(write)) return true;
  const { operations } = write;
  const isSelfBreaking = operations.some(({ type, ifVersion }) => type !== 'check' && ifVersion !== undefined);
  return (
    isSelfBreaking &&
    refusalBy(
      operations,
      operations.map(({ key }) => versions.get(key)),
    ) === undefined
  );
}

function onlyChecks({ operations }: OpenWrite): boolean {
  return operations.every(({ type }) => type === 'check');
}

function unknown({ operations }: OpenWrite, { fault }: CallFailure): OutcomeUnknownError {
  const [first] = operations as readonly [BatchOperation]; // `checked` takes no empty batch.
  return new OutcomeUnknownError(first.key, { cause: driverFault(fault) });
}

import type { Clock } from '../../base/clock.js';
import type { StorageAdapter } from '../../storage/adapter.js';
import type { TransactionRunOptions, TransactionStatus } from '../../transactions/transaction.js';
import type { TransactionManager } from '../../transactions/transaction-manager.js';
import type { StorageFactory } from '../storage-contract.js';
import type { CrashWorld, WorldEvent } from './crash-world.js';

/** What one process of a run has. All of it ends with the process, but what was stored and what was done to the world. */
export interface CrashProcess {
  readonly transactions: TransactionManager;
  readonly world: CrashWorld;
  /** For further managers in the same process. */
  readonly storage: StorageAdapter;
  /** Time of the process: it goes on at once when everything waits. Real waits are not waited for. */
  readonly clock: Clock;
}

/** Runs the transaction, and again: a defined transaction is one. */
export type CrashableTransaction<Input> = (
  id: string,
  input: Input,
  options: TransactionRunOptions,
) => Promise<unknown>;

/** What each process of a run does when it starts: it defines the transaction and says how it is run. */
export type CrashScenario<Input> = (process: CrashProcess) => CrashableTransaction<Input>;

/** How a run ended. */
export interface CrashEnding {
  readonly status: TransactionStatus;
  /** What the call gave, of one that is done. */
  readonly result?: unknown;
  /** What the call rejected with, of one that is not. */
  readonly error?: unknown;
  /** Everything that reached the world, in that order. */
  readonly events: readonly WorldEvent[];
}

/** For `crashMatrix`. */
export interface CrashOptions<Input> {
  /** Given to the transaction each time it is called. */
  readonly input?: Input;
  /**
   * A fresh, empty store for each run. Default `memoryStorage`. One that can be opened again is, by every process.
   */
  readonly storage?: StorageFactory;
  /** Makes the manager of a process. Default a plain `TransactionManager`. For one with policies or codecs. */
  readonly manager?: (options: { readonly storage: StorageAdapter; readonly clock: Clock }) => TransactionManager;
  /** Statuses that a run may end in. Default: only that of the run in which nobody dies. */
  readonly allow?: readonly TransactionStatus[];
  /** Looks at the ending of every run. A throw is a violation, so `expect` may be used. */
  readonly check?: (ending: CrashEnding) => void;
  /** Processes that die in one run. Default 2. Runs grow with the power of it: take 1 for a slow store. */
  readonly deaths?: 1 | 2;
  /** Plays only the run with these deaths, as a violation names them in `diedAt`, to look at it closely. */
  readonly only?: readonly number[];
  /** Milliseconds of its own time that a process may take for one call before it counts as hung. Default an hour. */
  readonly patienceMs?: number;
}

/** Something a run did that no transaction may do. */
export interface CrashViolation {
  /** At which of its moments each process died; nothing for the run in which nobody did. */
  readonly diedAt: readonly number[];
  /** The same in words: `after put of transactions/heads/p=order`. */
  readonly moments: readonly string[];
  /** What is wrong, in a sentence. */
  readonly what: string;
}

/** What came of all runs. */
export interface CrashReport {
  readonly runs: number;
  /** Moments of the run in which nobody dies at which its process can. */
  readonly moments: number;
  /** None is the only good answer. No further run is begun once there are 10 of them. */
  readonly violations: readonly CrashViolation[];
  /** How many runs ended in which status. */
  readonly outcomes: Readonly<Partial<Record<TransactionStatus, number>>>;
}

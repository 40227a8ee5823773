import { type Clock, systemClock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { isHoldfastError } from '../base/errors.js';
import { parseOptions } from '../base/options.js';
import { inWords } from '../policies/in-words.js';
import { encodeId } from '../records/keys.js';
import { checked } from '../storage/checked.js';
import { blotted } from '../storage/driver-fault.js';
import type { DefinedTransaction } from '../transactions/transaction.js';
import type { RolledBackError } from '../transactions/transaction-errors.js';
import type { TransactionManager } from '../transactions/transaction-manager.js';
import type { RecoveryBudget } from './budget.js';
import { type DiagnosisParts, diagnose } from './diagnosis.js';
import type { Diagnosis, Failure } from './failure.js';
import { defaultRules } from './failure-rules.js';
import { Ladder } from './ladder.js';
import { RecentFailures } from './recent-failures.js';
import { recordedFailure } from './recorded-failure.js';
import { type Claim, claimRecovery, startsOf } from './recovery-claim.js';
import { RecoveryDesk } from './recovery-desk.js';
import { RecoveryStateError } from './recovery-errors.js';
import type { RecoveryEvent } from './recovery-event.js';
import {
  failureSchema,
  filterSchema,
  managerSchema,
  planSchema,
  type RecoverFailureOptions,
  type RecoveryFilter,
  type RecoveryManagerOptions,
  type ResolveRecoveryOptions,
  recoverSchema,
  resolveSchema,
} from './recovery-options.js';
import { dryRun, type RecoveryPlan } from './recovery-plan.js';
import type {
  EndedRecovery,
  RecoveryEnd,
  RecoveryInput,
  RecoveryRecord,
  RecoveryResolution,
} from './recovery-record.js';
import { finishedEvent, runRecovery } from './recovery-run.js';
import { countRecoveries, type RecoveryStats } from './recovery-stats.js';
import { Resolutions } from './resolutions.js';
import { SubjectRecords } from './subject-records.js';

const DEFAULT_BUDGET = { attempts: 3, perMs: 72 * 3_600_000 };
const DEFAULT_WAIT_MS = 60_000;

/**
 * Brings subjects that failed back: says what kind of failure it is, then climbs a ladder of things to try until one is
 * accepted. A recovery is a transaction whose steps are the rungs: one whose process dies half-way is gone on with by
 * another, from the rung it was in, by `transactions.recover()` or by the next `recover` of the subject; its record is
 * plan, progress and audit. One recovery at a time for each subject, whoever asks for it, and so many in a time.
 *
 * It holds nothing that has to be closed: close `transactions`. Records stay until `transactions.delete(id)`; resolve what
 * needs attention before that.
 */
export class RecoveryManager<const Name extends string = string> {
  readonly #transactions: TransactionManager;
  readonly #clock: Clock;
  readonly #emit: Sink<RecoveryEvent> | undefined;
  readonly #budget: Required<RecoveryBudget>;
  readonly #ladder: Ladder;
  readonly #subjects: SubjectRecords;
  readonly #resolutions: Resolutions;
  readonly #desk: RecoveryDesk;
  readonly #recent: RecentFailures;
  readonly #rules: Pick<DiagnosisParts, 'rules' | 'signals'>;
  readonly #run: DefinedTransaction<RecoveryInput, RecoveryEnd>;
  /** When the failure came, on the monotonic clock, of recoveries that this process claimed and waits for. */
  readonly #begunMs = new Map<string, number>();

  /**
   * Defines its transactions: make it before `transactions.recover()` is called.
   * @throws InvalidInputError for options that cannot be used, rungs of one name, or a name that is defined already.
   */
  constructor(options: RecoveryManagerOptions<Name>) {
    const given = parseOptions(managerSchema, options);
    const { transactions, budget, signals, rules = defaultRules, name = 'recovery', clock = systemClock } = given;
    const storage = checked(given.storage);
    const prefix = `recoveries/${name}/`;
    this.#transactions = transactions;
    this.#clock = clock;
    this.#emit = given.emit;
    this.#budget = { ...DEFAULT_BUDGET, ...budget } as Required<RecoveryBudget>;
    this.#ladder = new Ladder(given.ladder);
    this.#subjects = new SubjectRecords(storage, prefix);
    this.#resolutions = new Resolutions(storage, prefix);
    this.#desk = new RecoveryDesk(transactions, this.#resolutions, name);
    this.#recent = new RecentFailures(clock);
    this.#rules = { rules, signals };
    const parts = {
      ladder: this.#ladder,
      subjects: this.#subjects,
      clock,
      emit: given.emit,
      begunMs: this.#begunMs,
    };
    this.#run = transactions.define<RecoveryInput, RecoveryEnd>(name, (tx, input) => runRecovery(tx, input, parts));
  }

  /** What is known of a failure. Changes nothing. @throws InvalidInputError */
  async diagnose(failure: Failure): Promise<Diagnosis> {
    return this.#diagnose(readFailure(failure));
  }

  /**
   * What `recover` would do now: which rungs would run, and why others would not. Asks `when` and `preflight`; runs nothing,
   * keeps nothing.
   * @throws InvalidInputError for a strategy that is no rung; UnserializableError; what reading the storage throws.
   */
  async plan(failure: Failure, options?: Pick<RecoverFailureOptions<Name>, 'strategy'>): Promise<RecoveryPlan> {
    const { strategy = 'auto' } = parseOptions(planSchema, options);
    const given = readFailure(failure);
    const { subject } = given;
    const recorded = recordedFailure(given);
    const diagnosis = await this.#diagnose(given);
    const rungs = await dryRun({ failure: recorded, diagnosis }, this.#ladder, strategy);
    const state = await this.#subjects.read(subject);
    const attemptsLeft = Math.max(0, this.#budget.attempts - startsOf(state, this.#claimParts).length);
    const underWay = state.open && { underWay: this.#desk.idOf(subject, state.number) };
    return { subject, diagnosis, strategy, attemptsLeft, ...underWay, rungs };
  }

  /**
   * Recovers the subject, or joins the recovery it is in, and gives its record when that has ended. Durable by then. What the
   * failure is and what will be tried is recorded before the first rung runs: whoever goes on after a crash does so by it.
   *
   * A recovery that ended badly does not reject: look at `outcome`. A subject that stays suppressed is given the one record of
   * that, and nothing is written. Not to be awaited in a rung of the same subject, which would wait for its own end.
   * @throws InvalidInputError for a failure that cannot be used, or a strategy that is no rung: it lists them.
   * @throws UnserializableError with the path, if `context` cannot be kept. Nothing was begun.
   * @throws BusyError if another process recovers it for longer than `waitMs`; FencedError if another has taken it over from
   * this one; ClosedError; CorruptionError; what the storage throws. The recovery, if it was begun, can be gone on with.
   */
  async recover(failure: Failure, options?: RecoverFailureOptions<Name>): Promise<EndedRecovery> {
    const { strategy = 'auto', waitMs = DEFAULT_WAIT_MS } = parseOptions(recoverSchema, options);
    const given = readFailure(failure);
    const recorded = recordedFailure(given); // Before anything is awaited: the caller may change it at once.
    const sinceMs = this.#clock.monotonicMs();
    const diagnosis = await this.#diagnose(given);
    const rungs = this.#ladder.planFor(diagnosis, strategy);
    const { subject } = given;
    if (diagnosis.fingerprint !== undefined) this.#recent.note(subject, diagnosis.fingerprint);
    const claim = await claimRecovery({ subject, strategy, failure: recorded, diagnosis, rungs }, this.#claimParts);
    if (claim.input !== undefined) await this.#toItsEnd(claim, claim.input, { sinceMs, waitMs });
    return this.#ended(claim.id);
  }

  /** The recovery as recorded, also while it runs; `undefined` if there is none. @throws CorruptionError */
  async get(id: string): Promise<RecoveryRecord | undefined> {
    return this.#desk.get(id);
  }

  /**
   * Recoveries, newest first by their labels. Looks at every one there is, and reads those it gives.
   * @throws CorruptionError, after all others, if one cannot be read
   */
  list(filter?: RecoveryFilter): AsyncGenerator<RecoveryRecord> {
    return this.#desk.list(parseOptions(filterSchema, filter, 'filter') as RecoveryFilter);
  }

  /** How recoveries went, over all processes. Reads them all. @throws CorruptionError if one cannot be read */
  stats(): Promise<RecoveryStats> {
    return countRecoveries(this.#desk.list({}));
  }

  /**
   * A person's word on a recovery that needs attention, or was suppressed: it counts as its outcome from then on, a
   * transaction that is stuck is ended, and the subject gets its whole budget back. Nothing more is run. Kept for ever:
   * the same decision again finishes what a crash has left of it, another one is refused.
   * @throws RecoveryStateError if there is no such recovery, it does not wait for anybody, or was resolved otherwise.
   */
  async resolve(id: string, options: ResolveRecoveryOptions): Promise<EndedRecovery> {
    const { outcome, note } = parseOptions(resolveSchema, options);
    const record = await this.#required(id);
    const { subject } = record;
    const resolution = { outcome, note, resolvedAtMs: this.#clock.now(), from: requireWaiting(record) };
    const kept = record.resolution ?? (await this.#resolutions.decide(id, resolution));
    if (kept.outcome !== outcome || kept.note !== note) throw resolvedOtherwise(id, kept);
    const view = await this.#transactions.get(id);
    if (view?.status === 'stuck' && view.stuck?.reason !== 'abandoned')
      await this.#transactions.resolve(id, { do: 'abandon' });
    await this.#subjects.forgive(subject, record.number);
    if (kept === resolution) this.#report({ type: 'recovery.resolved', recovery: id, subject, outcome, note });
    return this.#ended(id);
  }

  #diagnose(failure: Failure): Promise<Diagnosis> {
    const { subject } = failure;
    const onFault: DiagnosisParts['onFault'] = (part, error) =>
      this.#report({ type: 'recovery.diagnosis-failed', subject, part, error: blotted(inWords(error)) });
    return diagnose(failure, { ...this.#rules, recent: this.#recent, onFault });
  }

  async #toItsEnd(
    { id, isNew }: Claim,
    input: RecoveryInput,
    { sinceMs, waitMs }: { readonly sinceMs: number; readonly waitMs: number },
  ): Promise<void> {
    if (isNew) this.#begunMs.set(id, sinceMs);
    try {
      await this.#run(id, input, { waitMs });
    } catch (error) {
      if (!isEndOf(error, id)) throw error;
      const { subject, number } = input; // Its transaction did not come to its last step.
      await this.#subjects.settle(subject, number);
      if (isNew) this.#report(finishedEvent(id, subject, await this.#ended(id)));
    } finally {
      if (isNew) this.#begunMs.delete(id);
    }
  }

  /** For who knows that it has ended. */
  async #ended(id: string): Promise<EndedRecovery> {
    return (await this.#required(id)) as EndedRecovery;
  }

  async #required(id: string): Promise<RecoveryRecord> {
    const record = await this.get(id);
    if (record !== undefined) return record;
    throw new RecoveryStateError(`There is no recovery "${id}". list() shows what there is.`, id, undefined);
  }

  get #claimParts() {
    const idOf = (subject: string, number: number) => this.#desk.idOf(subject, number);
    return {
      subjects: this.#subjects,
      transactions: this.#transactions,
      budget: this.#budget,
      clock: this.#clock,
      idOf,
    };
  }

  #report(event: RecoveryEvent): void {
    emit(this.#emit, event);
  }
}

function readFailure(given: Failure): Failure {
  const failure = parseOptions(failureSchema, given, 'failure');
  encodeId(failure.subject, 'failure.subject');
  return failure;
}

/** @returns its outcome before anybody decided. */
function requireWaiting({ id, outcome, resolution }: RecoveryRecord): RecoveryResolution['from'] {
  const from = resolution?.from ?? outcome;
  if (from === 'needs-attention' || from === 'suppressed') return from;
  const state = from === undefined ? 'has not ended' : `ended as ${from}`;
  throw new RecoveryStateError(`Recovery "${id}" ${state}: nobody has to decide about it.`, id, outcome);
}

function resolvedOtherwise(id: string, { outcome, note }: RecoveryResolution): RecoveryStateError {
  const message = `Recovery "${id}" was resolved as ${outcome} already: ${note}. That stands.`;
  return new RecoveryStateError(message, id, outcome);
}

/** Is it how this transaction ended, and not something that kept it from ending? */
function isEndOf(error: unknown, id: string): boolean {
  const isEnd = isHoldfastError(error) && (error.code === 'HOLDFAST_ROLLED_BACK' || error.code === 'HOLDFAST_STUCK');
  return isEnd && (error as RolledBackError).transaction === id;
}

import { type Clock, systemClock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { parseOptions } from '../base/options.js';
import { inWords } from '../policies/in-words.js';
import { prepareCodecs } from '../records/codec.js';
import { guardedStorage, type WriteGuard } from '../records/guarded-storage.js';
import { checked } from '../storage/checked.js';
import { type AutoSave, type AutoSaveOptions, startAutoSave } from './auto-save.js';
import type { CheckpointEvent, CheckpointInfo, RestoredCheckpoint, SkippedCheckpoint } from './checkpoint.js';
import { CheckpointRecords } from './checkpoint-records.js';
import { CheckpointTaker } from './checkpoint-taker.js';
import { CheckpointWriter, type PreparedCheckpoint } from './checkpoint-writer.js';
import { diffCheckpoints, type StateChange } from './diff/diff.js';
import { type ForkedCheckpoint, type ForkOptions, forkCheckpoint, forkSchema } from './fork.js';
import { listCheckpoints } from './list-checkpoints.js';
import { prepareSchema, type StateSchema } from './migrate.js';
import {
  type CheckpointManagerOptions,
  diffSchema,
  dryRunSchema,
  type ListCheckpointsOptions,
  managerSchema,
  type RestoreOptions,
  restoreSchema,
  type SaveOptions,
  sessionsSchema,
  verifySchema,
} from './options.js';
import { deleteSession, type PruneTask, pruneSession } from './prune.js';
import { type RepairReport, repairSession } from './repair/repair.js';
import { type VerifyReport, verifySession } from './repair/verify.js';
import { restoreCheckpoint } from './restore.js';
import { RestoreCounter } from './restore-counter.js';
import { type RestoreStatistics, readRestoreStatistics } from './restore-statistics.js';
import { type PruneReport, type Retention, retentionSchema } from './retention.js';
import { type ExportOptions, exportSchema, exportSession } from './transfer/export-session.js';
import type { ExportedLines } from './transfer/import-lines.js';
import { type ImportOptions, type ImportReport, importSchema, importSession } from './transfer/import-session.js';

/**
 * Saves states of sessions and brings them back, proved. A session is any name that its program chooses; its
 * checkpoints are numbered from 1. One writer per session: a second one is told by `ConflictError`, never overwritten.
 */
export class CheckpointManager<State = unknown> {
  readonly #records: CheckpointRecords;
  readonly #writer: CheckpointWriter;
  readonly #taker: CheckpointTaker;
  #counter: RestoreCounter;
  readonly #schema: StateSchema;
  readonly #sink: Sink<CheckpointEvent> | undefined;
  readonly #clock: Clock;
  readonly #options: CheckpointManagerOptions<State>;

  /** @throws InvalidInputError for an unknown or unfit option. */
  constructor(options: CheckpointManagerOptions<State>) {
    const given = parseOptions(managerSchema, options);
    const { storage, codecs = [], maxBytes, emit: sink, clock = systemClock } = given;
    const codec = prepareCodecs(maxBytes === undefined ? { codecs } : { codecs, maxBytes });
    this.#options = given as CheckpointManagerOptions<State>;
    this.#records = new CheckpointRecords(checked(storage), codec);
    this.#schema = prepareSchema(given);
    this.#writer = new CheckpointWriter(this.#records, (session, skipped) => this.#reportDamage(session, skipped));
    this.#taker = new CheckpointTaker(this.#writer, { codec: this.#records.codec, schema: this.#schema, clock });
    this.#counter = new RestoreCounter({ storage: this.#records.storage, clock, emit: sink });
    this.#sink = sink;
    this.#clock = clock;
  }

  /**
   * Saves `state` as the session's next checkpoint, durable when it resolves. The state is taken before this returns its
   * promise: it may be changed at once. A crash half-way leaves the checkpoint whole or absent.
   * @throws UnserializableError (with the path), LimitError, InvalidInputError: nothing was written.
   * @throws ConflictError if another writer saved first, at this and every later save until `restore` gives what it
   * saved; or if `ifSequence`, with which one goes on without that, does not hold.
   * @throws NoSpaceError, StorageError: nothing was saved. OutcomeUnknownError: it may have been.
   */
  async save(session: string, state: State, options?: SaveOptions): Promise<CheckpointInfo> {
    this.#records.prefix(session); // Refuses a bad id before anything is done.
    return this.#save(session, this.#taker.take(session, state, options));
  }

  /**
   * Saves what `state` gives every so often, if it changed, until `stop`. See `AutoSave`.
   * @throws InvalidInputError for options that cannot be used; the signal's reason if that is aborted.
   */
  autoSave(session: string, state: () => State, options: AutoSaveOptions): AutoSave {
    this.#records.prefix(session);
    const save = async () => {
      const taken = this.#taker.take(session, state());
      const head = this.#writer.known(session);
      const isSame = head !== undefined && taken.without?.root === taken.state.root.id;
      return isSame && (await this.#writer.isAt(session, head)) ? undefined : this.#save(session, taken);
    };
    return startAutoSave({ session, save, clock: this.#clock, emit: this.#sink }, options);
  }

  /**
   * The newest intact checkpoint of the session, or the one asked for; `undefined` only if nothing was ever saved.
   * Damaged checkpoints are passed over to the next older one and named in `skipped`, and `degraded` is true: with
   * `fallback: false` the first damage is thrown instead. That it was restored is counted behind the answer.
   * @throws CorruptionError if nothing intact is left, or what is left is older than `atLeast`.
   * @throws MissingCheckpointError if `sequence` is not there and nothing older is.
   * @throws UnknownCodecError, NewerSchemaError: the checkpoint is intact, this program cannot read it.
   */
  async restore(session: string, options?: RestoreOptions): Promise<RestoredCheckpoint<State> | undefined> {
    const wanted = parseOptions(restoreSchema, options) as RestoreOptions;
    const source = { records: this.#records, schema: this.#schema, onSkipped: this.#onDamage(session) };
    const before = this.#writer.known(session);
    const found = await restoreCheckpoint(source, session, wanted);
    const isNewest = wanted.sequence === undefined && wanted.label === undefined;
    if (found === undefined) {
      if (isNewest) this.#writer.beginAnew(session);
      return undefined;
    }
    const { checkpoint, degraded } = found.restored;
    if (isNewest) {
      // What is saved next grows out of this state, also if newer ones were damaged.
      this.#writer.continueFrom(session, found.head, before);
    }
    const { sequence } = checkpoint;
    emit(this.#sink, { type: 'checkpoint.restored', session, sequence, degraded });
    this.#counter.count(session, { sequence, degraded });
    return found.restored as RestoredCheckpoint<State>;
  }

  /** Checkpoints of a session, newest first, without their states. Damaged ones are reported by `emit` and left out. */
  list(session: string, options?: ListCheckpointsOptions): AsyncGenerator<CheckpointInfo> {
    return listCheckpoints({ records: this.#records, onSkipped: this.#onDamage(session) }, session, options);
  }

  /** Sessions that have a checkpoint, each once, in no promised order. @throws CorruptionError as `list` */
  async *sessions(options?: { readonly prefix?: string }): AsyncGenerator<string> {
    const { prefix = '' } = parseOptions(sessionsSchema, options);
    for await (const session of this.#records.sessions()) if (session.startsWith(prefix)) yield session;
  }

  /**
   * Checks every checkpoint of a session and changes nothing. `'fast'` (default) proves the headers; `'deep'` also every
   * byte of every state, that it decodes, and that each checkpoint names the very one it was made from.
   */
  async verify(session: string, options?: { readonly depth?: 'fast' | 'deep' }): Promise<VerifyReport> {
    const { depth = 'fast' } = parseOptions(verifySchema, options);
    return verifySession(this.#records, session, depth);
  }

  /**
   * Removes checkpoints that `retention` does not keep, by default the one of the manager; those that build on others go
   * first. The newest intact one always stays. A crash half-way leaves some of the old ones; running it again removes them.
   */
  async prune(session: string, retention?: Retention, options?: { readonly dryRun?: boolean }): Promise<PruneReport> {
    const rules = parseOptions(retentionSchema, retention ?? this.#options.retention, 'retention') as Retention;
    const { dryRun: isDryRun = false } = parseOptions(dryRunSchema, options);
    return this.#prune(session, { retention: rules, isDryRun });
  }

  /**
   * Puts in order what is damaged: takes chunks from other packs, drops what cannot be restored, and keeps the damaged
   * bytes aside. Sequences of what is lost are not given again. A storage's own repair, which would drop records without
   * their sessions knowing, comes after, unless nothing can be done before. A crash half-way loses nothing more; running
   * it again finishes it.
   * @throws CorruptionError while the storage cannot tell which records it lost.
   */
  async repair(session: string, options?: { readonly dryRun?: boolean }): Promise<RepairReport> {
    const { dryRun: isDryRun = false } = parseOptions(dryRunSchema, options);
    const report = await repairSession(this.#records, session, { isDryRun });
    if (isDryRun || report.severity === 'none') return report;
    this.#writer.beginAnew(session);
    const { severity, lost, repointed } = report;
    const counts = { lost: lost.length, repointed: repointed.length };
    emit(this.#sink, { type: 'checkpoint.repaired', session, severity, ...counts });
    return report;
  }

  /**
   * What differs between the states of two checkpoints, path by path; `to` is what they are compared with. Costs what
   * differs. See `StateChange`.
   * @throws MissingCheckpointError, CorruptionError, UnknownCodecError.
   */
  async diff(session: string, from: number, to: number): Promise<StateChange[]> {
    return diffCheckpoints(this.#records, session, parseOptions(diffSchema, { from, to }));
  }

  /**
   * Makes the state of a checkpoint, the newest intact one by default, the first of a new session: for going on from it
   * in another way. It shares nothing with the old session and keeps its label, operation, metadata and time. A crash
   * half-way leaves it whole or absent.
   * @throws ConflictError if the new session has checkpoints. MissingCheckpointError, CorruptionError as `restore`.
   */
  async fork(session: string, newSession: string, options?: ForkOptions): Promise<ForkedCheckpoint> {
    const source = { records: this.#records, writer: this.#writer, onSkipped: this.#onDamage(session) };
    const forked = await forkCheckpoint(source, session, { ...parseOptions(forkSchema, options), newSession });
    const { sequence, sizeBytes, storedBytes } = forked;
    emit(this.#sink, { type: 'checkpoint.saved', session: newSession, sequence, sizeBytes, storedBytes });
    return forked;
  }

  /**
   * All checkpoints of a session as lines of JSON, each with its line feed, to be kept or read elsewhere. States are in them
   * as stored: no codec and no schema is needed.
   * @throws CorruptionError at the first damage, unless `skipDamaged`.
   */
  export(session: string, options?: ExportOptions): AsyncGenerator<string, void, undefined> {
    this.#records.prefix(session);
    const { skipDamaged = false } = parseOptions(exportSchema, options);
    return exportSession(this.#records, session, { skipDamaged, onSkipped: this.#onDamage(session) });
  }

  /**
   * Brings the lines of an export back, as the session they come from or another one. Every line is proved before the
   * first is written. Without `atomicBatch` in the storage, a crash half-way leaves some of the checkpoints; `delete`
   * removes them.
   * @throws ImportError for the first line that is not what was exported; nothing was written.
   * @throws ConflictError if the session has checkpoints already.
   */
  async import(lines: ExportedLines, options?: ImportOptions): Promise<ImportReport> {
    const report = await importSession(this.#records, lines, parseOptions(importSchema, options));
    this.#writer.beginAnew(report.session);
    emit(this.#sink, { type: 'checkpoint.imported', session: report.session, checkpoints: report.checkpoints });
    return report;
  }

  /**
   * How often a session was restored, and when last, with all restores that this manager has answered. A process that
   * exits right after one may not have counted it; see `drained`.
   * @throws CorruptionError if that is damaged; a restore begins anew.
   */
  async restoreStatistics(session: string): Promise<RestoreStatistics> {
    await this.#counter.counted(session);
    return readRestoreStatistics(this.#records.storage, session);
  }

  /**
   * Resolves when the restores answered so far are counted, or reported as `checkpoint.statistics-failed`: for before the
   * storage is closed. `Holdfast.close` waits for it. Never rejects.
   */
  async drained(): Promise<void> {
    await this.#counter.drained();
  }

  /** The same checkpoints for one holder: it changes them only while `guard` holds, else it gets `FencedError`. */
  guardedBy(guard: WriteGuard): CheckpointManager<State> {
    const guarded = new CheckpointManager({ ...this.#options, storage: guardedStorage(this.#records.storage, guard) });
    // That something was read is true whoever holds it now, and a holder may give it back before that is written.
    guarded.#counter = this.#counter;
    return guarded;
  }

  /**
   * Removes every checkpoint of a session; how many records there were. All at once with `atomicBatch`; without it the
   * oldest first, so that what a crash half-way leaves never passes for the newest. Saving to the session afterwards
   * begins again at 1.
   */
  async delete(session: string): Promise<number> {
    const removed = await this.#counter.removing(session, () => deleteSession(this.#records, session));
    this.#writer.beginAnew(session);
    emit(this.#sink, { type: 'checkpoint.deleted', session, removed });
    return removed;
  }

  async #save(session: string, prepared: PreparedCheckpoint): Promise<CheckpointInfo> {
    const info = await this.#writer.save(session, prepared);
    const { sequence, sizeBytes, storedBytes } = info;
    emit(this.#sink, { type: 'checkpoint.saved', session, sequence, sizeBytes, storedBytes });
    if (this.#options.retention) await this.#pruneAfterSave(session, sequence, this.#options.retention);
    return info;
  }

  async #prune(session: string, how: Pick<PruneTask, 'retention' | 'isDryRun' | 'newestIntact'>): Promise<PruneReport> {
    const about = { session, nowMs: this.#clock.now(), onDamage: this.#onDamage(session) };
    const report = await pruneSession(this.#records, { ...how, ...about });
    const { removed, freedBytes, isDryRun } = report;
    if (!isDryRun && removed.length > 0) {
      emit(this.#sink, { type: 'checkpoint.pruned', session, removed: removed.length, freedBytes });
    }
    return report;
  }

  /** What was saved is saved: that old checkpoints could not be removed is reported, and the next save tries again. */
  async #pruneAfterSave(session: string, newestIntact: number, retention: Retention): Promise<void> {
    try {
      await this.#prune(session, { retention, isDryRun: false, newestIntact });
    } catch (error) {
      emit(this.#sink, { type: 'checkpoint.prune-failed', session, error: inWords(error) });
    }
  }

  #onDamage(session: string): (skipped: SkippedCheckpoint) => void {
    return (skipped) => this.#reportDamage(session, skipped);
  }

  #reportDamage(session: string, { sequence, error }: SkippedCheckpoint): void {
    this.#writer.distrust(session, sequence);
    emit(this.#sink, { type: 'checkpoint.corrupt', session, sequence, reason: error.message });
  }
}

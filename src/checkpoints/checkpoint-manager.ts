import { type Clock, systemClock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { LimitError } from '../base/errors.js';
import { parseOptions } from '../base/options.js';
import { prepareCodecs } from '../records/codec.js';
import { encodeValue } from '../records/encode.js';
import type { StorageAdapter } from '../storage/adapter.js';
import { checked } from '../storage/checked.js';
import type {
  CheckpointEvent,
  CheckpointInfo,
  PruneReport,
  RestoredCheckpoint,
  Retention,
  SkippedCheckpoint,
  VerifyReport,
} from './checkpoint.js';
import { CheckpointRecords, isDamage } from './checkpoint-records.js';
import { CheckpointWriter } from './checkpoint-writer.js';
import {
  type CheckpointManagerOptions,
  type ListCheckpointsOptions,
  listSchema,
  managerSchema,
  pruneSchema,
  type RestoreOptions,
  restoreSchema,
  retentionSchema,
  type SaveOptions,
  saveSchema,
  sessionsSchema,
  verifySchema,
} from './options.js';
import { restoreCheckpoint } from './restore.js';
import { sequencesToRemove } from './retention.js';
import { verifySession } from './verify.js';

const MAX_METADATA_BYTES = 64 * 1024;
const NONE: SaveOptions = {};

/**
 * Saves states of sessions and brings them back, proved. A session is any name that its program chooses; its
 * checkpoints are numbered from 1. One writer per session: a second one is told by `ConflictError`, never overwritten.
 */
export class CheckpointManager<State = unknown> {
  readonly #storage: StorageAdapter;
  readonly #records: CheckpointRecords;
  readonly #writer: CheckpointWriter;
  readonly #sink: Sink<CheckpointEvent> | undefined;
  readonly #clock: Clock;

  /** @throws InvalidInputError for an unknown or unfit option. */
  constructor(options: CheckpointManagerOptions) {
    const { storage, codecs = [], maxBytes, emit: sink, clock = systemClock } = parseOptions(managerSchema, options);
    this.#storage = checked(storage);
    this.#records = new CheckpointRecords(
      this.#storage,
      prepareCodecs(maxBytes === undefined ? { codecs } : { codecs, maxBytes }),
    );
    this.#writer = new CheckpointWriter(this.#records, (session, skipped) => this.#reportDamage(session, skipped));
    this.#sink = sink;
    this.#clock = clock;
  }

  /**
   * Saves `state` as the session's next checkpoint, durable when it resolves. The state is taken before this returns its
   * promise: it may be changed at once. A crash half-way leaves the checkpoint whole or absent.
   * @throws UnserializableError (with the path), LimitError, InvalidInputError: nothing was written.
   * @throws ConflictError if another writer saved first, or `ifSequence` does not hold.
   * @throws NoSpaceError, StorageError: nothing was saved. OutcomeUnknownError: it may have been.
   */
  async save(session: string, state: State, options?: SaveOptions): Promise<CheckpointInfo> {
    this.#records.prefix(session); // Refuses a bad id before anything is done.
    const {
      label,
      operation,
      metadata: facts,
      ifSequence,
    } = options === undefined ? NONE : parseOptions(saveSchema, options);
    const body = encodeValue(state, this.#records.codec);
    const metadata = facts && this.#encodeMetadata(facts);
    const savedAtMs = this.#clock.now();
    const info = await this.#writer.save(session, { body, savedAtMs, label, operation, metadata, ifSequence });
    const { sequence, sizeBytes, storedBytes } = info;
    emit(this.#sink, { type: 'checkpoint.saved', session, sequence, sizeBytes, storedBytes });
    return info;
  }

  /**
   * The newest intact checkpoint of the session, or the one asked for; `undefined` only if nothing was ever saved.
   * Damaged checkpoints are passed over to the next older one and named in `skipped`, and `degraded` is true: with
   * `fallback: false` the first damage is thrown instead.
   * @throws CorruptionError if nothing intact is left, or what is left is older than `atLeast`.
   * @throws MissingCheckpointError if `sequence` is not there and nothing older is.
   * @throws UnknownCodecError, NewerSchemaError: the checkpoint is intact, this program cannot read it.
   */
  async restore(session: string, options?: RestoreOptions): Promise<RestoredCheckpoint<State> | undefined> {
    const wanted = parseOptions(restoreSchema, options) as RestoreOptions;
    const found = await restoreCheckpoint(this.#records, session, wanted, (skipped) =>
      this.#reportDamage(session, skipped),
    );
    if (found === undefined) return undefined;
    const { checkpoint, degraded } = found.restored;
    if (wanted.sequence === undefined && wanted.label === undefined) {
      // What is saved next grows out of this state, also if newer ones were damaged.
      this.#writer.continueFrom(session, found.base, found.newest);
    }
    emit(this.#sink, { type: 'checkpoint.restored', session, sequence: checkpoint.sequence, degraded });
    return found.restored as RestoredCheckpoint<State>;
  }

  /** Checkpoints of a session, newest first, without their states. Damaged ones are reported through `emit` and left out. */
  async *list(session: string, options?: ListCheckpointsOptions): AsyncGenerator<CheckpointInfo> {
    const { limit = Number.POSITIVE_INFINITY, before, operation, label } = parseOptions(listSchema, options);
    let left = limit;
    for await (const { sequence } of this.#records.keys(session, before)) {
      if (left === 0) return;
      const info = await this.#readInfo(session, sequence);
      if (
        info === undefined ||
        (operation ?? info.operation) !== info.operation ||
        (label ?? info.label) !== info.label
      )
        continue;
      left--;
      yield info;
    }
  }

  /** Sessions that have a checkpoint, each once, in no promised order. */
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
   * Removes checkpoints that `retention` does not keep, oldest first. The newest intact one always stays. A crash
   * half-way leaves some of the old ones; running it again removes them.
   */
  async prune(session: string, retention?: Retention, options?: { readonly dryRun?: boolean }): Promise<PruneReport> {
    const rules = parseOptions(retentionSchema, retention, 'retention') as Retention;
    const { dryRun: isDryRun = false } = parseOptions(pruneSchema, options);
    const keys = await collect(this.#records.keys(session));
    const newestIntact = await this.#newestIntact(
      session,
      keys.map(({ sequence }) => sequence),
    );
    const removing = new Set(
      sequencesToRemove(
        keys.map(({ sequence }) => sequence),
        newestIntact,
        rules,
      ),
    );
    const removed = keys.filter(({ sequence }) => removing.has(sequence));
    if (!isDryRun) for (const { key } of removed.toReversed()) await this.#storage.delete(key);
    const freedBytes = removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    if (!isDryRun) emit(this.#sink, { type: 'checkpoint.pruned', session, removed: removed.length, freedBytes });
    const kept = keys.map(({ sequence }) => sequence).filter((sequence) => !removing.has(sequence));
    return { session, isDryRun, kept, removed: removed.map(({ sequence }) => sequence), freedBytes };
  }

  /**
   * Removes every checkpoint of a session, oldest first; how many there were. A crash half-way leaves the newest ones.
   * Saving to the session afterwards begins again at 1.
   */
  async delete(session: string): Promise<number> {
    const keys = await collect(this.#records.keys(session));
    for (const { key } of keys.toReversed()) await this.#storage.delete(key);
    this.#writer.forget(session);
    emit(this.#sink, { type: 'checkpoint.deleted', session, removed: keys.length });
    return keys.length;
  }

  async #newestIntact(session: string, sequences: readonly number[]): Promise<number | undefined> {
    for (const sequence of sequences) {
      try {
        if (await this.#records.read(session, sequence)) return sequence;
      } catch (error) {
        if (!isDamage(error)) throw error;
        this.#reportDamage(session, { sequence, reason: 'corrupt', error });
      }
    }
    return undefined;
  }

  async #readInfo(session: string, sequence: number): Promise<CheckpointInfo | undefined> {
    try {
      return (await this.#records.readHeader(session, sequence))?.info;
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#reportDamage(session, { sequence, reason: 'corrupt', error });
      return undefined;
    }
  }

  #reportDamage(session: string, { sequence, error }: SkippedCheckpoint): void {
    emit(this.#sink, { type: 'checkpoint.corrupt', session, sequence, reason: error.message });
  }

  #encodeMetadata(metadata: Readonly<Record<string, unknown>>): string {
    const bytes = encodeValue(metadata, this.#records.codec);
    if (bytes.length <= MAX_METADATA_BYTES) return bytes.toString('utf8');
    const message = `metadata has ${bytes.length} bytes; ${MAX_METADATA_BYTES} are allowed. Put more into the state.`;
    throw new LimitError(message, 'metadata', MAX_METADATA_BYTES);
  }
}

async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for await (const item of items) all.push(item);
  return all;
}

import { ConflictError, OutcomeUnknownError, type Version } from '../storage/adapter.js';
import { type CheckpointInfo, NewerSchemaError, type SkippedCheckpoint } from './checkpoint.js';
import { type CheckpointMeta, checkpointMeta } from './checkpoint-meta.js';
import { type CheckpointRecords, isDamage, PROVING, type StoredCheckpoint } from './checkpoint-records.js';
import { idToHex } from './packs/chunk.js';
import { LiveChunks } from './packs/live-chunks.js';
import { gatherPack, type PendingState, type SealedPack, sealPack } from './packs/pack-writer.js';
import { type ReadState, readState } from './packs/state-reader.js';
import { Standings } from './standings.js';

/** What is to be saved: encoded already, so that nothing can change it any more. */
export interface PreparedCheckpoint extends PendingState {
  /** Rejects if the state must not be saved. */
  readonly allowed: Promise<void> | undefined;
  readonly savedAtMs: number;
  readonly schemaVersion: number;
  readonly label: string | undefined;
  readonly operation: string | undefined;
  readonly metadata: string | undefined;
  readonly ifSequence: number | undefined;
}

/** The checkpoint that a caller's state comes from: this very one, not another under its number. */
export interface CheckpointBase {
  readonly sequence: number;
  readonly recordHash: string;
  readonly version: Version;
}

/** Where a session stands, as this writer last saw it. */
export interface Head {
  /** Sequence of the newest checkpoint, 0 if there is none. */
  readonly newest: number;
  /** The checkpoint that the caller's state comes from. */
  readonly base: CheckpointBase | undefined;
  /** What the state of that checkpoint is made of, as far as the next one may build on it. */
  readonly live: LiveChunks;
}

/** Sessions whose head is remembered, and chunks in all of them, some 200 bytes each; the others are looked up again. */
const MAX_HEADS = 10_000;
const MAX_CHUNKS = 500_000;
/** How far above its base a new checkpoint may stand: damaged ones in between keep their numbers. */
const MAX_REACH = 1_000;

/**
 * Gives each session its next checkpoint. The number is claimed by creating its record, so two writers can never both
 * have it, whatever either of them believes.
 */
export class CheckpointWriter {
  readonly #records: CheckpointRecords;
  readonly #onDamage: (session: string, skipped: SkippedCheckpoint) => void;
  readonly #heads = new Map<string, Head & { readonly chunks: number }>();
  /** Where the callers' states come from, also after a save that failed: what others saved since is not gone over. */
  readonly #standings = new Standings();
  #chunks = 0;
  /** The last save under way per session: saves of one session follow each other. */
  readonly #saving = new Map<string, Promise<unknown>>();

  constructor(records: CheckpointRecords, onDamage: (session: string, skipped: SkippedCheckpoint) => void) {
    this.#records = records;
    this.#onDamage = onDamage;
  }

  /** Save after the saves of this session that are under way. */
  async save(session: string, prepared: PreparedCheckpoint): Promise<CheckpointInfo> {
    const before = this.#saving.get(session) ?? Promise.resolve();
    prepared.allowed?.catch(noop); // Heard below, which may be later than it rejects.
    const saving = before.then(() => this.#save(session, prepared));
    const settled = saving.then(noop, noop); // The next save of the session goes on whatever becomes of this one.
    this.#saving.set(session, settled);
    try {
      return await saving;
    } finally {
      if (this.#saving.get(session) === settled) this.#saving.delete(session);
    }
  }

  /** The chunks that a state taken now need not bring along; `undefined` while saves of the session are under way. */
  stored(session: string): LiveChunks | undefined {
    return this.#saving.has(session) ? undefined : this.#heads.get(session)?.live;
  }

  /** The caller goes on from the checkpoint of this head; `newest` in it is the newest there is, damaged or not. */
  continueFrom(session: string, head: Head, before: Head | undefined): void {
    // A save that ended while the restore was reading is what the session stands at.
    const now = this.#heads.get(session);
    if (now === undefined || now === before) this.#remember(session, head);
  }

  /** Where the session stands as far as this writer knows. */
  known(session: string): Head | undefined {
    return this.#heads.get(session);
  }

  /** Whether the store still stands where this writer believes. */
  async isAt(session: string, { newest, base }: Head): Promise<boolean> {
    const [there] = await this.#records.newest(session, 1);
    return (there?.sequence ?? 0) === newest && (base?.sequence !== newest || base.version === there?.version);
  }

  /** The session was deleted or put in order: the next save goes on after whatever is there. */
  beginAnew(session: string): void {
    this.forget(session);
    this.#standings.forget(session);
  }

  /** A record was found damaged: a save that would build on it proves first what is there. */
  distrust(session: string, sequence: number): void {
    const head = this.#heads.get(session);
    if (head && (head.base?.sequence === sequence || head.live.packs.has(sequence))) this.forget(session);
  }

  /** The next save looks at the store again. */
  forget(session: string): void {
    const head = this.#heads.get(session);
    if (head) this.#chunks -= head.chunks;
    this.#heads.delete(session);
  }

  async #save(session: string, prepared: PreparedCheckpoint): Promise<CheckpointInfo> {
    if (prepared.allowed) await prepared.allowed;
    const head = await this.#headFor(session, prepared);
    const sequence = head.newest + 1;
    // Whatever goes wrong from here on, the next save looks at the store again.
    this.forget(session);
    const { live, base } = head;
    const task = { session, sequence, state: prepared.state, without: prepared.without, live };
    const { chunks, packs } = await gatherPack(this.#records, task).catch(async (error) => {
      // Packs that are gone are no damage where somebody else has saved and pruned.
      if (isDamage(error) && !(await this.isAt(session, head))) throw this.#overtaken(session, sequence);
      throw error;
    });
    const { savedAtMs, schemaVersion, label, operation, metadata } = prepared;
    const { id, sizeBytes } = prepared.state.root;
    const meta = checkpointMeta({
      session,
      sequence,
      parentSequence: base?.sequence ?? null,
      savedAtMs,
      schemaVersion,
      label,
      operation,
      metadata,
      root: idToHex(id),
      sizeBytes,
      packs,
    });
    const pack = sealPack(this.#records, { meta, parent: base?.recordHash ?? null }, chunks);
    chunks.length = 0; // Their bytes are in the record now.
    const key = this.#records.key(session, sequence);
    this.#standings.remember(session, { newest: head.newest, version: base?.version, attempt: pack.record.recordHash });
    const version = await this.#create(session, key, pack);
    const written = { sequence, recordHash: pack.record.recordHash, version };
    await this.#requireOwn(session, written, base);
    this.#remember(session, { newest: sequence, base: written, live });
    const info = this.#records.info({ meta, sizeBytes: pack.sizeBytes });
    this.#records.rememberInfo(key, version, info);
    return info;
  }

  /** Create the record; an unknown outcome is decided by looking whose record is there. */
  async #create(session: string, key: string, { parts, record }: SealedPack<CheckpointMeta>): Promise<Version> {
    const { storage } = this.#records;
    const { bytes } = record;
    await Promise.all(parts.map((part) => storage.put(part.key, part.bytes)));
    try {
      return await storage.put(key, bytes, { ifVersion: null });
    } catch (error) {
      if (error instanceof ConflictError) {
        await this.#removeParts(parts);
        throw overtaken(session, key, error.currentVersion);
      }
      if (!(error instanceof OutcomeUnknownError)) throw error;
      const entry = await storage.get(key).catch((cause) => {
        throw new OutcomeUnknownError(key, { cause });
      });
      if (entry === undefined) throw error;
      // Every record has a random id, so equal bytes are this very record.
      if (bytes.equals(entry.value)) return entry.version;
      throw overtaken(session, key, entry.version);
    }
  }

  /**
   * After publishing and before acknowledging: a writer that slept may have created a number that others used and pruned
   * long ago, or gone on from a checkpoint that was deleted. What it made from is still there and the newest, or it is
   * told, and its record is taken back.
   */
  async #requireOwn(session: string, written: CheckpointBase, base: CheckpointBase | undefined): Promise<void> {
    const key = this.#records.key(session, written.sequence);
    const reach = Math.min(written.sequence - (base?.sequence ?? written.sequence - 1) + 1, MAX_REACH);
    try {
      const [newest, ...older] = await this.#records.newest(session, reach);
      const isBaseThere =
        !base || older.some(({ sequence, version }) => sequence === base.sequence && version === base.version);
      if (newest?.sequence === written.sequence && isBaseThere) return;
      if (newest && newest.sequence > written.sequence && (await this.#isContinued(session, written))) return;
    } catch (cause) {
      throw new OutcomeUnknownError(key, { cause });
    }
    await this.#records.storage.delete(key, { ifVersion: written.version }).catch((cause) => {
      // Whoever overtook this writer may have pruned it already.
      if (!(cause instanceof ConflictError)) throw new OutcomeUnknownError(key, { cause });
    });
    throw overtaken(session, key, undefined);
  }

  /** Best effort: what stays is found by a repair. */
  async #removeParts(parts: SealedPack<CheckpointMeta>['parts']): Promise<void> {
    await Promise.allSettled(parts.map(({ key }) => this.#records.storage.delete(key)));
  }

  #overtaken(session: string, sequence: number): ConflictError {
    return overtaken(session, this.#records.key(session, sequence), undefined);
  }

  /** Someone restored what was just written and saved the next one before this writer looked. */
  async #isContinued(session: string, { sequence, recordHash }: CheckpointBase): Promise<boolean> {
    return (await this.#records.read(session, sequence + 1))?.parentHash === recordHash;
  }

  async #headFor(session: string, { ifSequence, schemaVersion }: PreparedCheckpoint): Promise<Head> {
    const known = this.#heads.get(session);
    if (known && (ifSequence === undefined || ifSequence === baseOf(known))) return known;
    const head = await this.#readHead(session, schemaVersion);
    if (ifSequence === undefined && this.#standings.isAt(session, head)) return head;
    if (ifSequence === undefined) throw this.#overtaken(session, head.newest);
    if (ifSequence === baseOf(head)) return head;
    const message = `Session "${session}" is at checkpoint ${baseOf(head)}, not ${ifSequence}: another writer was here. Restore and decide anew.`;
    throw new ConflictError(this.#records.key(session, head.newest), undefined, { message });
  }

  /** @throws NewerSchemaError rather than save over what a newer version of the program has saved. */
  async #readHead(session: string, knownVersion: number): Promise<Head> {
    let newest: number | undefined;
    for await (const { sequence } of this.#records.keys(session)) {
      newest ??= sequence;
      try {
        const checkpoint = await this.#records.read(session, sequence, PROVING);
        const version = checkpoint?.meta.schemaVersion ?? 0;
        if (version > knownVersion) throw new NewerSchemaError(session, sequence, version, knownVersion);
        const state = checkpoint && (await readState(this.#records, checkpoint));
        if (state) return headOf(newest, checkpoint, state);
      } catch (error) {
        if (!isDamage(error)) throw error;
        this.#onDamage(session, { sequence, reason: 'corrupt', error });
      }
    }
    return { newest: newest ?? 0, base: undefined, live: new LiveChunks() };
  }

  #remember(session: string, head: Head): void {
    this.forget(session);
    const { newest, base, live } = head;
    this.#standings.remember(session, { newest, version: base?.version, attempt: undefined });
    this.#heads.set(session, { newest, base, live, chunks: live.size });
    this.#chunks += live.size;
    for (const oldest of this.#heads.keys()) {
      if (oldest === session || (this.#heads.size <= MAX_HEADS && this.#chunks <= MAX_CHUNKS)) return;
      this.forget(oldest);
    }
  }
}

/** Where a writer stands that goes on from this checkpoint. */
export function headOf(newest: number, { meta, recordHash, version }: StoredCheckpoint, state: ReadState): Head {
  // What damage has cost is stored anew by the next save, rather than taken from where it happened to be found.
  const live = state.damagedPacks.length > 0 ? new LiveChunks() : state.live;
  return { newest, base: { sequence: meta.sequence, recordHash, version }, live };
}

/** Sequence of the newest intact checkpoint. Damaged ones above it keep their numbers, and nobody can continue them. */
function baseOf({ base }: Pick<Head, 'base'>): number {
  return base?.sequence ?? 0;
}

function overtaken(session: string, key: string, currentVersion: Version | undefined): ConflictError {
  const message = `Another writer saved to session "${session}" in the meantime. Restore it and decide which of you goes on.`;
  return new ConflictError(key, currentVersion, { message });
}

function noop(): void {}

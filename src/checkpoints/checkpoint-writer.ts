import { randomUUID } from 'node:crypto';
import { type SealedRecord, sealRecord } from '../records/envelope.js';
import { ConflictError, OutcomeUnknownError, type Version } from '../storage/adapter.js';
import type { CheckpointInfo, SkippedCheckpoint } from './checkpoint.js';
import { type CheckpointMeta, type CheckpointRecords, isDamage, SCHEMA_VERSION } from './checkpoint-records.js';

/** What is to be saved: encoded already, so that nothing can change it any more. */
export interface PreparedCheckpoint {
  readonly body: Buffer;
  readonly savedAtMs: number;
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
interface Head {
  /** Sequence of the newest checkpoint, 0 if there is none. */
  readonly newest: number;
  /** The checkpoint that the caller's state comes from. */
  readonly base: CheckpointBase | undefined;
}

/** Sessions whose head is remembered; the others are looked up again. */
const MAX_HEADS = 10_000;
/** How far above its base a new checkpoint may stand: damaged ones in between keep their numbers. */
const MAX_REACH = 1_000;

/**
 * Gives each session its next checkpoint. The number is claimed by creating its record, so two writers can never both
 * have it, whatever either of them believes.
 */
export class CheckpointWriter {
  readonly #records: CheckpointRecords;
  readonly #onDamage: (session: string, skipped: SkippedCheckpoint) => void;
  readonly #heads = new Map<string, Head>();
  /** The last save under way per session: saves of one session follow each other. */
  readonly #saving = new Map<string, Promise<unknown>>();

  constructor(records: CheckpointRecords, onDamage: (session: string, skipped: SkippedCheckpoint) => void) {
    this.#records = records;
    this.#onDamage = onDamage;
  }

  /** Save after the saves of this session that are under way. */
  async save(session: string, prepared: PreparedCheckpoint): Promise<CheckpointInfo> {
    const before = this.#saving.get(session) ?? Promise.resolve();
    const saving = before.then(() => this.#save(session, prepared));
    const settled = saving.then(noop, noop); // The next save of the session goes on whatever becomes of this one.
    this.#saving.set(session, settled);
    try {
      return await saving;
    } finally {
      if (this.#saving.get(session) === settled) this.#saving.delete(session);
    }
  }

  /** The caller goes on from this checkpoint; `newest` is the newest there is, damaged or not. */
  continueFrom(session: string, base: CheckpointBase, newest: number): void {
    const known = this.#heads.get(session);
    // A save that ended while the restore was reading is what the session stands at.
    if (known === undefined || known.newest <= newest) this.#remember(session, { newest, base });
  }

  forget(session: string): void {
    this.#heads.delete(session);
  }

  async #save(session: string, prepared: PreparedCheckpoint): Promise<CheckpointInfo> {
    const head = await this.#headFor(session, prepared.ifSequence);
    const sequence = head.newest + 1;
    const key = this.#records.key(session, sequence);
    const meta = metaOf(session, sequence, head.base?.sequence ?? null, prepared);
    const record = sealRecord({ key, id: randomUUID(), parent: head.base?.recordHash ?? null, meta }, prepared.body);
    // Whatever goes wrong from here on, the next save looks at the store again.
    this.#heads.delete(session);
    const version = await this.#create(session, key, record);
    const written = { sequence, recordHash: record.recordHash, version };
    await this.#requireOwn(session, written, head.base);
    this.#remember(session, { newest: sequence, base: written });
    return this.#records.info(record.header, record.bytes.length);
  }

  /** Create the record; an unknown outcome is decided by looking whose record is there. */
  async #create(session: string, key: string, { bytes }: SealedRecord<CheckpointMeta>): Promise<Version> {
    const { storage } = this.#records;
    try {
      return await storage.put(key, bytes, { ifVersion: null });
    } catch (error) {
      if (error instanceof ConflictError) throw overtaken(session, key, error.currentVersion);
      if (!(error instanceof OutcomeUnknownError)) throw error;
      const entry = await storage.get(key);
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
    await this.#records.storage.delete(key, { ifVersion: written.version });
    throw overtaken(session, key, undefined);
  }

  /** Someone restored what was just written and saved the next one before this writer looked. */
  async #isContinued(session: string, { sequence, recordHash }: CheckpointBase): Promise<boolean> {
    return (await this.#records.readHeader(session, sequence + 1))?.parentHash === recordHash;
  }

  async #headFor(session: string, ifSequence: number | undefined): Promise<Head> {
    const known = this.#heads.get(session);
    if (known && (ifSequence === undefined || ifSequence === baseOf(known))) return known;
    const head = await this.#readHead(session);
    if (ifSequence === undefined || ifSequence === baseOf(head)) return head;
    const message = `Session "${session}" is at checkpoint ${baseOf(head)}, not ${ifSequence}: another writer was here. Restore and decide anew.`;
    throw new ConflictError(this.#records.key(session, head.newest), undefined, { message });
  }

  async #readHead(session: string): Promise<Head> {
    let newest: number | undefined;
    for await (const { sequence } of this.#records.keys(session)) {
      newest ??= sequence;
      try {
        const read = await this.#records.read(session, sequence);
        if (read) return { newest, base: { sequence, recordHash: read.recordHash, version: read.version } };
      } catch (error) {
        if (!isDamage(error)) throw error;
        this.#onDamage(session, { sequence, reason: 'corrupt', error });
      }
    }
    // A store that cannot tell whether the session exists says so here.
    if (newest === undefined) await this.#records.read(session, 1);
    return { newest: newest ?? 0, base: undefined };
  }

  #remember(session: string, head: Head): void {
    this.#heads.delete(session);
    this.#heads.set(session, head);
    const [oldest] = this.#heads.keys();
    if (this.#heads.size > MAX_HEADS && oldest !== undefined) this.#heads.delete(oldest);
  }
}

/** Sequence of the newest intact checkpoint. Damaged ones above it keep their numbers, and nobody can continue them. */
function baseOf({ base }: Head): number {
  return base?.sequence ?? 0;
}

function metaOf(
  session: string,
  sequence: number,
  parentSequence: number | null,
  prepared: PreparedCheckpoint,
): CheckpointMeta {
  const { savedAtMs, label, operation, metadata } = prepared;
  return {
    session,
    sequence,
    parentSequence,
    savedAtMs,
    schemaVersion: SCHEMA_VERSION,
    ...(label === undefined ? {} : { label }),
    ...(operation === undefined ? {} : { operation }),
    ...(metadata === undefined ? {} : { metadata }),
  };
}

function overtaken(session: string, key: string, currentVersion: Version | undefined): ConflictError {
  const message = `Another writer saved to session "${session}" in the meantime. Restore it and decide which of you goes on.`;
  return new ConflictError(key, currentVersion, { message });
}

function noop(): void {}

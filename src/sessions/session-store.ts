import { CorruptionError } from '../base/errors.js';
import type { CodecSettings } from '../records/codec.js';
import {
  ConflictError,
  OutcomeUnknownError,
  type StorageAdapter,
  type StoredEntry,
  type Version,
} from '../storage/adapter.js';
import { UnknownEncryptionKeyError } from '../storage/encrypted/sealed-value.js';
import { listedEntries } from '../storage/listed-entries.js';
import {
  openSession,
  SESSIONS,
  type SessionRecord,
  type StoredSession,
  sealSession,
  sessionKey,
} from './session-record.js';

/** A write whose outcome is unknown, and which has not happened as far as can be seen, is tried this often. */
const MAX_ATTEMPTS = 3;
/** Records remembered by their version, so that looking through a fleet reads only what changed. */
const MAX_KNOWN = 10_000;
/** With large metadata they are not worth their memory. */
const MAX_KNOWN_BYTES = 4_096;

/** A record that was found while looking through all of them. */
export type FoundSession =
  | { readonly key: string; readonly stored: StoredSession }
  | { readonly key: string; readonly error: CorruptionError | UnknownEncryptionKeyError };

/** Where the records of sessions stand, and how one is read and changed. Knows nothing of who may. */
export class SessionStore {
  readonly #known = new Map<string, StoredSession>();

  constructor(
    readonly storage: StorageAdapter,
    readonly codec: CodecSettings,
  ) {}

  /** @throws CorruptionError; `undefined` only if there is none. */
  async read(id: string): Promise<StoredSession | undefined> {
    const entry = await this.storage.get(sessionKey(id));
    return entry && openSession(entry, this.codec);
  }

  /**
   * Writes the record if it stands at that version; `null`: if there is none. An unknown outcome is decided by reading.
   * @throws ConflictError if it does not; OutcomeUnknownError if that cannot be told.
   */
  async write(record: SessionRecord, ifVersion: Version | null): Promise<StoredSession> {
    const key = sessionKey(record.id);
    const { bytes, writeId } = sealSession(record, this.codec);
    for (let attempt = 1; ; attempt++) {
      try {
        return { record, key, writeId, version: await this.storage.put(key, bytes, { ifVersion }) };
      } catch (error) {
        // A conflict, too, may be with an attempt of our own that gave no answer.
        if (!(error instanceof ConflictError || error instanceof OutcomeUnknownError)) throw error;
        const entry = await this.#lookFor(key);
        const found = entry && openSession(entry, this.codec);
        if (found?.writeId === writeId) return found;
        const isUnchanged = (found?.version ?? null) === ifVersion;
        if (error instanceof ConflictError || !isUnchanged || attempt === MAX_ATTEMPTS) throw error;
      }
    }
  }

  /** Removes a record that stands at that version. @throws ConflictError if it does not. */
  async remove({ key, version }: StoredSession): Promise<void> {
    await this.storage.delete(key, { ifVersion: version });
  }

  /**
   * Every record, in key order; one that is damaged comes with its error. Reads those that changed since last time.
   * @throws CorruptionError behind the last one, if the store cannot tell whether that was all.
   */
  async *all(): AsyncGenerator<FoundSession> {
    for await (const { key, version } of listedEntries(this.storage, SESSIONS)) {
      const known = this.#known.get(key);
      const found = known?.version === version ? { key, stored: known } : await this.#readFound(key);
      if (found) yield found;
    }
  }

  /** What came of a write: as long as that cannot be read, it may be anything. */
  async #lookFor(key: string): Promise<StoredEntry | undefined> {
    try {
      return await this.storage.get(key);
    } catch (cause) {
      throw new OutcomeUnknownError(key, { cause });
    }
  }

  async #readFound(key: string): Promise<FoundSession | undefined> {
    try {
      const entry = await this.storage.get(key);
      if (entry === undefined) return undefined; // Removed since it was listed.
      const stored = openSession(entry, this.codec);
      if (entry.value.length <= MAX_KNOWN_BYTES) this.#remember(stored);
      return { key, stored };
    } catch (error) {
      if (error instanceof CorruptionError || error instanceof UnknownEncryptionKeyError) return { key, error };
      throw error;
    }
  }

  #remember(stored: StoredSession): void {
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(stored.key, stored);
  }
}

import { CorruptionError, isHoldfastError } from '../base/errors.js';
import type { CodecSettings } from '../records/codec.js';
import { decodeValue } from '../records/decode.js';
import { type OpenedRecord, openHeader, openRecord, type RecordHeader } from '../records/envelope.js';
import { decodeId, encodeId } from '../records/keys.js';
import type { ListedEntry, StorageAdapter, StoredEntry, Version } from '../storage/adapter.js';
import { type CheckpointInfo, NewerSchemaError } from './checkpoint.js';

const ROOT = 'checkpoints/';
const SEQUENCE_DIGITS = 16;
/** Keys asked for at once when walking through a session. */
const PAGE = 100;
/** Prefixes remembered: encoding an id anew costs as much as looking a key up. */
const MAX_PREFIXES = 10_000;

/** The schema version this library writes until migrations give it another meaning. */
export const SCHEMA_VERSION = 1;

/** What the header of a checkpoint record holds. */
export interface CheckpointMeta {
  readonly session: string;
  readonly sequence: number;
  readonly parentSequence: number | null;
  readonly savedAtMs: number;
  readonly schemaVersion: number;
  readonly label?: string;
  readonly operation?: string;
  /** Encoded like a state, so that it comes back as it was. */
  readonly metadata?: string;
}

/** A checkpoint's record, proved and read. */
export interface ReadCheckpoint {
  readonly info: CheckpointInfo;
  readonly recordHash: string;
  readonly parentHash: string | null;
  readonly body: Buffer;
  /** Version of its entry in the storage. */
  readonly version: Version;
  readonly isSuspect: boolean;
}

/** A key of a session's checkpoint, as listed. */
export interface CheckpointKey extends ListedEntry {
  readonly sequence: number;
}

/** Where checkpoints stand in a storage, and how one is read and proved. Knows nothing of policy. */
export class CheckpointRecords {
  constructor(
    readonly storage: StorageAdapter,
    readonly codec: CodecSettings,
  ) {}

  readonly #prefixes = new Map<string, string>();

  /** What every key of a session begins with. @throws InvalidInputError if this cannot name a session. */
  prefix(session: string): string {
    const known = this.#prefixes.get(session);
    if (known !== undefined) return known;
    const prefix = `${ROOT}${encodeId(session, 'session')}/`;
    if (this.#prefixes.size >= MAX_PREFIXES) this.#prefixes.clear();
    this.#prefixes.set(session, prefix);
    return prefix;
  }

  key(session: string, sequence: number): string {
    return `${this.prefix(session)}${String(sequence).padStart(SEQUENCE_DIGITS, '0')}`;
  }

  /** Keys of a session, newest first. `before` leaves out that sequence and all above it. */
  async *keys(session: string, before?: number): AsyncGenerator<CheckpointKey> {
    const prefix = this.prefix(session);
    let after = before === undefined ? undefined : this.key(session, before);
    let limit = 1; // Most walks end at the newest.
    do {
      const from = after === undefined ? {} : { after };
      const page = await this.storage.list(prefix, { reverse: true, limit, ...from });
      limit = PAGE;
      for (const entry of page.entries) yield { ...entry, sequence: Number(entry.key.slice(prefix.length)) };
      after = page.next;
    } while (after !== undefined);
  }

  /** The newest `limit` keys of a session, newest first. */
  async newest(session: string, limit: number): Promise<CheckpointKey[]> {
    const prefix = this.prefix(session);
    const { entries } = await this.storage.list(prefix, { reverse: true, limit });
    return entries.map((entry) => ({ ...entry, sequence: Number(entry.key.slice(prefix.length)) }));
  }

  /** @throws CorruptionError if the record is not what was saved; `undefined` if there is none. */
  async read(session: string, sequence: number): Promise<ReadCheckpoint | undefined> {
    const key = this.key(session, sequence);
    const entry = await this.storage.get(key);
    if (entry === undefined) return undefined;
    const { header, recordHash, body } = openRecord(key, entry.value, isCheckpointMeta);
    return this.#checkpoint(session, entry, { header, recordHash, body });
  }

  /** What a checkpoint says of itself, proved; its state is neither proved nor decoded. */
  async readHeader(session: string, sequence: number): Promise<ReadCheckpoint | undefined> {
    const key = this.key(session, sequence);
    const entry = await this.storage.get(key);
    if (entry === undefined) return undefined;
    const { header, recordHash } = openHeader(key, entry.value, isCheckpointMeta);
    return this.#checkpoint(session, entry, { header, recordHash, body: Buffer.alloc(0) });
  }

  /** Every session that has a checkpoint, in key order. */
  async *sessions(): AsyncGenerator<string> {
    let after: string | undefined;
    for (;;) {
      const from = after === undefined ? {} : { after };
      const [entry] = (await this.storage.list(ROOT, { limit: 1, ...from })).entries;
      if (entry === undefined) {
        // A damaged store that cannot tell which keys it lost says so when it is asked for one that is not there.
        await this.storage.get(`${ROOT}-`);
        return;
      }
      const encoded = entry.key.slice(ROOT.length, entry.key.lastIndexOf('/'));
      yield decodeId(encoded) ?? (await this.#readSessionName(entry.key));
      after = `${ROOT}${encoded}/z`; // Behind every sequence of this session, before the next one.
    }
  }

  /** The state of a checkpoint. @throws CorruptionError, UnknownCodecError, LimitError */
  decode({ info, body }: ReadCheckpoint): unknown {
    return decodeValue(body, this.codec, this.key(info.session, info.sequence));
  }

  async #readSessionName(key: string): Promise<string> {
    const entry = await this.storage.get(key);
    if (entry === undefined) throw new CorruptionError(`"${key}" was removed while sessions were listed.`, key);
    return openHeader(key, entry.value, isCheckpointMeta).header.meta.session;
  }

  #checkpoint(session: string, entry: StoredEntry, opened: OpenedRecord<CheckpointMeta>): ReadCheckpoint {
    const { header, recordHash, body } = opened;
    const { meta } = header;
    if (meta.session !== session || entry.key !== this.key(session, meta.sequence)) {
      throw new CorruptionError(`The record "${entry.key}" says it belongs to session "${meta.session}".`, entry.key);
    }
    if (meta.schemaVersion > SCHEMA_VERSION) {
      throw new NewerSchemaError(session, meta.sequence, meta.schemaVersion, SCHEMA_VERSION);
    }
    const info = this.info(header, entry.value.byteLength);
    const { version, suspect } = entry;
    return { info, recordHash, parentHash: header.parent, body, version, isSuspect: suspect === true };
  }

  info({ meta, body }: RecordHeader<CheckpointMeta>, storedBytes: number): CheckpointInfo {
    const { session, sequence, parentSequence, savedAtMs, schemaVersion, label, operation } = meta;
    const metadata = meta.metadata === undefined ? {} : decodeValue(Buffer.from(meta.metadata), this.codec);
    return {
      session,
      sequence,
      parent: parentSequence,
      checksum: body.sha256,
      savedAtMs,
      sizeBytes: body.sizeBytes,
      storedBytes,
      ...(label === undefined ? {} : { label }),
      ...(operation === undefined ? {} : { operation }),
      metadata: metadata as Record<string, unknown>,
      schemaVersion,
    };
  }
}

/** Whether an error says that this one checkpoint is damaged, so that an older one may stand in for it. */
export function isDamage(error: unknown): error is CorruptionError {
  return isHoldfastError(error) && error.code === 'HOLDFAST_CORRUPTION';
}

function isCheckpointMeta(meta: unknown): meta is CheckpointMeta {
  if (typeof meta !== 'object' || meta === null) return false;
  const { session, sequence, parentSequence, savedAtMs, schemaVersion, label, operation, metadata } = meta as Record<
    keyof CheckpointMeta,
    unknown
  >;
  return (
    typeof session === 'string' &&
    isCount(sequence) &&
    (parentSequence === null || isCount(parentSequence)) &&
    typeof savedAtMs === 'number' &&
    isCount(schemaVersion) &&
    [label, operation, metadata].every((text) => text === undefined || typeof text === 'string')
  );
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

import { CorruptionError, isHoldfastError } from '../base/errors.js';
import type { CodecSettings } from '../records/codec.js';
import { decodeValue } from '../records/decode.js';
import { deepFreeze } from '../records/deep-freeze.js';
import { openHeader } from '../records/envelope.js';
import { MARKER } from '../records/json-object.js';
import { decodeId, encodeId } from '../records/keys.js';
import type { ListedEntry, ReadOptions, StorageAdapter, StoredEntry, Version } from '../storage/adapter.js';
import { type ListedEntriesOptions, listedEntries, tellSuspect } from '../storage/listed-entries.js';
import type { CheckpointInfo } from './checkpoint.js';
import { type CheckpointMeta, isCheckpointOrRetired, isPart, isRetired, type RetiredMeta } from './checkpoint-meta.js';
import type { ChunkId } from './packs/chunk.js';
import { type PlacedChunk, walkPack } from './packs/pack.js';

const ROOT = 'checkpoints/';
/** Further records of packs that one record was too small for. */
const PARTS_ROOT = 'checkpoint-parts/';
const SEQUENCE_DIGITS = 16;
/** Keys asked for at once when walking through a session. */
const PAGE = 100;
/** Prefixes remembered: encoding an id anew costs as much as looking a key up. */
const MAX_PREFIXES = 10_000;

/** Remembered, so that what is listed again is not read again; with large metadata they are not worth their memory. */
const MAX_INFOS = 16_384;
const MAX_REMEMBERED_METADATA = 1_024;
const NO_METADATA = Object.freeze({});

/** How records are read whose chunks are proved one by one: their bytes need not be hashed twice. */
export const PROVING: ReadOptions = Object.freeze({ callerProves: true });

/** The record under one sequence of a session, its header proved: a checkpoint, or what is left of one. */
export interface StoredRecord<Meta extends CheckpointMeta | RetiredMeta = CheckpointMeta | RetiredMeta> {
  readonly meta: Meta;
  /** Version of its entry in the storage. */
  readonly version: Version;
  /** Of all its records together. */
  readonly sizeBytes: number;
  readonly recordHash: string;
  readonly parentHash: string | null;
  /** The pack, not proved. */
  readonly body: Buffer;
  readonly isSuspect: boolean;
}

/** A checkpoint's record, its header proved. */
export type StoredCheckpoint = StoredRecord<CheckpointMeta>;

/** A key of a session's checkpoint, as listed. */
export interface CheckpointKey extends ListedEntry {
  readonly sequence: number;
}

/** How the keys of a session are walked through. */
export interface KeyWalk extends Pick<ListedEntriesOptions, 'onSuspect'> {
  /** Leaves out this sequence and all above it. */
  readonly before?: number | undefined;
}

/** Where checkpoints stand in a storage, and how one is read and proved. Knows nothing of policy. */
export class CheckpointRecords {
  constructor(
    readonly storage: StorageAdapter,
    readonly codec: CodecSettings,
  ) {}

  readonly #prefixes = new Map<string, string>();
  readonly #infos = new Map<string, { readonly version: Version; readonly info: CheckpointInfo | null }>();

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

  partKey(session: string, part: string): string {
    return `${PARTS_ROOT}${encodeId(session, 'session')}/${part}`;
  }

  /** Keys of all further records of packs, also of those that a crash left before anything named them. */
  async partKeys(session: string, walk?: Pick<KeyWalk, 'onSuspect'>): Promise<string[]> {
    const keys: string[] = [];
    for await (const { key } of listedEntries(this.storage, this.partKey(session, ''), walk)) keys.push(key);
    return keys;
  }

  /** Keys of a session, newest first. @throws CorruptionError as `listedEntries` */
  async *keys(session: string, walk?: KeyWalk): AsyncGenerator<CheckpointKey> {
    for await (const page of this.keyPages(session, walk)) yield* page;
  }

  /** As `keys`, in pages: for who has little to do with each. */
  async *keyPages(session: string, { before, onSuspect }: KeyWalk = {}): AsyncGenerator<readonly CheckpointKey[]> {
    const prefix = this.prefix(session);
    let after = before === undefined ? undefined : this.key(session, before);
    let limit = 1; // Most walks end at the newest.
    let isSuspect = false;
    do {
      const from = after === undefined ? {} : { after };
      const { entries, next, suspect } = await this.storage.list(prefix, { reverse: true, limit, ...from });
      limit = PAGE;
      isSuspect ||= suspect === true;
      yield entries.map((entry) => keyOf(entry, prefix));
      after = next;
    } while (after !== undefined);
    if (isSuspect) tellSuspect(this.storage, prefix, onSuspect);
  }

  /** The newest `limit` keys of a session, newest first. */
  async newest(session: string, limit: number): Promise<CheckpointKey[]> {
    const prefix = this.prefix(session);
    const { entries } = await this.storage.list(prefix, { reverse: true, limit });
    return entries.map((entry) => keyOf(entry, prefix));
  }

  /**
   * The record under a sequence, its header proved; `undefined` if there is none. `PROVING` is for who compares each chunk
   * it uses of the body with its id. @throws CorruptionError
   */
  async readRecord(session: string, sequence: number, options?: ReadOptions): Promise<StoredRecord | undefined> {
    const key = this.key(session, sequence);
    const entry = await this.storage.get(key, options);
    return entry && this.#open(session, entry);
  }

  /** As `readRecord`, but a checkpoint that was removed is not there, whatever is left of it. */
  async read(session: string, sequence: number, options?: ReadOptions): Promise<StoredCheckpoint | undefined> {
    const record = await this.readRecord(session, sequence, options);
    return record && isCheckpointRecord(record) ? record : undefined;
  }

  /**
   * The chunks in the pack of a record, not proved: whoever uses one compares it with its id.
   * @throws CorruptionError if that cannot be a pack, or a further record of it is missing or damaged.
   */
  async readPack(record: Pick<StoredRecord, 'meta' | 'body'>): Promise<Map<ChunkId, Buffer>> {
    const chunks = new Map<ChunkId, Buffer>();
    await this.walkPack(record, ({ id, body, start, end }) => chunks.set(id, body.subarray(start, end)));
    return chunks;
  }

  /** As `readPack`: shows where each chunk stands. What is shown before it throws is as good as the rest. */
  async walkPack(
    { meta, body }: Pick<StoredRecord, 'meta' | 'body'>,
    visit: (chunk: PlacedChunk) => void,
  ): Promise<void> {
    const { session, sequence, parts = [] } = meta;
    const key = this.key(session, sequence);
    const isPack = walkPack(body, visit);
    if (!isPack) throw new CorruptionError(`The record "${key}" is damaged: it holds no pack.`, key);
    for (const { name } of parts) {
      const partKey = this.partKey(session, name);
      const entry = await this.storage.get(partKey);
      if (entry === undefined) throw new CorruptionError(`"${partKey}", a part of "${key}", is missing.`, partKey);
      const opened = openHeader(partKey, entry.value, isPart);
      const isFurtherPack = walkPack(opened.body, visit);
      if (!isFurtherPack) throw new CorruptionError(`The record "${partKey}" holds no pack.`, partKey);
    }
  }

  /** Every session that has a checkpoint, in key order. @throws CorruptionError as `listedEntries` */
  async *sessions(): AsyncGenerator<string> {
    let after: string | undefined;
    for (;;) {
      const from = after === undefined ? {} : { after };
      const { entries, suspect } = await this.storage.list(ROOT, { limit: 1, ...from });
      const [entry] = entries;
      if (entry === undefined && suspect) tellSuspect(this.storage, ROOT);
      if (entry === undefined) return;
      const encoded = entry.key.slice(ROOT.length, entry.key.lastIndexOf('/'));
      yield decodeId(encoded) ?? (await this.#readSessionName(entry.key));
      after = `${ROOT}${encoded}/z`; // Behind every sequence of this session, before the next one.
    }
  }

  /** What a checkpoint was found to say of itself before; `null` if it is none. Records never change under a version. */
  knownInfo({ key, version }: CheckpointKey): CheckpointInfo | null | undefined {
    const known = this.#infos.get(key);
    return known?.version === version ? known.info : undefined;
  }

  /** What a checkpoint says of itself; `null` if there is none. @throws CorruptionError */
  async readInfo(session: string, { key, sequence }: CheckpointKey): Promise<CheckpointInfo | null> {
    const record = await this.readRecord(session, sequence);
    if (record === undefined) return null;
    const info = isCheckpointRecord(record) ? this.info(record) : null;
    this.rememberInfo(key, record.version, info);
    return info;
  }

  /** For `knownInfo`. */
  rememberInfo(key: string, version: Version, info: CheckpointInfo | null): void {
    if (info !== null && !Object.isFrozen(info)) return;
    if (this.#infos.size >= MAX_INFOS && !this.#infos.has(key)) return;
    this.#infos.set(key, { version, info });
  }

  /** What a checkpoint says of itself. Frozen, unless its metadata cannot be or are large. */
  info({ meta, sizeBytes: storedBytes }: Pick<StoredCheckpoint, 'meta' | 'sizeBytes'>): CheckpointInfo {
    const { session, sequence, parentSequence, savedAtMs, schemaVersion, label, operation, root, sizeBytes } = meta;
    const info: { -readonly [Name in keyof CheckpointInfo]: CheckpointInfo[Name] } = {
      session,
      sequence,
      parent: parentSequence,
      checksum: root,
      savedAtMs,
      sizeBytes,
      storedBytes,
      metadata: this.#metadata(meta.metadata),
      schemaVersion,
    };
    if (label !== undefined) info.label = label;
    if (operation !== undefined) info.operation = operation;
    return Object.isFrozen(info.metadata) ? Object.freeze(info) : info;
  }

  #metadata(text: string | undefined): Readonly<Record<string, unknown>> {
    if (text === undefined) return NO_METADATA;
    const metadata = decodeValue(Buffer.from(text), this.codec) as Record<string, unknown>;
    // Plain JSON can be frozen through and through, dates and maps cannot.
    return text.length <= MAX_REMEMBERED_METADATA && !text.includes(MARKER) ? deepFreeze(metadata) : metadata;
  }

  async #readSessionName(key: string): Promise<string> {
    const entry = await this.storage.get(key);
    if (entry === undefined) throw new CorruptionError(`"${key}" was removed while sessions were listed.`, key);
    return openHeader(key, entry.value, isCheckpointOrRetired).header.meta.session;
  }

  #open(session: string, entry: StoredEntry): StoredRecord {
    const { key, value, version, suspect } = entry;
    const { header, recordHash, body } = openHeader(key, value, isCheckpointOrRetired);
    const { meta, parent: parentHash } = header;
    if (meta.session !== session || key !== this.key(session, meta.sequence)) {
      throw new CorruptionError(`The record "${key}" says it belongs to session "${meta.session}".`, key);
    }
    const sizeBytes = (meta.parts ?? []).reduce((sum, part) => sum + part.sizeBytes, value.byteLength);
    return { meta, recordHash, parentHash, body, sizeBytes, version, isSuspect: suspect === true };
  }
}

/** Whether an error says that this one checkpoint is damaged, so that an older one may stand in for it. */
export function isDamage(error: unknown): error is CorruptionError {
  return isHoldfastError(error) && error.code === 'HOLDFAST_CORRUPTION';
}

/** A record that checkpoints need is not there. */
export function missingRecord(key: string): CorruptionError {
  return new CorruptionError(`The record "${key}" is missing although checkpoints need it.`, key);
}

/** A chunk in a record does not have the hash that it goes by. */
export function damagedChunk(key: string): CorruptionError {
  return new CorruptionError(`The record "${key}" is damaged: a chunk is not what it was.`, key);
}

function keyOf(entry: ListedEntry, prefix: string): CheckpointKey {
  const { key, version, sizeBytes } = entry;
  return { key, version, sizeBytes, sequence: Number(key.slice(prefix.length)) };
}

function isCheckpointRecord<Known extends Pick<StoredRecord, 'meta'>>(
  record: Known,
): record is Known & { readonly meta: CheckpointMeta } {
  return !isRetired(record.meta);
}

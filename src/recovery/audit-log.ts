import { createHmac, timingSafeEqual } from 'node:crypto';
import * as z from 'zod';
import { type Clock, systemClock } from '../base/clock.js';
import { CorruptionError, InvalidInputError } from '../base/errors.js';
import { clockOption, parseOptions } from '../base/options.js';
import { uniqueId } from '../base/unique-id.js';
import { inWords } from '../policies/in-words.js';
import { decodeValue } from '../records/decode.js';
import { encodeValue } from '../records/encode.js';
import { type OpenedRecord, openRecord, sealRecord } from '../records/envelope.js';
import { encodeId } from '../records/keys.js';
import { ConflictError, OutcomeUnknownError, type StorageAdapter, type StoredEntry } from '../storage/adapter.js';
import { checked } from '../storage/checked.js';
import { listedEntries, tellSuspect } from '../storage/listed-entries.js';

/** How an audit log is opened. */
export interface AuditLogOptions {
  /** Where it is kept. Several processes may append to the same one. */
  readonly storage: StorageAdapter;
  /** Which one. Default `main`. */
  readonly name?: string;
  /**
   * Signs every entry (HMAC-SHA-256), 32 bytes at least. Without it the chain finds damage, yet whoever can write to the
   * storage can write a chain of his own; with it, only who has the key. Give it to all who append and verify, from the
   * first entry on: a log is signed as a whole or not at all, and to begin signing is to begin a log of another `name`.
   */
  readonly key?: Uint8Array;
  /** Where `atMs` comes from. Default the machine's clock. */
  readonly clock?: Clock;
}

/** One entry. */
export interface AuditEntry {
  /** 1 for the first. Without gaps. */
  readonly sequence: number;
  /** Wall time: a label. The order is that of `sequence`. */
  readonly atMs: number;
  /** What happened: `recovery.finished`, or a word of the host's. */
  readonly type: string;
  /** What it was about; plain values and built-in types. */
  readonly data: unknown;
  /** SHA-256 that names this entry and, through it, all before. */
  readonly hash: string;
}

/** For `list`. */
export interface AuditFilter {
  readonly type?: string;
  /** Only entries behind this sequence. */
  readonly after?: number;
  /** Only entries of this time or later, by their labels. */
  readonly sinceMs?: number;
  /** Entries at most. Default: all. */
  readonly limit?: number;
}

/** Where the log ended once: kept elsewhere, it shows whether entries were cut off behind. */
export interface AuditHead {
  readonly sequence: number;
  readonly hash: string;
}

/** What `verify` found. */
export interface AuditReport {
  /** Entries that follow from each other, from the first on. */
  readonly entries: number;
  readonly isIntact: boolean;
  /** Was every entry checked against the key? */
  readonly isSigned: boolean;
  /** The first entry that does not follow, and why. */
  readonly firstBad?: { readonly sequence: number; readonly why: string };
}

interface AuditMeta {
  readonly sequence: number;
  readonly atMs: number;
  readonly type: string;
  readonly mac?: string | undefined;
}

const ROOT = 'audit/';
const DIGITS = 16;

const optionsSchema = z.strictObject({
  storage: z.custom<StorageAdapter>(
    (given) => typeof given === 'object' && given !== null,
    'a StorageAdapter is needed',
  ),
  name: z.string().default('main'),
  key: z.custom<Uint8Array>((key) => key instanceof Uint8Array && key.length >= 32, 'must have 32 bytes').optional(),
  clock: clockOption.optional(),
});
const filterSchema = z.strictObject({
  type: z.string().optional(),
  after: z.int().min(0).default(0),
  sinceMs: z.number().default(Number.NEGATIVE_INFINITY),
  limit: z.int().min(0).default(Number.MAX_SAFE_INTEGER),
});
const headSchema = z.strictObject({ sequence: z.int().min(0), hash: z.string() }).optional();

/**
 * What was decided, in order, for whoever asks later: entries that are only ever added, each naming the hash of the one
 * before. One that was changed, removed, moved or added in between is found by `verify`, and so are entries cut off at the
 * end, given a `head` that was kept elsewhere.
 */
export class AuditLog {
  readonly #storage: StorageAdapter;
  readonly #prefix: string;
  readonly #key: Uint8Array | undefined;
  readonly #clock: Clock;
  #appending: Promise<unknown> = Promise.resolve();

  /** @throws InvalidInputError for options that cannot be used. */
  constructor(options: AuditLogOptions) {
    const { storage, name, key, clock = systemClock } = parseOptions(optionsSchema, options);
    this.#storage = checked(storage);
    this.#prefix = `${ROOT}${encodeId(name, 'options.name')}/`;
    this.#key = key && Uint8Array.from(key);
    this.#clock = clock;
  }

  /**
   * Adds an entry, durable when it resolves. Entries of one caller are in the order of its calls.
   * @throws UnserializableError for data that cannot be kept; CorruptionError if the newest entry cannot be read: nothing
   * is added behind it; so too with a key if that entry was not signed with it. InvalidInputError without a key if it was
   * signed with one. OutcomeUnknownError: it may have been added.
   */
  async append(type: string, data: unknown): Promise<AuditEntry> {
    const body = encodeValue(data); // Before anything is awaited: the caller may change it at once.
    const appended = this.#appending.then(() => this.#append(type, body));
    this.#appending = appended.catch(() => undefined); // Whoever appended that one hears of it.
    return appended;
  }

  /** Entries, the oldest first. @throws CorruptionError at one that is damaged; behind the last, if some may be lost */
  async *list(filter?: AuditFilter): AsyncGenerator<AuditEntry> {
    const { type, after, sinceMs, limit } = parseOptions(filterSchema, filter);
    let left = limit;
    for await (const entry of this.#entries(after)) {
      if (left === 0) return;
      const read = entryOf(this.#open(entry));
      if ((type ?? read.type) !== read.type || read.atMs < sinceMs) continue;
      left--;
      yield read;
    }
  }

  /** The newest entry, to be kept elsewhere for `verify`. Sequence 0: there is none. @throws CorruptionError */
  async head(): Promise<AuditHead> {
    const newest = await this.#newest();
    return { sequence: newest?.header.meta.sequence ?? 0, hash: newest?.recordHash ?? '' };
  }

  /** Follows the chain from its beginning, and changes nothing. `head`: what was kept elsewhere has to be in it. */
  async verify(options?: { readonly head?: AuditHead }): Promise<AuditReport> {
    const { head } = parseOptions(z.strictObject({ head: headSchema }), options);
    let before: OpenedRecord<AuditMeta> | undefined;
    let entries = 0;
    let isHeadThere = head === undefined || head.sequence === 0;
    const bad = (why: string): AuditReport => ({
      entries,
      isIntact: false,
      isSigned: this.#key !== undefined,
      firstBad: { sequence: entries + 1, why },
    });
    try {
      for await (const entry of this.#entries(0)) {
        const opened = this.#open(entry);
        if (opened.header.meta.sequence !== entries + 1) return bad('it is missing');
        if (opened.header.parent !== (before?.recordHash ?? null)) return bad('it does not follow from the one before');
        before = opened;
        entries++;
        if (entries === head?.sequence) isHeadThere = opened.recordHash === head.hash;
        if (!isHeadThere && entries === head?.sequence) return bad('what was here once was another entry');
      }
    } catch (error) {
      if (error instanceof CorruptionError) return bad(inWords(error));
      throw error;
    }
    if (!isHeadThere) return bad(`it is missing, and so are those up to ${head?.sequence}`);
    return { entries, isIntact: true, isSigned: this.#key !== undefined };
  }

  async #append(type: string, body: Buffer): Promise<AuditEntry> {
    for (;;) {
      const newest = await this.#newest();
      if (this.#key === undefined && newest?.header.meta.mac !== undefined) throw keyNeeded(this.#prefix);
      const sequence = (newest?.header.meta.sequence ?? 0) + 1;
      const key = this.#keyOf(sequence);
      const parent = newest?.recordHash ?? null;
      const unsigned = { sequence, atMs: this.#clock.now(), type };
      const meta: AuditMeta = { ...unsigned, mac: this.#mac(unsigned, parent, body) };
      const record = sealRecord({ key, id: uniqueId(), parent, meta }, body);
      if (await this.#put(key, record)) return entryOf({ ...record, body });
    }
  }

  /** False: another entry has that number. An unknown outcome is decided by reading. */
  async #put(key: string, { bytes, recordHash }: { bytes: Buffer; recordHash: string }): Promise<boolean> {
    try {
      await this.#storage.put(key, bytes, { ifVersion: null });
      return true;
    } catch (error) {
      if (!(error instanceof ConflictError || error instanceof OutcomeUnknownError)) throw error;
      const found = await this.#storage.get(key);
      if (found === undefined) throw error;
      return this.#open(found).recordHash === recordHash;
    }
  }

  async #newest(): Promise<OpenedRecord<AuditMeta> | undefined> {
    const { entries, suspect } = await this.#storage.list(this.#prefix, { reverse: true, limit: 1 });
    if (suspect) tellSuspect(this.#storage, this.#prefix);
    const key = entries[0]?.key;
    if (key === undefined) return undefined;
    const entry = await this.#storage.get(key);
    if (entry === undefined) throw new CorruptionError(`The audit entry "${key}" is listed and cannot be found.`, key);
    return this.#open(entry);
  }

  async *#entries(behind: number): AsyncGenerator<StoredEntry> {
    for await (const { key } of listedEntries(this.#storage, this.#prefix, { after: this.#keyOf(behind) })) {
      const entry = await this.#storage.get(key);
      if (entry !== undefined) yield entry; // One that is gone is found missing by the next.
    }
  }

  /** Proves one entry: whole, at its place, and by whoever has the key. */
  #open({ key, value, suspect }: StoredEntry): OpenedRecord<AuditMeta> {
    if (suspect) throw new CorruptionError(`The store is damaged behind "${key}". Repair the store.`, key);
    const opened = openRecord(key, value, isAuditMeta);
    const { meta, parent } = opened.header;
    if (key !== this.#keyOf(meta.sequence)) throw new CorruptionError(`"${key}" is not at its place.`, key);
    const mac = this.#mac(meta, parent, opened.body);
    if (mac !== undefined && !isEqual(mac, meta.mac)) {
      const unsigned = 'It is not signed at all: the log was begun without a key, or somebody added to it without.';
      const why = meta.mac === undefined ? ` ${unsigned}` : '';
      throw new CorruptionError(`"${key}" was not signed with this key.${why}`, key);
    }
    return opened;
  }

  #mac({ sequence, atMs, type }: Omit<AuditMeta, 'mac'>, parent: string | null, body: Uint8Array): string | undefined {
    if (this.#key === undefined) return undefined;
    const about = JSON.stringify([this.#prefix, sequence, atMs, type, parent]);
    return createHmac('sha256', this.#key).update(about).update('\n').update(body).digest('hex');
  }

  #keyOf(sequence: number): string {
    return `${this.#prefix}${String(sequence).padStart(DIGITS, '0')}`;
  }
}

function entryOf({ header, recordHash, body }: OpenedRecord<AuditMeta>): AuditEntry {
  const { sequence, atMs, type } = header.meta;
  return { sequence, atMs, type, data: decodeValue(body), hash: recordHash };
}

/** One entry without a signature would make all behind it, and the log, fail to verify for ever. */
function keyNeeded(prefix: string): InvalidInputError {
  const path = 'options.key';
  const message = `${path}: the log under "${prefix}" is signed; what is added without its key would fail to verify. Give the key (\`auditKey\` of createHoldfast), or another \`name\`.`;
  return new InvalidInputError(message, path);
}

function isEqual(mac: string, given: string | undefined): boolean {
  const [one, other] = [Buffer.from(mac), Buffer.from(given ?? '')];
  return one.length === other.length && timingSafeEqual(one, other);
}

function isAuditMeta(meta: unknown): meta is AuditMeta {
  const { sequence, atMs, type, mac } = (meta ?? {}) as Partial<Record<keyof AuditMeta, unknown>>;
  return (
    Number.isSafeInteger(sequence) &&
    typeof atMs === 'number' &&
    typeof type === 'string' &&
    (mac === undefined || typeof mac === 'string')
  );
}

import * as z from 'zod';
import { CorruptionError, InvalidInputError, LimitError } from '../base/errors.js';
import { uniqueId } from '../base/unique-id.js';
import { type CodecSettings, DEFAULT_CODEC_SETTINGS } from '../records/codec.js';
import { decodeValue } from '../records/decode.js';
import { deepFreeze } from '../records/deep-freeze.js';
import { encodeValue } from '../records/encode.js';
import { openRecord, sealRecord } from '../records/envelope.js';
import { encodeId } from '../records/keys.js';
import type { StoredEntry, Version } from '../storage/adapter.js';
import type { SessionStatus, Takeover } from './session-info.js';

/** Every session's record stands under this. */
export const SESSIONS = 'sessions/';

/** What is stored of a session. */
export interface SessionRecord {
  readonly id: string;
  /** As it was written: one whose node is gone is interrupted, whatever it says here. */
  readonly status: SessionStatus;
  /** Id of the node that holds it; `null` when nobody does. */
  readonly owner: string | null;
  readonly fence: number;
  readonly priority: 'high' | 'normal' | 'low';
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly startedAtMs: number;
  readonly updatedAtMs: number;
  readonly takeovers: readonly Takeover[];
  /** The takeover after which nobody has brought it to a state to go on from yet. */
  readonly unrecovered?: Takeover | undefined;
  readonly quarantined?: { readonly atMs: number; readonly reason: string } | undefined;
  readonly endedAtMs?: number | undefined;
  readonly error?: string | undefined;
  readonly archivedAtMs?: number | undefined;
}

/** A session's record in the storage, proved. */
export interface StoredSession {
  readonly record: SessionRecord;
  readonly key: string;
  readonly version: Version;
  /** Unique: tells its writer, after an unknown outcome, that it happened. */
  readonly writeId: string;
}

const takeover = z.object({
  atMs: z.number(),
  from: z.string(),
  by: z.string(),
  failure: z.enum(['crashed', 'disconnected', 'frozen', 'corrupted']),
  evidence: z.array(z.string()),
});

/** All but the metadata, which may hold whatever the codec can. */
const metaSchema = z.object({
  id: z.string(),
  status: z.enum(['initializing', 'active', 'recovering', 'interrupted', 'completed', 'failed']),
  owner: z.string().nullable(),
  fence: z.int().min(1),
  priority: z.enum(['high', 'normal', 'low']),
  startedAtMs: z.number(),
  updatedAtMs: z.number(),
  takeovers: z.array(takeover),
  unrecovered: takeover.optional(),
  quarantined: z.object({ atMs: z.number(), reason: z.string() }).optional(),
  endedAtMs: z.number().optional(),
  error: z.string().optional(),
  archivedAtMs: z.number().optional(),
});

type SessionMeta = Omit<SessionRecord, 'metadata'>;

/** Metadata are read with every look at a session; what is large belongs in its checkpoints. */
const MAX_METADATA_BYTES = 64 * 1024;

/** @throws InvalidInputError if this cannot name a session. */
export function sessionKey(id: string): string {
  return `${SESSIONS}${encodeId(id, 'id')}`;
}

/**
 * A copy of the host's metadata that nothing can change any more. `path` is what the host calls them.
 * @throws InvalidInputError if they are no object; UnserializableError; LimitError above 64 KiB.
 */
export function takeMetadata(metadata: SessionRecord['metadata'], path: string): SessionRecord['metadata'] {
  if (typeof metadata !== 'object' || metadata === null) {
    throw new InvalidInputError(`${path}: must be an object.`, path);
  }
  const bytes = encodeValue(metadata, DEFAULT_CODEC_SETTINGS);
  if (bytes.length > MAX_METADATA_BYTES) {
    const message = `${path}: ${bytes.length} bytes encoded; ${MAX_METADATA_BYTES} are allowed. Keep what is large in checkpoints.`;
    throw new LimitError(message, path, MAX_METADATA_BYTES);
  }
  return deepFreeze(decodeValue(bytes, DEFAULT_CODEC_SETTINGS, path)) as SessionRecord['metadata'];
}

/** Has it come to its end? Nobody is at work on it any more, until it is reopened. */
export function hasEnded({ status }: Pick<SessionRecord, 'status'>): boolean {
  return status === 'completed' || status === 'failed';
}

/** The bytes to store under `sessionKey(record.id)`, and what tells this write from any other. */
export function sealSession(
  { metadata, ...meta }: SessionRecord,
  codec: CodecSettings,
): { readonly bytes: Uint8Array; readonly writeId: string } {
  const writeId = uniqueId();
  const header = { key: sessionKey(meta.id), id: writeId, parent: null, meta };
  return { bytes: sealRecord<SessionMeta>(header, encodeValue(metadata, codec)).bytes, writeId };
}

/** @throws CorruptionError if the entry is not what was written, or may not be the newest that was. */
export function openSession({ key, value, version, suspect }: StoredEntry, codec: CodecSettings): StoredSession {
  if (suspect) {
    const message = `"${key}" may be older than what was written last: the store is damaged behind it. Repair the store.`;
    throw new CorruptionError(message, key);
  }
  const { header, body } = openRecord(key, value, isSessionMeta);
  if (sessionKey(header.meta.id) !== key) {
    throw new CorruptionError(`The record "${key}" says it belongs to session "${header.meta.id}".`, key);
  }
  const metadata = deepFreeze(decodeValue(body, codec, key)) as SessionRecord['metadata'];
  return { record: { ...header.meta, metadata }, key, version, writeId: header.id };
}

function isSessionMeta(meta: unknown): meta is SessionMeta {
  return metaSchema.safeParse(meta).success;
}

import * as z from 'zod';
import { CorruptionError } from '../base/errors.js';
import { ConflictError } from '../storage/adapter.js';
import { type CheckpointInfo, MissingCheckpointError, type SkippedCheckpoint } from './checkpoint.js';
import { type CheckpointRecords, isDamage, type StoredCheckpoint } from './checkpoint-records.js';
import type { CheckpointWriter } from './checkpoint-writer.js';
import { type ChunkId, idFromHex, REFERENCE_BYTES, referencesIn } from './packs/chunk.js';
import type { SizedChunk } from './packs/chunk-part.js';
import type { FreshChunk } from './packs/chunker.js';
import { SessionChunks } from './packs/session-chunks.js';
import type { EncodedState } from './packs/state-encoder.js';

/** For `fork`. */
export interface ForkOptions {
  /** The checkpoint to go on from. Default: the newest that is intact. */
  readonly sequence?: number | undefined;
}

export const forkSchema = z.strictObject({ sequence: z.int().min(1).optional() });

/** The first checkpoint of a session that was forked from another. */
export interface ForkedCheckpoint extends CheckpointInfo {
  /** Sequence of the checkpoint it is a copy of, in the other session. */
  readonly copyOf: number;
  /** This may not be the newest state that was saved: see `skipped`; if that is empty, the store itself is damaged. */
  readonly degraded: boolean;
  /** What was passed over on the way to it, newest first. Nothing if a sequence was asked for. */
  readonly skipped: readonly SkippedCheckpoint[];
}

/** What a fork works with. */
export interface ForkSource {
  readonly records: CheckpointRecords;
  /** Knows the new session from then on, so that its next save adds only what differs. */
  readonly writer: CheckpointWriter;
  readonly onSkipped: (skipped: SkippedCheckpoint) => void;
}

/** A checkpoint that was found, and what was passed over on the way. */
interface FoundCheckpoint {
  readonly checkpoint: StoredCheckpoint;
  readonly state: EncodedState;
  readonly skipped: readonly SkippedCheckpoint[];
}

/**
 * Makes a checkpoint of one session the first of another, which shares nothing with it: either may be deleted. It is a
 * copy with the same state, checksum, label, operation, metadata, schema version and `savedAtMs`. The state is proved and
 * copied as it is, so neither its codecs nor its schema are needed. A crash half-way leaves the copy whole or absent.
 * @throws ConflictError if the new session has a checkpoint already, or what is left of one. Nothing was written.
 * @throws MissingCheckpointError if there is none to copy; CorruptionError if the one asked for, or all, are damaged.
 */
export async function forkCheckpoint(
  source: ForkSource,
  session: string,
  { newSession, sequence }: ForkOptions & { readonly newSession: string },
): Promise<ForkedCheckpoint> {
  const { records, writer } = source;
  await requireEmpty(records, newSession);
  const found = await (sequence === undefined ? findNewest(source, session) : find(records, session, sequence));
  const { meta, isSuspect } = found.checkpoint;
  const { savedAtMs, schemaVersion, label, operation, metadata } = meta;
  const about = { savedAtMs, schemaVersion, label, operation, metadata };
  const { state, skipped } = found;
  const pending = { state, without: undefined, allowed: undefined, ifSequence: 0 };
  const info = await writer.save(newSession, { ...about, ...pending });
  const degraded = sequence === undefined && (skipped.length > 0 || isSuspect);
  return { ...info, copyOf: meta.sequence, degraded, skipped };
}

async function requireEmpty(records: CheckpointRecords, session: string): Promise<void> {
  const [newest] = await records.newest(session, 1);
  if (newest === undefined) return;
  const message = `Session "${session}" has checkpoints already; a fork begins a session. Choose another name, or delete it.`;
  throw new ConflictError(newest.key, newest.version, { message });
}

async function find(records: CheckpointRecords, session: string, sequence: number): Promise<FoundCheckpoint> {
  const checkpoint = await records.read(session, sequence);
  if (checkpoint === undefined) throw new MissingCheckpointError(session, sequence);
  return { checkpoint, state: await copyState(records, checkpoint), skipped: [] };
}

/** The newest checkpoint that is intact, as `restore` finds it. */
async function findNewest(source: ForkSource, session: string): Promise<FoundCheckpoint> {
  const { records, onSkipped } = source;
  const skipped: SkippedCheckpoint[] = [];
  for await (const { sequence } of records.keys(session)) {
    try {
      const checkpoint = await records.read(session, sequence);
      if (checkpoint) return { checkpoint, state: await copyState(records, checkpoint), skipped };
    } catch (error) {
      if (error instanceof MissingCheckpointError) return findNewest(source, session); // Pruned: something newer is there.
      if (!isDamage(error)) throw error;
      const one: SkippedCheckpoint = { sequence, reason: 'corrupt', error };
      skipped.push(one);
      onSkipped(one);
    }
  }
  const [newest] = skipped;
  if (newest === undefined) return find(records, session, 1); // It says that it is not there, or why that is not certain.
  const message = `No checkpoint of "${session}" is intact. They are left as they are; restore() says what is wrong.`;
  throw new CorruptionError(message, records.key(session, newest.sequence), { cause: newest.error });
}

/** A chunk whose parts are still being copied. */
interface OpenChunk {
  readonly id: ChunkId;
  readonly bytes: Buffer;
  readonly ids: readonly ChunkId[];
  readonly parts: SizedChunk[];
}

/** The chunks of a state, each proved, as if it had just been encoded. */
async function copyState(records: CheckpointRecords, checkpoint: StoredCheckpoint): Promise<EncodedState> {
  const { session, sequence, root, sizeBytes } = checkpoint.meta;
  const chunks = new SessionChunks(records, session);
  const fresh = new Map<ChunkId, FreshChunk>();
  const read = async (id: ChunkId): Promise<OpenChunk> => {
    const bytes = await chunks.get(id, checkpoint);
    return { id, bytes, ids: referencesIn(bytes) ?? [], parts: [] };
  };
  const rootId = idFromHex(root);
  const open = [await read(rootId)];
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const next = top.ids[top.parts.length];
    const known = next === undefined ? undefined : fresh.get(next);
    if (known) top.parts.push(known.chunk);
    else if (next !== undefined) open.push(await read(next));
    else {
      open.pop();
      fresh.set(top.id, { chunk: sized(top), content: top.bytes });
    }
  }
  const chunk = fresh.get(rootId)?.chunk;
  if (chunk?.sizeBytes === sizeBytes) return { root: chunk, fresh };
  const key = records.key(session, sequence);
  throw new CorruptionError(`The state of checkpoint ${sequence} of "${session}" has not the size it had.`, key);
}

function sized({ id, bytes, parts }: OpenChunk): SizedChunk {
  const ownBytes = bytes.length;
  const sizeBytes = parts.reduce((sum, part) => sum + part.sizeBytes - REFERENCE_BYTES, ownBytes);
  return { id, ownBytes, parts, sizeBytes };
}

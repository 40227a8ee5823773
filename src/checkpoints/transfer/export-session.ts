import { createHash } from 'node:crypto';
import * as z from 'zod';
import { CorruptionError } from '../../base/errors.js';
import { ConflictError } from '../../storage/adapter.js';
import type { SkippedCheckpoint } from '../checkpoint.js';
import { type CheckpointMeta, isRetired } from '../checkpoint-meta.js';
import { type CheckpointRecords, damagedChunk, isDamage, type StoredCheckpoint } from '../checkpoint-records.js';
import { type ChunkId, chunkIdOf, idFromHex, idToHex } from '../packs/chunk.js';
import { ChunkIndex } from '../repair/chunk-index.js';
import {
  type CheckpointLine,
  type ChunkLine,
  type EndLine,
  EXPORT_KIND,
  EXPORT_VERSION,
  type HeadLine,
  textOf,
} from './transfer-format.js';

/** For `export`. */
export interface ExportOptions {
  /**
   * Leave out checkpoints that are damaged, and go on although newer ones may be lost. Default false: the first damage
   * is thrown, because a copy that lacks something is easily taken for a whole one.
   */
  readonly skipDamaged?: boolean;
}

export const exportSchema = z.strictObject({ skipDamaged: z.boolean().optional() });

/** How a session is exported, and who hears of what is left out. */
export interface ExportTask {
  readonly skipDamaged: boolean;
  readonly onSkipped: (skipped: SkippedCheckpoint) => void;
}

/** What a session has, as far as it can be read. */
interface SessionContent {
  /** Oldest first: those that restore. */
  readonly checkpoints: readonly CheckpointMeta[];
  /** Newest first. */
  readonly damaged: readonly SkippedCheckpoint[];
  /** Where the chunks are. */
  readonly index: ChunkIndex;
  /** The store is damaged where it cannot tell which keys were there. */
  readonly isSuspect: boolean;
}

/**
 * The lines of a session, each with its line feed: every checkpoint that restores, oldest first, as transfer-format.ts
 * says. The same checkpoints give the same lines, wherever and however they are stored. What is saved meanwhile is not
 * among them. In memory are at most what one checkpoint adds and one pack, beside some 200 bytes for each chunk.
 * See `CheckpointManager.export`.
 * @throws CorruptionError before the first line if anything is damaged, or with `skipDamaged` if nothing is intact.
 * @throws ConflictError if what is left to export was removed meanwhile. The lines so far are no export.
 */
export async function* exportSession(
  records: CheckpointRecords,
  session: string,
  task: ExportTask,
): AsyncGenerator<string, void, undefined> {
  const { checkpoints, index } = await findIntact(records, session, task);
  const lines = new LineWriter();
  const exported = new Set<ChunkId>();
  yield lines.line({ holdfast: EXPORT_KIND, version: EXPORT_VERSION, session, checkpoints: checkpoints.length });
  for (const meta of checkpoints) {
    const ids = freshChunks(index, idFromHex(meta.root), exported);
    for (const [id, bytes] of await readChunks(records, session, { index, ids })) {
      const text = textOf(bytes);
      if (text === undefined) throw damagedCheckpoint(records, meta);
      yield lines.line({ chunk: idToHex(id), text });
    }
    yield lines.line({ checkpoint: lineOf(meta) });
  }
  yield lines.end();
}

/** Makes lines and remembers what proves them. */
class LineWriter {
  readonly #sum = createHash('sha256');
  #lines = 0;

  line(content: HeadLine | ChunkLine | CheckpointLine): string {
    const line = `${JSON.stringify(content)}\n`;
    this.#sum.update(line);
    this.#lines++;
    return line;
  }

  end(): string {
    const content: EndLine = { end: true, lines: this.#lines, sha256: this.#sum.digest('hex') };
    return `${JSON.stringify(content)}\n`;
  }
}

function lineOf(meta: CheckpointMeta): CheckpointLine['checkpoint'] {
  const { sequence, parentSequence: parent, savedAtMs, schemaVersion, label, operation, metadata } = meta;
  const { root, sizeBytes } = meta;
  return { sequence, parent, savedAtMs, schemaVersion, label, operation, metadata, root, sizeBytes };
}

/** @throws CorruptionError if anything of the session is damaged, or with `skipDamaged` if nothing is intact. */
async function findIntact(
  records: CheckpointRecords,
  session: string,
  { skipDamaged, onSkipped }: ExportTask,
): Promise<SessionContent> {
  const content = await scan(records, session);
  const { damaged, checkpoints, isSuspect } = content;
  const [newest] = damaged;
  const isRefused = !skipDamaged || checkpoints.length === 0;
  if (newest !== undefined && isRefused) {
    const sequences = damaged.map(({ sequence }) => sequence).join(', ');
    const remedy = checkpoints.length === 0 ? 'None is intact' : 'Repair the session, or export with skipDamaged';
    const message = `Session "${session}" cannot be exported: checkpoints ${sequences} are damaged. ${remedy}.`;
    throw new CorruptionError(message, records.key(session, newest.sequence), { cause: newest.error });
  }
  if (isSuspect && isRefused) {
    const message = `Session "${session}" cannot be exported: the store is damaged where it cannot tell which keys were there; checkpoints may be lost. Repair the store, or export with skipDamaged.`;
    throw new CorruptionError(message, records.prefix(session));
  }
  for (const skipped of damaged) onSkipped(skipped);
  return content;
}

/** Reads every record of the session once, one pack at a time. */
async function scan(records: CheckpointRecords, session: string): Promise<SessionContent> {
  const found: Pick<StoredCheckpoint, 'meta' | 'version'>[] = [];
  const checkpoints: CheckpointMeta[] = [];
  const damaged: SkippedCheckpoint[] = [];
  const failures: CorruptionError[] = [];
  const index = new ChunkIndex();
  let isSuspect = false;
  const onSuspect = () => {
    isSuspect = true;
  };
  for await (const { sequence } of records.keys(session, { onSuspect })) {
    let isHeaderProved = false;
    try {
      const record = await records.readRecord(session, sequence);
      if (record === undefined) continue; // Removed since it was listed.
      isHeaderProved = true;
      if (record.isSuspect) isSuspect = true;
      const { meta, version } = record;
      if (!isRetired(meta)) found.push({ meta, version });
      for (const [id, bytes] of await records.readPack(record)) {
        if (bytes.length > 0 && chunkIdOf(bytes) === id) index.add(sequence, id, bytes);
      }
    } catch (error) {
      if (!isDamage(error)) throw error;
      failures.push(error);
      // A damaged pack does no harm while other packs have its chunks.
      if (!isHeaderProved) damaged.push({ sequence, reason: 'corrupt', error });
    }
  }
  for (const { meta, version } of found.reverse()) {
    const { root, sequence, sizeBytes } = meta;
    if (index.sizeOf(idFromHex(root)) === sizeBytes) checkpoints.push(meta);
    else if ((await records.read(session, sequence))?.version === version) {
      damaged.push({ sequence, reason: 'corrupt', error: damagedCheckpoint(records, meta, failures[0]) });
    } // Else it was pruned meanwhile, and its pack with it.
  }
  damaged.sort((one, other) => other.sequence - one.sequence);
  return { checkpoints, damaged, index, isSuspect };
}

/** The chunks below `root` that were not exported yet, each behind those it refers to: alike wherever they are stored. */
function freshChunks(index: ChunkIndex, root: ChunkId, exported: Set<ChunkId>): ChunkId[] {
  const fresh: ChunkId[] = [];
  const pending = [root];
  for (let id = pending.at(-1); id !== undefined; id = pending.at(-1)) {
    const parts = exported.has(id) ? [] : index.partsOf(id).filter((part) => !exported.has(part));
    for (let at = parts.length - 1; at >= 0; at--) pending.push(parts[at] as ChunkId);
    if (parts.length > 0) continue;
    pending.pop();
    if (exported.has(id)) continue;
    exported.add(id);
    fresh.push(id);
  }
  return fresh;
}

/** Chunks of one checkpoint, in this order, one pack in memory at a time. */
async function readChunks(
  records: CheckpointRecords,
  session: string,
  { index, ids }: { readonly index: ChunkIndex; readonly ids: readonly ChunkId[] },
): Promise<Map<ChunkId, Buffer>> {
  const idsByPack = new Map<number, ChunkId[]>();
  for (const id of ids) {
    const pack = index.packsOf(id).at(-1) as number; // The oldest: it was saved with the chunks around it.
    const others = idsByPack.get(pack);
    if (others) others.push(id);
    else idsByPack.set(pack, [id]);
  }
  const chunks = new Map<ChunkId, Buffer>(ids.map((id) => [id, NOTHING]));
  for (const [pack, wanted] of idsByPack) {
    const record = await records.readRecord(session, pack);
    const there = record && (await records.readPack(record));
    for (const id of wanted) {
      const bytes = there?.get(id);
      if (bytes === undefined) throw changed(session, records.key(session, pack));
      if (chunkIdOf(bytes) !== id) throw damagedRecord(records.key(session, pack));
      chunks.set(id, Buffer.from(bytes)); // A view would keep its whole pack in memory.
    }
  }
  return chunks;
}

const NOTHING = Buffer.alloc(0);

function damagedCheckpoint(records: CheckpointRecords, { session, sequence }: CheckpointMeta, cause?: unknown) {
  const message = `Checkpoint ${sequence} of "${session}" cannot be restored: parts of its state are damaged or missing.`;
  return new CorruptionError(message, records.key(session, sequence), { cause });
}

function damagedRecord(key: string): CorruptionError {
  return damagedChunk(key);
}

function changed(session: string, key: string): ConflictError {
  const message = `Session "${session}" was pruned or repaired while it was exported. Throw this export away and begin again.`;
  return new ConflictError(key, undefined, { message });
}

import * as z from 'zod';
import { ConflictError, OutcomeUnknownError, type StorageAdapter, StorageError } from '../../storage/adapter.js';
import type { CheckpointMeta } from '../checkpoint-meta.js';
import type { CheckpointRecords } from '../checkpoint-records.js';
import type { SealedPack } from '../packs/pack-writer.js';
import { type ExportedLines, readExport } from './import-lines.js';
import { sealSession } from './import-records.js';

/** For `import`. */
export interface ImportOptions {
  /** The session to import into. Default: of the name that was exported. */
  readonly session?: string | undefined;
}

export const importSchema = z.strictObject({ session: z.string().optional() });

/** What was imported. */
export interface ImportReport {
  readonly session: string;
  readonly checkpoints: number;
  /** Sequence of the newest one; left out if the export had none. */
  readonly newest?: number;
  /** What they take in the store. */
  readonly storedBytes: number;
}

/**
 * Puts the checkpoints of an export into a session that has none, each under the sequence it had. Everything is proved
 * before the first write. Where the store has batches and no more than 256 MiB are to be written, all is written at once.
 * Elsewhere the newest is written first: what a crash half-way leaves either restores as the newest or fails with
 * `CorruptionError`, and an older state never passes for the newest. `delete` the session then, and import again.
 * See `CheckpointManager.import`.
 */
export async function importSession(
  records: CheckpointRecords,
  lines: ExportedLines,
  { session: wanted }: ImportOptions,
): Promise<ImportReport> {
  if (wanted !== undefined) records.prefix(wanted); // Refuses a bad id before anything is read.
  const exported = await readExport(lines, records.codec);
  const session = wanted ?? exported.session;
  const { checkpoints } = exported;
  await requireEmpty(records, session);
  const packs = sealSession(records, session, exported);
  await writeSession(records, session, packs);
  const newest = checkpoints.at(-1);
  return {
    session,
    checkpoints: checkpoints.length,
    ...(newest === undefined ? {} : { newest: newest.sequence }),
    storedBytes: packs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  };
}

async function requireEmpty(records: CheckpointRecords, session: string): Promise<void> {
  for await (const { key } of records.keys(session)) throw notEmpty(session, key);
}

type Pack = SealedPack<CheckpointMeta>;

/** A value that is to be under its key, and was not before. */
interface NewValue {
  readonly key: string;
  readonly bytes: Buffer;
}

/** Values written at once have at most this much together, and are at most so many: far below what any store refuses. */
const MAX_BATCH_BYTES = 256 * 1024 * 1024;
const MAX_BATCH_VALUES = 10_000;

/**
 * All records or none, if the process lives on. Nobody else begins the session meanwhile: the newest record is published
 * first, and only then is it looked whether others are there. A writer that comes later sees it, and gives way.
 */
async function writeSession(records: CheckpointRecords, session: string, packs: readonly Pack[]): Promise<void> {
  const { storage } = records;
  const newest = packs.at(-1)?.record.header;
  if (newest === undefined) return;
  const values = packs
    .toReversed()
    .flatMap(({ parts, record }) => [
      ...parts.map(({ key, bytes }) => ({ key, bytes })),
      { key: record.header.key, bytes: record.bytes },
    ]);
  const writes = isOneBatch(storage, packs, values) ? [values] : values.map((value) => [value]);
  const written: NewValue[] = [];
  try {
    for (const write of writes) {
      written.push(...write);
      await publish(storage, session, write);
      if (write.some(({ key }) => key === newest.key)) await requireAlone(records, newest.meta, written);
    }
  } catch (error) {
    await takeBack(storage, written, { session, error });
    throw error;
  }
}

function isOneBatch({ batch, capabilities }: StorageAdapter, packs: readonly Pack[], values: readonly NewValue[]) {
  const sizeBytes = packs.reduce((sum, pack) => sum + pack.sizeBytes, 0);
  return batch && capabilities.atomicBatch && sizeBytes <= MAX_BATCH_BYTES && values.length <= MAX_BATCH_VALUES;
}

/** Creates one value, or several at once. An unknown outcome is decided by looking whose value is there. */
async function publish(storage: StorageAdapter, session: string, values: readonly NewValue[]): Promise<void> {
  const [first, ...others] = values as readonly [NewValue, ...NewValue[]];
  try {
    if (others.length === 0) await storage.put(first.key, first.bytes, { ifVersion: null });
    else await storage.batch?.(values.map(({ key, bytes }) => ({ type: 'put', key, value: bytes, ifVersion: null })));
  } catch (error) {
    if (error instanceof ConflictError) throw notEmpty(session, error.key);
    if (!(error instanceof OutcomeUnknownError) || (await ownVersion(storage, first)) === undefined) throw error;
  }
}

/** The version of a value if it is there: every record has a random id, so equal bytes are this very one. */
async function ownVersion(storage: StorageAdapter, { key, bytes }: NewValue): Promise<string | undefined> {
  const entry = await storage.get(key);
  return entry && bytes.equals(entry.value) ? entry.version : undefined;
}

/** Those newer than the import were made from it. */
async function requireAlone(
  records: CheckpointRecords,
  { session, sequence }: CheckpointMeta,
  written: readonly NewValue[],
): Promise<void> {
  const own = new Set(written.map(({ key }) => key));
  for await (const { key } of records.keys(session, { before: sequence }))
    if (!own.has(key)) throw notEmpty(session, key);
}

/** Removes what was written, the newest last. @throws StorageError if that fails, too. */
async function takeBack(
  storage: StorageAdapter,
  written: readonly NewValue[],
  { session, error }: { readonly session: string; readonly error: unknown },
): Promise<void> {
  try {
    for (const value of written.toReversed()) {
      const version = await ownVersion(storage, value);
      if (version !== undefined) await storage.delete(value.key, { ifVersion: version });
    }
  } catch (second) {
    const message = `The import of session "${session}" failed, and what it had written could not be removed. Delete the session before you import again.`;
    throw new StorageError(message, { cause: new AggregateError([error, second]) });
  }
}

function notEmpty(session: string, key: string): ConflictError {
  const message = `Session "${session}" has checkpoints already; an import begins a session. Import under another name, or delete it.`;
  return new ConflictError(key, undefined, { message });
}

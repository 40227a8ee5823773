import { randomUUID } from 'node:crypto';
import * as z from 'zod';
import type { Clock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { CorruptionError } from '../base/errors.js';
import { inWords } from '../policies/in-words.js';
import { openRecord, sealRecord } from '../records/envelope.js';
import { encodeId } from '../records/keys.js';
import {
  ConflictError,
  OutcomeUnknownError,
  type StorageAdapter,
  type StoredEntry,
  type Version,
} from '../storage/adapter.js';
import { isDamage } from './checkpoint-records.js';

const ROOT = 'checkpoint-restores/';
/** Every attempt that fails is one in which somebody else counted, so this many may count at once. */
const MAX_ATTEMPTS = 20;

/** How often a session was restored. */
export interface RestoreStatistics {
  readonly restores: number;
  /** Those of them that gave an older state than was saved, or may have. */
  readonly degradedRestores: number;
  /** When it was restored last, milliseconds since 1970; left out if it never was. */
  readonly lastRestoredAtMs?: number;
  /** The checkpoint that it was restored to last. */
  readonly lastSequence?: number;
}

/** What counting restores reports. The restore itself succeeded. `error` is one line for humans. */
export type RestoreStatisticsEvent = {
  readonly type: 'checkpoint.statistics-failed';
  readonly session: string;
  readonly error: string;
};

/** A restore that succeeded. */
export interface CountedRestore {
  readonly sequence: number;
  readonly degraded: boolean;
  readonly clock: Clock;
  readonly emit?: Sink<RestoreStatisticsEvent> | undefined;
}

const metaSchema = z.object({
  session: z.string(),
  restores: z.int().min(0),
  degradedRestores: z.int().min(0),
  lastRestoredAtMs: z.number(),
  lastSequence: z.int().min(1),
});

type StatisticsMeta = z.output<typeof metaSchema>;

const NEVER: RestoreStatistics = { restores: 0, degradedRestores: 0 };

/** Where the statistics of a session stand. Whoever deletes the session deletes this key with it. */
export function restoreStatisticsKey(session: string): string {
  return `${ROOT}${encodeId(session, 'session')}`;
}

/**
 * How often a session was restored, over all processes; zeros if it never was.
 * @throws CorruptionError if the record is damaged: the next restore begins a new one.
 */
export async function readRestoreStatistics(storage: StorageAdapter, session: string): Promise<RestoreStatistics> {
  const entry = await storage.get(restoreStatisticsKey(session));
  return entry ? openStatistics(entry, session) : NEVER;
}

/**
 * Counts one restore, by compare-and-swap: of processes that count at once none is lost. One read and one write, more
 * only if others are counting. Never rejects: what goes wrong is reported, and the restore is not counted then, or after
 * a write of unknown outcome perhaps. A damaged record is replaced by a new count, which is reported, too.
 */
export async function countRestore(storage: StorageAdapter, session: string, restore: CountedRestore): Promise<void> {
  const fail = (error: unknown) =>
    emit(restore.emit, { type: 'checkpoint.statistics-failed', session, error: inWords(error) });
  try {
    const damage = await count(storage, session, restore);
    if (damage) fail(`The restores of "${session}" are counted anew: ${damage.message}`);
  } catch (error) {
    fail(error);
  }
}

/** What was found of the statistics of a session. */
interface StoredStatistics {
  readonly statistics: RestoreStatistics;
  /** Of its record, `null` if there is none; `undefined` if the store cannot tell: then it is written over. */
  readonly version: Version | null | undefined;
  /** Why the count begins anew. */
  readonly damage?: CorruptionError;
}

async function count(
  storage: StorageAdapter,
  session: string,
  { sequence, degraded, clock }: CountedRestore,
): Promise<CorruptionError | undefined> {
  for (let attempt = 1; ; attempt++) {
    const stored = await readOrBegin(storage, session);
    const { restores, degradedRestores } = stored.statistics;
    const meta = {
      session,
      restores: restores + 1,
      degradedRestores: degradedRestores + (degraded ? 1 : 0),
      lastRestoredAtMs: clock.now(),
      lastSequence: sequence,
    };
    try {
      await write(storage, meta, stored.version);
      return stored.damage;
    } catch (error) {
      if (!(error instanceof ConflictError) || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}

async function write(
  storage: StorageAdapter,
  meta: StatisticsMeta,
  ifVersion: Version | null | undefined,
): Promise<void> {
  const key = restoreStatisticsKey(meta.session);
  const { bytes } = sealRecord({ key, id: randomUUID(), parent: null, meta }, Buffer.alloc(0));
  try {
    await storage.put(key, bytes, ifVersion === undefined ? {} : { ifVersion });
  } catch (error) {
    if (!(error instanceof OutcomeUnknownError)) throw error;
    const entry = await storage.get(key);
    // Every record has a random id, so equal bytes are this very one. Anything else may have been built upon it.
    if (entry === undefined || !bytes.equals(entry.value)) throw error;
  }
}

async function readOrBegin(storage: StorageAdapter, session: string): Promise<StoredStatistics> {
  let entry: StoredEntry | undefined;
  try {
    entry = await storage.get(restoreStatisticsKey(session));
    return { statistics: entry ? openStatistics(entry, session) : NEVER, version: entry?.version ?? null };
  } catch (damage) {
    // One that is suspect is intact, and counts on when the store is repaired.
    if (!isDamage(damage) || entry?.suspect) throw damage;
    return { statistics: NEVER, version: entry?.version, damage };
  }
}

function openStatistics({ key, value, suspect }: StoredEntry, session: string): RestoreStatistics {
  if (suspect) {
    const message = `"${key}" may be older than what was written last: the store is damaged behind it. Repair the store.`;
    throw new CorruptionError(message, key);
  }
  const { session: owner, ...statistics } = openRecord(key, value, isStatisticsMeta).header.meta;
  if (owner === session) return statistics;
  throw new CorruptionError(`The record "${key}" says it belongs to session "${owner}".`, key);
}

function isStatisticsMeta(meta: unknown): meta is StatisticsMeta {
  return metaSchema.safeParse(meta).success;
}

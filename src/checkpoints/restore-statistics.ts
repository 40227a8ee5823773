import { randomUUID } from 'node:crypto';
import * as z from 'zod';
import { CorruptionError } from '../base/errors.js';
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

/** Restores of one session that succeeded, one at least. */
export type CountedRestores = Required<RestoreStatistics>;

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

/** What earlier and later restores add up to. */
export function addedRestores(earlier: RestoreStatistics, later: CountedRestores): CountedRestores {
  return {
    ...later,
    restores: earlier.restores + later.restores,
    degradedRestores: earlier.degradedRestores + later.degradedRestores,
  };
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
 * Adds restores to those of the session, by compare-and-swap: of processes that count at once none is lost. One read and
 * one write, more only if others are counting. A damaged record is replaced by a new count: resolves with the damage then.
 * @throws whatever keeps them from being counted; after a write of unknown outcome they are perhaps.
 */
export async function countRestores(
  storage: StorageAdapter,
  session: string,
  restores: CountedRestores,
): Promise<CorruptionError | undefined> {
  for (let attempt = 1; ; attempt++) {
    const stored = await readOrBegin(storage, session);
    try {
      await write(storage, { session, ...addedRestores(stored.statistics, restores) }, stored.version);
      return stored.damage;
    } catch (error) {
      if (!(error instanceof ConflictError) || attempt === MAX_ATTEMPTS) throw error;
    }
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

import * as z from 'zod';
import { CorruptionError } from '../base/errors.js';
import { uniqueId } from '../base/unique-id.js';
import { openRecord, sealRecord } from '../records/envelope.js';
import { encodeId } from '../records/keys.js';
import { ConflictError, OutcomeUnknownError, type StorageAdapter } from '../storage/adapter.js';
import type { RecoveryResolution } from './recovery-record.js';

const metaSchema = z.object({
  recovery: z.string(),
  outcome: z.enum(['recovered', 'degraded']),
  note: z.string(),
  resolvedAtMs: z.number(),
  from: z.enum(['recovered', 'degraded', 'needs-attention', 'suppressed']),
});

type ResolutionMeta = z.output<typeof metaSchema>;

/** What people decided about recoveries, a record each. It is written once and never changed. */
export class Resolutions {
  readonly #storage: StorageAdapter;
  readonly #prefix: string;

  constructor(storage: StorageAdapter, prefix: string) {
    this.#storage = storage;
    this.#prefix = prefix;
  }

  /** @throws CorruptionError if the record is damaged */
  async get(recovery: string): Promise<RecoveryResolution | undefined> {
    const key = this.#key(recovery);
    const entry = await this.#storage.get(key);
    if (entry === undefined) return undefined;
    const { recovery: owner, ...resolution } = openRecord(key, entry.value, isResolutionMeta).header.meta;
    if (owner === recovery) return resolution;
    throw new CorruptionError(`The record "${key}" says it belongs to recovery "${owner}".`, key);
  }

  /** Keeps it, unless there is one already. @returns the one that counts */
  async decide(recovery: string, resolution: RecoveryResolution): Promise<RecoveryResolution> {
    const key = this.#key(recovery);
    const meta: ResolutionMeta = { recovery, ...resolution };
    const { bytes } = sealRecord({ key, id: uniqueId(), parent: null, meta }, Buffer.alloc(0));
    try {
      await this.#storage.put(key, bytes, { ifVersion: null });
      return resolution;
    } catch (error) {
      const mayBeThere = error instanceof ConflictError || error instanceof OutcomeUnknownError;
      const known = mayBeThere ? await this.get(recovery) : undefined;
      if (known === undefined) throw error;
      return known;
    }
  }

  #key(recovery: string): string {
    return `${this.#prefix}resolutions/${encodeId(recovery, 'id')}`;
  }
}

function isResolutionMeta(meta: unknown): meta is ResolutionMeta {
  return metaSchema.safeParse(meta).success;
}

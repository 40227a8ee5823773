import * as z from 'zod';
import type { Clock } from '../base/clock.js';
import type { Sink } from '../base/emit.js';
import { clockOption, functionOption } from '../base/options.js';
import type { ValueCodec } from '../records/codec.js';
import type { StorageAdapter } from '../storage/adapter.js';
import type { CheckpointEvent } from './checkpoint.js';
import { type SchemaOptions, schemaOptionsSchema } from './migrate.js';
import { type Retention, retentionSchema } from './retention.js';

/** Of the encoded metadata of a checkpoint. */
export const MAX_METADATA_BYTES = 64 * 1024;

/** How a checkpoint manager is made. */
export interface CheckpointManagerOptions<State = unknown> extends SchemaOptions<State> {
  /** Where checkpoints are kept. */
  readonly storage: StorageAdapter;
  /** For classes of the host's own inside a state. Without one, a class instance in a state is an error. */
  readonly codecs?: readonly ValueCodec[];
  /** Largest state, in bytes of its canonical form. Default 64 MiB; a larger one is refused while it is encoded. */
  readonly maxBytes?: number;
  /**
   * Which checkpoints stay: after each save the others of its session are removed. Default: all stay until `prune` or
   * `delete` is called.
   */
  readonly retention?: Retention;
  /** Hears of saves, restores and damage. */
  readonly emit?: Sink<CheckpointEvent>;
  /** Where `savedAtMs` comes from. Default the machine's clock. */
  readonly clock?: Clock;
}

/** For `save`. */
export interface SaveOptions {
  /** A name for this moment, to restore by. At most 256 characters. Several checkpoints may carry the same one. */
  readonly label?: string | undefined;
  /** What the program was doing. At most 256 characters. With `recovery.` in front it is pinned: see `Retention`. */
  readonly operation?: string | undefined;
  /** Facts to find with the checkpoint, without reading its state. At most 64 KiB. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  /**
   * Save only if the newest intact checkpoint has this sequence (0: if there is none), which is the one that `restore`
   * gave; else `ConflictError`.
   */
  readonly ifSequence?: number | undefined;
}

/** For `list`. */
export interface ListCheckpointsOptions {
  /** Checkpoints at most. Default: all. */
  readonly limit?: number | undefined;
  /** Only those with a smaller sequence. */
  readonly before?: number | undefined;
  readonly operation?: string | undefined;
  readonly label?: string | undefined;
}

/** For `restore`. */
export interface RestoreOptions {
  /** This checkpoint; without it the newest older one stands in, and `degraded` says so. */
  readonly sequence?: number | undefined;
  /** The newest checkpoint with this label; `undefined` if none has it. */
  readonly label?: string | undefined;
  /**
   * The sequence that the host knows was saved, kept elsewhere. Something older is an error: a store that was cut off
   * or set back cannot be told from an older one by itself.
   */
  readonly atLeast?: number | undefined;
  /** Default true: pass over damaged checkpoints. False: throw at the first. */
  readonly fallback?: boolean | undefined;
}

export const managerSchema = schemaOptionsSchema.extend({
  storage: z.custom<StorageAdapter>(
    (storage) => typeof storage === 'object' && storage !== null,
    'a StorageAdapter is needed',
  ),
  codecs: z.array(z.custom<ValueCodec>()).optional(),
  maxBytes: z.int().min(1).optional(),
  retention: retentionSchema.optional(),
  emit: functionOption<Sink<CheckpointEvent>>().optional(),
  clock: clockOption.optional(),
});
export const saveSchema = z.strictObject({
  label: z.string().min(1).max(256).optional(),
  operation: z.string().min(1).max(256).optional(),
  metadata: z.custom<Record<string, unknown>>(isPlainObject, 'must be a plain object').optional(),
  ifSequence: z.int().min(0).optional(),
});
export const restoreSchema = z
  .strictObject({
    sequence: z.int().min(1).optional(),
    label: z.string().min(1).optional(),
    atLeast: z.int().min(0).optional(),
    fallback: z.boolean().optional(),
  })
  .refine(
    ({ sequence, label }) => sequence === undefined || label === undefined,
    'give a sequence or a label, not both',
  );
export const listSchema = z.strictObject({
  limit: z.int().min(0).optional(),
  before: z.int().min(1).optional(),
  operation: z.string().optional(),
  label: z.string().optional(),
});
export const verifySchema = z.strictObject({ depth: z.enum(['fast', 'deep']).optional() });
export const dryRunSchema = z.strictObject({ dryRun: z.boolean().optional() });
export const diffSchema = z.strictObject({ from: z.int().min(1), to: z.int().min(1) });
export const sessionsSchema = z.strictObject({ prefix: z.string().optional() });

function isPlainObject(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

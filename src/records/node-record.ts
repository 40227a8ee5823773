import { randomUUID } from 'node:crypto';
import * as z from 'zod';
import { CorruptionError } from '../base/errors.js';
import type { StoredEntry } from '../storage/adapter.js';
import type { ProcessIdentity } from '../storage/host-process.js';
import { openRecord, sealRecord } from './envelope.js';

/** Every node record stands under this. */
export const NODES = 'nodes/';

/**
 * What a node says of itself. No time of day: nobody has to believe another machine's clock. That it was written anew is
 * what says that the node is alive.
 */
export interface NodeRecord {
  readonly node: string;
  /** Heartbeats so far: 0 in the first record. */
  readonly beat: number;
  /** How long the record has to stand unchanged before others may take the node for gone. */
  readonly leaseMs: number;
  /** Where it could be told. */
  readonly process?: ProcessIdentity | undefined;
  /** What it said of the things it holds when it wrote this. Left out if there was nothing to say. */
  readonly notes?: readonly NodeNote[] | undefined;
  /**
   * For how many milliseconds its event loop had not answered its heart thread when that gave the node up. Its tenure was
   * over before this was written.
   */
  readonly frozenMs?: number | undefined;
}

/** What a heartbeat says, beyond that it is one. */
export interface NodeSays {
  readonly notes: readonly NodeNote[];
  readonly frozenMs?: number | undefined;
}

/** What a node says of one thing that it holds, with its heartbeat: so that a hundred things cost no write of their own. */
export interface NodeNote {
  /** Key of the thing's own record. */
  readonly key: string;
  /** Milliseconds since it last showed that it goes on, when the heartbeat was written, on the node's own clock. */
  readonly quietMs: number;
  /** How long it may be quiet before that is suspicious. */
  readonly mayBeQuietMs: number;
  /** How far it is, 0 to 1, where it says so. */
  readonly progress?: number | undefined;
}

const nodeRecordSchema = z.object({
  node: z.string(),
  beat: z.int().min(0),
  leaseMs: z.number().positive(),
  process: z.object({ host: z.string(), pid: z.int().positive(), startTime: z.string() }).optional(),
  notes: z
    .array(
      z.object({
        key: z.string(),
        quietMs: z.number().min(0),
        mayBeQuietMs: z.number().min(0),
        progress: z.number().min(0).max(1).optional(),
      }),
    )
    .optional(),
  frozenMs: z.number().positive().optional(),
});

/** The key of a node's record. */
export function nodeKey(node: string): string {
  return `${NODES}${node}`;
}

/** The bytes to store under `nodeKey(record.node)`. */
export function sealNodeRecord(record: NodeRecord): Uint8Array {
  return sealRecord({ key: nodeKey(record.node), id: randomUUID(), parent: null, meta: record }, Buffer.alloc(0)).bytes;
}

/** @throws CorruptionError if the entry is not what was written, or may not be the newest that was. */
export function openNodeRecord({ key, value, suspect }: StoredEntry): NodeRecord {
  if (suspect) {
    const message = `"${key}" may be older than what was written last: the store is damaged behind it. Repair the store.`;
    throw new CorruptionError(message, key);
  }
  return openRecord(key, value, isNodeRecord).header.meta;
}

function isNodeRecord(meta: unknown): meta is NodeRecord {
  return nodeRecordSchema.safeParse(meta).success;
}

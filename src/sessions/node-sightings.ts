import { CorruptionError } from '../base/errors.js';
import type { HeldOnNode } from '../records/held-on-node.js';
import type { LeaseNode, Sighting } from '../records/node.js';
import type { SessionInfo } from './session-info.js';
import { hasEnded, type StoredSession } from './session-record.js';

/** What was seen of the node that holds a session: `undefined` if nobody does, or why its record cannot be read. */
export type Seen = Sighting | CorruptionError | undefined;

/** What is known of a session: by its record, and by what was seen of the node that holds it. */
export function infoOf({ record, key }: Pick<StoredSession, 'record' | 'key'>, seen: Seen): SessionInfo {
  const { id, owner, fence, priority, metadata, startedAtMs, updatedAtMs, takeovers } = record;
  const { quarantined, endedAtMs, error } = record;
  const sighting = seen instanceof CorruptionError ? undefined : seen;
  const note = sighting?.record?.notes?.find((noted) => noted.key === key);
  const isLeft = !hasEnded(record) && (seen === undefined || sighting?.isGone === true);
  return {
    id,
    status: isLeft ? 'interrupted' : record.status,
    node: owner,
    fence,
    priority,
    metadata,
    startedAtMs,
    updatedAtMs,
    takeovers,
    ...(note && { quietMs: note.quietMs }),
    ...(note?.progress !== undefined && { progress: note.progress }),
    ...(quarantined && { quarantined }),
    ...(endedAtMs !== undefined && { endedAtMs }),
    ...(error !== undefined && { error }),
  };
}

/** Looks at each node once, however many sessions it holds. For one walk through the sessions. */
export class NodeSightings {
  readonly #node: LeaseNode;
  readonly #held: HeldOnNode;
  readonly #seen = new Map<string, Promise<Sighting | CorruptionError>>();

  constructor(node: LeaseNode, held: HeldOnNode) {
    this.#node = node;
    this.#held = held;
  }

  async of({ record: { id, owner } }: StoredSession): Promise<Seen> {
    if (owner === null) return undefined;
    // Ours, and nobody here goes on with it: the answer to a write got lost, or it was let go of without one.
    if (this.#node.isOwn(owner) && !this.#held.isTaken(id)) return undefined;
    let seen = this.#seen.get(owner);
    if (seen === undefined) {
      seen = this.#look(owner);
      this.#seen.set(owner, seen);
    }
    return seen;
  }

  async #look(owner: string): Promise<Sighting | CorruptionError> {
    try {
      return await this.#node.look(owner);
    } catch (error) {
      if (error instanceof CorruptionError) return error; // It says nothing of the sessions of other nodes.
      throw error;
    }
  }
}

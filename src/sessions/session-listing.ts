import { emit, type Sink } from '../base/emit.js';
import { inWords } from '../policies/in-words.js';
import { decodeId } from '../records/keys.js';
import { infoOf, type NodeSightings } from './node-sightings.js';
import type { SessionClaims } from './session-claims.js';
import type { SessionEvent } from './session-event.js';
import type { InterruptedSession, SessionInfo } from './session-info.js';
import type { ListSessionsOptions } from './session-options.js';
import { hasEnded, SESSIONS, type SessionRecord, type StoredSession } from './session-record.js';
import type { SessionStore } from './session-store.js';

/** Sessions that are judged at once. */
const JUDGED_AT_ONCE = 50;

/** What is looked through. */
export interface ListingParts {
  readonly store: SessionStore;
  readonly claims: SessionClaims;
  readonly emit: Sink<SessionEvent> | undefined;
}

/** What is known of the sessions of all processes. */
export class SessionListing {
  readonly #parts: ListingParts;

  constructor(parts: ListingParts) {
    this.#parts = parts;
  }

  async get(id: string): Promise<SessionInfo | undefined> {
    const { store, claims } = this.#parts;
    const stored = await store.read(id);
    return stored && infoOf(stored, await claims.sightings().of(stored));
  }

  async *list(filter: ListSessionsOptions): AsyncGenerator<SessionInfo> {
    const sightings = this.#parts.claims.sightings();
    let left = filter.limit ?? Number.POSITIVE_INFINITY;
    if (left === 0) return;
    for await (const stored of this.readable()) {
      if (!mayBeWanted(stored.record, filter)) continue;
      const info = infoOf(stored, await sightings.of(stored));
      if ((filter.status ?? info.status) !== info.status) continue;
      yield info;
      if (--left === 0) return;
    }
  }

  async interrupted(): Promise<InterruptedSession[]> {
    const { store, claims } = this.#parts;
    const sightings = claims.sightings();
    const found: InterruptedSession[] = [];
    const open: StoredSession[] = [];
    for await (const item of store.all()) {
      if ('error' in item) found.push(this.#unreadable(item.key, item.error));
      else if (!hasEnded(item.stored.record)) open.push(item.stored);
    }
    // Some at a time: each may be asked about by the host's probe, which takes its time.
    for (let at = 0; at < open.length; at += JUDGED_AT_ONCE) {
      const judged = open.slice(at, at + JUDGED_AT_ONCE).map((stored) => this.#judge(stored, sightings));
      found.push(...(await Promise.all(judged)).flat());
    }
    return found.sort(byUrgency);
  }

  /** Records that can be read; the others are reported. */
  async *readable(): AsyncGenerator<StoredSession> {
    for await (const found of this.#parts.store.all()) {
      if ('error' in found) this.#unreadable(found.key, found.error);
      else yield found.stored;
    }
  }

  async #judge(stored: StoredSession, sightings: NodeSightings): Promise<InterruptedSession[]> {
    const judgement = await this.#parts.claims.judge(stored, sightings);
    if (judgement.is === 'held') return [];
    const { failure, evidence } = judgement;
    return [{ id: stored.record.id, session: infoOf(stored, await sightings.of(stored)), failure, evidence }];
  }

  #unreadable(key: string, error: unknown): InterruptedSession {
    const text = inWords(error);
    emit(this.#parts.emit, { type: 'session.unreadable', key, error: text });
    const id = decodeId(key.slice(SESSIONS.length)) ?? key;
    return { id, session: undefined, failure: 'corrupted', evidence: [text] };
  }
}

/** Is it one of those that are asked for, as far as its record alone says? */
function mayBeWanted(record: SessionRecord, filter: ListSessionsOptions): boolean {
  const { priority, prefix = '', archived = false } = filter;
  return (
    record.id.startsWith(prefix) &&
    (priority === undefined || record.priority === priority) &&
    (record.archivedAtMs !== undefined) === archived
  );
}

/** High priority first; among equals the one that stands still for longest. What cannot be read comes before all. */
function byUrgency({ session: one }: InterruptedSession, { session: other }: InterruptedSession): number {
  if (one === undefined || other === undefined) return Number(one !== undefined) - Number(other !== undefined);
  const rank = { high: 0, normal: 1, low: 2 };
  return rank[one.priority] - rank[other.priority] || one.updatedAtMs - other.updatedAtMs;
}

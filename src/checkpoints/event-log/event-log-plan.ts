import type { KnownEvent, RecentIds } from './event-log-ids.js';
import type { PreparedEvent } from './event-log-line.js';
import { type AppendedEvent, EventIdConflictError } from './event-log-results.js';

/** What becomes of appends that share a write. */
export interface AppendPlan {
  /** Those that are not in the log yet, in order: what is to be written. */
  readonly fresh: readonly PreparedEvent[];
  /** Of the newest event once they are written. */
  readonly position: number;
  /** One for each append: where its events stand, or why none of them is written. */
  readonly answers: readonly (readonly AppendedEvent[] | EventIdConflictError)[];
}

/** Gives each event of each append its position behind what is known. Nothing is changed. */
export function planAppends(
  session: string,
  appends: readonly (readonly PreparedEvent[])[],
  known: Pick<RecentIds, 'get' | 'position'>,
): AppendPlan {
  const fresh: PreparedEvent[] = [];
  const planned = new Map<string, KnownEvent>();
  const answers = appends.map((events) => {
    const firstFresh = fresh.length;
    const answer: AppendedEvent[] = [];
    for (const event of events) {
      const { id, fingerprint } = event;
      const there = planned.get(id) ?? known.get(id);
      if (there !== undefined && there.fingerprint !== fingerprint) {
        // All of an append or nothing.
        for (const taken of fresh.splice(firstFresh)) planned.delete(taken.id);
        return new EventIdConflictError(session, id, there.position);
      }
      const position = there?.position ?? known.position + fresh.push(event);
      if (there === undefined) planned.set(id, { position, fingerprint });
      answer.push({ position, isNew: there === undefined });
    }
    return answer;
  });
  return { fresh, position: known.position + fresh.length, answers };
}

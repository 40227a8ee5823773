import * as z from 'zod';
import { InvalidInputError } from '../base/errors.js';
import { parseOptions } from '../base/options.js';
import { BusyError } from '../records/lease.js';
import type { Session } from '../sessions/session.js';
import { QuarantinedError, SessionEndedError } from '../sessions/session-errors.js';
import type { SessionRegistry } from '../sessions/session-registry.js';
import type { StateKeeper } from '../sessions/state-keeper.js';

/** For `rescue`. */
export interface RescueOptions {
  /** Sessions at work at once. Default 10. */
  readonly concurrency?: number;
  /** Only sessions whose id begins like this. */
  readonly prefix?: string;
  /** No more sessions are begun once it is aborted; those at work go on. */
  readonly signal?: AbortSignal;
}

/** What became of the sessions that were interrupted, by id. */
export interface RescueReport {
  /** Their work came to its end. */
  readonly completed: readonly string[];
  /** Recovering them, or their work, failed. */
  readonly failed: readonly { readonly id: string; readonly error: unknown }[];
  /** Somebody else holds them, or may: another rescuer was faster, or their process lives. */
  readonly busy: readonly string[];
  /** They are left alone until a person releases them. */
  readonly quarantined: readonly string[];
}

const rescueSchema = z.strictObject({
  concurrency: z.int().min(1).default(10),
  prefix: z.string().default(''),
  signal: z.instanceof(AbortSignal).optional(),
});

/** Runs `work` for every interrupted session of the registry: the urgent ones first, so many at a time, each once. */
export async function rescueSessions<Keeper extends StateKeeper>(
  sessions: SessionRegistry<Keeper>,
  work: (session: Session<Keeper>) => unknown,
  options?: RescueOptions,
): Promise<RescueReport> {
  if (typeof work !== 'function') throw new InvalidInputError('work: must be a function.', 'work');
  const { concurrency, prefix, signal } = parseOptions(rescueSchema, options);
  const report = {
    completed: [] as string[],
    failed: [] as { id: string; error: unknown }[],
    busy: [] as string[],
    quarantined: [] as string[],
  };
  const waiting = (await sessions.interrupted()).filter(({ id }) => id.startsWith(prefix));
  const rescue = async (id: string): Promise<void> => {
    try {
      await sessions.run(id, work);
      report.completed.push(id);
    } catch (error) {
      // By name: the work itself may meet errors of these classes that are about something else.
      if (error instanceof QuarantinedError && error.session === id) report.quarantined.push(id);
      else if (isTaken(error, id)) report.busy.push(id);
      else report.failed.push({ id, error });
    }
  };
  const next = async (): Promise<void> => {
    for (let found = waiting.shift(); found !== undefined && !signal?.aborted; found = waiting.shift()) {
      await rescue(found.id);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, next));
  return report;
}

function isTaken(error: unknown, id: string): boolean {
  if (error instanceof SessionEndedError) return error.session === id;
  return error instanceof BusyError && error.what === `session "${id}"`;
}

import * as z from 'zod';
import { InvalidInputError } from '../base/errors.js';
import { parseOptions } from '../base/options.js';
import { BusyError } from '../records/lease.js';
import type { LeaseNode } from '../records/node.js';
import type { Session } from '../sessions/session.js';
import { QuarantinedError, SessionEndedError } from '../sessions/session-errors.js';
import type { InterruptedSession } from '../sessions/session-info.js';
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
  /** Why the records that dead processes left could not all be removed, if so. Nothing depends on them. */
  readonly sweepError?: unknown;
}

const rescueSchema = z.strictObject({
  concurrency: z.int().min(1).default(10),
  prefix: z.string().default(''),
  signal: z.instanceof(AbortSignal).optional(),
});

/** What sessions are rescued with. */
export interface RescueParts<Keeper extends StateKeeper> {
  readonly sessions: SessionRegistry<Keeper>;
  /** The one that the registry holds its sessions with. */
  readonly node: LeaseNode;
}

/**
 * Runs `work` for every interrupted session of the registry: the urgent ones first, so many at a time, each once. Records
 * of dead nodes that no session is left of are removed.
 */
export async function rescueSessions<Keeper extends StateKeeper>(
  { sessions, node }: RescueParts<Keeper>,
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
  const interrupted = await sessions.interrupted();
  const waiting = interrupted.filter(({ id }) => id.startsWith(prefix));
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
  const [swept] = await Promise.all([sweep(node, interrupted), ...Array.from({ length: concurrency }, next)]);
  return { ...report, ...swept };
}

/**
 * Dead nodes that sessions still name stay until the next rescue: their records say how those died, and nothing here waits
 * for work to end. Nor is one removed while a session cannot be read, which may name it. Those that hold sessions live.
 */
async function sweep(
  node: LeaseNode,
  interrupted: readonly InterruptedSession[],
): Promise<Pick<RescueReport, 'sweepError'>> {
  const named = new Set<string | null>();
  for (const { session } of interrupted) {
    if (session === undefined) return {};
    named.add(session.node);
  }
  try {
    await node.sweepGone((holder) => named.has(holder));
    return {};
  } catch (sweepError) {
    return { sweepError };
  }
}

function isTaken(error: unknown, id: string): boolean {
  if (error instanceof SessionEndedError) return error.session === id;
  return error instanceof BusyError && error.what === `session "${id}"`;
}

import { constants } from 'node:buffer';
import * as z from 'zod';
import type { Clock } from '../../base/clock.js';
import type { Sink } from '../../base/emit.js';
import { clockOption, functionOption } from '../../base/options.js';
import type { ValueCodec } from '../../records/codec.js';
import type { StorageAdapter } from '../../storage/adapter.js';
import type { CheckpointManager } from '../checkpoint-manager.js';
import type { EventLogEvent } from './event-log-results.js';

/** What a log needs of a checkpoint manager. */
export type ReplayCheckpoints<State> = Pick<CheckpointManager<State>, 'save' | 'restore' | 'list'>;

/** How an event log is made. */
export interface EventLogOptions<Event, State> {
  /** Where events are kept. Need not be where the checkpoints are. */
  readonly storage: StorageAdapter;
  /**
   * Where `replay` finds states to begin from, and saves them. Default none: every replay begins at the first event. A
   * checkpoint does not say which reducer made it: another reducer over the same events needs a manager on a storage of
   * its own, and a reducer that changed needs migrations, or the old checkpoints deleted.
   */
  readonly checkpoints?: ReplayCheckpoints<State>;
  /**
   * What names an event, 1 to 1,024 bytes: the same text whenever the same event is appended again. Default: the event's
   * own property `id`. Give it where events are named otherwise; an id drawn here would make every append a new event.
   */
  readonly idOf?: (event: Event) => string;
  /**
   * With how many of the newest events of its session an append is compared at least. Default 10,000, which takes 2 to
   * 4 MB for each session that is being appended to. Raise it if an append may be repeated after more events than that.
   */
  readonly idWindow?: number;
  /** For classes of the host's own inside an event. Without one, a class instance in an event is an error. */
  readonly codecs?: readonly ValueCodec[];
  /** Largest event, in bytes of its canonical form. Default 1 MiB. Keep large contents elsewhere, and their name in the event. */
  readonly maxEventBytes?: number;
  /** Hears of appends and replays. */
  readonly emit?: Sink<EventLogEvent>;
  /** Where `appendedAtMs` and waiting come from. Default the machine's clock. */
  readonly clock?: Clock;
}

/** For `read`. */
export interface ReadEventsOptions {
  /** Only events behind this position. Default 0: all. */
  readonly after?: number;
}

/** For `replay`. */
export interface ReplayOptions {
  /**
   * Saves a checkpoint after every so many events behind the newest one. Default: none is saved. A replay begins at most
   * so many events, and those appended since, from the end; choose it so that they are replayed fast enough. None is
   * saved merely because a replay has ended, so a session may be opened often.
   */
  readonly saveEvery?: number;
  /** Aborting rejects with the signal's reason before the next event. Checkpoints saved until then stay. */
  readonly signal?: AbortSignal;
}

/** For `replay`, with a state to begin from. */
export interface ReplayFromOptions<State> extends ReplayOptions {
  /**
   * The state before the first event. Left out, the reducer is first given `undefined`, as for a default parameter. It is
   * not copied: for a reducer that changes states in place, make a new one each time.
   */
  readonly initial: State;
}

const DEFAULT_ID_WINDOW = 10_000;
const DEFAULT_MAX_EVENT_BYTES = 1024 * 1024;

export const eventLogSchema = z.strictObject({
  storage: z.custom<StorageAdapter>(
    (storage) => typeof storage === 'object' && storage !== null,
    'a StorageAdapter is needed',
  ),
  checkpoints: z.custom<ReplayCheckpoints<unknown>>(isCheckpoints, 'must be a CheckpointManager').optional(),
  idOf: functionOption<(event: unknown) => unknown>().default(() => ownId),
  idWindow: z.int().min(1).default(DEFAULT_ID_WINDOW),
  codecs: z.array(z.custom<ValueCodec>()).optional(),
  maxEventBytes: z.int().min(1).max(constants.MAX_STRING_LENGTH).default(DEFAULT_MAX_EVENT_BYTES),
  emit: functionOption<Sink<EventLogEvent>>().optional(),
  clock: clockOption.optional(),
});
export const readEventsSchema = z.strictObject({ after: z.int().min(0).default(0) });
export const replaySchema = z.strictObject({
  initial: z.unknown().optional(),
  saveEvery: z.int().min(1).optional(),
  signal: z.instanceof(AbortSignal).optional(),
});

function isCheckpoints(value: unknown): boolean {
  const manager = value as Partial<ReplayCheckpoints<unknown>> | null;
  return [manager?.save, manager?.restore, manager?.list].every((method) => typeof method === 'function');
}

function ownId(event: unknown): unknown {
  return (event as { readonly id?: unknown } | null | undefined)?.id;
}

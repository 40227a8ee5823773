import { CorruptionError } from '../../base/errors.js';
import type { CodecSettings } from '../../records/codec.js';
import { decodeValue } from '../../records/decode.js';
import { ConflictError } from '../../storage/adapter.js';
import { type CheckpointInfo, MissingCheckpointError, type RestoredCheckpoint } from '../checkpoint.js';
import { eventLogKeys, type LogHead } from './event-log-head.js';
import { bodyOf, readLineHead } from './event-log-line.js';
import type { ReplayCheckpoints } from './event-log-options.js';
import type { EventLogRecords } from './event-log-records.js';
import { type Reducer, ReplayError } from './event-log-results.js';

/** Key of the mark in a checkpoint's metadata, and what the checkpoint is saved as. */
const MARK = 'eventLog';
const OPERATION = 'replay';

/** Which events a state comes from. */
interface ReplayMark {
  /** Of which log: one that is begun again after a delete has other events. */
  readonly log: string;
  readonly position: number;
}

/** A checkpoint to begin from. */
export interface ReplayStart<State> {
  readonly state: State;
  readonly checkpoint: CheckpointInfo;
  readonly mark: ReplayMark;
}

/** What a replay works with. */
export interface ReplayTools<State> {
  readonly records: EventLogRecords;
  readonly codec: CodecSettings;
  readonly checkpoints: ReplayCheckpoints<State> | undefined;
}

/** One replay: the events of `head` behind position `after`. */
export interface ReplayRun<Event, State> {
  readonly head: LogHead;
  readonly after: number;
  readonly reducer: Reducer<Event, State>;
  readonly saveEvery: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * The newest intact checkpoint that a replay saved; `undefined` if there is none. A session may have other checkpoints,
 * too: they are passed over.
 */
export async function newestStart<State>(
  checkpoints: ReplayCheckpoints<State>,
  session: string,
): Promise<ReplayStart<State> | undefined> {
  try {
    // Not by its operation: what is saved next goes on from what is restored without a choice.
    let restored = await checkpoints.restore(session);
    while (restored !== undefined) {
      const start = startOf(restored);
      if (start !== undefined) return start;
      restored = await restoreBefore(checkpoints, restored.checkpoint);
    }
  } catch (error) {
    // All states are in the events, too, and the manager has reported the damage. What it cannot read for want of a codec
    // or a newer version is thrown.
    if (!(error instanceof CorruptionError || error instanceof MissingCheckpointError)) throw error;
  }
  return undefined;
}

async function restoreBefore<State>(
  checkpoints: ReplayCheckpoints<State>,
  { session, sequence: before }: CheckpointInfo,
): Promise<RestoredCheckpoint<State> | undefined> {
  for await (const { sequence } of checkpoints.list(session, { before, operation: OPERATION, limit: 1 })) {
    return checkpoints.restore(session, { sequence });
  }
  return undefined;
}

/** @throws CorruptionError if the events that a checkpoint comes from are not those of `head`. */
export function requireItsEvents({ mark, checkpoint }: ReplayStart<unknown>, head: LogHead): void {
  const { session, sequence } = checkpoint;
  if (mark.log === head.log && mark.position <= head.position) return;
  const found = mark.log === head.log ? `the log ends at ${head.position}` : 'the log is another one';
  const message = `Checkpoint ${sequence} of session "${session}" was made from ${mark.position} events, but ${found}. If the events were deleted on purpose, delete the session's checkpoints, too; else bring the store's events back.`;
  throw new CorruptionError(message, eventLogKeys(session).head);
}

/**
 * The state after the last event.
 * @throws ReplayError if the reducer throws; LostEventsError; the signal's reason.
 */
export async function applyEvents<Event, State>(
  { records, codec, checkpoints }: ReplayTools<State>,
  { head, after, reducer, saveEvery, signal }: ReplayRun<Event, State>,
  initial: State,
): Promise<State> {
  let state = initial;
  for await (const { key, from, lines } of records.chunks(head, after)) {
    for (const [at, line] of lines.entries()) {
      signal?.throwIfAborted();
      const position = from + at;
      const event = decodeValue(bodyOf(line, key), codec, key) as Event;
      try {
        const next = reducer(state, event, position);
        state = isPromise(next) ? await next : next; // Awaiting each would double the time of a replay.
        // One that changes the state in place and forgets to return it would lose it here.
        if (state === undefined) throw new TypeError('The reducer returned undefined: return the next state.');
      } catch (cause) {
        throw new ReplayError(head.session, position, readLineHead(line, key).id, { cause });
      }
      if (saveEvery !== undefined && (position - after) % saveEvery === 0) {
        await saveState(checkpoints, state, { head, position });
      }
    }
  }
  return state;
}

async function saveState<State>(
  checkpoints: ReplayCheckpoints<State> | undefined,
  state: State,
  { head: { session, log }, position }: { readonly head: LogHead; readonly position: number },
): Promise<void> {
  const mark: ReplayMark = { log, position };
  try {
    await checkpoints?.save(session, state, { operation: OPERATION, metadata: { [MARK]: mark } });
  } catch (error) {
    // Somebody else saved to the session, perhaps another replay. This one goes on: without the checkpoint a later replay
    // takes longer, and that is all.
    if (!(error instanceof ConflictError)) throw error;
  }
}

function startOf<State>({ state, checkpoint }: RestoredCheckpoint<State>): ReplayStart<State> | undefined {
  const mark = checkpoint.metadata[MARK] as Partial<ReplayMark> | undefined;
  if (typeof mark?.log !== 'string' || !Number.isSafeInteger(mark.position)) return undefined;
  return { state, checkpoint, mark: mark as ReplayMark };
}

function isPromise<Value>(value: Value | Promise<Value>): value is Promise<Value> {
  return typeof (value as { readonly then?: unknown } | null | undefined)?.then === 'function';
}

import { type CorruptionError, HoldfastError } from '../../base/errors.js';
import type { CheckpointInfo } from '../checkpoint.js';

/** Where an event stands after it was appended. */
export interface AppendedEvent {
  /** 1 for the first event of a session, then counting up without gaps. */
  readonly position: number;
  /** False: an equal event with this id was there already, and nothing was written. */
  readonly isNew: boolean;
}

/** An event as `read` gives it. */
export interface StoredEvent<Event> {
  readonly position: number;
  readonly id: string;
  readonly event: Event;
  /** When it was appended, milliseconds since 1970: a label for humans, nothing is decided by it. */
  readonly appendedAtMs: number;
}

/** What a replay came to. */
export interface Replayed<State> {
  readonly state: State;
  /** Of the last event that is in `state`; 0 if there are none. */
  readonly position: number;
  /** Events that were given to the reducer. Those before them are in the checkpoint. */
  readonly replayed: number;
  /** The checkpoint it began from; left out if it began from the first event. */
  readonly checkpoint?: CheckpointInfo;
}

/**
 * The next state. It gets the same states and events again in every replay, so it depends on nothing else and has no
 * effect on the world. It may change `state` in place and return it.
 */
export type Reducer<Event, State, Before = State> = (
  state: Before,
  event: Event,
  position: number,
) => State | Promise<State>;

/** What an event log reports, after the fact is durable. */
export type EventLogEvent =
  | {
      readonly type: 'events.appended';
      readonly session: string;
      /** Of the last one. */
      readonly position: number;
      /** How many new events one write had. */
      readonly count: number;
    }
  | {
      readonly type: 'events.replayed';
      readonly session: string;
      /** Position of the checkpoint it began from; 0 if there was none. */
      readonly from: number;
      readonly to: number;
      readonly durationMs: number;
    };

/**
 * Another event than this one is in the log under its id. Nothing was written. Two events that differ need two ids; one
 * that is appended again must be the same, times and random values in it included.
 */
export class EventIdConflictError extends HoldfastError {
  readonly code = 'HOLDFAST_EVENT_ID_CONFLICT';
  constructor(
    readonly session: string,
    readonly id: string,
    /** Of the event that is there. */
    readonly position: number,
  ) {
    super(
      `Event ${position} of session "${session}" has the id "${id}" and differs from this one. Give this event an id of its own.`,
    );
  }
}

/** The reducer threw, which is the `cause`. What came before is intact; no checkpoint was saved with this event or later ones. */
export class ReplayError extends HoldfastError {
  readonly code = 'HOLDFAST_REPLAY';
  constructor(
    readonly session: string,
    /** Of the event that it threw for. */
    readonly position: number,
    readonly id: string,
    options: { readonly cause: unknown },
  ) {
    super(
      `The reducer threw at event ${position} ("${id}") of session "${session}". Mend the reducer and replay again: the log is intact.`,
      options,
    );
  }
}

/**
 * Events from position `from` to `to` cannot be read: their record is damaged or gone. None is passed over: who can do
 * without them reads on with `read(session, { after: to })`, or replays from a checkpoint behind them.
 */
export class LostEventsError extends HoldfastError {
  readonly code = 'HOLDFAST_LOST_EVENTS';
  /** The storage key that is damaged. */
  readonly key: string;
  constructor(
    readonly session: string,
    readonly range: { readonly from: number; readonly to: number },
    damage: CorruptionError,
  ) {
    const what = `Events ${range.from} to ${range.to} of session "${session}" cannot be read. ${damage.message}`;
    const message = `${what} Read on behind them with { after: ${range.to} }; appends, which compare ids with them, need a smaller \`idWindow\`.`;
    super(message, { cause: damage });
    this.key = damage.key;
  }
}

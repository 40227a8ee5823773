import { constants } from 'node:buffer';
import { type Clock, systemClock } from '../../base/clock.js';
import { emit, type Sink } from '../../base/emit.js';
import { InvalidInputError } from '../../base/errors.js';
import { parseOptions } from '../../base/options.js';
import { prepareCodecs } from '../../records/codec.js';
import { decodeValue } from '../../records/decode.js';
import { checked } from '../../storage/checked.js';
import { eventLogKeys } from './event-log-head.js';
import { bodyOf, type EventFormat, prepareEvent, readLineHead } from './event-log-line.js';
import {
  type EventLogOptions,
  eventLogSchema,
  type ReadEventsOptions,
  type ReplayCheckpoints,
  type ReplayFromOptions,
  type ReplayOptions,
  readEventsSchema,
  replaySchema,
} from './event-log-options.js';
import { EventLogRecords } from './event-log-records.js';
import { applyEvents, newestStart, requireItsEvents } from './event-log-replay.js';
import type { AppendedEvent, EventLogEvent, Reducer, Replayed, StoredEvent } from './event-log-results.js';
import { EventLogWriter } from './event-log-writer.js';

/** Ids remembered over all sessions that are not being appended to; about 200 bytes each. */
const MAX_IDLE_IDS = 100_000;
/** Sessions remembered, however few ids they have. */
const MAX_IDLE_SESSIONS = 1_000;
/** Bytes of a record beside one event: links, an id, and what proves them. */
const RECORD_ROOM_BYTES = 16 * 1024;

/**
 * The events of sessions, in order, and the states that come of them. For programs whose state follows from what happened:
 * they append what happens and replay it after a crash, beginning at the newest checkpoint.
 *
 * Appending an event again, by its id, changes nothing, so a program that does not know whether an append came through
 * appends once more. An append is compared with at least the newest 10,000 events of its session (`idWindow`); one that
 * is repeated after more events than that is appended anew.
 *
 * ```ts
 * const events = new EventLog<Deposit, Account>({ storage, checkpoints: new CheckpointManager<Account>({ storage }) });
 * await events.append('account-7', { id: 'transfer-93', amount: 50 });
 * const { state } = await events.replay(
 *   'account-7',
 *   (account, deposit) => ({ balance: account.balance + deposit.amount }),
 *   { initial: { balance: 0 }, saveEvery: 1_000 },
 * );
 * ```
 */
export class EventLog<Event = unknown, State = unknown> {
  readonly #records: EventLogRecords;
  readonly #format: EventFormat;
  readonly #checkpoints: ReplayCheckpoints<State> | undefined;
  readonly #idOf: (event: Event) => unknown;
  readonly #idWindow: number;
  readonly #sink: Sink<EventLogEvent> | undefined;
  readonly #clock: Clock;
  /** By session, the one used last at the end. */
  readonly #writers = new Map<string, EventLogWriter>();

  /** @throws InvalidInputError for an unknown or unfit option. */
  constructor(options: EventLogOptions<Event, State>) {
    const { codecs = [], maxEventBytes, ...parsed } = parseOptions(eventLogSchema, options);
    const storage = checked(parsed.storage);
    const { maxValueBytes = Number.POSITIVE_INFINITY } = storage.capabilities;
    this.#records = new EventLogRecords(storage);
    this.#format = {
      // Whatever was appended once is read, also if the limit is lower now.
      codec: prepareCodecs({ codecs, maxBytes: constants.MAX_STRING_LENGTH }),
      maxEventBytes: Math.min(maxEventBytes, maxValueBytes - RECORD_ROOM_BYTES),
    };
    this.#checkpoints = parsed.checkpoints as ReplayCheckpoints<State> | undefined;
    this.#idOf = parsed.idOf;
    this.#idWindow = parsed.idWindow;
    this.#sink = parsed.emit;
    this.#clock = parsed.clock ?? systemClock;
  }

  /**
   * Appends `event`, durable when this resolves, unless it is there already. It is taken before this returns its promise:
   * it may be changed at once. Appends that come while a write is under way share the next one, in the order of the calls;
   * other processes may append to the session at the same time.
   *
   * The first append to a session reads its newest events, for their ids. A crash leaves the event there or not; appended
   * again it is there once.
   * @throws EventIdConflictError if a different event has its id. UnserializableError (with the path), LimitError,
   * InvalidInputError: nothing was written.
   * @throws NoSpaceError, StorageError: nothing was written. OutcomeUnknownError: it may have been; append again.
   * @throws CorruptionError if the events that it would be compared with cannot be read.
   */
  async append(session: string, event: Event): Promise<AppendedEvent> {
    const [appended] = await this.#append(session, [event]);
    return appended as AppendedEvent;
  }

  /**
   * Appends `events` as one: all of them or none, also in a crash, those that are new at positions in a row. As `append`
   * otherwise; for many events far faster than one at a time.
   * @throws as `append`, for the first event that it holds for.
   */
  async appendAll(session: string, events: readonly Event[]): Promise<readonly AppendedEvent[]> {
    return this.#append(session, events);
  }

  /**
   * The state after all events that were appended before the call: that of the newest intact checkpoint of a replay, and
   * `reducer` for every event behind it, in order, each once. With `saveEvery` it saves checkpoints on its way. Nothing
   * that cannot be read is passed over; damaged checkpoints are, for an older one or the first event.
   *
   * A crash halfway leaves the checkpoints that were saved; the next replay begins at the newest. Two replays of a session
   * at the same time are in each other's way only in that one of them saves.
   * @throws ReplayError if the reducer throws. LostEventsError if events are damaged: `range` says which.
   * @throws CorruptionError if a checkpoint comes from events that are not there: the store was set back, or the events
   * were deleted and the checkpoints were not.
   * @throws UnknownCodecError, NewerSchemaError: what is stored is intact, this program cannot read it. What `save` of the
   * checkpoints throws, but for a ConflictError.
   */
  replay(session: string, reducer: Reducer<Event, State>, options: ReplayFromOptions<State>): Promise<Replayed<State>>;
  replay(
    session: string,
    reducer: Reducer<Event, State, State | undefined>,
    options?: ReplayOptions,
  ): Promise<Replayed<State | undefined>>;
  async replay(
    session: string,
    reducer: Reducer<Event, State>,
    options?: ReplayOptions | ReplayFromOptions<State>,
  ): Promise<Replayed<State>> {
    const { initial, saveEvery, signal } = parseOptions(replaySchema, options);
    const [records, checkpoints, startedMs] = [this.#records, this.#checkpoints, this.#clock.monotonicMs()];
    if (saveEvery !== undefined && checkpoints === undefined) {
      const message = 'options.saveEvery: give the EventLog `checkpoints` to save to, or leave it out.';
      throw new InvalidInputError(message, 'options.saveEvery');
    }
    const start = checkpoints && (await newestStart(checkpoints, session));
    // Behind the checkpoint: one that is saved meanwhile may come from events that were not there before.
    const head = await records.readHead(session);
    if (start !== undefined) requireItsEvents(start, head);
    const after = start?.mark.position ?? 0;
    const state = await applyEvents(
      { records, codec: this.#format.codec, checkpoints },
      { head, after, reducer, saveEvery, signal },
      start === undefined ? (initial as State) : start.state,
    );
    const { position } = head;
    const durationMs = this.#clock.monotonicMs() - startedMs;
    emit(this.#sink, { type: 'events.replayed', session, from: after, to: position, durationMs });
    const replayed = { state, position, replayed: position - after };
    return start === undefined ? replayed : { ...replayed, checkpoint: start.checkpoint };
  }

  /**
   * The events that were appended before the first is asked for, in order, a few records at a time in memory.
   * @throws LostEventsError at the first that cannot be read; ConflictError if the events are deleted meanwhile.
   */
  async *read(session: string, options?: ReadEventsOptions): AsyncGenerator<StoredEvent<Event>> {
    const { after } = parseOptions(readEventsSchema, options);
    const head = await this.#records.readHead(session);
    for await (const { key, from, lines } of this.#records.chunks(head, after)) {
      for (const [at, line] of lines.entries()) {
        const { id, appendedAtMs } = readLineHead(line, key);
        const event = decodeValue(bodyOf(line, key), this.#format.codec, key) as Event;
        yield { position: from + at, id, event, appendedAtMs };
      }
    }
  }

  /** Of the newest event; 0 if there are none. @throws CorruptionError */
  async position(session: string): Promise<number> {
    return (await this.#records.readHead(session)).position;
  }

  /** Sessions that have events, each once, in no promised order. */
  sessions(): AsyncGenerator<string> {
    return this.#records.sessions();
  }

  /**
   * Removes all events of a session, readable or not; true if there were any. Its checkpoints stay: delete them first, or
   * `replay` refuses to begin from a state whose events are gone. After a crash halfway all events are there, or none
   * are; deleting again removes what is left of them.
   */
  async delete(session: string): Promise<boolean> {
    return this.#records.delete(session);
  }

  async #append(session: string, events: readonly Event[]): Promise<readonly AppendedEvent[]> {
    eventLogKeys(session); // Refuses a bad name before anything is done.
    const appendedAtMs = this.#clock.now();
    const prepared = events.map((event) => prepareEvent({ event, id: this.#idOf(event), appendedAtMs }, this.#format));
    return prepared.length === 0 ? [] : this.#writerOf(session).append(prepared);
  }

  #writerOf(session: string): EventLogWriter {
    const known = this.#writers.get(session);
    if (known === undefined) this.#forgetIdle();
    const writer = known ?? new EventLogWriter(session, this.#writerTools());
    this.#writers.delete(session);
    this.#writers.set(session, writer);
    return writer;
  }

  #writerTools() {
    return {
      records: this.#records,
      clock: this.#clock,
      idWindow: this.#idWindow,
      onAppended: (session: string, position: number, count: number) =>
        emit(this.#sink, { type: 'events.appended', session, position, count }),
    };
  }

  /** Keeps the sessions used last. A forgotten one reads its ids again. */
  #forgetIdle(): void {
    let ids = 0;
    let sessions = 0;
    for (const [session, writer] of [...this.#writers].reverse()) {
      ids += writer.idCount;
      sessions++;
      if (writer.isIdle && (ids > MAX_IDLE_IDS || sessions > MAX_IDLE_SESSIONS)) this.#writers.delete(session);
    }
  }
}

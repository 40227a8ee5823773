import { CorruptionError } from '../../base/errors.js';
import { linesOf } from '../../records/journal.js';
import { decodeId } from '../../records/keys.js';
import { ConflictError, type StorageAdapter, type Version } from '../../storage/adapter.js';
import { listedEntries } from '../../storage/listed-entries.js';
import {
  eventLogKeys,
  HEADS,
  type LogHead,
  newLog,
  openLogHead,
  type RangeLink,
  type StoredLogHead,
  sealLogHead,
} from './event-log-head.js';
import { LostEventsError } from './event-log-results.js';
import { type GrownLog, linksIn, openRange, type RangeRecord, rangeKey } from './event-log-tree.js';

/** Ranges written at once. */
const WRITTEN_AT_ONCE = 16;

/** Neighbouring events as they are stored. */
export interface EventChunk {
  /** Of the record they stand in. */
  readonly key: string;
  /** Position of the first line. */
  readonly from: number;
  readonly lines: readonly Buffer[];
}

/** How the records of event logs are read and written. Knows nothing of ids, or of who appends. */
export class EventLogRecords {
  constructor(readonly storage: StorageAdapter) {}

  /** The head of a session, proved; a new one if it has no events. @throws CorruptionError */
  async readHead(session: string): Promise<StoredLogHead> {
    const entry = await this.storage.get(eventLogKeys(session).head);
    return entry === undefined ? newLog(session) : openLogHead(entry);
  }

  /**
   * Puts what a log grew to in place of its head of that version: its ranges, then the head, which makes them count.
   * @throws ConflictError if the head is another.
   */
  async replaceHead({ head, ranges }: GrownLog, version: Version | null): Promise<StoredLogHead> {
    for (let at = 0; at < ranges.length; at += WRITTEN_AT_ONCE) {
      await Promise.all(ranges.slice(at, at + WRITTEN_AT_ONCE).map((range) => this.#putRange(range)));
    }
    const { head: key } = eventLogKeys(head.session);
    return { ...head, version: await this.storage.put(key, sealLogHead(key, head), { ifVersion: version }) };
  }

  /**
   * The events behind position `after`, in order, a record at a time.
   * @throws LostEventsError at the first that cannot be read; ConflictError if the log was deleted since `head` was read.
   */
  async *chunks(head: LogHead, after: number): AsyncGenerator<EventChunk> {
    for (const [level, links] of [...head.levels.entries()].reverse())
      yield* this.#below(head, { level, links }, after);
    if (head.position > after) yield behind(after, eventLogKeys(head.session).head, head.tailFrom, head.tail);
  }

  /**
   * Sessions that have events, in key order.
   * @throws CorruptionError for one whose name cannot be read; behind the last, if the store cannot tell whether it was.
   */
  async *sessions(): AsyncGenerator<string> {
    for await (const { key } of listedEntries(this.storage, HEADS)) {
      const session = decodeId(key.slice(HEADS.length)) ?? (await this.#sessionIn(key));
      if (session !== undefined) yield session;
    }
  }

  /** Removes a log, readable or not, and what earlier ones left behind. True if there was one. */
  async delete(session: string): Promise<boolean> {
    const keys = eventLogKeys(session);
    for (;;) {
      // What is listed before the head is looked at is not of a log that is begun after it is gone.
      const ranges: string[] = [];
      for await (const { key } of listedEntries(this.storage, keys.ranges)) ranges.push(key);
      const head = await this.storage.get(keys.head);
      try {
        // The head first: a log is there as a whole, or not at all.
        if (head !== undefined) await this.storage.delete(keys.head, { ifVersion: head.version });
      } catch (error) {
        if (error instanceof ConflictError) continue; // Somebody appended: there are ranges that were not listed.
        throw error;
      }
      for (const key of ranges) await this.storage.delete(key);
      return head !== undefined;
    }
  }

  /** To be done again after any error: it is the same range, and one that no head came to name harms nobody. */
  async #putRange({ key, bytes, link }: RangeRecord): Promise<void> {
    try {
      await this.storage.put(key, bytes, { ifVersion: null });
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      const entry = await this.storage.get(key);
      if (entry === undefined) throw error; // Deleted since. Whoever did that has deleted the head before.
      openRange(entry, link);
    }
  }

  async *#below(
    head: LogHead,
    { level, links }: { readonly level: number; readonly links: readonly RangeLink[] },
    after: number,
  ): AsyncGenerator<EventChunk> {
    // All at once, for a store that is far away: they are few.
    const reads = links.filter(({ to }) => to > after).map((link) => this.#startRead(head, level, link));
    for (const { link, key, body } of reads) {
      if (level === 0) {
        yield behind(after, key, link.from, await body);
        await nextTurn(); // A store that answers at once must not keep timers waiting: leases are renewed by them.
      } else yield* this.#below(head, { level: level - 1, links: linksIn(await body) }, after);
    }
  }

  #startRead(head: LogHead, level: number, link: RangeLink) {
    const key = rangeKey(head, level, link);
    const body = this.#readRange(head, key, link);
    body.catch(noop); // Thrown when its turn comes: what stands before it is read first.
    return { link, key, body };
  }

  async #readRange(head: LogHead, key: string, link: RangeLink): Promise<Buffer> {
    try {
      const entry = await this.storage.get(key);
      if (entry !== undefined) return openRange(entry, link);
    } catch (error) {
      if (error instanceof CorruptionError) throw new LostEventsError(head.session, link, error);
      throw error;
    }
    if ((await this.readHead(head.session)).log !== head.log) {
      const message = `The events of session "${head.session}" were deleted while they were read. Read again.`;
      throw new ConflictError(eventLogKeys(head.session).head, undefined, { message });
    }
    throw new LostEventsError(head.session, link, new CorruptionError(`The record "${key}" is missing.`, key));
  }

  async #sessionIn(key: string): Promise<string | undefined> {
    const entry = await this.storage.get(key);
    return entry && openLogHead(entry).session;
  }
}

/** The lines in `body`, the first of which stands at `from`, as far as they are behind `after`. */
function behind(after: number, key: string, from: number, body: Buffer): EventChunk {
  const lines = linesOf(body);
  const skipped = Math.max(0, after + 1 - from);
  return { key, from: from + skipped, lines: lines.slice(skipped) };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function noop(): void {}

import { randomBytes } from 'node:crypto';
import type { Clock } from '../../base/clock.js';
import { ConflictError, OutcomeUnknownError } from '../../storage/adapter.js';
import { eventLogKeys, type StoredLogHead } from './event-log-head.js';
import { RecentIds } from './event-log-ids.js';
import { bodyOf, fingerprintOf, lineOf, type PreparedEvent, readLineHead } from './event-log-line.js';
import { type AppendPlan, planAppends } from './event-log-plan.js';
import type { EventLogRecords } from './event-log-records.js';
import type { AppendedEvent } from './event-log-results.js';
import { grown } from './event-log-tree.js';

/** What a writer works with: the same for all sessions of a log. */
export interface WriterTools {
  readonly records: EventLogRecords;
  readonly clock: Clock;
  readonly idWindow: number;
  /** `count` new events are durable; `position` is that of the last. */
  onAppended(session: string, position: number, count: number): void;
}

/** Events of one call that wait to be written: all of them in one write. */
interface Append {
  readonly events: readonly PreparedEvent[];
  resolve(appended: readonly AppendedEvent[]): void;
  reject(error: unknown): void;
}

/** Events that come while a write is under way share the next one, up to so many bytes of them. */
const GROUP_BYTES = 1024 * 1024;
/** How often a write of unknown outcome is sent in all. */
const MAX_SENDS = 3;
const FIRST_WAIT_MS = 50;

/** Appends to one session for one process. Other processes may append to it, too. */
export class EventLogWriter {
  readonly #session: string;
  readonly #tools: WriterTools;
  readonly #ids: RecentIds;
  /** In the order of the calls; those that are being written are no longer in it. */
  #pending: Append[] = [];
  #isWriting = false;
  /** As this writer last saw it, when every id in it is known; `undefined`: look again. */
  #head: StoredLogHead | undefined;

  constructor(session: string, tools: WriterTools) {
    this.#session = session;
    this.#tools = tools;
    this.#ids = new RecentIds(tools.idWindow);
  }

  /** Nothing waits: it may be forgotten, and made again. */
  get isIdle(): boolean {
    return !this.#isWriting;
  }

  /** Ids that are held in memory. */
  get idCount(): number {
    return this.#ids.size;
  }

  /** As `EventLog.appendAll`. */
  append(events: readonly PreparedEvent[]): Promise<readonly AppendedEvent[]> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ events, resolve, reject });
      if (!this.#isWriting) void this.#writeAll();
    });
  }

  /** Never rejects: each append is told for itself. */
  async #writeAll(): Promise<void> {
    this.#isWriting = true;
    while (this.#pending.length > 0) {
      const group = this.#pending.splice(0, countThatFit(this.#pending));
      try {
        const { answers } = await this.#write(group.map(({ events }) => events));
        for (const [at, { resolve, reject }] of group.entries()) {
          const answer = answers[at] as AppendPlan['answers'][number];
          if (answer instanceof Error) reject(answer);
          else resolve(answer);
        }
      } catch (error) {
        for (const { reject } of group) reject(error);
      }
    }
    this.#isWriting = false;
  }

  /** Until it is written, or the store fails. An unknown outcome is decided by looking for the write in the log. */
  async #write(group: readonly (readonly PreparedEvent[])[]): Promise<AppendPlan> {
    const writeId = randomBytes(9).toString('base64url');
    let plan: AppendPlan | undefined;
    for (let sends = 1; ; ) {
      const versionBefore = this.#head?.version;
      try {
        const head = this.#head ?? (await this.#catchUp(writeId)).head;
        plan = planAppends(this.#session, group, this.#ids);
        await this.#send(head, plan, writeId);
        return this.#reported(plan);
      } catch (error) {
        const { head, isThere } = await this.#catchUp(writeId).catch((unreadable: unknown) => {
          throw error instanceof ConflictError ? unreadable : error;
        });
        // Any failed write may have happened: a store of the host's own need not tell one kind from the other.
        if (plan !== undefined && isThere) return this.#reported(plan);
        if (error instanceof ConflictError && head.version !== versionBefore) continue;
        if (!(error instanceof OutcomeUnknownError) || sends === MAX_SENDS) throw error;
        await this.#tools.clock.sleep(FIRST_WAIT_MS * 2 ** (sends++ - 1));
      }
    }
  }

  /** @throws ConflictError if `head` is no longer the newest: then nothing was written. */
  async #send(head: StoredLogHead, { fresh }: AppendPlan, writeId: string): Promise<void> {
    const { records } = this.#tools;
    if (fresh.length === 0) {
      // What is known was there; a look tells whether it still is.
      const { version } = await records.readHead(this.#session);
      if (version !== head.version) throw new ConflictError(eventLogKeys(this.#session).head, version ?? undefined);
      return;
    }
    const last = fresh.length - 1;
    const lines = fresh.map((event, at) => lineOf(event, at === last ? writeId : undefined));
    this.#head = await records.replaceHead(grown(head, lines), head.version);
    for (const { id, fingerprint } of fresh) this.#ids.add(id, fingerprint);
  }

  /** Reads what others have written since. `isThere`: this write is among it. */
  async #catchUp(writeId: string): Promise<{ readonly head: StoredLogHead; readonly isThere: boolean }> {
    const { records } = this.#tools;
    this.#head = undefined;
    const head = await records.readHead(this.#session);
    this.#ids.expect(head);
    let isThere = false;
    for await (const { key, lines } of records.chunks(head, this.#ids.position)) {
      for (const line of lines) {
        const said = readLineHead(line, key);
        this.#ids.add(said.id, fingerprintOf(bodyOf(line, key)));
        isThere ||= said.writeId === writeId;
      }
    }
    this.#head = head;
    return { head, isThere };
  }

  #reported(plan: AppendPlan): AppendPlan {
    const { fresh, position } = plan;
    if (fresh.length > 0) this.#tools.onAppended(this.#session, position, fresh.length);
    return plan;
  }
}

/** How many of the first appends go into one write: a burst must not become one huge write. */
function countThatFit(pending: readonly Append[]): number {
  let count = 0;
  for (let sizeBytes = 0; count < pending.length; count++) {
    for (const { body } of (pending[count] as Append).events) sizeBytes += body.length;
    if (sizeBytes > GROUP_BYTES) return Math.max(1, count);
  }
  return count;
}

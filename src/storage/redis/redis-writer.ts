import { randomBytes } from 'node:crypto';
import { type BatchOperation, ConflictError, OutcomeUnknownError, StorageError } from '../adapter.js';
import type { GroupTarget, QueuedWrite } from '../write-queue.js';
import { COUNT_DIGITS, TIME, TOKEN_LENGTH, VERSION_BYTES, WRITE } from './redis-scripts.js';
import { plainly, type RedisAnswer, type RedisPatience, UnansweredError } from './redis-server.js';
import { damaged, type RedisStore } from './redis-store.js';

/** An answer to one write of a group: what became of it, and what comes with that. */
type WriteAnswer = readonly [outcome: number, detail: number, more?: unknown];

/** Where the script writes the version. */
const ROOM = Buffer.alloc(VERSION_BYTES);

const CONFLICT = 1;
const DAMAGED = 2;

/** Once the server has kept silent, writes are refused at once for so long before it is asked again. */
const SILENCE_MS = 1_000;

/**
 * Writes groups, one after the other, each as one call of a script. A group has a number, under which the server
 * remembers what became of the last one: so it may be sent again, by us or by the client, and is done once.
 */
export class RedisWriter implements GroupTarget {
  readonly groupsAtOnce = 1;
  readonly repeatsKeys = true;
  readonly #opened: () => Promise<RedisStore>;
  readonly #replicas: number;
  readonly #id = randomBytes(9).toString('base64url');
  #groups = 0;
  /** Set while the server does not answer. */
  #silence: { readonly error: unknown; readonly askAgainMs: number } | undefined;

  /** Each group waits for so many `replicas`. */
  constructor(opened: () => Promise<RedisStore>, replicas: number) {
    this.#opened = opened;
    this.#replicas = replicas;
  }

  async writeGroup(group: readonly QueuedWrite[]): Promise<void> {
    const store = await this.#opened();
    await this.#endSilence(store);
    const patience = store.patience();
    try {
      await this.#deliver(store, group, patience);
    } catch (error) {
      if (!(error instanceof UnansweredError)) throw error;
      // Not before the deadline: until then a copy that was sent earlier may still be done, and they must not be told yet.
      await store.server.clock.sleep(Math.max(0, patience.untilMs - store.server.clock.monotonicMs()));
      this.#silence = { error: error.reason, askAgainMs: 0 };
      for (const { operations, reject } of group) {
        const [first] = operations as readonly [BatchOperation];
        reject(new OutcomeUnknownError(first.key, { cause: error.reason }));
      }
    }
  }

  /** Asks a server that kept silent for its time first: what waits here is not sent, and its writers can be told so. */
  async #endSilence(store: RedisStore): Promise<void> {
    if (this.#silence === undefined) return;
    const { clock } = store.server;
    if (clock.monotonicMs() < this.#silence.askAgainMs) throw this.#silence.error;
    try {
      await plainly(this.#learn(store, store.ask(TIME, { arguments: [] }, store.patience())));
      this.#silence = undefined;
    } catch (error) {
      this.#silence = { error, askAgainMs: clock.monotonicMs() + SILENCE_MS };
      throw error;
    }
  }

  async #deliver(store: RedisStore, group: readonly QueuedWrite[], patience: RedisPatience): Promise<void> {
    const { server } = store;
    const number = ++this.#groups;
    const token = this.#id + number.toString(36).padStart(TOKEN_LENGTH - this.#id.length, '0');
    for (;;) {
      const before = this.#replicas > 0 ? server.send(CONNECTION, patience) : undefined;
      before?.catch(() => {}); // If it fails, so does what follows it.
      const question = this.#question(store, group, {
        number,
        token,
        deadlineMs: store.time.earliestAt(patience.untilMs),
      });
      const answer = await this.#learn(store, store.ask(WRITE, question, patience));
      if (answer[0] === 'late') {
        if (server.clock.monotonicMs() < patience.untilMs) continue; // Nothing was written, and its time is known now.
        throw new StorageError(`${server.store} did not take the write in time. Nothing was written; try again.`);
      }
      if (before) await this.#awaitReplicas(store, { answer, patience, before: await before });
      return settle(store, group, { answers: answer[3] as readonly WriteAnswer[], token });
    }
  }

  /** Learns the server's time from an answer to a write or to `TIME`. */
  async #learn(store: RedisStore, asked: Promise<RedisAnswer>): Promise<RedisAnswer> {
    const answer = await asked;
    store.time.learn(Number(answer[1]), Number(answer[2]), store.server.clock.monotonicMs());
    return answer;
  }

  #question(
    { time, server, count, layout }: RedisStore,
    group: readonly QueuedWrite[],
    { number, token, deadlineMs }: { number: number; token: string; deadlineMs: number },
  ): { entries: string[]; arguments: (string | Buffer)[] } {
    const sentAfterMs = time.earliestAt(server.clock.monotonicMs());
    const numbers = [number, time.era, sentAfterMs, deadlineMs, count].map(String);
    const entries: string[] = [];
    const words: (string | Buffer)[] = [`writer/${this.#id}`, ...numbers, token, layout.channel];
    for (const { operations } of group) {
      words.push(String(operations.length));
      for (const operation of operations) {
        entries.push(operation.key);
        words.push(`${operation.type.charAt(0)}${conditionOf(operation)}`);
        if (operation.type === 'put') words.push(Buffer.concat([ROOM, operation.value]));
      }
    }
    return { entries, arguments: words };
  }

  /**
   * Waits until the replicas have the group. WAIT speaks of what was written on its own connection: so all of it must have
   * gone over one.
   */
  async #awaitReplicas(
    { server }: RedisStore,
    { answer, patience, before }: { answer: RedisAnswer; patience: RedisPatience; before: unknown },
  ): Promise<void> {
    const leftMs = Math.max(1, Math.floor((patience.untilMs - server.clock.monotonicMs()) * 0.8)); // 0 would be for ever.
    const wait = { name: 'WAIT', arguments: [String(this.#replicas), String(leftMs)] };
    const [acknowledged, after] = await Promise.all([server.send(wait, patience), server.send(CONNECTION, patience)]);
    if (before !== after || answer[0] === 'repeated') {
      const what = 'the connection was lost before its replicas had acknowledged the write';
      throw new UnansweredError(new StorageError(`${server.store}: ${what}. The primary has it.`));
    }
    if (Number(acknowledged) >= this.#replicas) return;
    const what = `${Number(acknowledged)} of ${this.#replicas} replicas acknowledged the write in time`;
    const advice = 'The primary has it. Bring the replicas back, or lower `waitReplicas`';
    throw new UnansweredError(new StorageError(`${server.store}: ${what}. ${advice}.`));
  }
}

/** Tells connections apart: no two of one server run have the same id. */
const CONNECTION = { name: 'CLIENT', arguments: ['ID'] };

function conditionOf({ ifVersion }: BatchOperation): string {
  if (ifVersion === undefined) return '';
  return ifVersion === null ? '-' : `=${ifVersion}`;
}

/** Tells each writer what became of its write. */
function settle(
  store: RedisStore,
  group: readonly QueuedWrite[],
  { answers, token }: { answers: readonly WriteAnswer[]; token: string },
): void {
  for (const [at, { operations, resolve, reject }] of group.entries()) {
    const [outcome, detail, more] = answers[at] as WriteAnswer; // The script answers each.
    if (outcome === CONFLICT) {
      const current = String(more);
      reject(new ConflictError(keyAt(operations, detail), current === '' ? undefined : current));
    } else if (outcome === DAMAGED) {
      reject(damaged(store.server.store, keyAt(operations, detail)));
    } else {
      store.count = Math.max(store.count, detail);
      resolve({ version: `${String(detail).padStart(COUNT_DIGITS, '0')}.${token}`, existed: more === 1 });
    }
  }
}

/** Lua counts from one. */
function keyAt(operations: readonly BatchOperation[], at: number): string {
  return (operations[at - 1] as BatchOperation).key;
}

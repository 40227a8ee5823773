import { type Clock, startTimer } from '../../base/clock.js';
import { StorageError } from '../adapter.js';
import type { RedisCommand, RedisConnection } from './redis-connection.js';
import { isUnknownScript, type RedisFault, redisFault } from './redis-fault.js';
import type { RedisScript } from './redis-scripts.js';

/** A script with what it is asked. */
export interface RedisQuestion {
  readonly script: RedisScript;
  readonly keys: readonly string[];
  readonly arguments: readonly (string | Buffer)[];
}

/** Until when an answer is waited for. */
export interface RedisPatience {
  /** On the monotonic clock. */
  readonly untilMs: number;
  /** Ends the wait, rejecting with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** A script's answer: what it is, and what comes with that. */
export type RedisAnswer = readonly [kind: string, ...rest: unknown[]];

/** No answer came, and it cannot be told whether the server ran the script. */
export class UnansweredError extends Error {
  constructor(readonly reason: RedisFault['error']) {
    super(reason.message, { cause: reason });
  }
}

/** First wait before a command is sent again, in ms; it doubles up to the last. */
const FIRST_PAUSE_MS = 10;
const LAST_PAUSE_MS = 500;

/** The answer to something that only reads, where it does not matter what became of the question. */
export async function plainly<Answer>(asked: Promise<Answer>): Promise<Answer> {
  try {
    return await asked;
  } catch (error) {
    throw error instanceof UnansweredError ? error.reason : error;
  }
}

/**
 * The server behind a connection. A question is asked again while its time lasts, when the connection was lost or the
 * server is not ready: so it must do no harm when the server runs it twice.
 */
export class RedisServer {
  readonly #connection: RedisConnection;

  constructor(
    readonly store: string,
    connection: RedisConnection,
    readonly clock: Clock,
  ) {
    this.#connection = connection;
  }

  get isCluster(): boolean {
    return this.#connection.isCluster;
  }

  /**
   * The answer of a script.
   * @throws StorageError or NoSpaceError if the server was certainly not changed by it; else UnansweredError.
   */
  async ask(question: RedisQuestion, patience: RedisPatience): Promise<RedisAnswer> {
    return decoded(await this.#persist(() => this.#run(question), patience));
  }

  /** The reply to a command that is no script; fails as `ask` does. */
  send(command: RedisCommand, patience: RedisPatience): Promise<unknown> {
    return this.#persist(() => this.#connection.send(command), patience);
  }

  async #persist(send: () => Promise<unknown>, { untilMs, signal }: RedisPatience): Promise<unknown> {
    const { clock } = this;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LAST_PAUSE_MS)) {
      try {
        return await this.#inTime(send(), { untilMs, signal });
      } catch (thrown) {
        if (thrown instanceof UnansweredError || signal?.aborted) throw thrown;
        const { kind, error } = redisFault(this.store, thrown);
        if (kind === 'refused') throw error;
        if (kind === 'final' || clock.monotonicMs() + pauseMs > untilMs) throw new UnansweredError(error);
        await clock.sleep(pauseMs, signal && { signal });
      }
    }
  }

  /** The reply, if it comes in time. One timer: what a wait that can be called off costs is as much as a question. */
  #inTime(reply: Promise<unknown>, { untilMs, signal }: RedisPatience): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const leftMs = Math.max(0, untilMs - this.clock.monotonicMs());
      const timer = startTimer(this.clock, leftMs, () => reject(new UnansweredError(silence(this.store, leftMs))));
      const abort = () => reject(signal?.reason);
      const then = (settle: (outcome: unknown) => void) => (outcome: unknown) => {
        timer.cancel();
        signal?.removeEventListener('abort', abort);
        settle(outcome);
      };
      if (signal?.aborted) abort();
      signal?.addEventListener('abort', abort, { once: true });
      reply.then(then(resolve), then(reject));
    });
  }

  /** A server that was restarted has forgotten its scripts: then the script is sent whole, and remembered. */
  async #run({ script, keys, arguments: given }: RedisQuestion): Promise<unknown> {
    const rest = [String(keys.length), ...keys, ...given];
    const key = keys[0] as string; // Every script has the meta key.
    try {
      return await this.#connection.send({ name: 'EVALSHA', arguments: [script.sha, ...rest], key });
    } catch (thrown) {
      if (!isUnknownScript(thrown)) throw thrown;
      return await this.#connection.send({ name: 'EVAL', arguments: [script.lua, ...rest], key });
    }
  }
}

function silence(store: string, ms: number): StorageError {
  const advice = 'Check that the server runs and the client can reach it, or raise `timeoutMs`';
  return new StorageError(`The server of ${store} gave no answer within ${Math.round(ms)} ms. ${advice}.`);
}

function decoded(reply: unknown): RedisAnswer {
  const [kind, ...rest] = reply as readonly unknown[];
  return [String(kind), ...rest];
}

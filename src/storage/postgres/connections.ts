import { type Clock, startTimer, type Timer } from '../../base/clock.js';
import { isHoldfastError } from '../../base/errors.js';
import { StorageError } from '../adapter.js';
import { type PostgresClient, type PostgresPool, rowsOf } from './postgres-pool.js';

/**
 * What is known of a call that failed. `unreachable`: there was no connection, nothing was sent. `refused`: the server said
 * no and goes on serving the connection, so nothing happened. `lost`: no answer came; what was sent may have happened, or
 * may still happen.
 */
type FailureKind = 'unreachable' | 'refused' | 'lost';

/** A call that failed, with what the driver said. Stays inside: callers see what `asStorageError` makes of it. */
export class CallFailure extends Error {
  constructor(
    readonly kind: FailureKind,
    readonly fault: unknown,
  ) {
    super(`The call was ${kind}.`, { cause: fault });
  }

  /** What the server calls the error, five characters; `undefined` if it was not the server that spoke. */
  get sqlState(): string | undefined {
    return sqlStateOf(this.fault);
  }
}

/** The failure that `error` is. @throws it if it is none: a fault of ours must not pass for one of the server's. */
export function failureOf(error: unknown): CallFailure {
  if (error instanceof CallFailure) return error;
  throw error;
}

/**
 * The pool's connections, each for one call and no longer than that: a connection that does not answer in time, or broke, is
 * cut off and never goes back to the pool.
 */
export class Connections {
  readonly #pool: PostgresPool;
  readonly clock: Clock;

  constructor(pool: PostgresPool, clock: Clock) {
    this.#pool = pool;
    this.clock = clock;
  }

  /**
   * What `work` makes of a connection, within `ms`. A transaction it left open when it threw is rolled back.
   * @throws CallFailure saying how much may have happened, or the library's own error that `work` threw.
   */
  async run<Answer>(ms: number, work: (client: PostgresClient) => Promise<Answer>): Promise<Answer> {
    const limit = new TimeLimit(this.clock, ms);
    try {
      const client = await this.#checkOut(limit);
      let isSound = false;
      try {
        const answer = await limit.answer('lost', work(client));
        isSound = true;
        return answer;
      } catch (error) {
        if (error instanceof CallFailure) throw error;
        const isOurs = isHoldfastError(error);
        isSound = (isOurs || sqlStateOf(error) !== undefined) && (await goesOn(client, limit));
        throw isOurs ? error : new CallFailure(isSound ? 'refused' : 'lost', error);
      } finally {
        giveBack(client, isSound);
      }
    } finally {
      limit.end();
    }
  }

  /** A connection of the caller's own, for `giveBack`. @throws CallFailure of kind `unreachable`. */
  async checkOut(ms: number): Promise<PostgresClient> {
    const limit = new TimeLimit(this.clock, ms);
    try {
      return await this.#checkOut(limit);
    } finally {
      limit.end();
    }
  }

  async #checkOut(limit: TimeLimit): Promise<PostgresClient> {
    const connecting = new Promise<PostgresClient>((resolve, reject) => {
      this.#pool.connect((error, client) => {
        if (client === undefined) return reject(error);
        client.on('error', ignored);
        if (limit.isOver) giveBack(client, true); // Nobody waits for it any more.
        resolve(client);
      });
    });
    try {
      return await limit.answer('unreachable', connecting);
    } catch (error) {
      throw error instanceof CallFailure ? error : new CallFailure('unreachable', error);
    }
  }
}

/** The time of one call, which several answers may share: a bare timer, since every call starts one and calls it off. */
export class TimeLimit {
  isOver = false;
  readonly #ms: number;
  readonly #timer: Timer;
  #onOver = (): void => undefined;

  constructor(clock: Clock, ms: number) {
    this.#ms = ms;
    this.#timer = startTimer(clock, ms, () => {
      this.isOver = true;
      this.#onOver();
    });
  }

  /** The answer. @throws CallFailure of the given kind if it does not come in time. */
  answer<Answer>(kind: FailureKind, answer: Promise<Answer>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const onOver = () =>
        reject(new CallFailure(kind, new StorageError(`No answer within ${Math.ceil(this.#ms)} ms.`)));
      answer.then(resolve, reject);
      this.#onOver = onOver;
      if (this.isOver) onOver();
    });
  }

  end(): void {
    this.#timer.cancel();
  }
}

/**
 * Is the connection still served? An error that ends the session (the server is stopped, the disk of its log is full) may
 * follow a commit; one after which the session goes on has undone the statement. That holds in any language of the server.
 */
async function goesOn(client: PostgresClient, limit: TimeLimit): Promise<boolean> {
  try {
    await limit.answer('lost', rowsOf(client, 'ROLLBACK'));
    return true;
  } catch {
    return false; // The error before it is the one to be told.
  }
}

/** Back to the pool, or cut off if it is not sound. */
export function giveBack(client: PostgresClient, isSound: boolean): void {
  client.release(!isSound);
  client.removeListener('error', ignored); // Not earlier: from now on the pool listens.
}

/** The call that is under way is rejected too, and says it; without a listener the event would end the process. */
function ignored(): void {}

/** What the server calls an error; `undefined` if it was not the server that spoke. */
export function sqlStateOf(error: unknown): string | undefined {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

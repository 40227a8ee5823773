import { InvalidInputError } from '../../base/errors.js';

/** One command to the server. */
export interface RedisCommand {
  readonly name: string;
  readonly arguments: readonly (string | Buffer)[];
  /** The key that tells a cluster client which node is meant. Left out: any node will do. */
  readonly key?: string;
}

/** A subscription to a channel, on a connection of its own that connects again by itself. */
export interface RedisSubscription {
  /** Resolves when the server has confirmed it; rejects when it will not be. */
  readonly ready: Promise<unknown>;
  /** Ends it, and its connection. */
  close(): void;
}

/** What happens on a channel. */
export interface RedisListener {
  /** Something was published. */
  onMessage(payload: Buffer): void;
  /** The connection was lost and is back: messages may have been missed. */
  onReconnected(): void;
}

/**
 * All that the store asks of a client. `redisStorage` takes an ioredis client as it is, and this for anything else:
 * `fromNodeRedis` makes one.
 */
export interface RedisConnection {
  /** Is there more than one server behind it? */
  readonly isCluster: boolean;
  /**
   * Sends a command and resolves with its reply: bulk strings as Buffers, integers as numbers, nil as null. Rejects with
   * an Error whose message is the server's (`OOM command not allowed …`), or one that tells what became of the connection.
   */
  send(command: RedisCommand): Promise<unknown>;
  /** Subscribes on a further connection, opened for this alone. */
  subscribe(channel: string, listener: RedisListener): RedisSubscription;
}

/** The part of an ioredis connection that listens. */
export interface IoredisSubscriber {
  /** Listens to a channel from now on. */
  subscribe(channel: string): Promise<unknown>;
  /** Hears events of the connection. */
  on(event: string, listener: (...received: Buffer[]) => void): unknown;
  /** Ends the connection at once. */
  disconnect(): void;
}

/** The part of an ioredis client (5 or later; also one of Sentinels or a Cluster) that the store calls. */
export interface IoredisClient {
  readonly isCluster?: boolean;
  readonly options?: object;
  /** Sends a command; bulk strings in its reply come as Buffers. */
  callBuffer(command: string, args: (string | Buffer)[]): Promise<unknown>;
  /** A further connection of the same kind. */
  duplicate(options?: object): IoredisSubscriber;
}

/**
 * The connection behind what the host passed.
 * @throws InvalidInputError naming the method that is missing, and what to pass instead.
 */
export function connectionOf(client: IoredisClient | RedisConnection): RedisConnection {
  const given = client as Partial<IoredisClient & RedisConnection> | null | undefined;
  if (typeof given?.send === 'function' && typeof given.subscribe === 'function') return client as RedisConnection;
  if (typeof given?.callBuffer === 'function' && typeof given.duplicate === 'function') {
    requireReadsOfPrimaries(client as IoredisClient);
    return new IoredisConnection(client as IoredisClient);
  }
  throw new InvalidInputError(`client: it has no method "callBuffer"; ${adviceFor(client)}.`, 'client');
}

function adviceFor(client: object | null | undefined): string {
  const given = client as Partial<Record<'sendCommand' | 'query', unknown>> | null | undefined;
  if (typeof given?.sendCommand === 'function') return 'wrap a node-redis client: fromNodeRedis(client)';
  const isPostgres = typeof given?.query === 'function';
  const advice = 'pass `new Redis(…)` of ioredis';
  return isPostgres ? `this looks like Postgres, of which postgresStorage takes the pool; here ${advice}` : advice;
}

/** A replica may not have yet what was acknowledged. */
function requireReadsOfPrimaries({ isCluster, options }: IoredisClient): void {
  const { scaleReads = 'master' } = { ...(options as { readonly scaleReads?: unknown } | undefined) };
  if (isCluster !== true || scaleReads === 'master') return;
  const advice = "replicas lag behind; pass a Cluster with scaleReads: 'master'";
  throw new InvalidInputError(`client: it reads from replicas (scaleReads); ${advice}.`, 'client.options.scaleReads');
}

class IoredisConnection implements RedisConnection {
  readonly isCluster: boolean;
  readonly #client: IoredisClient;

  constructor(client: IoredisClient) {
    this.#client = client;
    this.isCluster = client.isCluster === true;
  }

  send(command: RedisCommand): Promise<unknown> {
    // As one array: spread, the arguments of a large batch would not fit on the stack.
    return this.#client.callBuffer(command.name, command.arguments as (string | Buffer)[]);
  }

  subscribe(channel: string, { onMessage, onReconnected }: RedisListener): RedisSubscription {
    const patient = { enableOfflineQueue: true, maxRetriesPerRequest: null };
    const own = this.isCluster ? this.#client.duplicate() : this.#client.duplicate(patient);
    own.on('error', ignore);
    own.on('messageBuffer', (_channel: Buffer, payload: Buffer) => onMessage(payload));
    const ready = own.subscribe(channel).then(() => {
      // Once more, and not only `ready`: that is said before the client has subscribed again.
      own.on('ready', () => void own.subscribe(channel).then(onReconnected, ignore));
    });
    return { ready, close: () => own.disconnect() };
  }
}

/** For a listening connection: it connects again by itself, and what it brings are hints. */
export function ignore(): void {}

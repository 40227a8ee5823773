import { InvalidInputError } from '../../base/errors.js';
import {
  ignore,
  type RedisCommand,
  type RedisConnection,
  type RedisListener,
  type RedisSubscription,
} from './redis-connection.js';

/** The part of a node-redis connection that listens. */
export interface NodeRedisSubscriber {
  readonly isOpen: boolean;
  /** Makes the connection. */
  connect(): Promise<unknown>;
  /** Listens to a channel from now on. */
  subscribe(channel: string, listener: (payload: Buffer) => void, bufferMode: true): Promise<unknown>;
  /** Hears events of the connection. */
  on(event: string, listener: () => void): unknown;
  /** Ends the connection at once. */
  destroy(): void;
}

/** How node-redis is asked for Buffers. */
export interface NodeRedisReplies {
  readonly typeMapping: Readonly<Record<number, BufferConstructor>>;
}

/** The part of a node-redis client (`createClient`, 5 or later) that the store calls. */
export interface NodeRedisClient {
  /** Sends a command. */
  sendCommand(args: readonly (string | Buffer)[], options?: NodeRedisReplies): Promise<unknown>;
  /** A further connection of the same kind. */
  duplicate(): NodeRedisSubscriber;
}

/** The same of a node-redis cluster (`createCluster`). */
export interface NodeRedisCluster {
  readonly slots: unknown;
  /** Sends a command to the server that has the key. */
  sendCommand(
    firstKey: string | undefined,
    isReadonly: boolean | undefined,
    args: (string | Buffer)[],
    options?: NodeRedisReplies,
  ): Promise<unknown>;
  /** A further connection of the same kind. */
  duplicate(): NodeRedisSubscriber;
}

/** Bulk strings, which the protocol marks with `$`, come as Buffers. */
const REPLIES: NodeRedisReplies = { typeMapping: { ['$'.charCodeAt(0)]: Buffer } };

/**
 * A node-redis client (5 or later) as `redisStorage` takes it: `redisStorage(fromNodeRedis(client))`. The host connects
 * the client, listens to its `error` event, and closes it after the store.
 * @throws InvalidInputError naming the method that is missing, or for a client of ioredis.
 */
export function fromNodeRedis(client: NodeRedisClient | NodeRedisCluster): RedisConnection {
  for (const method of ['sendCommand', 'duplicate'] as const) {
    if (typeof client?.[method] === 'function') continue;
    const advice = 'pass what `createClient` of the package redis (5 or later) returns';
    throw new InvalidInputError(`client: it has no method "${method}"; ${advice}.`, `client.${method}`);
  }
  if (typeof (client as { callBuffer?: unknown }).callBuffer === 'function') {
    throw new InvalidInputError('client: this is one of ioredis; pass it to redisStorage as it is.', 'client');
  }
  return new NodeRedisConnection(client);
}

class NodeRedisConnection implements RedisConnection {
  readonly isCluster: boolean;
  readonly #client: NodeRedisClient | NodeRedisCluster;

  constructor(client: NodeRedisClient | NodeRedisCluster) {
    this.#client = client;
    this.isCluster = isCluster(client);
  }

  send(command: RedisCommand): Promise<unknown> {
    const words = [command.name, ...command.arguments];
    const client = this.#client;
    // Never "read only": a replica may not have yet what was acknowledged.
    if (isCluster(client)) return client.sendCommand(command.key, false, words, REPLIES);
    return client.sendCommand(words, REPLIES);
  }

  subscribe(channel: string, { onMessage, onReconnected }: RedisListener): RedisSubscription {
    const own = this.#client.duplicate();
    own.on('error', ignore);
    const subscribed = async () => {
      await own.connect();
      await own.subscribe(channel, onMessage, true);
      own.on('ready', onReconnected); // Said when the subscriptions are in place again.
    };
    return { ready: subscribed(), close: () => own.isOpen && own.destroy() };
  }
}

function isCluster(client: NodeRedisClient | NodeRedisCluster): client is NodeRedisCluster {
  return 'slots' in client;
}

import { type StorageCapabilities, StorageError } from '../adapter.js';
import type { RedisCommand } from './redis-connection.js';
import { isForbidden } from './redis-fault.js';
import { type RedisPatience, type RedisServer, UnansweredError } from './redis-server.js';

/** What a server promises by its configuration. */
export interface RedisPromises {
  readonly durability: StorageCapabilities['durability'];
  /** The `maxmemory-policy`, if it makes the server drop keys that do not expire. */
  readonly eviction?: string;
  readonly isReplica: boolean;
}

type Settings = ReadonlyMap<string, string>;

/**
 * Reads the configuration, or what INFO tells of it where CONFIG is forbidden, and claims the least where neither can be
 * read. What the server is told later (CONFIG SET) is not noticed.
 */
export async function readPromises(server: RedisServer, patience: RedisPatience): Promise<RedisPromises> {
  const read = (name: string, ...words: string[]) => readable(server, { name, arguments: words }, patience);
  const [info, ...config] = await Promise.all([
    read('INFO'),
    read('CONFIG', 'GET', 'append*'), // One pattern each: before version 7 it takes no more.
    read('CONFIG', 'GET', 'maxmemory*'),
    read('CONFIG', 'GET', 'save'),
  ]);
  const settings: Settings = new Map([...linesOf(info), ...config.flatMap(pairsOf)]);
  const policy = settings.get('maxmemory-policy') ?? settings.get('maxmemory_policy') ?? 'noeviction';
  // The `volatile-` policies take only keys that expire, and ours do not.
  const evicts = Number(settings.get('maxmemory')) > 0 && policy.startsWith('allkeys-');
  return {
    durability: durabilityOf(settings),
    isReplica: !server.isCluster && settings.get('role') === 'slave', // A cluster client asks whichever node.
    ...(evicts && { eviction: policy }),
  };
}

/** Refuses a server that may lose what it acknowledged, or that has not yet got what others acknowledged. */
export function requireKeeping(store: string, { eviction, isReplica }: RedisPromises, allowEviction: boolean): void {
  if (eviction !== undefined && !allowEviction) {
    const what = `drops keys when its memory is full (maxmemory-policy ${eviction})`;
    const advice = 'Set maxmemory-policy to noeviction, or pass `allowEviction: true` if all of this may be lost';
    throw new StorageError(`The server of ${store} ${what}. ${advice}.`);
  }
  if (isReplica) {
    const advice = 'Point the client at the primary';
    throw new StorageError(`The server of ${store} is a replica: it takes no writes and lags behind. ${advice}.`);
  }
}

function durabilityOf(settings: Settings): RedisPromises['durability'] {
  if (settings.get('appendonly') === 'yes') return settings.get('appendfsync') === 'always' ? 'disk' : 'process';
  // INFO tells that there is an append-only file, but not how often it is synced; of snapshots it does not tell.
  if (settings.get('aof_enabled') === '1') return 'process';
  return (settings.get('save') ?? '') === '' ? 'none' : 'process';
}

/** Names and values of CONFIG GET: a map or an object under RESP3, else in turn. */
function pairsOf(reply: unknown): [string, string][] {
  const pairs = reply instanceof Map ? [...reply] : Array.isArray(reply) ? inTurn(reply) : Object.entries(reply ?? {});
  return pairs.map(([name, value]) => [String(name), String(value)]);
}

function inTurn(reply: readonly unknown[]): [unknown, unknown][] {
  return reply.flatMap((name, at): [unknown, unknown][] => (at % 2 === 0 ? [[name, reply[at + 1]]] : []));
}

/** Names and values of INFO. */
function linesOf(reply: unknown): [string, string][] {
  return String(reply ?? '')
    .split('\r\n')
    .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]);
}

/** The reply, or `undefined` if this user may not ask. */
async function readable(server: RedisServer, command: RedisCommand, patience: RedisPatience): Promise<unknown> {
  try {
    return await server.send(command, patience);
  } catch (error) {
    if (error instanceof UnansweredError && isForbidden(error.reason.cause)) return undefined;
    throw error;
  }
}

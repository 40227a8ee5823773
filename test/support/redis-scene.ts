import { setImmediate } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { afterEach } from 'vitest';
import { connectionOf } from '../../src/storage/redis/redis-connection.js';
import type { RedisConnection } from '../../src/storage/redis.js';
import { type RedisServerOptions, RedisTestServer } from './redis-server.js';

const endings: (() => unknown)[] = [];

/** To be called once at the top of a test file: servers and clients end with the test that made them. */
export function endAfterEach(): void {
  afterEach(async () => {
    for (const end of endings.splice(0).reverse()) await end();
  });
}

/** Has `end` called when the test is over. */
export function atEnd(end: () => unknown): void {
  endings.push(end);
}

export async function startServer(options?: RedisServerOptions): Promise<RedisTestServer> {
  const server = await RedisTestServer.start(options);
  atEnd(() => server[Symbol.asyncDispose]());
  return server;
}

/** An ioredis client that connects again soon. */
export function clientOf(server: RedisTestServer, options?: Parameters<RedisTestServer['client']>[0]): Redis {
  const client = server.client({ retryStrategy: () => 20, ...options });
  atEnd(() => client.disconnect());
  return client;
}

/** Resolves when it holds. Each look is a question to a real server or process, so it is asked often, not for ever. */
export async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let turn = 0; turn < 200_000; turn++) {
    if (await holds()) return;
    await setImmediate();
  }
  throw new Error('It never came to hold.');
}

/**
 * What `client` sends from now on is held back by the server until the returned function is called: as in a network that
 * is stuck, it then arrives in order. Resolves once the server holds.
 */
export async function holdBack(client: Redis, admin: Redis): Promise<() => Promise<void>> {
  const gate = `gate-${await client.client('ID')}`;
  const held = client.blpop(gate, 0);
  await eventually(async () => /blocked_clients:[1-9]/.test(await admin.info('clients')));
  return async () => {
    await admin.lpush(gate, 'open');
    await held;
  };
}

/** The connection of `client`, with its script calls seen and changed on their way. */
export function tapped(
  client: Redis,
  onScript: (
    send: (words?: readonly (string | Buffer)[]) => Promise<unknown>,
    words: readonly (string | Buffer)[],
  ) => Promise<unknown>,
): RedisConnection {
  const inner = connectionOf(client);
  return {
    isCluster: false,
    send: (command) => {
      const send = (words = command.arguments) => inner.send({ ...command, arguments: words });
      return command.name.startsWith('EVAL') ? onScript(send, command.arguments) : send();
    },
    subscribe: (channel, listener) => inner.subscribe(channel, listener),
  };
}

export function textOf(entry: { readonly value: Uint8Array } | undefined): string | undefined {
  return entry && Buffer.from(entry.value).toString();
}

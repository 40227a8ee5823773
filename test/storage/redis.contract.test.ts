import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { afterAll, beforeAll } from 'vitest';
import { uniqueId } from '../../src/base/unique-id.js';
import { fromNodeRedis, type RedisConnection, redisStorage } from '../../src/storage/redis.js';
import { type StorageUnderTest, storageContract } from '../../src/testing/storage-contract.js';
import { type BundledModule, bundledRedisStore } from '../support/redis-process.js';
import { quiet, sharedRedis } from '../support/redis-server.js';

/** By this name the clients of this file are found among others of the server. */
const NAME = `holdfast-contract-${process.pid}`;

let server: Awaited<ReturnType<typeof sharedRedis>>;
let ioredis: Redis;
let admin: Redis;
let nodeRedis: RedisConnection;
let closeNodeRedis: () => void;
let bundle: BundledModule;

beforeAll(async () => {
  bundle = await bundledRedisStore();
  server = await sharedRedis();
  admin = quiet(new Redis(server.url));
  ioredis = quiet(new Redis(server.url, { connectionName: NAME, retryStrategy: () => 1 }));
  const socket = { reconnectStrategy: () => 1 };
  const client = await quiet(createClient({ url: server.url, name: NAME, socket })).connect();
  nodeRedis = fromNodeRedis(client);
  closeNodeRedis = () => client.destroy();
});

afterAll(async () => {
  ioredis.disconnect();
  admin.disconnect();
  closeNodeRedis();
  await server.stop();
  await bundle.remove();
});

/** Cuts those of the clients under test. */
async function cutConnections(): Promise<void> {
  const clients = String(await admin.client('LIST')).split('\n');
  const ids = clients
    .filter((line) => line.includes(` name=${NAME} `))
    .map((line) => /^id=(\d+)/.exec(line)?.[1] ?? '');
  await Promise.all(ids.map((id) => admin.call('CLIENT', 'KILL', 'ID', id)));
}

/** Stores under a prefix of their own. What a server without persistence keeps outlives each of them all the same. */
function storeUnderTest(client: () => Redis | RedisConnection): StorageUnderTest {
  const prefix = `contract:${uniqueId().replaceAll(/[^A-Za-z0-9._]/g, '_')}`;
  return {
    open: () => redisStorage(client(), { prefix }),
    inProcess: { module: bundle.path, argument: `${server.url} ${prefix}` },
    interrupt: cutConnections,
    destroy: async () => {
      const keys = await admin.keys(`{${prefix}}*`);
      if (keys.length > 0) await admin.del(keys);
    },
  };
}

storageContract('redis through ioredis', () => storeUnderTest(() => ioredis), { lacks: ['damage'] });
// The processes of both would be the same.
storageContract('redis through node-redis', () => storeUnderTest(() => nodeRedis), { lacks: ['damage', 'processes'] });

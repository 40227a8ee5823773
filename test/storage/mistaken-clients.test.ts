import { Cluster, Redis } from 'ioredis';
import pg from 'pg';
import { createClient, createCluster } from 'redis';
import { afterAll, describe, expect, test } from 'vitest';
import type { InvalidInputError } from '../../src/base/errors.js';
import { type PostgresPool, postgresStorage } from '../../src/storage/postgres.js';
import { fromNodeRedis, redisStorage } from '../../src/storage/redis.js';
import { rejectionOf } from '../support/deferred.js';

/** None of these connects by itself. */
const redis = new Redis({ lazyConnect: true });
const cluster = new Cluster(['redis://127.0.0.1:1'], { lazyConnect: true });
const nodeRedis = createClient();
const nodeCluster = createCluster({ rootNodes: [{ url: 'redis://127.0.0.1:1' }] });
const pool = new pg.Pool();

afterAll(async () => {
  redis.disconnect();
  cluster.disconnect();
  await pool.end();
});

async function refusal(make: () => unknown): Promise<InvalidInputError> {
  return (await rejectionOf((async () => make())())) as InvalidInputError;
}

describe('a client of another server is refused where it is given', () => {
  test.each([
    ['ioredis', redis],
    ['ioredis for a cluster', cluster],
    ['node-redis', nodeRedis],
    ['node-redis for a cluster', nodeCluster],
  ])('postgresStorage knows a client of %s', async (_, client) => {
    const { code, message, path } = await refusal(() => postgresStorage(client as never));
    expect({ code, path }).toEqual({ code: 'HOLDFAST_INVALID_INPUT', path: 'pool' });
    expect(message).toBe(
      'pool: this looks like a Redis client, which redisStorage takes. Pass a Pool of the package pg: new pg.Pool({ … }).',
    );
  });

  test.each([
    ['a pool', pool],
    ['a client', new pg.Client()],
  ])('redisStorage knows %s of pg', async (_, client) => {
    const { code, message } = await refusal(() => redisStorage(client as never));
    expect(code).toBe('HOLDFAST_INVALID_INPUT');
    expect(message).toMatch(/looks like Postgres, of which postgresStorage takes the pool; here pass `new Redis/);
  });

  test.each([
    ['a client', redis],
    ['a cluster', cluster],
  ])('fromNodeRedis knows %s of ioredis', async (_, client) => {
    const { code, message } = await refusal(() => fromNodeRedis(client as never));
    expect(code).toBe('HOLDFAST_INVALID_INPUT');
    expect(message).toContain('pass it to redisStorage as it is');
  });
});

describe('the right one is not', () => {
  test('nor is something of the host that only has what is called', () => {
    const narrow: PostgresPool = { connect: (callback) => pool.connect(callback as never) };
    for (const given of [pool, narrow]) expect(() => postgresStorage(given)).not.toThrow();
    for (const given of [redis, cluster]) expect(() => redisStorage(given)).not.toThrow();
    for (const given of [nodeRedis, nodeCluster]) expect(() => redisStorage(fromNodeRedis(given))).not.toThrow();
  });
});

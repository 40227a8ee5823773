import { inspect } from 'node:util';
import { Cluster } from 'ioredis';
import { createCluster } from 'redis';
import { describe, expect, test } from 'vitest';
import { InvalidInputError } from '../../src/base/errors.js';
import { NoSpaceError, OutcomeUnknownError, StorageError } from '../../src/storage/adapter.js';
import { fromNodeRedis, redisStorage } from '../../src/storage/redis.js';
import { atEnd, clientOf, endAfterEach, eventually, startServer, textOf } from '../support/redis-scene.js';
import { quiet } from '../support/redis-server.js';

endAfterEach();

const value = Buffer.from('value');

describe('durability', () => {
  test.each([
    ['always', 'disk'],
    ['everysec', 'process'],
    ['snapshots', 'process'],
    ['none', 'none'],
  ] as const)('of a server with persistence "%s" is "%s", known once it was asked', async (persistence, durability) => {
    const store = redisStorage(clientOf(await startServer({ persistence })));
    expect(store.capabilities.durability).toBe('none');
    await store.open();
    expect(store.capabilities.durability).toBe(durability);
  });

  test.each([
    ['always', ['+@all', '-config'], 'process'],
    ['always', ['+@all', '-config', '-info'], 'none'],
    ['snapshots', ['+@all', '-config'], 'none'],
  ] as const)('of "%s" for a user with %j is claimed as "%s"', async (persistence, rights, durability) => {
    const server = await startServer({ persistence });
    await clientOf(server).acl('SETUSER', 'app', 'on', '>pass', '~*', '&*', ...rights);
    const store = redisStorage(clientOf(server, { username: 'app', password: 'pass' }));
    await store.put('key', value);
    expect(store.capabilities.durability).toBe(durability);
  });

  test('is read through node-redis as well', async () => {
    const client = await (await startServer({ persistence: 'always' })).nodeClient();
    atEnd(() => client.destroy());
    const store = redisStorage(fromNodeRedis(client));
    await store.open();
    expect(store.capabilities.durability).toBe('disk');
  });
});

describe('a server that is short of memory', () => {
  test('is refused if it would evict keys, unless that is allowed', async () => {
    const server = await startServer({ settings: ['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'] });
    const refused = redisStorage(clientOf(server)).open();
    await expect(refused).rejects.toThrow(StorageError);
    await expect(refused).rejects.toThrow('maxmemory-policy');
    await redisStorage(clientOf(server), { allowEviction: true }).put('key', value);
  });

  test.each(['noeviction', 'volatile-lru'])('is taken with the policy %s, which leaves our keys', async (policy) => {
    const server = await startServer({ settings: ['--maxmemory', '100mb', '--maxmemory-policy', policy] });
    await expect(redisStorage(clientOf(server)).put('key', value)).resolves.toMatch(/./);
  });

  test('refuses a write with NoSpaceError, and what it has can be read and deleted', async () => {
    const server = await startServer();
    const admin = clientOf(server);
    const store = redisStorage(clientOf(server));
    await store.put('key', value);
    await admin.config('SET', 'maxmemory', '1mb');
    await expect(store.put('other', value)).rejects.toThrow(NoSpaceError);
    const later = redisStorage(clientOf(server));
    expect(textOf(await later.get('key'))).toBe('value');
    await expect(later.list('')).resolves.toMatchObject({ entries: [{ key: 'key' }] });
    await expect(later.delete('key')).resolves.toBe(true);
    await expect(redisStorage(admin, { prefix: 'new' }).open()).rejects.toThrow(NoSpaceError);
  });
});

describe('a user', () => {
  test('without the right to run scripts is told so when the store opens', async () => {
    const server = await startServer();
    await clientOf(server).acl('SETUSER', 'app', 'on', '>pass', '~*', '&*', '+@all', '-@scripting');
    const opening = redisStorage(clientOf(server, { username: 'app', password: 'pass' })).open();
    await expect(opening).rejects.toThrow(StorageError);
    await expect(opening).rejects.toThrow('ACL');
  });

  test.each([
    ['a command', ['~*', '&*', '+@all', '-zrem']],
    ['the keys', ['~other:*', '&*', '+@all']],
    ['the channel', ['~*', 'resetchannels', '+@all']],
  ])('who lacks %s is refused before anything is half written', async (_, rights) => {
    const server = await startServer();
    await clientOf(server).acl('SETUSER', 'app', 'on', '>pass', ...rights);
    const opening = redisStorage(clientOf(server, { username: 'app', password: 'pass' })).put('key', value);
    await expect(opening).rejects.toThrow('ACL');
  });

  test('needs no more than the documentation says', async () => {
    const server = await startServer();
    const groups = [
      '+@read',
      '+@write',
      '+@scripting',
      '+@connection',
      '+publish',
      '+subscribe',
      '+time',
      '+info',
      '+config|get',
    ];
    await clientOf(server).acl('SETUSER', 'app', 'on', '>pass', '~{holdfast}:*', '&{holdfast}:*', ...groups);
    const store = redisStorage(clientOf(server, { username: 'app', password: 'pass' }));
    await store.put('key', value);
    await expect(store.delete('key')).resolves.toBe(true);
    await (await store.watch('', () => {}))();
    await store.close();
  });

  test('who loses the rights later is told so, and that the outcome is unknown', async () => {
    const server = await startServer();
    const admin = clientOf(server);
    await admin.acl('SETUSER', 'app', 'on', '>pass', '~*', '&*', '+@all');
    const store = redisStorage(clientOf(server, { username: 'app', password: 'pass' }), { timeoutMs: 300 });
    await store.put('key', value);
    await admin.acl('SETUSER', 'app', '-evalsha');
    await expect(store.put('key', value)).rejects.toMatchObject({
      code: 'HOLDFAST_OUTCOME_UNKNOWN',
      cause: { code: 'HOLDFAST_STORAGE', message: expect.stringContaining('ACL') },
    });
  });

  test('whose password is wrong is told so in time, without the password', async () => {
    const server = await startServer({ settings: ['--requirepass', 'correct'] });
    const client = clientOf(server, { password: 'hunter2-wrong' });
    const error = await redisStorage(client, { timeoutMs: 300 })
      .open()
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(StorageError);
    expect(inspect(error, { depth: 10, showHidden: true }) + JSON.stringify(error)).not.toContain('hunter2');
    expect((error as Error).message).toContain('password');
  });

  test('without a password is told so, and errors do not show what was written', async () => {
    const server = await startServer();
    const admin = clientOf(server);
    const store = redisStorage(clientOf(server));
    await store.open();
    await admin.config('SET', 'maxmemory', '1mb');
    const error = await store.put('key', Buffer.from('top-secret-value')).catch((thrown: unknown) => thrown);
    expect(inspect(error, { depth: 10, showHidden: true }) + JSON.stringify(error)).not.toContain('top-secret');
  });
});

describe('replicas', () => {
  async function primaryAndReplica() {
    const primary = await startServer({ isOnTcp: true, settings: ['--repl-diskless-sync-delay', '0'] });
    const replica = await startServer({ settings: ['--replicaof', '127.0.0.1', String(primary.port)] });
    const watching = clientOf(primary);
    await eventually(async () => (await watching.info('replication')).includes('state=online'));
    return { primary, replica };
  }

  test('are refused as the server of a store', async () => {
    const { replica } = await primaryAndReplica();
    await expect(redisStorage(clientOf(replica)).open()).rejects.toThrow('primary');
  });

  test('that were promoted and demoted refuse writes, saying so', async () => {
    const { primary } = await primaryAndReplica();
    const store = redisStorage(clientOf(primary));
    await store.put('key', value);
    await clientOf(primary).config('SET', 'min-replicas-to-write', '9');
    await expect(store.put('key', value)).rejects.toThrow('min-replicas-to-write');
    await clientOf(primary).config('SET', 'min-replicas-to-write', '0');
    await clientOf(primary).replicaof('127.0.0.1', '1');
    const writing = store.put('key', value);
    await expect(writing).rejects.toThrow(StorageError);
    await expect(writing).rejects.toThrow('is a replica');
  });

  test('have a write before it is acknowledged, if that is asked for', async () => {
    const { primary, replica } = await primaryAndReplica();
    const store = redisStorage(clientOf(primary), { waitReplicas: 1, timeoutMs: 3_000 });
    await store.put('key', value);
    expect(store.capabilities.durability).toBe('replicated');
    await expect(clientOf(replica).exists('{holdfast}:entry:key')).resolves.toBe(1);
    replica.suspend();
    const writing = store.put('key', Buffer.from('newer'));
    await expect(writing).rejects.toThrow(OutcomeUnknownError);
    await expect(writing).rejects.toMatchObject({ cause: { message: expect.stringContaining('waitReplicas') } });
    replica.resume();
    expect(textOf(await store.get('key'))).toBe('newer');
  });

  test('are not believed to have a write when the connection was lost in between', async () => {
    const { primary, replica } = await primaryAndReplica();
    const client = clientOf(primary);
    const store = redisStorage(client, { waitReplicas: 1, timeoutMs: 5_000 });
    await store.put('key', value);
    replica.suspend();
    const writing = store.put('key', Buffer.from('newer'));
    const admin = clientOf(primary);
    await eventually(async () => /blocked_clients:[1-9]/.test(await admin.info('clients')));
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await expect(writing).rejects.toMatchObject({ cause: { message: expect.stringContaining('connection was lost') } });
  });
});

describe('a cluster', () => {
  async function startCluster() {
    const server = await startServer({
      isOnTcp: true,
      settings: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'],
    });
    const admin = clientOf(server);
    await admin.cluster('ADDSLOTSRANGE', 0, 16383);
    await eventually(async () => (await admin.cluster('INFO')).includes('cluster_state:ok'));
    return { host: '127.0.0.1', port: server.port as number };
  }

  test('keeps a store on one shard, through ioredis', async () => {
    const cluster = quiet(new Cluster([await startCluster()]));
    atEnd(() => cluster.disconnect());
    const store = redisStorage(cluster);
    const seen: string[] = [];
    await store.watch('', (key) => seen.push(key));
    await store.batch([...'abc'].map((key) => ({ type: 'put', key, value })));
    await expect(store.list('')).resolves.toMatchObject({ entries: [{ key: 'a' }, { key: 'b' }, { key: 'c' }] });
    expect(textOf(await store.get('b'))).toBe('value');
    await eventually(() => seen.join() === 'a,b,c');
    await store.close();
  });

  test('keeps a store on one shard, through node-redis', async () => {
    const { host, port } = await startCluster();
    const cluster = await quiet(createCluster({ rootNodes: [{ url: `redis://${host}:${port}` }] })).connect();
    atEnd(() => cluster.destroy());
    const store = redisStorage(fromNodeRedis(cluster));
    await store.batch([...'abc'].map((key) => ({ type: 'put', key, value })));
    await expect(store.list('')).resolves.toMatchObject({ entries: [{ key: 'a' }, { key: 'b' }, { key: 'c' }] });
    expect(textOf(await store.get('b'))).toBe('value');
  });

  test('does not take what cannot be promised there', async () => {
    const cluster = quiet(new Cluster([await startCluster()], { scaleReads: 'slave' }));
    atEnd(() => cluster.disconnect());
    expect(() => redisStorage(cluster)).toThrow(InvalidInputError);
    cluster.options.scaleReads = 'master';
    expect(() => redisStorage(cluster, { waitReplicas: 1 })).toThrow(InvalidInputError);
  });
});

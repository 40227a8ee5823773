import { describe, expect, test, vi } from 'vitest';
import { CorruptionError, InvalidInputError } from '../../src/base/errors.js';
import { StorageError } from '../../src/storage/adapter.js';
import { fromNodeRedis, redisStorage } from '../../src/storage/redis.js';
import { atEnd, clientOf, endAfterEach, eventually, startServer, textOf } from '../support/redis-scene.js';

endAfterEach();

const META = '{holdfast}:meta';
const ORDER = '{holdfast}:order';
const ENTRY = '{holdfast}:entry:key';
const value = Buffer.from('value');

/** A store that holds "key", and a client that reaches behind it. */
async function storeWithKey() {
  const server = await startServer();
  const client = clientOf(server);
  const store = redisStorage(client);
  const version = await store.put('key', value);
  return { server, client, store, version, admin: clientOf(server) };
}

describe('what the host passes', () => {
  test.each([undefined, null, {}, { callBuffer: () => {} }, { send: () => {} }, 'redis://localhost'])(
    'is refused if it is no client: %j',
    (client) => {
      expect(() => redisStorage(client as never)).toThrow(InvalidInputError);
      expect(() => fromNodeRedis(client as never)).toThrow(InvalidInputError);
    },
  );

  test('is a node-redis client that has to be wrapped', async () => {
    const client = await (await startServer()).nodeClient();
    atEnd(() => client.destroy());
    expect(() => redisStorage(client as never)).toThrow('fromNodeRedis');
  });

  test.each(['', 'a{b', 'a}b', 'a b', 'é', 'a\nb', 'x'.repeat(129), '*'])('is no prefix: %j', async (prefix) => {
    const client = clientOf(await startServer());
    expect(() => redisStorage(client, { prefix })).toThrow(InvalidInputError);
  });

  test.each([{ timeoutMs: 10 }, { waitReplicas: -1 }, { prefx: 'a' }, { allowEviction: 1 }])(
    'are no options: %j',
    async (options) => {
      const client = clientOf(await startServer());
      expect(() => redisStorage(client, options as never)).toThrow(InvalidInputError);
    },
  );
});

describe('stores on one server', () => {
  test('never see each other, also if the prefix of one begins that of the other', async () => {
    const client = clientOf(await startServer());
    const stores = ['a', 'ab', 'a:b', 'a:meta'].map((prefix) => redisStorage(client, { prefix }));
    for (const store of stores) await store.put('key', Buffer.from(store.name));
    await stores[0]?.delete('key');
    const found = await Promise.all(stores.map(async (store) => textOf(await store.get('key'))));
    expect(found).toEqual([undefined, ...stores.slice(1).map(({ name }) => name)]);
    await expect(stores[0]?.list('')).resolves.toEqual({ entries: [] });
  });

  test('stay below the key prefix of an ioredis client', async () => {
    const server = await startServer();
    const store = redisStorage(clientOf(server, { keyPrefix: 'app:' }));
    await store.put('key', value);
    expect(textOf(await store.get('key'))).toBe('value');
    await expect(store.list('k')).resolves.toMatchObject({ entries: [{ key: 'key', sizeBytes: 5 }] });
    const keys = await clientOf(server).keys('*');
    expect(keys.sort()).toEqual([`app:${ENTRY}`, `app:${META}`, `app:${ORDER}`]);
  });
});

describe('a listing', () => {
  test.each([
    ['\u0000', ['a', 'b']],
    ['', ['a', 'b']],
    ['a\u0000', ['b']],
    ["a' OR 1=1", ['b']],
    ['é', []],
    ['\ud800', []],
    ['a', ['b']],
  ])('goes on behind %j, whatever that is', async (after, keys) => {
    const store = redisStorage(clientOf(await startServer()));
    await store.batch([...'ab'].map((key) => ({ type: 'put', key, value })));
    const forwards = await store.list('', { after });
    expect(forwards.entries.map(({ key }) => key)).toEqual(keys);
    const backwards = await store.list('', { after, reverse: true });
    expect(backwards.entries.map(({ key }) => key)).toEqual(
      ['b', 'a'].filter((key) => !keys.includes(key) && key !== after),
    );
  });
});

describe('what was lost behind the store is an error, not an absent key', () => {
  test('when a value is gone', async () => {
    const { store, admin } = await storeWithKey();
    await admin.del(ENTRY);
    await expect(store.get('key')).rejects.toThrow(CorruptionError);
    await expect(store.list('')).rejects.toThrow(CorruptionError);
    await expect(store.put('key', value)).rejects.toThrow(CorruptionError);
    await expect(store.put('key', value, { ifVersion: null })).rejects.toMatchObject({ key: 'key' });
    await expect(store.put('other', value)).resolves.toMatch(/./);
  });

  test('when a place in the order is gone', async () => {
    const { store, admin } = await storeWithKey();
    await admin.zrem(ORDER, 'key');
    await expect(store.list('')).rejects.toThrow(CorruptionError);
    await expect(store.delete('key')).rejects.toThrow(CorruptionError);
  });

  test('when a value was overwritten by something that is none', async () => {
    const { store, admin } = await storeWithKey();
    await admin.set(ENTRY, 'foreign');
    await expect(store.get('key')).rejects.toThrow(CorruptionError);
    await expect(store.put('key', value)).rejects.toThrow(CorruptionError);
    await admin.del(ENTRY);
    await admin.lpush(ENTRY, 'foreign');
    await expect(store.put('key', value)).rejects.toThrow(CorruptionError);
    await expect(store.get('key')).rejects.toThrow(StorageError);
  });

  test('when the counter is gone, which never starts again', async () => {
    const { store, admin, server } = await storeWithKey();
    await admin.hdel(META, 'writes');
    await expect(store.put('key', value)).rejects.toThrow(CorruptionError);
    await expect(redisStorage(clientOf(server)).open()).rejects.toThrow(CorruptionError);
    await admin.del(META);
    await expect(store.get('absent')).rejects.toThrow(StorageError);
    await expect(redisStorage(clientOf(server)).open()).rejects.toThrow(CorruptionError);
  });

  test('when everything is gone, for those who had it open', async () => {
    const { store, admin, server } = await storeWithKey();
    await admin.flushall();
    await expect(store.get('key')).rejects.toThrow('was emptied or replaced');
    await expect(store.put('key', value)).rejects.toThrow('was emptied or replaced');
    await redisStorage(clientOf(server)).put('other', value);
    await expect(store.list('')).rejects.toThrow('was emptied or replaced');
  });
});

describe('opening', () => {
  test('refuses a store of a newer format', async () => {
    const { admin, server } = await storeWithKey();
    await admin.hset(META, 'format', '2');
    await expect(redisStorage(clientOf(server)).open()).rejects.toThrow('newer holdfast (format 2');
  });

  test('refuses a prefix that is used by something else', async () => {
    const client = clientOf(await startServer());
    await client.set(META, 'foreign');
    await expect(redisStorage(client).open()).rejects.toThrow('prefix');
  });

  test('happens once for all who call at the same time', async () => {
    const server = await startServer();
    const store = redisStorage(clientOf(server));
    await Promise.all([store.put('a', value), store.put('b', value), store.get('a'), store.list(''), store.open()]);
    const stats = await clientOf(server).info('commandstats');
    expect(/cmdstat_config\|get:calls=(\d+)/.exec(stats)?.[1]).toBe('3');
  });
});

describe('versions', () => {
  test('go on rising when the server has lost its last writes', async () => {
    const { store, admin } = await storeWithKey();
    const version = await store.put('key', value);
    await admin.hset(META, 'writes', '0');
    const next = await store.put('key', value, { ifVersion: version });
    expect([next, version].sort()).toEqual([version, next]);
    expect(next.length).toBe(version.length);
  });
});

describe('watching', () => {
  test('tells of puts and deletes under the prefix, until it ends', async () => {
    const { store, server, admin } = await storeWithKey();
    const other = redisStorage(clientOf(server));
    const seen: string[] = [];
    const end = await store.watch('a', (key) => seen.push(key));
    await other.batch([...'ab'].map((key) => ({ type: 'put', key, value })));
    await other.delete('a');
    await eventually(() => seen.length >= 2);
    expect(seen).toEqual(['a', 'a']);
    await end();
    await eventually(async () => !String(await admin.client('LIST')).includes('sub=1'));
  });

  test.each(['ioredis', 'node-redis'])('has everyone look after a lost connection, through %s', async (kind) => {
    const { server, client, admin } = await storeWithKey();
    const nodeClient = await server.nodeClient();
    atEnd(() => nodeClient.destroy());
    const store = redisStorage(kind === 'ioredis' ? client : fromNodeRedis(nodeClient));
    const seen: string[] = [];
    await store.watch('prefix', (key) => seen.push(key));
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await eventually(() => seen.includes('prefix'));
    await store.put('prefix/1', value);
    await eventually(() => seen.includes('prefix/1'));
    await store.close();
  });

  test('survives a listener that throws, and tells the others', async () => {
    const { store } = await storeWithKey();
    const warn = vi.spyOn(process, 'emitWarning').mockReturnValue();
    const seen: string[] = [];
    await store.watch('', () => {
      throw new Error('a bad listener');
    });
    await store.watch('', (key) => seen.push(key));
    await store.put('key', value);
    await eventually(() => seen.length > 0);
    expect(warn).toHaveBeenCalledOnce();
    warn.mockRestore();
  });

  test('rejects in time where the server takes no subscription', async () => {
    const { server, client, admin } = await storeWithKey();
    const silent = redisStorage(client, { timeoutMs: 100 });
    await silent.open();
    server.suspend();
    await expect(silent.watch('', () => {})).rejects.toThrow('no subscription');
    server.resume();
    await admin.acl('SETUSER', 'default', '-subscribe');
    await expect(silent.watch('', () => {})).rejects.toThrow('ACL');
    await admin.acl('SETUSER', 'default', '+subscribe');
    await (await silent.watch('', () => {}))();
  });
});

describe('closing', () => {
  test('leaves the client of the host open and ends the connection of its own', async () => {
    const { store, client, admin } = await storeWithKey();
    await store.watch('', () => {});
    const writing = store.put('last', value);
    await store.close();
    await writing;
    await expect(client.ping()).resolves.toBe('PONG');
    await eventually(async () => !String(await admin.client('LIST')).includes('sub=1'));
    await expect(store.watch('', () => {})).rejects.toMatchObject({ code: 'HOLDFAST_CLOSED' });
    await expect(store.open()).rejects.toMatchObject({ code: 'HOLDFAST_CLOSED' });
  });
});

describe('large batches', () => {
  test('are refused above the limit, and nothing of them is there', async () => {
    const { store } = await storeWithKey();
    const half = Buffer.alloc(17 * 1024 * 1024);
    const puts = ['a', 'b'].map((key) => ({ type: 'put', key, value: half }) as const);
    await expect(store.batch(puts)).rejects.toMatchObject({ code: 'HOLDFAST_LIMIT' });
    await expect(store.list('')).resolves.toMatchObject({ entries: [{ key: 'key' }] });
  });

  test('of ten thousand operations are done whole', async () => {
    const { store } = await storeWithKey();
    const puts = Array.from({ length: 10_000 }, (_, at) => ({ type: 'put', key: `many/${at}`, value }) as const);
    await store.batch(puts);
    const page = await store.list('many/', { limit: 10_000 });
    expect(page.entries).toHaveLength(10_000);
  });
});

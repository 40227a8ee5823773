import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { ConflictError, OutcomeUnknownError, StorageError } from '../../src/storage/adapter.js';
import { fromNodeRedis, type RedisStorage, redisStorage } from '../../src/storage/redis.js';
import { atEnd, clientOf, endAfterEach, eventually, startServer } from '../support/redis-scene.js';

endAfterEach();

const number = (value: Uint8Array | undefined): number => Number(Buffer.from(value ?? []).toString() || '0');

/** Adds one to "count" so often; tells each number that was acknowledged. A write of unknown outcome is read again. */
async function increment(store: RedisStorage, times: number, onDone: (count: number) => unknown = () => {}) {
  for (let done = 0; done < times; ) {
    const entry = await store.get('count').catch(stillDown);
    if (entry === 'down') continue;
    const next = number(entry?.value) + 1;
    const outcome = await store
      .put('count', Buffer.from(String(next)), { ifVersion: entry?.version ?? null })
      .catch(stillDown);
    if (outcome === 'down') continue;
    done++;
    await onDone(next);
  }
}

/** Trouble that goes by; a conflict of the only writer would be a write that was done twice. */
function stillDown(error: unknown): 'down' {
  if (error instanceof ConflictError || !(error instanceof StorageError || error instanceof OutcomeUnknownError)) {
    throw error;
  }
  return 'down';
}

describe('lost connections', () => {
  test.each(['ioredis', 'node-redis'])(
    'cost no increment and double none, killed 200 times, through %s',
    async (kind) => {
      const server = await startServer();
      const admin = clientOf(server);
      const client = kind === 'ioredis' ? clientOf(server) : await server.nodeClient();
      if (!('callBuffer' in client)) atEnd(() => client.destroy());
      const store = redisStorage('callBuffer' in client ? client : fromNodeRedis(client));
      let kills = 0;
      let isDone = false;
      const killing = (async () => {
        while (!isDone) {
          await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
          kills++;
          const seen = number((await admin.getrangeBuffer('{holdfast}:entry:count', 37, -1)) as Buffer);
          await eventually(
            async () => isDone || number(await admin.getrangeBuffer('{holdfast}:entry:count', 37, -1)) > seen,
          );
        }
      })();
      const acknowledged: number[] = [];
      while (kills < 200) await increment(store, 10, (count) => acknowledged.push(count));
      isDone = true;
      await killing;
      expect(acknowledged).toEqual(acknowledged.map((_, at) => at + 1));
      expect(number((await store.get('count'))?.value)).toBe(acknowledged.length);
    },
  );
});

describe('a server that is killed', () => {
  test('and synced every write lost nothing it acknowledged, and the store goes on', async () => {
    const server = await startServer({ persistence: 'always' });
    const store = redisStorage(clientOf(server));
    await store.open();
    for (let round = 1; round <= 4; round++) {
      let acknowledged = 0;
      let isKilled = false;
      const writing = increment(store, 60, (count) => {
        acknowledged = count;
      });
      const killing = eventually(() => acknowledged >= round * 60 - 40).then(async () => {
        await server.kill();
        isKilled = true;
        await server.restart();
      });
      await Promise.all([writing, killing]);
      expect(isKilled).toBe(true);
      expect(number((await store.get('count'))?.value)).toBe(round * 60);
    }
    expect(store.capabilities.durability).toBe('disk');
  });

  test('without persistence is told from an empty store: nothing reads as absent', async () => {
    const server = await startServer();
    const store = redisStorage(clientOf(server));
    await store.put('key', Buffer.from('value'));
    await server.kill();
    await server.restart();
    await expect(store.get('key')).rejects.toThrow('was emptied or replaced');
    await expect(store.list('')).rejects.toThrow(StorageError);
    await expect(store.put('key', Buffer.from('again'), { ifVersion: null })).rejects.toThrow(StorageError);
    await expect(redisStorage(clientOf(server)).get('key')).resolves.toBeUndefined();
  });
});

describe('a server that stands still', () => {
  const timeoutMs = 300;

  test('lets no put through late: what others wrote since stays', async () => {
    const server = await startServer();
    const store = redisStorage(clientOf(server), { timeoutMs });
    const other = redisStorage(clientOf(server));
    await Promise.all([store.put('key', Buffer.from('before')), other.open()]);
    server.suspend();
    await expect(store.put('key', Buffer.from('stale'))).rejects.toThrow(OutcomeUnknownError);
    const written = other.put('key', Buffer.from('newer')); // Behind the stale one in time, on another connection.
    server.resume();
    const version = await written;
    await store.put('another', Buffer.from('value')); // On the connection of the stale one, hence behind it.
    await expect(other.get('key')).resolves.toMatchObject({ version });
  });

  test('a put that is not yet late is done once when the server goes on', async () => {
    const server = await startServer();
    const store = redisStorage(clientOf(server));
    await store.open();
    server.suspend();
    const writing = store.put('key', Buffer.from('value'), { ifVersion: null });
    for (let turn = 0; turn < 100; turn++) await setImmediate();
    server.resume();
    const version = await writing;
    await expect(store.get('key')).resolves.toMatchObject({ version });
  });

  test('refuses at once what comes while it is known to be silent, and works again afterwards', async () => {
    const server = await startServer();
    const store = redisStorage(clientOf(server), { timeoutMs });
    await store.open();
    server.suspend();
    const first = store.put('key-0', Buffer.from('value'));
    await expect(first).rejects.toThrow(OutcomeUnknownError);
    const rest = Array.from({ length: 600 }, (_, at) => store.put(`key-${at}`, Buffer.from('value')));
    const startMs = performance.now();
    const outcomes = await Promise.allSettled(rest);
    expect(performance.now() - startMs).toBeLessThan(3 * timeoutMs);
    expect(outcomes.map((outcome) => outcome.status === 'rejected' && outcome.reason.code)).toEqual(
      rest.map(() => 'HOLDFAST_STORAGE'),
    );
    server.resume();
    await eventually(() =>
      store.put('key', Buffer.from('value')).then(
        () => true,
        () => false,
      ),
    );
    await expect(store.list('')).resolves.toMatchObject({ entries: [{ key: 'key' }] });
  });

  test('a read gives up in time, naming the setting', async () => {
    const server = await startServer();
    const store = redisStorage(clientOf(server), { timeoutMs });
    await store.open();
    server.suspend();
    const reading = store.get('key');
    await expect(reading).rejects.toThrow(StorageError);
    await expect(reading).rejects.toThrow('timeoutMs');
    const controller = new AbortController();
    const aborted = store.list('', { signal: controller.signal });
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(aborted).rejects.toBe(reason);
  });
});

describe('a server that is not there', () => {
  test('is a StorageError in time, and opening is tried again once it is', async () => {
    const server = await startServer();
    await server.kill();
    const store = redisStorage(clientOf(server), { timeoutMs: 200 });
    await expect(store.open()).rejects.toThrow(StorageError);
    await expect(store.put('key', Buffer.from('value'))).rejects.toThrow(StorageError);
    await server.restart();
    await eventually(() =>
      store.open().then(
        () => true,
        () => false,
      ),
    );
    await expect(store.get('key')).resolves.toBeUndefined();
  });

  test('is the same for a client without an offline queue', async () => {
    const server = await startServer();
    const store = redisStorage(clientOf(server, { enableOfflineQueue: false }), { timeoutMs: 5_000 });
    await store.put('key', Buffer.from('value')); // Asked again until the client had connected.
    await server.kill();
    const impatient = redisStorage(clientOf(server, { enableOfflineQueue: false }), { timeoutMs: 100 });
    await expect(impatient.get('key')).rejects.toThrow(StorageError);
  });
});

describe('a server that forgets its scripts', () => {
  test('is told them again in the middle of a run', async () => {
    const server = await startServer();
    const admin = clientOf(server);
    const store = redisStorage(clientOf(server));
    await increment(store, 50, () => admin.script('FLUSH'));
    expect(number((await store.get('count'))?.value)).toBe(50);
    await admin.script('FLUSH');
    await expect(store.list('')).resolves.toMatchObject({ entries: [{ key: 'count', sizeBytes: 2 }] });
  });
});

import { describe, expect, test } from 'vitest';
import type { Clock } from '../../src/base/clock.js';
import { systemClock } from '../../src/base/clock.js';
import { ConflictError, OutcomeUnknownError, StorageError } from '../../src/storage/adapter.js';
import { WRITE } from '../../src/storage/redis/redis-scripts.js';
import { redisStorage } from '../../src/storage/redis.js';
import { clientOf, endAfterEach, holdBack, startServer, tapped, textOf } from '../support/redis-scene.js';

endAfterEach();

const META = '{holdfast}:meta';
const value = (text: string) => Buffer.from(text);

/** Is this a call of the script that writes? */
const isWrite = ([script]: readonly (string | Buffer)[]) => script === WRITE.sha || script === WRITE.lua;

/** Two clients of one server: the second one sees and does things behind the back of the first. */
async function world() {
  const server = await startServer();
  const client = clientOf(server);
  const admin = clientOf(server);
  return { client, admin, other: redisStorage(admin) };
}

/** A client whose writes arrive, but whose answers are lost: it sends each write again, after `between`. */
async function withLostAnswers(between: () => Promise<unknown>) {
  const { client, admin, other } = await world();
  await other.put('first', value('value')); // From here on the server knows the scripts.
  const connection = tapped(client, async (send, words) => {
    if (!isWrite(words)) return send();
    await send().catch(() => {});
    await between();
    return send();
  });
  return { store: redisStorage(connection), other, admin };
}

describe('a write that is sent again although it was done', () => {
  test('is done once, and answered as the first time', async () => {
    const { store, admin } = await withLostAnswers(async () => {});
    const version = await store.put('key', value('value'), { ifVersion: null });
    await expect(store.get('key')).resolves.toMatchObject({ version });
    await expect(store.delete('key', { ifVersion: version })).resolves.toBe(true);
    await expect(admin.hget(META, 'writes')).resolves.toBe('3');
  });

  test('does not undo what another wrote in between', async () => {
    const { store, other } = await withLostAnswers(() => other.put('key', value('newer')));
    await store.put('key', value('older'));
    expect(textOf(await other.get('key'))).toBe('newer');
  });

  test('does nothing when its writer has gone on, however early it is', async () => {
    const { client, other } = await world();
    const copies: (() => Promise<unknown>)[] = [];
    const connection = tapped(client, async (send, words) => {
      if (isWrite(words)) copies.push(send);
      return send();
    });
    const store = redisStorage(connection);
    await store.put('key', value('older'));
    await store.put('another', value('value'));
    await other.put('key', value('newer'));
    await Promise.allSettled(copies.map((send) => send()));
    expect(textOf(await other.get('key'))).toBe('newer');
  });

  test('still tells a conflict as a conflict', async () => {
    const { store, other } = await withLostAnswers(async () => {});
    await other.put('key', value('theirs'));
    await expect(store.put('key', value('mine'), { ifVersion: null })).rejects.toThrow(ConflictError);
    expect(textOf(await other.get('key'))).toBe('theirs');
  });
});

describe('a write that arrives after its writer was told that the outcome is unknown', () => {
  test('does nothing, so that what another wrote since stays', async () => {
    const { client, admin, other } = await world();
    const store = redisStorage(client, { timeoutMs: 200 });
    await store.put('key', value('before'));
    const release = await holdBack(client, admin);
    await expect(store.put('key', value('stale'))).rejects.toThrow(OutcomeUnknownError);
    await other.put('key', value('newer'));
    await release();
    await client.ping(); // Behind the stale write.
    expect(textOf(await other.get('key'))).toBe('newer');
  });

  test('does nothing either when the clock of the server was set back meanwhile', async () => {
    const { client, admin, other } = await world();
    const hourMs = 3_600_000;
    // A clock that is set back by an hour leaves the deadline an hour ahead, and the time of the last write too.
    const connection = tapped(client, async (send, words) => {
      const at = 2 + Number(words[1]) + 5;
      return isWrite(words) ? send(words.with(at, String(Number(words[at]) + hourMs))) : send();
    });
    const store = redisStorage(connection, { timeoutMs: 200 });
    await store.put('key', value('before'));
    const release = await holdBack(client, admin);
    await expect(store.put('key', value('stale'))).rejects.toThrow(OutcomeUnknownError);
    await admin.hset(META, 'clockMs', Date.now() + hourMs);
    await other.put('key', value('newer'));
    await release();
    await client.ping();
    expect(textOf(await other.get('key'))).toBe('newer');
    await expect(admin.hget(META, 'era')).resolves.toBe('2');
  });
});

describe('a clock that jumps costs a second question, and no write', () => {
  test('when the server is behind its own last write', async () => {
    const { client, admin } = await world();
    const store = redisStorage(client);
    await store.put('key', value('1'));
    await admin.hset(META, 'clockMs', Date.now() + 3_600_000);
    const version = await store.put('key', value('2'));
    await expect(store.get('key')).resolves.toMatchObject({ version });
    await expect(admin.hmget(META, 'era', 'writes')).resolves.toEqual(['2', '2']);
  });

  test('when the server is behind what the writer knows', async () => {
    const { client, admin } = await world();
    let aheadMs = 0;
    const clock: Clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs };
    const store = redisStorage(client, { clock });
    await store.put('key', value('1'));
    aheadMs = 3_600_000;
    await store.put('key', value('2'));
    await expect(admin.hmget(META, 'era', 'writes')).resolves.toEqual(['2', '2']);
  });

  test('when the server is ahead of every deadline', async () => {
    const { client, admin } = await world();
    let aheadMs = 0;
    const clock: Clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs };
    const store = redisStorage(client, { clock });
    await store.put('key', value('1'));
    aheadMs = -3_600_000; // Our clock lost an hour, as in a machine that slept.
    await store.put('key', value('2'));
    await expect(admin.hmget(META, 'era', 'writes')).resolves.toEqual(['1', '2']);
  });

  test('and a write that is late until its time is over is known not to have happened', async () => {
    const { client } = await world();
    const always = tapped(client, async (send, words) => (isWrite(words) ? ['late', 0, 1] : send()));
    const store = redisStorage(always, { timeoutMs: 100 });
    const writing = store.put('key', value('value'));
    await expect(writing).rejects.toThrow(StorageError);
    await expect(writing).rejects.toThrow('Nothing was written');
  });
});

describe('what a writer is remembered by', () => {
  test('goes once nothing of it can arrive any more', async () => {
    const { client, admin } = await world();
    const store = redisStorage(client);
    await store.put('key', value('value'));
    const names = async () => (await admin.hkeys(META)).filter((name) => name.startsWith('writer/'));
    await redisStorage(admin).open();
    await expect(names()).resolves.toHaveLength(1);
    const [name] = (await names()) as [string];
    await admin.hset(META, name, '1 1000 \x90');
    await redisStorage(admin).open();
    await expect(names()).resolves.toEqual([]);
  });
});

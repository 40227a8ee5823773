import { describe, expect, test } from 'vitest';
import { ClosedError } from '../../src/base/errors.js';
import { openRecord, sealRecord } from '../../src/records/envelope.js';
import { LeaseNode } from '../../src/records/node.js';
import { UnknownSessionError } from '../../src/sessions/session-errors.js';
import { sessionKey } from '../../src/sessions/session-record.js';
import { StorageError, type StoredEntry } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { altered, damageRecord, never } from '../records/node-world.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { LEASE_MS, member, until } from './session-world.js';

const DAY_MS = 86_400_000;
const isAnything = (_: unknown): _ is unknown => true;

async function idsOf(items: AsyncIterable<{ readonly id: string }>): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of items) ids.push(id);
  return ids;
}

describe('looking', () => {
  test('begins no heartbeat of its own', async () => {
    const storage = memoryStorage();
    await member(storage).sessions.open('s');
    const viewer = member(storage);
    await viewer.sessions.interrupted();
    await idsOf(viewer.sessions.list());
    await viewer.sessions.get('s');
    expect(viewer.events).toEqual([]);
    expect(viewer.clock.pending).toBe(0);
  });

  test('at any id gives it back exactly, and leaves others alone', async () => {
    const { sessions } = member();
    const odd = ['a/b', '../../etc', '__proto__', '名前', '😀'.repeat(200), ' ', 'x'.repeat(1_024), 'A', 'a'];
    for (const id of odd) await (await sessions.open(id, { metadata: { id } })).release();
    expect((await idsOf(sessions.list())).sort()).toEqual([...odd].sort());
    for (const id of odd) expect(await sessions.get(id)).toMatchObject({ id, metadata: { id } });
    expect(await sessions.get('nobody')).toBeUndefined();
  });

  test('fails when the store does, and calls nothing corrupted that is not', async () => {
    const inner = memoryStorage();
    await (await member(inner).sessions.open('s')).release();
    const storage = altered(inner, { get: () => Promise.reject(new StorageError('down')) });
    const { sessions, events } = member(storage);
    expect(await rejectionOf(sessions.interrupted())).toBeInstanceOf(StorageError);
    expect(await rejectionOf(idsOf(sessions.list()))).toBeInstanceOf(StorageError);
    expect(events).toEqual([]);
  });

  test('tells of one node that cannot be read without losing sight of the others', async () => {
    const storage = memoryStorage();
    await member(storage).sessions.open('b');
    const other = member(storage);
    await other.sessions.open('a', { priority: 'high' });
    await damageRecord(storage, (await other.sessions.get('a'))?.node as string);
    const { sessions, outwait } = member(storage);
    await outwait();
    expect(await sessions.interrupted()).toMatchObject([
      { id: 'a', failure: 'corrupted', session: { status: 'active' } },
      { id: 'b', failure: 'crashed', session: { status: 'interrupted' } },
    ]);
    expect(await idsOf(sessions.list())).toEqual(['a', 'b']);
  });

  test('passes on what is neither damage nor an answer of the node’s record', async () => {
    const inner = memoryStorage();
    await member(inner).sessions.open('s');
    const storage = altered(inner, {
      get: (key, options) =>
        key.startsWith('nodes/') ? Promise.reject(new StorageError('down')) : inner.get(key, options),
    });
    expect(await rejectionOf(member(storage).sessions.interrupted())).toBeInstanceOf(StorageError);
  });

  test('shows records that may be stale, or belong to another, as damage', async () => {
    const inner = memoryStorage();
    for (const id of ['stale', 'moved']) await (await member(inner).sessions.open(id)).release();
    const { value } = (await inner.get(sessionKey('stale'))) as { value: Uint8Array };
    await inner.put(sessionKey('moved'), value);
    const storage = altered(inner, {
      get: async (key) => {
        const entry = await inner.get(key);
        return entry && (key === sessionKey('stale') ? { ...entry, suspect: true } : entry);
      },
    });
    const found = await member(storage).sessions.interrupted();
    expect(found.map(({ id, failure }) => `${id} ${failure}`).sort()).toEqual(['moved corrupted', 'stale corrupted']);
  });

  test('names a damaged record by its key where only that tells its session', async () => {
    const { sessions, storage } = member();
    const id = 'ü'.repeat(300);
    await (await sessions.open(id)).release();
    await storage.put(sessionKey(id), new Uint8Array(3));
    expect(await sessions.interrupted()).toMatchObject([{ id: sessionKey(id), failure: 'corrupted' }]);
  });

  test('takes no record for a session’s that was sealed under its key for another', async () => {
    const { sessions, storage } = member();
    await (await sessions.open('s')).release();
    const key = sessionKey('s');
    const { header, body } = openRecord(key, ((await storage.get(key)) as StoredEntry).value, isAnything);
    const meta = { ...(header.meta as object), id: 'other' };
    await storage.put(key, sealRecord({ ...header, meta }, body).bytes);
    expect(await rejectionOf(sessions.get('s'))).toMatchObject({
      message: expect.stringContaining('belongs to session "other"'),
    });
  });

  test('goes page by page, and past what is removed meanwhile', async () => {
    const inner = memoryStorage();
    const maker = member(inner);
    for (const id of ['a', 'b', 'c', 'd']) await (await maker.sessions.open(id)).release();
    const storage = altered(inner, {
      list: (prefix, options) => inner.list(prefix, { ...options, limit: 1 }),
      get: (key, options) => (key === sessionKey('b') ? Promise.resolve(undefined) : inner.get(key, options)),
    });
    const { sessions } = member(storage);
    expect(await idsOf(sessions.list())).toEqual(['a', 'c', 'd']);
    expect(await idsOf(sessions.list({ limit: 2 }))).toEqual(['a', 'c']);
    expect(await idsOf(sessions.list({ limit: 0 }))).toEqual([]);
  });

  test('puts the urgent first, and before all what cannot be read', async () => {
    const { sessions, storage, clock } = member();
    for (const [id, priority] of [
      ['n1', 'normal'],
      ['l', 'low'],
      ['h', 'high'],
      ['n2', 'normal'],
      ['x', 'low'],
    ] as const) {
      await (await sessions.open(id, { priority })).release();
      await clock.advance(1);
    }
    await storage.put(sessionKey('x'), new Uint8Array(3));
    expect((await sessions.interrupted()).map(({ id }) => id)).toEqual(['x', 'h', 'n1', 'n2', 'l']);
  });
});

describe('expire', () => {
  test('lets a session be that is reopened just then', async () => {
    const inner = memoryStorage();
    const maker = member(inner);
    await (await maker.sessions.open('s')).end();
    maker.clock.jumpWall(8 * DAY_MS);
    const storage = altered(inner, {
      delete: async (...given) => {
        await maker.sessions.open('s', { reopen: true });
        return inner.delete(...given);
      },
    });
    const { sessions, clock } = member(storage);
    clock.jumpWall(8 * DAY_MS);
    expect(await sessions.expire()).toEqual({ archived: 0, removed: 0 });
    expect(await sessions.get('s')).toMatchObject({ status: 'active' });
  });

  test('passes on what the storage throws', async () => {
    const storage = altered(memoryStorage(), { delete: () => Promise.reject(new StorageError('down')) });
    const { sessions, clock } = member(storage);
    await (await sessions.open('s')).end();
    clock.jumpWall(8 * DAY_MS);
    expect(await rejectionOf(sessions.expire())).toBeInstanceOf(StorageError);
  });
});

describe('archive and release', () => {
  test('of an ended session, and of an unknown one', async () => {
    const { sessions } = member();
    await (await sessions.open('s')).end('failed', new Error('bad'));
    await sessions.archive('s');
    expect(await sessions.get('s')).toMatchObject({ status: 'failed', error: 'bad' });
    expect(await idsOf(sessions.list({ archived: true }))).toEqual(['s']);
    expect(await rejectionOf(sessions.release('nobody'))).toBeInstanceOf(UnknownSessionError);
  });

  test('pass on what the storage throws', async () => {
    const storage = { ...memoryStorage() };
    const { sessions } = member(storage);
    await (await sessions.open('s')).release();
    storage.put = () => Promise.reject(new StorageError('down'));
    expect(await rejectionOf(sessions.archive('s'))).toBeInstanceOf(StorageError);
  });
});

describe('close', () => {
  test('refuses all that acts, and goes on answering what only looks', async () => {
    const { sessions } = member();
    await (await sessions.open('s')).release();
    await sessions.close();
    const acts = [
      () => sessions.run('s', () => 1),
      () => sessions.open('s'),
      () => sessions.recover('s'),
      () => sessions.interrupted(),
      () => sessions.archive('s'),
      () => sessions.release('s'),
      () => sessions.expire(),
    ];
    for (const act of acts) expect(await rejectionOf(act())).toBeInstanceOf(ClosedError);
    expect(await sessions.get('s')).toMatchObject({ status: 'interrupted' });
    expect(await idsOf(sessions.list())).toEqual(['s']);
    expect(sessions.close()).toBe(sessions[Symbol.asyncDispose]());
  });

  test('ends the wait of those that wait, with and without a signal of their own, and leaves no timer', async () => {
    const storage = memoryStorage();
    const clock = new VirtualClock();
    await member(storage).sessions.open('s');
    const { sessions } = member(storage, {}, clock);
    const { signal } = new AbortController();
    const waiting = [{}, { signal }].map((more) => rejectionOf(sessions.open('s', { waitMs: 60_000, ...more })));
    await clock.advance(200);
    await sessions.close();
    for (const wait of waiting) expect(await wait).toBeInstanceOf(ClosedError);
    expect(clock.pending).toBe(0);
  });

  test('waits for a claim that is under way, and gives back what it got', async () => {
    const inner = memoryStorage();
    const gate = deferred();
    const storage = altered(inner, {
      put: async (key, ...rest) => {
        if (key.startsWith('sessions/')) await gate.promise;
        return inner.put(key, ...rest);
      },
    });
    const { sessions, clock } = member(storage);
    const opening = rejectionOf(sessions.open('s'));
    await clock.advance(10);
    const closing = sessions.close();
    gate.resolve();
    await closing;
    expect(await opening).toBeInstanceOf(ClosedError);
    expect(await member(inner).sessions.get('s')).toMatchObject({ status: 'interrupted', node: null });
    expect(clock.pending).toBe(0);
  });

  test('does not take a session away from a `prepare` that goes on, and waits for it 10 s at most', async () => {
    const storage = memoryStorage();
    await member(storage).sessions.open('s');
    const one = member(storage, { prepare: () => never() });
    await one.outwait();
    void one.sessions.recover('s');
    await until(one.sessions, 's', 'recovering');
    const closing = one.sessions.close();
    await one.clock.advance(9_000);
    expect((await one.sessions.get('s'))?.node).not.toBeNull();
    await one.clock.advance(1_000);
    await closing;
  });

  test('tells that a session could not be given back, and leaves the node all the same', async () => {
    const storage = { ...memoryStorage() };
    const { sessions, types, events } = member(storage);
    await sessions.open('s');
    storage.put = () => Promise.reject(new StorageError('down'));
    expect(await rejectionOf(sessions.close())).toBeInstanceOf(StorageError);
    expect(events.map(({ type }) => type)).toContain('node.left');
    expect(types()).toContain('session.lost');
  });

  test('of one registry leaves another on the same node at work', async () => {
    const storage = memoryStorage();
    const clock = new VirtualClock();
    const node = new LeaseNode({ storage, clock, leaseMs: LEASE_MS });
    const [one, other] = [member(storage, { node }, clock), member(storage, { node }, clock)];
    await one.sessions.open('a');
    const kept = await other.sessions.open('b');
    expect(await rejectionOf(other.sessions.open('a'))).toMatchObject({ code: 'HOLDFAST_BUSY' });
    await one.sessions.close();
    expect((await other.sessions.open('a')).fence).toBe(2);
    await clock.advance(LEASE_MS * 3);
    await kept.checkpoint({ count: 1 });
    await other.sessions.close();
    await node.leave();
    expect(clock.pending).toBe(0);
  });
});

describe('a thousand sessions', () => {
  test('are looked through with one look at their node, and need no listener each afterwards', async () => {
    const inner = memoryStorage();
    const dead = member(inner);
    const ids = Array.from({ length: 1_000 }, (_, at) => `s${at}`);
    await Promise.all(ids.map((id) => dead.sessions.open(id)));
    let looks = 0;
    const storage = altered(inner, {
      get: (key, options) => {
        if (key.startsWith('nodes/')) looks++;
        return inner.get(key, options);
      },
    });
    const { sessions, outwait } = member(storage);
    await outwait();
    looks = 0;
    expect(await sessions.interrupted()).toHaveLength(1_000);
    expect(looks).toBe(1);
  });

  test('begin at once under `maxSessions`', async () => {
    const { sessions } = member(memoryStorage(), { maxSessions: 300 });
    const opened = await Promise.allSettled(Array.from({ length: 320 }, (_, at) => sessions.open(`s${at}`)));
    expect(opened.filter(({ status }) => status === 'fulfilled')).toHaveLength(300);
  });
});

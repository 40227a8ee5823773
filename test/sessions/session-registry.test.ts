import { describe, expect, test } from 'vitest';
import { ClosedError, CorruptionError, InvalidInputError, LimitError } from '../../src/base/errors.js';
import { BusyError, FencedError } from '../../src/records/lease.js';
import { QuarantinedError, SessionEndedError, UnknownSessionError } from '../../src/sessions/session-errors.js';
import { sessionKey } from '../../src/sessions/session-record.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { LEASE_MS, member, withoutBatch } from './session-world.js';

const HOUR_MS = 3_600_000;

async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** A session that was begun by a process that is dead now, and saved `counts`. */
async function abandoned(storage = memoryStorage(), counts: readonly number[] = [1]) {
  const dead = member(storage);
  const session = await dead.sessions.open('s');
  for (const count of counts) await session.checkpoint({ count });
  return { dead, session, storage };
}

describe('run', () => {
  test('gives the session to the work, ends it, and gives what the work gave', async () => {
    const { sessions, types } = member();
    const result = await sessions.run('s', async (session) => {
      expect(await sessions.get('s')).toMatchObject({ status: 'active', fence: 1 });
      expect(await session.restore()).toBeUndefined();
      await session.checkpoint({ count: 1 });
      return 'done';
    });
    expect(result).toBe('done');
    expect(await sessions.get('s')).toMatchObject({ status: 'completed', node: null, takeovers: [] });
    expect(types()).toEqual(['session.opened', 'session.active', 'session.completed']);
  });

  test('work that throws fails the session, with the error in its record, and is told', async () => {
    const { sessions } = member();
    const error = new Error('no tool is called that');
    expect(await rejectionOf(sessions.run('s', () => Promise.reject(error)))).toBe(error);
    expect(await sessions.get('s')).toMatchObject({ status: 'failed', error: 'no tool is called that' });
  });

  test('what was saved is there when it is reopened; without `reopen` it has ended', async () => {
    const { sessions } = member();
    await sessions.run('s', (session) => session.checkpoint({ count: 7 }));
    const ended = await rejectionOf(sessions.run('s', () => 'again'));
    expect(ended).toBeInstanceOf(SessionEndedError);
    expect(ended).toMatchObject({ session: 's', status: 'completed' });
    const restored = await sessions.run('s', (session) => session.restore(), { reopen: true });
    expect(restored?.state).toEqual({ count: 7 });
    expect(await sessions.get('s')).toMatchObject({ status: 'completed', fence: 2 });
  });

  test('a session that is at work is busy, in this process and in another', async () => {
    const storage = memoryStorage();
    const one = member(storage);
    const other = member(storage);
    const gate = deferred();
    const running = one.sessions.run('s', () => gate.promise);
    await expect.poll(async () => (await one.sessions.get('s'))?.status).toBe('active');
    expect(await rejectionOf(one.sessions.run('s', () => 1))).toBeInstanceOf(BusyError);
    expect(await rejectionOf(other.sessions.run('s', () => 1))).toBeInstanceOf(BusyError);
    gate.resolve();
    await running;
  });

  test('of many that begin one session at once, one gets it', async () => {
    const storage = memoryStorage();
    const members = Array.from({ length: 8 }, () => member(storage));
    const gate = deferred();
    const runs = members.map(({ sessions }) => sessions.run('s', () => gate.promise));
    const outcomes = Promise.allSettled(runs);
    await expect.poll(async () => (await members[0]?.sessions.get('s'))?.status).toBe('active');
    gate.resolve();
    const lost = (await outcomes).filter(({ status }) => status === 'rejected');
    expect(lost).toHaveLength(7);
    for (const outcome of lost) {
      expect((outcome as PromiseRejectedResult).reason.code).toMatch(/HOLDFAST_(BUSY|SESSION_ENDED)/);
    }
  });

  test('waits for whoever holds it as long as it is told to', async () => {
    const storage = memoryStorage();
    const one = member(storage);
    const other = member(storage, {}, one.clock);
    const gate = deferred();
    const first = one.sessions.run('s', () => gate.promise);
    await expect.poll(async () => (await one.sessions.get('s'))?.status).toBe('active');
    const second = other.sessions.run('s', () => 'second', { waitMs: 10_000, reopen: true });
    await one.clock.advance(1_000);
    gate.resolve();
    await first;
    await one.clock.advance(1_000);
    expect(await second).toBe('second');
  });
});

describe('a session whose process died', () => {
  test('is interrupted once nothing was heard for more than its lease, and not before', async () => {
    const { storage } = await abandoned();
    const { sessions, clock } = member(storage);
    expect(await sessions.interrupted()).toEqual([]);
    await clock.advance(LEASE_MS);
    expect(await sessions.interrupted()).toEqual([]);
    await clock.advance(LEASE_MS * 0.06);
    const [found] = await sessions.interrupted();
    expect(found).toMatchObject({ id: 's', failure: 'crashed', session: { status: 'interrupted', fence: 1 } });
    expect(found?.evidence[0]).toMatch(/^nothing was heard of its node .* for 3\.2 s, its lease is 3\.0 s$/);
  });

  test('is taken over with what it saved last', async () => {
    const { storage } = await abandoned(undefined, [1, 2, 3]);
    const { sessions, outwait, types } = member(storage);
    expect(await rejectionOf(sessions.run('s', () => 1))).toBeInstanceOf(BusyError);
    await outwait();
    const session = await sessions.recover('s');
    expect(session.takeover).toMatchObject({ failure: 'crashed' });
    expect(session.fence).toBe(2);
    expect((await session.restore())?.state).toEqual({ count: 3 });
    await session.end();
    expect(types()).toEqual(['session.taken-over', 'session.active', 'session.completed']);
    expect((await sessions.get('s'))?.takeovers).toHaveLength(1);
  });

  test.each([
    ['in a store with batches', memoryStorage],
    ['in a store of four methods', () => withoutBatch(memoryStorage())],
  ])('cannot save any more when it wakes up, and is told, %s', async (_name, storageOf) => {
    const storage = storageOf();
    const { dead, session } = await abandoned(storage, [1, 2]);
    const { sessions, outwait } = member(storage);
    await outwait();
    const taken = await sessions.recover('s');
    // The dead one's clock stands still: as far as it knows its lease lasts.
    const late = await rejectionOf(session.checkpoint({ count: 99 }));
    expect(late).toBeInstanceOf(FencedError);
    expect(session.signal.reason).toBeInstanceOf(FencedError);
    expect(dead.types()).toContain('session.lost');
    await taken.checkpoint({ count: 3 });
    expect((await taken.restore())?.state).toEqual({ count: 3 });
  });

  test('goes to one of many rescuers', async () => {
    const { storage } = await abandoned();
    const clock = member().clock;
    const rescuers = Array.from({ length: 6 }, () => member(storage, {}, clock));
    await Promise.all(rescuers.map(({ sessions }) => sessions.interrupted()));
    await clock.advance(LEASE_MS * 1.1);
    const outcomes = await Promise.allSettled(rescuers.map(({ sessions }) => sessions.recover('s')));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect((await rescuers[0]?.sessions.get('s'))?.fence).toBe(2);
  });

  test('goes through `prepare` before it is active; what that throws gives it back', async () => {
    const { storage } = await abandoned();
    const seen: (string | undefined)[] = [];
    const failing = member(storage, {
      prepare: async (session) => {
        seen.push((await failing.sessions.get(session.id))?.status);
        throw new Error('a tool is missing');
      },
    });
    await failing.outwait();
    expect(await rejectionOf(failing.sessions.recover('s'))).toMatchObject({ message: 'a tool is missing' });
    expect(seen).toEqual(['recovering']);
    expect(await failing.sessions.get('s')).toMatchObject({ status: 'interrupted', node: null });
    const next = member(storage);
    expect((await next.sessions.recover('s')).fence).toBe(3);
  });
});

describe('the poison guard', () => {
  test('leaves a session alone that was taken over three times, until it is released', async () => {
    const { storage } = await abandoned();
    const survivor = member(storage);
    for (let crash = 1; crash <= 3; crash++) {
      const victim = member(storage);
      await victim.outwait();
      await victim.sessions.recover('s');
    }
    await survivor.outwait();
    const refused = await rejectionOf(survivor.sessions.recover('s'));
    expect(refused).toBeInstanceOf(QuarantinedError);
    expect(await rejectionOf(survivor.sessions.run('s', () => 1))).toBeInstanceOf(QuarantinedError);
    expect(await survivor.sessions.interrupted()).toMatchObject([{ id: 's', session: { quarantined: {} } }]);
    await survivor.sessions.release('s');
    expect((await survivor.sessions.recover('s')).fence).toBeGreaterThan(4);
  });

  test('forgets takeovers that are longer ago than its window', async () => {
    const { storage } = await abandoned();
    for (let crash = 1; crash <= 3; crash++) {
      const victim = member(storage);
      await victim.outwait();
      await victim.sessions.recover('s');
    }
    const survivor = member(storage);
    survivor.clock.jumpWall(73 * HOUR_MS);
    await survivor.outwait();
    expect((await survivor.sessions.recover('s')).fence).toBe(5);
  });

  test('does not count sessions that were given back', async () => {
    const { sessions } = member();
    for (let round = 1; round <= 6; round++) {
      const session = await sessions.open('s');
      expect(session.takeover).toBeUndefined();
      await session.release();
    }
    expect(await sessions.get('s')).toMatchObject({ status: 'interrupted', fence: 6, takeovers: [] });
  });
});

describe('a session that is quiet', () => {
  test('is frozen after its time, may be taken by force, and its process is told at the next heartbeat', async () => {
    const storage = memoryStorage();
    const clock = member().clock;
    const one = member(storage, { mayBeQuietMs: 10_000 }, clock);
    const other = member(storage, {}, clock);
    const session = await one.sessions.open('s');
    await clock.advance(9_000);
    expect(await other.sessions.interrupted()).toEqual([]);
    await clock.advance(3_000);
    const [found] = await other.sessions.interrupted();
    expect(found).toMatchObject({ failure: 'frozen', session: { status: 'active' } });
    expect(await rejectionOf(other.sessions.recover('s'))).toBeInstanceOf(BusyError);
    const taken = await other.sessions.recover('s', { force: true });
    expect(taken.takeover).toMatchObject({ failure: 'frozen' });
    await clock.advance(LEASE_MS);
    expect(session.signal.reason).toBeInstanceOf(FencedError);
    expect(taken.signal.aborted).toBe(false);
  });

  test('is not frozen while it touches, saves, or said that it would be quiet', async () => {
    const storage = memoryStorage();
    const clock = member().clock;
    const one = member(storage, { mayBeQuietMs: 10_000 }, clock);
    const other = member(storage, {}, clock);
    const session = await one.sessions.open('s');
    for (let second = 0; second < 15; second++) {
      await clock.advance(1_000);
      session.touch(second / 15);
    }
    expect(await other.sessions.interrupted()).toEqual([]);
    expect(await other.sessions.get('s')).toMatchObject({ progress: expect.closeTo(0.9, 1) });
    session.expectQuiet(60_000);
    await clock.advance(50_000);
    expect(await other.sessions.interrupted()).toEqual([]);
    await clock.advance(12_000);
    expect(await other.sessions.interrupted()).toMatchObject([{ failure: 'frozen' }]);
    await session.checkpoint({ count: 1 });
    await clock.advance(1_500);
    expect(await other.sessions.interrupted()).toEqual([]);
  });

  test('refuses progress and quiet that are none', async () => {
    const session = await member().sessions.open('s');
    for (const progress of [-0.1, 1.1, Number.NaN]) expect(() => session.touch(progress)).toThrow(InvalidInputError);
    for (const ms of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => session.expectQuiet(ms)).toThrow(InvalidInputError);
    }
  });
});

describe('a hundred sessions', () => {
  test('cost one small write for each third of a lease', async () => {
    const inner = memoryStorage();
    let writes = 0;
    const put: typeof inner.put = (...given) => {
      writes++;
      return inner.put(...given);
    };
    const counting = { ...inner, put };
    const { sessions, clock } = member(counting);
    const open = await Promise.all(Array.from({ length: 100 }, (_, at) => sessions.open(`s${at}`)));
    writes = 0;
    for (let beat = 0; beat < 30; beat++) {
      await clock.advance(LEASE_MS / 3);
      for (const session of open) session.touch(0.5);
    }
    expect(writes).toBe(30);
    expect(open.every(({ signal }) => !signal.aborted)).toBe(true);
  });
});

describe('close', () => {
  test('tells the work to stop, lets it save, and gives the session back', async () => {
    const storage = memoryStorage();
    const one = member(storage);
    const work = one.sessions.run('s', async (session) => {
      await new Promise((resolve) => session.signal.addEventListener('abort', resolve));
      await session.checkpoint({ count: 5 });
      session.signal.throwIfAborted();
    });
    const outcome = rejectionOf(work);
    await expect.poll(async () => (await one.sessions.get('s'))?.status).toBe('active');
    await one.sessions.close();
    expect(await outcome).toBeInstanceOf(ClosedError);
    const other = member(storage);
    expect(await other.sessions.interrupted()).toMatchObject([{ failure: 'disconnected' }]);
    const session = await other.sessions.recover('s');
    expect(session.takeover).toBeUndefined();
    expect((await session.restore())?.state).toEqual({ count: 5 });
  });

  test('ends what finished, gives back what was opened, and refuses what comes after', async () => {
    const { sessions, clock } = member();
    const gate = deferred();
    const finishing = sessions.run('f', () => gate.promise);
    await sessions.open('o');
    await expect.poll(async () => (await sessions.get('f'))?.status).toBe('active');
    const closing = sessions.close();
    gate.resolve();
    await Promise.all([closing, finishing]);
    expect(await sessions.get('f')).toMatchObject({ status: 'completed' });
    expect(await sessions.get('o')).toMatchObject({ status: 'interrupted', node: null });
    expect(await rejectionOf(sessions.open('x'))).toBeInstanceOf(ClosedError);
    expect(clock.pending).toBe(0);
  });

  test('does not give back what does not stop, and says no more than 10 s about it', async () => {
    const storage = memoryStorage();
    const { sessions, clock } = member(storage);
    void sessions.run('s', () => new Promise(() => undefined));
    await expect.poll(async () => (await sessions.get('s'))?.status).toBe('active');
    const closing = sessions.close();
    await clock.advance(10_000);
    await closing;
    expect((await member(storage).sessions.get('s'))?.node).not.toBeNull();
  });
});

describe('maxSessions', () => {
  test('is kept to by processes that begin at once; what ends makes room', async () => {
    const storage = memoryStorage();
    const members = Array.from({ length: 4 }, () => member(storage, { maxSessions: 5 }));
    const opened = await Promise.allSettled(
      Array.from({ length: 20 }, (_, at) => members[at % 4]?.sessions.open(`s${at}`)),
    );
    const kept = opened.flatMap((outcome) => (outcome.status === 'fulfilled' && outcome.value ? [outcome.value] : []));
    expect(kept).toHaveLength(5);
    for (const outcome of opened) if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(LimitError);
    await kept[0]?.end();
    await members[0]?.sessions.open('one-more');
    expect(await rejectionOf(members[1]?.sessions.open('too-many') as Promise<unknown>)).toBeInstanceOf(LimitError);
  });
});

describe('records', () => {
  test('that cannot be read are reported, kept, and never taken for absent', async () => {
    const { sessions, storage, events } = member();
    await (await sessions.open('s')).end();
    const key = sessionKey('s');
    const entry = await storage.get(key);
    const bytes = new Uint8Array(entry?.value ?? []);
    bytes[60] = (bytes[60] as number) ^ 1;
    await storage.put(key, bytes);
    expect(await rejectionOf(sessions.run('s', () => 1, { reopen: true }))).toBeInstanceOf(CorruptionError);
    expect(await rejectionOf(sessions.get('s'))).toBeInstanceOf(CorruptionError);
    expect(await sessions.interrupted()).toMatchObject([{ id: 's', session: undefined, failure: 'corrupted' }]);
    expect(await collected(sessions.list())).toEqual([]);
    expect(events.filter(({ type }) => type === 'session.unreadable')).toHaveLength(2);
    expect((await storage.get(key))?.value).toEqual(bytes);
  });

  test('are listed by what is asked for, and expire only when they ended', async () => {
    const { sessions, clock } = member();
    await (await sessions.open('a-done')).end();
    await (await sessions.open('a-bad', { priority: 'high' })).end('failed', new Error('bad'));
    await (await sessions.open('b-left', { metadata: { goal: 'find it' } })).release();
    const ids = async (filter?: Parameters<typeof sessions.list>[0]) =>
      (await collected(sessions.list(filter))).map(({ id }) => id);
    expect(await ids()).toEqual(['a-bad', 'a-done', 'b-left']);
    expect(await ids({ status: 'interrupted' })).toEqual(['b-left']);
    expect(await ids({ prefix: 'a-', limit: 1 })).toEqual(['a-bad']);
    expect(await ids({ priority: 'high' })).toEqual(['a-bad']);
    clock.jumpWall(25 * HOUR_MS);
    expect(await sessions.expire()).toEqual({ archived: 2, removed: 0 });
    expect(await ids()).toEqual(['b-left']);
    expect(await ids({ archived: true })).toEqual(['a-bad', 'a-done']);
    clock.jumpWall(10 * 365 * 24 * HOUR_MS);
    expect(await sessions.expire()).toEqual({ archived: 0, removed: 2 });
    expect(await sessions.get('b-left')).toMatchObject({ status: 'interrupted', metadata: { goal: 'find it' } });
  });

  test('of a session that nobody brings on are archived as failed, of one at work not at all', async () => {
    const { sessions } = member();
    const session = await sessions.open('s');
    expect(await rejectionOf(sessions.archive('s'))).toBeInstanceOf(BusyError);
    await session.release();
    await sessions.archive('s');
    expect(await sessions.get('s')).toMatchObject({ status: 'failed', error: 'archived before it had ended' });
    expect(await sessions.interrupted()).toEqual([]);
    expect(await rejectionOf(sessions.archive('nobody'))).toBeInstanceOf(UnknownSessionError);
  });

  test('of unknown sessions are not made by recovering them', async () => {
    const { sessions, storage } = member();
    expect(await rejectionOf(sessions.recover('nobody'))).toBeInstanceOf(UnknownSessionError);
    expect(await storage.get(sessionKey('nobody'))).toBeUndefined();
  });
});

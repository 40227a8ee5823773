import { describe, expect, test } from 'vitest';
import { FencedError } from '../../src/records/lease.js';
import { sessionKey } from '../../src/sessions/session-record.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { altered } from '../records/node-world.js';
import { rejectionOf } from '../support/deferred.js';
import { LEASE_MS, member } from './session-world.js';

const QUIET_MS = 10_000;

/** A session that has been quiet for long enough, and another process that looks at it. */
async function frozen() {
  const storage = memoryStorage();
  const clock = new VirtualClock();
  const one = member(storage, { mayBeQuietMs: QUIET_MS }, clock);
  const session = await one.sessions.open('s');
  await clock.advance(QUIET_MS + 500);
  return { one, session, storage, clock, other: member(storage, {}, clock) };
}

describe('a frozen session', () => {
  test('that was taken, and shows itself again before the next heartbeat, is told with that', async () => {
    const { session, clock, other } = await frozen();
    const taken = await other.sessions.recover('s', { force: true });
    session.touch();
    expect(session.isQuiet).toBe(false);
    await clock.advance(LEASE_MS / 3);
    expect(session.signal.reason).toBeInstanceOf(FencedError);
    expect(taken.isOver).toBe(false);
  });

  test('that shows itself again cannot be taken any more by who judged it before', async () => {
    const { one, session, storage, clock } = await frozen();
    let write: (() => void) | undefined;
    const slow = altered(storage, {
      put: async (key, ...rest) => {
        if (key === sessionKey('s')) await new Promise<void>((resolve) => (write = resolve));
        return storage.put(key, ...rest);
      },
    });
    const taking = rejectionOf(member(slow, {}, clock).sessions.recover('s', { force: true }));
    await expect.poll(() => write).toBeDefined();
    session.touch();
    await clock.advance(LEASE_MS / 3);
    write?.();
    expect(await taking).toMatchObject({ code: 'HOLDFAST_BUSY' });
    await session.checkpoint({ count: 1 });
    expect(one.types()).not.toContain('session.lost');
  });

  test('is still its process’s own while nobody takes it', async () => {
    const { session, clock } = await frozen();
    await clock.advance(QUIET_MS);
    expect(session.isQuiet).toBe(true);
    await session.checkpoint({ count: 1 });
    expect(session.isQuiet).toBe(false);
    expect(session.isOver).toBe(false);
  });

  test('says how far it was', async () => {
    const { session, clock, other } = await frozen();
    session.touch(0.42);
    await clock.advance(QUIET_MS + 1_000);
    const [found] = await other.sessions.interrupted();
    expect(found?.evidence).toEqual([expect.stringMatching(/^it was quiet for 1\d\.\d s/), 'its progress was 42 %']);
    expect(found?.session).toMatchObject({ progress: 0.42, quietMs: expect.any(Number) });
  });
});

describe('a process that was stopped', () => {
  test('is told when it asks, before its timers are', async () => {
    const { sessions, clock } = member();
    const session = await sessions.open('s');
    clock.jumpWall(LEASE_MS); // No timer runs, as in the first moment after SIGCONT.
    expect(session.isOver).toBe(true);
    expect(session.signal.aborted).toBe(true);
    expect(session.signal.reason).toMatchObject({ code: 'HOLDFAST_FENCED', what: 'session "s"' });
    expect(await rejectionOf(session.checkpoint({ count: 1 }))).toBeInstanceOf(FencedError);
  });

  test('keeps its sessions when wall time is set back by years, and loses them when it is set forward', async () => {
    const { sessions, clock } = member();
    const session = await sessions.open('s');
    clock.jumpWall(-10 * 365 * 86_400_000);
    await clock.advance(LEASE_MS * 5);
    expect(session.isOver).toBe(false);
    clock.jumpWall(20 * 365 * 86_400_000);
    expect(session.isOver).toBe(true);
    const again = sessions.recover('s', { waitMs: LEASE_MS * 2 });
    await clock.advance(LEASE_MS * 2);
    expect((await again).fence).toBe(2);
  });
});

describe('a store that fails for a minute', () => {
  test('costs the session, tells so, and it is taken up again afterwards by the same process', async () => {
    const inner = memoryStorage();
    const outage = { isOn: false };
    const down = () => Promise.reject(new Error('down'));
    const storage = altered(inner, {
      get: (...given) => (outage.isOn ? down() : inner.get(...given)),
      put: (...given) => (outage.isOn ? down() : inner.put(...given)),
      batch: (...given) => (outage.isOn ? down() : (inner.batch as NonNullable<typeof inner.batch>)(...given)),
    });
    const { sessions, clock, types } = member(storage);
    const session = await sessions.open('s');
    await session.checkpoint({ count: 1 });
    outage.isOn = true;
    expect(await rejectionOf(session.checkpoint({ count: 2 }))).toMatchObject({ code: 'HOLDFAST_STORAGE' });
    expect(session.isOver).toBe(false);
    await clock.advance(60_000);
    expect(session.signal.reason).toBeInstanceOf(FencedError);
    expect(types()).toContain('session.lost');
    outage.isOn = false;
    const again = sessions.recover('s', { waitMs: LEASE_MS * 2 });
    await clock.advance(LEASE_MS * 2);
    expect((await (await again).restore())?.state).toEqual({ count: 1 });
  });
});

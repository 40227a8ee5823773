import { describe, expect, test } from 'vitest';
import { ClosedError, InvalidInputError, LimitError } from '../../src/base/errors.js';
import { UnserializableError } from '../../src/records/codec.js';
import { BusyError, FencedError } from '../../src/records/lease.js';
import { sessionKey } from '../../src/sessions/session-record.js';
import { NoSpaceError, OutcomeUnknownError, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import { LEASE_MS, member, obstructed, takeByForce, until, withoutBatch } from './session-world.js';

describe('an end', () => {
  test('is not undone by a release, or another end, that comes while it is being written', async () => {
    const { sessions, types } = member();
    const session = await sessions.open('s');
    const ending = session.end();
    const released = session.release();
    const again = rejectionOf(session.end('failed'));
    await Promise.all([ending, released]);
    expect(await again).toBeInstanceOf(ClosedError);
    expect(await sessions.get('s')).toMatchObject({ status: 'completed' });
    expect(types()).toEqual(['session.opened', 'session.active', 'session.completed']);
  });

  test('is not undone by closing the registry meanwhile', async () => {
    const { sessions } = member();
    const session = await sessions.open('s');
    await Promise.all([session.end(), sessions.close()]);
    expect(await sessions.get('s')).toMatchObject({ status: 'completed' });
  });

  test.each([
    ['in one write with its check', memoryStorage],
    ['before its check', () => withoutBatch(memoryStorage())],
  ])('is not taken for a loss by a save under way, written %s', async (_, storageOf) => {
    const { sessions, types } = member(storageOf());
    const session = await sessions.open('s');
    const saving = session.checkpoint({ count: 1 }).catch((error: unknown) => error);
    await session.end();
    expect(await saving).not.toBeInstanceOf(FencedError);
    expect(types()).not.toContain('session.lost');
  });

  test('whose answer is late is not taken for a loss by who asks meanwhile', async () => {
    const { storage, obstacle } = obstructed();
    const { sessions, types, clock } = member(storage);
    const session = await sessions.open('s');
    const answer = deferred();
    obstacle.act = async (write) => {
      const version = await write();
      await answer.promise;
      return version;
    };
    const ending = session.end();
    const confirming = rejectionOf(session.guard.confirm());
    await clock.advance(1);
    answer.resolve();
    await ending;
    expect(await confirming).toBeInstanceOf(ClosedError);
    expect(types()).not.toContain('session.lost');
  });

  test('is final: nothing is saved or described, and touching changes nothing', async () => {
    const { sessions } = member();
    const session = await sessions.open('s');
    await session.end();
    session.touch(0.5);
    expect(session.isOver).toBe(true);
    expect(await rejectionOf(session.checkpoint({ count: 1 }))).toBeInstanceOf(ClosedError);
    expect(await rejectionOf(session.describe({}))).toBeInstanceOf(ClosedError);
    expect(await rejectionOf(session.end())).toBeInstanceOf(ClosedError);
    await session.release();
    await session[Symbol.asyncDispose]();
    expect(await sessions.get('s')).toMatchObject({ status: 'completed', node: null });
  });

  test('is one of two, and a failure without an error says so', async () => {
    const { sessions } = member();
    const session = await sessions.open('s');
    expect(await rejectionOf(session.end('done' as 'failed'))).toBeInstanceOf(InvalidInputError);
    await session.end('failed');
    expect(await sessions.get('s')).toMatchObject({ status: 'failed', error: 'it was ended as failed' });
  });

  test('goes through although an operator changed the record meanwhile', async () => {
    const storage = memoryStorage();
    const { sessions } = member(storage);
    const session = await sessions.open('s');
    const { value } = (await storage.get(sessionKey('s'))) as { value: Uint8Array };
    await storage.put(sessionKey('s'), value);
    await session.end();
    expect(await sessions.get('s')).toMatchObject({ status: 'completed' });
  });

  test('of a session whose record is gone is told as a loss', async () => {
    const storage = memoryStorage();
    const { sessions } = member(storage);
    const session = await sessions.open('s');
    await storage.delete(sessionKey('s'));
    const error = (await rejectionOf(session.end())) as FencedError;
    expect(error).toBeInstanceOf(FencedError);
    expect(String(error.cause)).toMatch(/is gone$/);
  });
});

describe('run', () => {
  test('tells the loss of the session, also when its work did not mind', async () => {
    const storage = memoryStorage();
    const one = member(storage);
    const gate = deferred();
    const running = rejectionOf(one.sessions.run('s', () => gate.promise));
    await until(one.sessions, 's', 'active');
    await takeByForce(storage, 's');
    await one.clock.advance(LEASE_MS * 3);
    gate.resolve();
    expect(await running).toBeInstanceOf(FencedError);
  });

  test('tells a loss that is known when its work returns, and records no end', async () => {
    const { sessions, clock, types } = member();
    const running = sessions.run('s', () => clock.jumpWall(LEASE_MS * 2));
    expect(await rejectionOf(running)).toBeInstanceOf(FencedError);
    expect(types()).not.toContain('session.completed');
  });

  test('tells the loss rather than what the work died of because of it', async () => {
    const one = member();
    const running = rejectionOf(
      one.sessions.run('s', async (session) => {
        await new Promise((resolve) => session.signal.addEventListener('abort', resolve));
        throw new Error('aborted');
      }),
    );
    await until(one.sessions, 's', 'active');
    one.clock.jumpWall(LEASE_MS * 2); // The machine was suspended.
    await one.clock.advance(LEASE_MS);
    expect(await running).toMatchObject({ code: 'HOLDFAST_FENCED', what: 'session "s"' });
  });

  test('whose work is done and cannot be recorded as done is given back, not failed', async () => {
    const { storage, obstacle } = obstructed();
    const { sessions } = member(storage);
    let failures = 1;
    const running = sessions.run('s', () => {
      obstacle.act = (write) => (failures-- > 0 ? Promise.reject(new NoSpaceError('disk')) : write());
    });
    expect(await rejectionOf(running)).toBeInstanceOf(NoSpaceError);
    expect(await sessions.get('s')).toMatchObject({ status: 'interrupted', node: null });
  });

  test('whose failure cannot be recorded tells it all the same', async () => {
    const { storage, obstacle } = obstructed();
    const { sessions } = member(storage);
    let failures = 1;
    const running = sessions.run('s', () => {
      obstacle.act = (write) => (failures-- > 0 ? Promise.reject(new NoSpaceError('disk')) : write());
      throw new Error('bad');
    });
    expect(await rejectionOf(running)).toMatchObject({ message: 'bad' });
    expect(await sessions.get('s')).toMatchObject({ status: 'interrupted' });
  });

  test('of a session that its work gave back or ended gives the result all the same', async () => {
    const { sessions } = member();
    const released = sessions.run('s', async (session) => {
      await session.release();
      return 1;
    });
    expect(await released).toBe(1);
    expect(await sessions.get('s')).toMatchObject({ status: 'interrupted' });
    const failing = sessions.run('s', async (session) => {
      await session.end('failed', 'by itself');
      throw new Error('afterwards');
    });
    expect(await rejectionOf(failing)).toMatchObject({ message: 'afterwards' });
    expect(await sessions.get('s')).toMatchObject({ status: 'failed', error: 'by itself' });
  });

  test('on its own id within its work is busy, and waits no longer than it is told to', async () => {
    const { sessions, clock } = member();
    const outer = sessions.run('s', async () => {
      const inner = rejectionOf(sessions.run('s', () => 1, { waitMs: 1_000 }));
      await clock.advance(2_000);
      return inner;
    });
    expect(await outer).toBeInstanceOf(BusyError);
  });

  test('ends although the seat cannot be given back', async () => {
    const { storage, obstacle } = obstructed();
    const { sessions, types } = member(storage, { maxSessions: 1 });
    const session = await sessions.open('s');
    obstacle.act = (write) => {
      obstacle.act = () => Promise.reject(new StorageError('down'));
      return write();
    };
    await session.end();
    expect(types()).toContain('session.completed');
    obstacle.act = undefined;
    await sessions.open('next'); // The seat of one that has ended is found.
  });
});

describe('what is let go of without an answer', () => {
  test('is given back with a heartbeat, so that others need not wait for this process to end', async () => {
    const { storage, obstacle } = obstructed();
    const one = member(storage);
    const other = member(storage, {}, one.clock);
    const running = one.sessions.run('s', () => {
      obstacle.act = () => Promise.reject(new StorageError('down'));
    });
    expect(await rejectionOf(running)).toBeInstanceOf(StorageError);
    obstacle.act = undefined;
    expect(await other.sessions.interrupted()).toEqual([]);
    expect(await one.sessions.get('s')).toMatchObject({ status: 'interrupted' });
    await one.clock.advance(LEASE_MS / 2);
    expect(await other.sessions.interrupted()).toMatchObject([{ id: 's', failure: 'disconnected' }]);
    expect((await other.sessions.recover('s')).fence).toBe(2);
    expect(one.types()).toContain('session.released');
  });

  test('is given back also if it was claimed by a write whose outcome could not be told', async () => {
    const inner = memoryStorage();
    const storage = { ...inner };
    const one = member(storage);
    await (await one.sessions.open('warm')).end();
    storage.put = async (key, ...rest) => {
      await inner.put(key, ...rest);
      storage.put = inner.put;
      storage.get = () => Promise.reject(new StorageError('down'));
      throw new OutcomeUnknownError(key);
    };
    // The registry was given `storage` itself, so what is replaced in it is what it calls.
    expect(await rejectionOf(one.sessions.open('s'))).toBeInstanceOf(OutcomeUnknownError);
    storage.get = inner.get;
    await one.clock.advance(LEASE_MS / 2);
    expect(await member(inner).sessions.get('s')).toMatchObject({ status: 'interrupted', node: null });
  });

  test('is left to whoever goes on with it here', async () => {
    const { storage, obstacle } = obstructed();
    const one = member(storage);
    const running = one.sessions.run('s', () => {
      obstacle.act = () => Promise.reject(new StorageError('down'));
    });
    await rejectionOf(running);
    obstacle.act = undefined;
    const session = await one.sessions.open('s');
    await one.clock.advance(LEASE_MS);
    expect(session.isOver).toBe(false);
    expect(await one.sessions.get('s')).toMatchObject({ status: 'active' });
  });
});

describe('metadata', () => {
  test('are taken when they are given, and can be changed by nobody', async () => {
    const { sessions } = member();
    const metadata = { goal: 'find it' };
    const opening = sessions.open('s', { metadata });
    metadata.goal = 'other';
    const session = await opening;
    expect(session.metadata).toEqual({ goal: 'find it' });
    const next = { goal: 'keep it' };
    const describing = session.describe(next);
    next.goal = 'other';
    await describing;
    expect(await sessions.get('s')).toMatchObject({ metadata: { goal: 'keep it' } });
    expect(() => Object.assign(session.metadata, { goal: 'x' })).toThrow(TypeError);
  });

  test('that are too large, or cannot be kept, are refused before anything is done', async () => {
    const { sessions, storage } = member();
    const large = { text: 'x'.repeat(1_000_000) };
    expect(await rejectionOf(sessions.open('s', { metadata: large }))).toBeInstanceOf(LimitError);
    const odd = { act: () => 1 };
    expect(await rejectionOf(sessions.open('s', { metadata: odd }))).toBeInstanceOf(UnserializableError);
    expect(await storage.get(sessionKey('s'))).toBeUndefined();
    const session = await sessions.open('s');
    expect(await rejectionOf(session.describe(large))).toBeInstanceOf(LimitError);
    expect(await rejectionOf(session.describe(7 as never))).toBeInstanceOf(InvalidInputError);
    expect(session.isOver).toBe(false);
  });
});

describe('a call and a step', () => {
  test('are run by the policies and the steps that were given, and end with the session', async () => {
    const ran: unknown[] = [];
    const steps = { run: async ({ session, name, work, signal }: never) => ran.push([session, name, work, signal]) };
    const { sessions } = member(memoryStorage(), { steps: steps as never });
    const session = await sessions.open('s');
    let attempts = 0;
    const flaky = () => (++attempts < 2 ? Promise.reject(new Error('busy')) : 'done');
    expect(await session.call(flaky, { maxRetries: 1, backoff: { kind: 'constant', baseMs: 0 } })).toBe('done');
    await session.step('one', () => 1);
    expect(ran).toMatchObject([['s', 'one', expect.any(Function), session.signal]]);
    await session.end();
    expect(await rejectionOf(session.step('two', () => 2))).toBeInstanceOf(ClosedError);
    expect(await rejectionOf(session.call(() => 3))).toBeInstanceOf(ClosedError);
  });

  test('there are no steps where none were given', async () => {
    const session = await member().sessions.open('s');
    expect(await rejectionOf(session.step('one', () => 1))).toBeInstanceOf(InvalidInputError);
  });
});

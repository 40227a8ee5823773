import { describe, expect, test } from 'vitest';
import { CorruptionError, InvalidInputError, LimitError } from '../../src/base/errors.js';
import { BusyError, FencedError } from '../../src/records/lease.js';
import { nodeKey } from '../../src/records/node-record.js';
import { QuarantinedError, SessionEndedError } from '../../src/sessions/session-errors.js';
import { sessionKey } from '../../src/sessions/session-record.js';
import { SessionRegistry } from '../../src/sessions/session-registry.js';
import { OutcomeUnknownError, type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { ownProcess, type ProcessIdentity } from '../../src/storage/host-process.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { altered, damageRecord, leaveRecord, never } from '../records/node-world.js';
import { rejectionOf } from '../support/deferred.js';
import { LEASE_MS, member, obstructed, withoutBatch } from './session-world.js';

const seatsOf = async (storage: StorageAdapter) =>
  Buffer.from((await storage.get('session-seats'))?.value ?? []).toString('latin1');

/** A session "s" of a process that is dead; it saved `counts`. */
async function abandoned(storage: StorageAdapter, counts: readonly number[] = []) {
  const dead = member(storage);
  const session = await dead.sessions.open('s');
  for (const count of counts) await session.checkpoint({ count });
  return { dead, session };
}

describe('a claim whose write has no answer', () => {
  test('holds the session if the write happened, and tries again if it did not', async () => {
    for (const isWritten of [true, false]) {
      const { storage, obstacle } = obstructed();
      const { sessions } = member(storage);
      await (await sessions.open('warm')).end();
      obstacle.act = async (write) => {
        obstacle.act = undefined;
        if (isWritten) await write();
        throw new OutcomeUnknownError('s');
      };
      expect(await sessions.open('s')).toMatchObject({ fence: 1, isOver: false });
      expect(await sessions.get('s')).toMatchObject({ status: 'active' });
    }
  });

  test('is an unknown outcome if that cannot be found out, or is never answered, and nothing else', async () => {
    for (const error of [new OutcomeUnknownError('s'), new StorageError('down')]) {
      const { storage, obstacle } = obstructed();
      const { sessions } = member(storage);
      await (await sessions.open('warm')).end();
      obstacle.act = () => Promise.reject(error);
      expect(await rejectionOf(sessions.open('s'))).toBe(error);
      obstacle.act = undefined;
      expect(await sessions.get('s')).toBeUndefined();
    }
  });
});

describe('calls for one session in one process at once', () => {
  const codesOf = async (calls: readonly Promise<unknown>[]) =>
    (await Promise.all(calls.map(rejectionOf))).map((error) => (error as { code?: string } | undefined)?.code).sort();

  test('give it to one of them, whether it is begun, reopened or taken over', async () => {
    const storage = memoryStorage();
    const { sessions, outwait } = member(storage);
    const open = () => sessions.open('new', { reopen: true });
    expect(await codesOf([open(), open()])).toEqual(['HOLDFAST_BUSY', undefined]);
    await (await sessions.open('ended')).end();
    const reopen = () => sessions.open('ended', { reopen: true });
    expect(await codesOf([reopen(), reopen()])).toEqual(['HOLDFAST_BUSY', undefined]);
    await abandoned(storage);
    await outwait();
    const recover = () => sessions.recover('s');
    expect(await codesOf([recover(), recover()])).toEqual(['HOLDFAST_BUSY', undefined]);
  });
});

describe('the node that held it', () => {
  test('is proved gone by its process on this host, or by its record that is gone', async () => {
    const storage = memoryStorage();
    const { dead } = await abandoned(storage);
    const node = ((await dead.sessions.get('s')) as { node: string }).node;
    await leaveRecord(storage, node, { process: { ...(ownProcess() as ProcessIdentity), startTime: '1' } });
    const { sessions } = member(storage);
    expect(await sessions.interrupted()).toMatchObject([
      { failure: 'crashed', evidence: [`its process (${process.pid}) on this host has ended`] },
    ]);
    await storage.delete(nodeKey(node));
    const [found] = await sessions.interrupted();
    expect(found).toMatchObject({ failure: 'crashed', evidence: [expect.stringContaining('has left, or was swept')] });
    expect((await sessions.recover('s')).fence).toBe(2);
  });

  test('may be lost while the claim is being written: nothing begins, and it is told', async () => {
    const { storage, obstacle } = obstructed();
    const { sessions, clock, types } = member(storage);
    await (await sessions.open('warm')).end();
    obstacle.act = (write) => {
      obstacle.act = undefined;
      clock.jumpWall(LEASE_MS);
      return write();
    };
    const opening = rejectionOf(sessions.open('s'));
    await clock.advance(0);
    expect(await opening).toMatchObject({ code: 'HOLDFAST_FENCED', what: 'session "s"' });
    expect(types().at(-1)).toBe('session.lost');
  });
});

describe('waiting', () => {
  test('ends with the signal, and leaves the session for others here to wait for', async () => {
    const storage = memoryStorage();
    const one = member(storage);
    const other = member(storage, {}, one.clock);
    const session = await one.sessions.open('s');
    const stop = new AbortController();
    const waiting = rejectionOf(other.sessions.open('s', { waitMs: 60_000, signal: stop.signal }));
    await one.clock.advance(1_000);
    stop.abort(new Error('enough'));
    expect(await waiting).toMatchObject({ message: 'enough' });
    expect(await rejectionOf(other.sessions.open('s', { signal: stop.signal }))).toMatchObject({ message: 'enough' });
    await session.release();
    expect((await other.sessions.open('s')).fence).toBe(2);
  });

  test('for one that is recovered takes it when its process is silent for long enough', async () => {
    const storage = memoryStorage();
    await abandoned(storage, [5]);
    const { sessions, clock } = member(storage);
    const waiting = sessions.recover('s', { waitMs: LEASE_MS * 2 });
    await clock.advance(LEASE_MS * 1.2);
    expect((await (await waiting).restore())?.state).toEqual({ count: 5 });
  });
});

describe('the seal of a takeover', () => {
  test('is the next number where a write and its check are two, also in another store than the records', async () => {
    for (const states of [undefined, memoryStorage()]) {
      const storage = states === undefined ? withoutBatch(memoryStorage()) : memoryStorage();
      const dead = member(storage, {}, undefined, states);
      await (await dead.sessions.open('s')).checkpoint({ count: 1 });
      const { sessions, outwait, checkpoints } = member(storage, {}, undefined, states);
      await outwait();
      const session = await sessions.recover('s');
      expect(await session.restore()).toMatchObject({ state: { count: 1 }, checkpoint: { operation: 'session.seal' } });
      expect(await checkpoints.restore('s', { sequence: 1 })).toMatchObject({ state: { count: 1 } });
    }
  });

  test('is not needed where they are one, nor where nothing was saved', async () => {
    const together = memoryStorage();
    await abandoned(together, [1]);
    const one = member(together);
    await one.outwait();
    expect(await (await one.sessions.recover('s')).restore()).toMatchObject({ checkpoint: { sequence: 1 } });
    const apart = withoutBatch(memoryStorage());
    await abandoned(apart);
    const other = member(apart);
    await other.outwait();
    expect(await (await other.sessions.recover('s')).restore()).toBeUndefined();
  });

  test('goes behind a save of the process before that comes through just then', async () => {
    const inner = withoutBatch(memoryStorage());
    const { dead } = await abandoned(inner, [1]);
    let isFirst = true;
    const storage = altered(inner, {
      async put(key, ...rest) {
        if (key.startsWith('checkpoints/') && isFirst) {
          isFirst = false;
          await dead.checkpoints.save('s', { count: 2 });
        }
        return inner.put(key, ...rest);
      },
    });
    const { sessions, outwait } = member(storage);
    await outwait();
    const session = await sessions.recover('s');
    expect(await session.restore()).toMatchObject({ state: { count: 2 }, checkpoint: { sequence: 3 } });
  });

  test('does not hide that the newest checkpoint is damaged, nor keep anybody from mending it', async () => {
    const storage = withoutBatch(memoryStorage());
    await abandoned(storage, [1, 2]);
    const { entries } = await storage.list('checkpoints/', { reverse: true, limit: 1 });
    const key = entries[0]?.key as string;
    await storage.put(key, new Uint8Array(80));
    const { sessions, outwait } = member(storage);
    await outwait();
    const session = await sessions.recover('s');
    expect(await session.restore()).toMatchObject({ state: { count: 1 }, degraded: true });
    await session.release();
    for (const entry of (await storage.list('checkpoints/')).entries) await storage.put(entry.key, new Uint8Array(80));
    const next = member(storage);
    await (await next.sessions.open('s')).checkpoint({ count: 3 });
  });

  test('that cannot be told to be needed gives the session back', async () => {
    const inner = withoutBatch(memoryStorage());
    await abandoned(inner, [1]);
    const storage = altered(inner, {
      list: (prefix, ...rest) =>
        prefix.startsWith('checkpoints/') ? Promise.reject(new StorageError('down')) : inner.list(prefix, ...rest),
    });
    const { sessions, outwait } = member(storage);
    await outwait();
    expect(await rejectionOf(sessions.recover('s'))).toBeInstanceOf(StorageError);
    expect(await sessions.get('s')).toMatchObject({ status: 'interrupted', node: null });
  });

  test('that cannot be written gives the session back', async () => {
    const inner = withoutBatch(memoryStorage());
    await abandoned(inner, [1]);
    const storage = altered(inner, {
      put: (key, ...rest) =>
        key.startsWith('checkpoints/') ? Promise.reject(new StorageError('down')) : inner.put(key, ...rest),
    });
    const { sessions, outwait } = member(storage);
    await outwait();
    expect(await rejectionOf(sessions.recover('s'))).toBeInstanceOf(StorageError);
    expect(await sessions.get('s')).toMatchObject({ status: 'interrupted', node: null });
  });
});

describe('prepare', () => {
  test('that loses the session is told so, and nothing becomes active', async () => {
    const storage = memoryStorage();
    await abandoned(storage);
    const one = member(storage, { prepare: () => one.clock.jumpWall(LEASE_MS) });
    await one.outwait();
    expect(await rejectionOf(one.sessions.recover('s'))).toBeInstanceOf(FencedError);
    expect(one.types()).toEqual(['session.taken-over', 'session.lost']);
  });

  test('is not called for a session that is begun, or was given back', async () => {
    const prepared: string[] = [];
    const { sessions } = member(memoryStorage(), { prepare: ({ id }) => void prepared.push(id) });
    await (await sessions.open('s')).release();
    await sessions.open('s');
    expect(prepared).toEqual([]);
  });
});

describe('the probe', () => {
  const probed = async (probe: (...given: never[]) => unknown) => {
    const storage = memoryStorage();
    await abandoned(storage);
    const one = member(storage, { probe: probe as never });
    await one.outwait();
    const looking = one.sessions.interrupted();
    await one.clock.advance(3_000);
    return { ...one, found: (await looking)[0] };
  };

  test('that says dead is evidence; the session may be taken', async () => {
    const seen: unknown[] = [];
    const { found, sessions } = await probed((session) => {
      seen.push(session);
      return 'dead';
    });
    expect(found).toMatchObject({
      failure: 'crashed',
      evidence: [expect.any(String), 'the probe says that its process is dead'],
    });
    expect(seen).toMatchObject([{ id: 's', status: 'interrupted' }]);
    expect((await sessions.recover('s')).takeover?.failure).toBe('crashed');
  });

  test('that says alive keeps it from being taken unasked', async () => {
    const { found, sessions, clock } = await probed(async () => 'alive');
    expect(found).toMatchObject({ failure: 'disconnected' });
    expect(await rejectionOf(sessions.recover('s'))).toBeInstanceOf(BusyError);
    const forced = sessions.recover('s', { force: true });
    await clock.advance(0);
    expect((await forced).takeover).toMatchObject({ failure: 'disconnected' });
  });

  test('that says alive keeps it from being taken also when the record of its node was swept', async () => {
    const { found, storage, sessions } = await probed(async () => 'alive');
    await storage.delete(nodeKey(found?.session?.node as string));
    expect(await sessions.interrupted()).toMatchObject([{ id: 's', failure: 'disconnected' }]);
    expect(await rejectionOf(sessions.recover('s'))).toBeInstanceOf(BusyError);
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('no route');
      },
    ],
    ['rejects', () => Promise.reject(new Error('no route'))],
    ['hangs', () => never()],
    ['says something else', () => 'perhaps'],
  ])('that %s says nothing', async (_, probe) => {
    const { found } = await probed(probe);
    expect(found).toMatchObject({ failure: 'crashed' });
    expect(found?.evidence[1]).toBe('whether it crashed or is cut off cannot be told from here');
  });

  test('is told to stop when its time is over', async () => {
    const signals: AbortSignal[] = [];
    await probed((...[, signal]: [unknown, AbortSignal]) => {
      signals.push(signal);
      return never();
    });
    expect(signals[0]?.aborted).toBe(true);
  });
});

describe('quarantine', () => {
  test('is not got round by archiving and reopening, and is lifted once', async () => {
    const storage = memoryStorage();
    await abandoned(storage);
    const { sessions, outwait, storage: inner } = member(storage, { takeovers: { max: 0 } });
    await outwait();
    expect(await rejectionOf(sessions.recover('s'))).toBeInstanceOf(QuarantinedError);
    await sessions.archive('s');
    expect(await rejectionOf(sessions.open('s'))).toBeInstanceOf(SessionEndedError);
    expect(await rejectionOf(sessions.open('s', { reopen: true }))).toBeInstanceOf(QuarantinedError);
    await sessions.release('s');
    const { version } = (await inner.get(sessionKey('s'))) as { version: string };
    await sessions.release('s');
    expect((await inner.get(sessionKey('s')))?.version).toBe(version);
    expect((await sessions.open('s', { reopen: true })).fence).toBe(2);
  });

  test('lifted while somebody else changes the record is lifted all the same', async () => {
    const inner = memoryStorage();
    await abandoned(inner);
    const storage = { ...inner };
    const { sessions, outwait } = member(storage, { takeovers: { max: 0 } });
    await outwait();
    await rejectionOf(sessions.recover('s'));
    storage.put = async (key, value, options) => {
      storage.put = inner.put;
      await inner.put(key, ((await inner.get(key)) as { value: Uint8Array }).value);
      return inner.put(key, value, options);
    };
    await sessions.release('s');
    expect((await sessions.get('s'))?.quarantined).toBeUndefined();
  });
});

describe('seats', () => {
  test('are not used up by sessions that could not begin', async () => {
    const { storage, obstacle } = obstructed();
    const { sessions } = member(storage, { maxSessions: 1 });
    await (await sessions.open('warm')).end();
    obstacle.act = async (write) => {
      obstacle.act = async () => {
        obstacle.act = undefined;
        throw new StorageError('down');
      };
      return write(); // The seat is taken, and then the record cannot be written.
    };
    expect(await rejectionOf(sessions.open('a'))).toBeInstanceOf(StorageError);
    await sessions.open('b');
  });

  test('are taken once, however often their writing gets no answer', async () => {
    const { storage, obstacle } = obstructed();
    const { sessions } = member(storage, { maxSessions: 2 });
    await (await sessions.open('warm')).end();
    let unknown = 2;
    obstacle.act = async (write) => {
      const version = await write();
      if (unknown-- > 0) throw new OutcomeUnknownError('session-seats');
      return version;
    };
    await sessions.open('a');
    expect((await seatsOf(storage)).match(/"session":"a"/g)).toHaveLength(1);
  });

  test('that cannot be taken are told', async () => {
    const { storage, obstacle } = obstructed();
    const { sessions } = member(storage, { maxSessions: 2 });
    await (await sessions.open('warm')).end();
    obstacle.act = () => Promise.reject(new OutcomeUnknownError('session-seats'));
    expect(await rejectionOf(sessions.open('a'))).toBeInstanceOf(OutcomeUnknownError);
  });

  test('of processes that died before they began are free once those are gone, and not before', async () => {
    const inner = memoryStorage();
    const storage = altered(inner, {
      put: (key, ...rest) => (key.startsWith('sessions/') ? never() : inner.put(key, ...rest)),
    });
    const dead = member(storage, { maxSessions: 1 });
    void dead.sessions.open('s');
    await expect.poll(() => seatsOf(inner)).toMatch(/"session":"s"/);
    const { sessions, clock } = member(inner, { maxSessions: 1 });
    expect(await rejectionOf(sessions.open('other'))).toBeInstanceOf(LimitError);
    await clock.advance(LEASE_MS * 1.1);
    await sessions.open('other');
  });

  test('that cannot be read stop nothing from ending, and everything from beginning', async () => {
    const storage = memoryStorage();
    const { sessions } = member(storage, { maxSessions: 3 });
    const session = await sessions.open('s');
    const good = (await storage.get('session-seats')) as { value: Uint8Array };
    await storage.put(
      'session-seats',
      good.value.map((byte, at) => (at === 60 ? byte ^ 1 : byte)),
    );
    await session.end();
    expect(await sessions.get('s')).toMatchObject({ status: 'completed' });
    expect(await rejectionOf(sessions.open('t'))).toBeInstanceOf(CorruptionError);
    const suspicious = altered(storage, {
      get: async (key) => {
        const entry = await storage.get(key);
        return entry && (key === 'session-seats' ? { ...entry, suspect: true } : entry);
      },
    });
    expect(await rejectionOf(member(suspicious, { maxSessions: 3 }).sessions.open('t'))).toMatchObject({
      message: expect.stringContaining('Repair the store'),
    });
  });
});

describe('force', () => {
  test('takes nothing from a process that is at work', async () => {
    const storage = memoryStorage();
    const one = member(storage);
    await one.sessions.open('s');
    expect(await rejectionOf(member(storage).sessions.recover('s', { force: true }))).toBeInstanceOf(BusyError);
  });

  test('is needed where the record of the node cannot be read, and is enough', async () => {
    const storage = memoryStorage();
    await abandoned(storage, [4]);
    const node = ((await member(storage).sessions.get('s')) as { node: string }).node;
    await damageRecord(storage, node);
    const { sessions } = member(storage);
    expect(await sessions.get('s')).toMatchObject({ status: 'active' });
    expect(await sessions.interrupted()).toMatchObject([{ id: 's', failure: 'corrupted' }]);
    expect(await rejectionOf(sessions.recover('s'))).toBeInstanceOf(CorruptionError);
    const session = await sessions.recover('s', { force: true });
    expect((await session.restore())?.state).toEqual({ count: 4 });
    await storage.delete(nodeKey(node));
  });
});

test('options that make no sense are refused by name', async () => {
  const { sessions, storage, checkpoints } = member();
  const made = (options: object) => () => new SessionRegistry({ storage, checkpoints, ...options });
  expect(made({ checkpoints: {} })).toThrow(/options\.checkpoints: must be a CheckpointManager/);
  expect(made({ checkpoints: null })).toThrow(InvalidInputError);
  expect(made({ storage: null })).toThrow(/options\.storage/);
  expect(made({ node: {} })).toThrow(/options\.node: must be a LeaseNode/);
  expect(made({ policies: {} })).toThrow(/options\.policies: must be a RetryManager/);
  expect(made({ steps: null })).toThrow(/options\.steps/);
  expect(made({ probe: 1 })).toThrow(/options\.probe/);
  expect(made({ heartbeat: 1 })).toThrow(/options\.heartbeat/);
  expect(await rejectionOf(sessions.open('s', { metadata: null as never }))).toBeInstanceOf(InvalidInputError);
  expect(await rejectionOf(sessions.open(''))).toBeInstanceOf(InvalidInputError);
  expect(() => sessions.list({ limit: -1 })).toThrow(InvalidInputError);
});

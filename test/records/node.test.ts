import { describe, expect, test, vi } from 'vitest';
import { ClosedError, InvalidInputError } from '../../src/base/errors.js';
import { FencedError } from '../../src/records/lease.js';
import { LeaseNode } from '../../src/records/node.js';
import { nodeKey } from '../../src/records/node-record.js';
import { ConflictError, OutcomeUnknownError, StorageError } from '../../src/storage/adapter.js';
import { ownProcess } from '../../src/storage/host-process.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { chaosStorage } from '../../src/testing/chaos-storage.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { deferred, rejectionOf } from '../support/deferred.js';
import {
  altered,
  damageRecord,
  LEASE_MS,
  leaveOddRecord,
  leaveRecord,
  member,
  never,
  obstructed,
  readNode,
} from './node-world.js';

const HOUR_MS = 3_600_000;
const TEN_YEARS_MS = 10 * 365 * 24 * HOUR_MS;
const down = () => Promise.reject(new StorageError('The store is down.'));

describe('a tenure', () => {
  test('begins with a record that says who, how long and in which process, and no time of day', async () => {
    const { node, storage } = member();
    const { id } = await node.tenure();
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    expect(await readNode(storage, id)).toEqual({ node: id, beat: 0, leaseMs: LEASE_MS, process: ownProcess() });
  });

  test('writes nothing before somebody asks for it', async () => {
    const { node, storage, clock } = member();
    await clock.advance(10 * LEASE_MS);
    expect((await storage.list('')).entries).toEqual([]);
    await node.leave();
  });

  test('is shared by all who ask, also while it begins', async () => {
    const { node, types } = member();
    const [one, other] = await Promise.all([node.tenure(), node.tenure()]);
    expect(other).toBe(one);
    expect(await node.tenure()).toBe(one);
    expect(types()).toEqual(['node.joined']);
  });

  test('has another id in every node, and in every one after the last', async () => {
    const { node, storage, clock } = member();
    const first = await node.tenure();
    const elsewhere = await member(storage).node.tenure();
    clock.jumpWall(HOUR_MS);
    const second = await node.tenure();
    expect(new Set([first.id, elsewhere.id, second.id]).size).toBe(3);
    expect([first.isValid(), second.isValid()]).toEqual([false, true]);
  });

  test('that cannot begin is an error, and the next call tries again', async () => {
    const { storage, obstacle } = obstructed();
    const { node, types } = member(storage);
    obstacle.act = down;
    await expect(node.tenure()).rejects.toThrow(StorageError);
    obstacle.act = undefined;
    expect((await node.tenure()).isValid()).toBe(true);
    expect(types()).toEqual(['node.joined']);
  });

  test('begins although the answer to its first write was lost', async () => {
    const { storage, obstacle } = obstructed();
    obstacle.act = async (write) => {
      await write();
      throw new OutcomeUnknownError('nodes/');
    };
    expect((await member(storage).node.tenure()).isValid()).toBe(true);
  });

  test('does not begin when the first write was lost itself', async () => {
    const { storage, obstacle } = obstructed();
    obstacle.act = () => Promise.reject(new OutcomeUnknownError('nodes/'));
    await expect(member(storage).node.tenure()).rejects.toThrow(OutcomeUnknownError);
  });

  test('does not begin when the storage does not answer, and the caller is told in time', async () => {
    const { storage, obstacle } = obstructed();
    const { node, clock, types } = member(storage);
    obstacle.act = never;
    const refusal = rejectionOf(node.tenure());
    await clock.advance(0.95 * LEASE_MS);
    expect(await refusal).toMatchObject({ code: 'HOLDFAST_OUTCOME_UNKNOWN', cause: expect.any(StorageError) });
    expect(types()).toEqual([]);
  });

  test('does not begin when the machine was suspended beyond it meanwhile', async () => {
    const { storage, obstacle } = obstructed();
    const { node, clock, types } = member(storage);
    obstacle.act = (write) => {
      clock.jumpWall(LEASE_MS);
      return write();
    };
    await expect(node.tenure()).rejects.toThrow(FencedError);
    expect(types()).toEqual([]);
    expect(clock.pending).toBe(0);
  });

  test('does not begin over a record that another one put under its id', async () => {
    const inner = memoryStorage();
    const storage = altered(inner, {
      async put(key, value, options) {
        await leaveRecord(inner, key.slice('nodes/'.length));
        return inner.put(key, value, options);
      },
    });
    await expect(member(storage).node.tenure()).rejects.toMatchObject({ cause: expect.any(ConflictError) });
  });
});

describe('the heartbeat', () => {
  test('writes the record anew three times per lease, each time one beat on', async () => {
    const { node, storage, clock } = member();
    const { id } = await node.tenure();
    await clock.advance(LEASE_MS);
    expect(await readNode(storage, id)).toMatchObject({ node: id, beat: 3 });
  });

  test('keeps the tenure valid for as long as it goes on', async () => {
    const { node, clock, types } = member();
    const tenure = await node.tenure();
    await clock.advance(100 * LEASE_MS);
    expect(tenure.isValid()).toBe(true);
    expect(types()).toEqual(['node.joined']);
  });

  test('tells those who listen of every beat, until they stop', async () => {
    const { node, clock } = member();
    let beats = 0;
    const stop = node.onBeat(() => beats++);
    await node.tenure();
    expect(beats).toBe(0);
    await clock.advance(LEASE_MS);
    expect(beats).toBe(3);
    stop();
    await clock.advance(LEASE_MS);
    expect(beats).toBe(3);
  });

  test('goes on when a listener throws', async () => {
    const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const { node, clock } = member();
    node.onBeat(() => {
      throw new Error('mine');
    });
    const tenure = await node.tenure();
    await clock.advance(2 * LEASE_MS);
    expect(tenure.isValid()).toBe(true);
    expect(warning).toHaveBeenCalledTimes(6);
    warning.mockRestore();
  });

  test('never keeps the process alive', async () => {
    const clock = new VirtualClock();
    const sleep = vi.spyOn(clock, 'sleep');
    const { node } = member(memoryStorage(), clock);
    await node.tenure();
    await clock.advance(LEASE_MS);
    await node.leave();
    expect(sleep.mock.calls.length).toBeGreaterThan(5);
    expect(sleep.mock.calls.filter(([, options]) => options?.unref !== true)).toEqual([]);
  });

  test('that fails is reported, does not count, and is tried again after a tenth of the lease', async () => {
    const { storage, obstacle } = obstructed();
    const { node, clock, events } = member(storage);
    const { id } = await node.tenure();
    let beats = 0;
    node.onBeat(() => beats++);
    obstacle.act = down;
    await clock.advance(1_000);
    obstacle.act = undefined;
    const error = 'The store is down.';
    expect(events.at(-1)).toEqual({ type: 'node.heartbeat-failed', node: id, error });
    await clock.advance(299);
    expect(beats).toBe(0);
    await clock.advance(1);
    expect(beats).toBe(1);
    expect(await readNode(storage, id)).toMatchObject({ beat: 1 });
  });

  test('whose answer was lost counts from when it was sent, if the record shows that it happened', async () => {
    const { storage, obstacle } = obstructed();
    const { node, clock, types } = member(storage);
    const tenure = await node.tenure();
    obstacle.act = async (write) => {
      await write();
      obstacle.act = down;
      throw new OutcomeUnknownError('nodes/');
    };
    await clock.advance(1_000 + 2_849);
    expect(tenure.isValid()).toBe(true);
    await clock.advance(1);
    expect(tenure.isValid()).toBe(false);
    expect(types().filter((type) => type !== 'node.heartbeat-failed')).toEqual(['node.joined', 'node.lost']);
  });

  test('whose answer was lost is tried again, if the record shows that it did not happen', async () => {
    const { storage, obstacle } = obstructed();
    const { node, clock, types } = member(storage);
    const tenure = await node.tenure();
    obstacle.act = () => {
      obstacle.act = undefined;
      return Promise.reject(new OutcomeUnknownError('nodes/'));
    };
    await clock.advance(LEASE_MS);
    expect(tenure.isValid()).toBe(true);
    expect(types()).toEqual(['node.joined', 'node.heartbeat-failed']);
  });

  test('counts from its first attempt, if that one happened late and without an answer', async () => {
    const { storage, obstacle } = obstructed();
    const { node, clock } = member(storage);
    const tenure = await node.tenure();
    const late = deferred();
    obstacle.act = async (write) => {
      obstacle.act = undefined;
      await late.promise;
      return write();
    };
    await clock.advance(2_000); // Sent at 1,000; no answer by 2,000.
    late.resolve();
    await clock.advance(300); // Tried again: a conflict with our own write.
    obstacle.act = down;
    await clock.advance(1_000 + 2_849 - 2_300);
    expect(tenure.isValid()).toBe(true);
    await clock.advance(1);
    expect(tenure.isValid()).toBe(false);
  });

  test('that hangs is given up after a third of the lease, and the next one saves the tenure', async () => {
    const { storage, obstacle } = obstructed();
    const { node, clock, types } = member(storage);
    const tenure = await node.tenure();
    obstacle.act = () => {
      obstacle.act = undefined;
      return never();
    };
    await clock.advance(10 * LEASE_MS);
    expect(tenure.isValid()).toBe(true);
    expect(types()).toEqual(['node.joined', 'node.heartbeat-failed']);
  });

  test('stops when the tenure is over', async () => {
    const { node, clock, storage } = member();
    const { id } = await node.tenure();
    await storage.delete(nodeKey(id));
    await clock.advance(LEASE_MS);
    expect(clock.pending).toBe(0);
  });

  test.each(Array.from({ length: 20 }, (_, seed) => seed))(
    'survives a store in bad weather (seed %i)',
    async (seed) => {
      const clock = new VirtualClock();
      const weather = { failBefore: 0.1, failUnknown: 0.1, failAfter: 0.1, clock, maxDelayMs: 100 };
      const storage = chaosStorage(memoryStorage(), seed, weather);
      storage.calm();
      const { node, events } = member(storage, clock);
      const tenure = await node.tenure();
      storage.storm();
      await clock.advance(20 * LEASE_MS);
      storage.calm();
      await clock.advance(LEASE_MS);
      const isLost = events.some(({ type }) => type === 'node.lost');
      expect(tenure.isValid()).toBe(!isLost);
      expect(await node.isGone(tenure.id)).toBe(false);
      expect((await readNode(storage, tenure.id)).beat > 40).toBe(!isLost);
    },
  );
});

describe('a tenure is lost', () => {
  test('0.95 leases after its last confirmed beat was sent, by the clock alone, although a heartbeat hangs', async () => {
    const { storage, obstacle } = obstructed();
    const { node, clock, events } = member(storage);
    const tenure = await node.tenure();
    const lost: unknown[] = [];
    tenure.onLost((error) => lost.push(error));
    await clock.advance(1_000);
    obstacle.act = never;
    await clock.advance(2_849);
    expect([tenure.isValid(), lost]).toEqual([true, []]);
    await clock.advance(1);
    expect(lost).toEqual([expect.any(FencedError)]);
    expect(lost[0]).toMatchObject({ what: `node ${tenure.id}`, cause: expect.any(OutcomeUnknownError) });
    expect(tenure.isValid()).toBe(false);
    expect(events.at(-1)).toMatchObject({ type: 'node.lost', node: tenure.id });
    expect(JSON.stringify(events.at(-1))).toContain('no longer held');
  });

  test('counting from when the beat was sent, not from when the answer came', async () => {
    const { storage, obstacle } = obstructed();
    const { node, clock } = member(storage);
    const tenure = await node.tenure();
    const answer = deferred();
    obstacle.act = async (write) => {
      obstacle.act = down;
      const version = await write();
      await answer.promise;
      return version;
    };
    await clock.advance(1_900);
    answer.resolve();
    await clock.advance(1_000 + 2_849 - 1_900);
    expect(tenure.isValid()).toBe(true);
    await clock.advance(1);
    expect(tenure.isValid()).toBe(false);
  });

  test('and a beat that is confirmed after that does not bring it back', async () => {
    const { storage, obstacle } = obstructed();
    const { node, clock } = member(storage);
    const tenure = await node.tenure();
    let beats = 0;
    node.onBeat(() => beats++);
    const answer = deferred();
    obstacle.act = async (write) => {
      await answer.promise;
      return write();
    };
    await clock.advance(1_000);
    clock.jumpWall(LEASE_MS); // Suspended while the beat is under way: no timer knows.
    answer.resolve();
    await clock.advance(0);
    clock.jumpWall(-LEASE_MS);
    expect(tenure.isValid()).toBe(false);
    expect(beats).toBe(0);
  });

  test('with what the storage said last as the cause', async () => {
    const { storage, obstacle } = obstructed();
    const { node, clock, events } = member(storage);
    const tenure = await node.tenure();
    obstacle.act = down;
    await clock.advance(LEASE_MS);
    const lost = vi.fn();
    tenure.onLost(lost);
    expect(lost).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ cause: new StorageError('The store is down.') }),
    );
    expect(events.at(-1)).toMatchObject({ error: expect.stringContaining('The store is down.') });
  });

  test('at once when somebody deleted its record', async () => {
    const { node, storage, clock, types } = member();
    const tenure = await node.tenure();
    await storage.delete(nodeKey(tenure.id));
    await clock.advance(1_000);
    expect(tenure.isValid()).toBe(false);
    expect(types()).toEqual(['node.joined', 'node.lost']);
  });

  test('at once when somebody wrote over its record', async () => {
    const { node, storage, clock } = member();
    const tenure = await node.tenure();
    await leaveRecord(storage, tenure.id, { beat: 9 });
    await clock.advance(1_000);
    const lost = vi.fn();
    tenure.onLost(lost);
    expect(lost).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ cause: expect.any(ConflictError) }));
  });

  test('not at once when its record cannot be read, but when the time is over', async () => {
    const { node, storage, clock, types } = member();
    const tenure = await node.tenure();
    await damageRecord(storage, tenure.id);
    await clock.advance(2_849);
    expect([tenure.isValid(), types().at(-1)]).toEqual([true, 'node.heartbeat-failed']);
    await clock.advance(1);
    expect(tenure.isValid()).toBe(false);
  });

  test('not when the storage reports a conflict that the record does not show', async () => {
    const { storage, obstacle } = obstructed();
    const { node, clock, types } = member(storage);
    const tenure = await node.tenure();
    obstacle.act = () => {
      obstacle.act = undefined;
      return Promise.reject(new ConflictError(nodeKey(tenure.id), undefined));
    };
    await clock.advance(LEASE_MS);
    expect([tenure.isValid(), types()]).toEqual([true, ['node.joined', 'node.heartbeat-failed']]);
  });

  test('when the machine was suspended: wall time passed and the monotonic clock did not', async () => {
    const { node, clock, types } = member();
    const tenure = await node.tenure();
    clock.jumpWall(2_850);
    expect(tenure.isValid()).toBe(false);
    expect(types()).toEqual(['node.joined', 'node.lost']);
  });

  test('when the machine was suspended, at the next beat, although nobody asks; nothing is written then', async () => {
    const { node, storage, clock, types } = member();
    const { id } = await node.tenure();
    clock.jumpWall(HOUR_MS);
    await clock.advance(1_000);
    expect(types()).toEqual(['node.joined', 'node.lost']);
    expect(await readNode(storage, id)).toMatchObject({ beat: 0 });
  });

  test('when wall time jumps ten years forward, and does not come back when it jumps back', async () => {
    const { node, clock } = member();
    const tenure = await node.tenure();
    clock.jumpWall(TEN_YEARS_MS);
    expect(tenure.isValid()).toBe(false);
    clock.jumpWall(-TEN_YEARS_MS);
    expect(tenure.isValid()).toBe(false);
  });

  test('no later when wall time jumps an hour back, and no earlier', async () => {
    const { storage, obstacle } = obstructed();
    const { node, clock } = member(storage);
    const tenure = await node.tenure();
    clock.jumpWall(-HOUR_MS);
    await clock.advance(LEASE_MS);
    expect(tenure.isValid()).toBe(true);
    obstacle.act = never;
    await clock.advance(2_849);
    expect(tenure.isValid()).toBe(true);
    await clock.advance(1);
    expect(tenure.isValid()).toBe(false);
  });

  test('when the clock cannot wait any more: nothing would keep it', async () => {
    const { node, clock } = member();
    const tenure = await node.tenure();
    const lost = vi.fn();
    tenure.onLost(lost);
    vi.spyOn(clock, 'sleep').mockRejectedValue(new Error('no timers'));
    await clock.advance(1_000);
    expect(lost).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ cause: new Error('no timers') }));
    expect(tenure.isValid()).toBe(false);
  });
});

describe('whoever relies on a tenure', () => {
  test('is told once, and not after it stopped listening', async () => {
    const { node, clock } = member();
    const tenure = await node.tenure();
    const [told, stopped] = [vi.fn(), vi.fn()];
    tenure.onLost(told);
    tenure.onLost(stopped)();
    clock.jumpWall(HOUR_MS);
    expect(tenure.isValid()).toBe(false);
    await clock.advance(HOUR_MS);
    await node.leave();
    expect(told).toHaveBeenCalledTimes(1);
    expect(stopped).not.toHaveBeenCalled();
  });

  test('is told although another listener throws', async () => {
    const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const { node, clock } = member();
    const tenure = await node.tenure();
    const told = vi.fn();
    tenure.onLost(() => {
      throw new Error('mine');
    });
    tenure.onLost(told);
    clock.jumpWall(HOUR_MS);
    tenure.isValid();
    expect(told).toHaveBeenCalledTimes(1);
    warning.mockRestore();
  });

  test('may begin the next tenure when it is told', async () => {
    const { node, clock } = member();
    const tenure = await node.tenure();
    const next = new Promise<string>((resolve) => tenure.onLost(() => resolve(node.tenure().then(({ id }) => id))));
    clock.jumpWall(HOUR_MS);
    tenure.isValid();
    expect(await next).not.toBe(tenure.id);
  });
});

describe('leave', () => {
  test('ends the tenure, then deletes the record and stops the heartbeat', async () => {
    const { node, storage, clock, types } = member();
    const tenure = await node.tenure();
    const order: string[] = [];
    tenure.onLost(async () => order.push((await storage.get(nodeKey(tenure.id))) ? 'told first' : 'deleted first'));
    await node.leave();
    await clock.advance(LEASE_MS);
    expect(order).toEqual(['told first']);
    expect(tenure.isValid()).toBe(false);
    expect((await storage.list('')).entries).toEqual([]);
    expect(types()).toEqual(['node.joined', 'node.left']);
    expect(clock.pending).toBe(0);
  });

  test('does nothing when there never was a tenure, and nothing more the second time', async () => {
    const { node, types } = member();
    expect(node.leave()).toBe(node.leave());
    await node[Symbol.asyncDispose]();
    expect(types()).toEqual([]);
  });

  test('refuses every tenure after it', async () => {
    const { node } = member();
    await node.leave();
    await expect(node.tenure()).rejects.toThrow(ClosedError);
  });

  test('waits for a tenure that begins, and whoever asked for it is refused', async () => {
    const { node, storage } = member();
    const refusal = rejectionOf(node.tenure());
    await node.leave();
    expect(await refusal).toBeInstanceOf(ClosedError);
    expect((await storage.list('')).entries).toEqual([]);
  });

  test('does not fail because a tenure could not begin', async () => {
    const { storage, obstacle } = obstructed();
    const { node } = member(storage);
    obstacle.act = down;
    const refusal = rejectionOf(node.tenure());
    await node.leave();
    expect(await refusal).toBeInstanceOf(StorageError);
  });

  test('deletes the record of a tenure that was lost, so that nobody has to wait for it', async () => {
    const { node, storage, clock } = member();
    const { id } = await node.tenure();
    clock.jumpWall(HOUR_MS);
    await node.leave();
    expect(await storage.get(nodeKey(id))).toBeUndefined();
  });

  test('says nothing of having left when somebody deleted the record before', async () => {
    const { node, storage, types } = member();
    const { id } = await node.tenure();
    await storage.delete(nodeKey(id));
    await node.leave();
    expect(types()).toEqual(['node.joined']);
  });

  test('is not undone by a beat that is under way', async () => {
    const { storage, obstacle, inner } = obstructed();
    const { node, clock } = member(storage);
    await node.tenure();
    const late = deferred();
    obstacle.act = async (write) => {
      await late.promise;
      return write();
    };
    await clock.advance(1_000);
    await node.leave();
    late.resolve();
    await clock.advance(LEASE_MS);
    expect((await inner.list('')).entries).toEqual([]);
  });

  test('has left although the storage refuses to delete the record, and says so', async () => {
    const inner = memoryStorage();
    const { node, clock, types } = member(altered(inner, { delete: down }));
    const tenure = await node.tenure();
    await expect(node.leave()).rejects.toThrow(StorageError);
    expect(tenure.isValid()).toBe(false);
    expect(clock.pending).toBe(0);
    expect(types()).toEqual(['node.joined']);
  });

  test('does not wait longer than a lease for a storage that hangs', async () => {
    const { node, clock } = member(altered(memoryStorage(), { delete: never }));
    await node.tenure();
    const refusal = rejectionOf(node.leave());
    await clock.advance(LEASE_MS);
    expect(await refusal).toBeInstanceOf(OutcomeUnknownError);
  });
});

describe('options', () => {
  test('a lease is 15 seconds unless said otherwise', () => {
    expect(new LeaseNode({ storage: memoryStorage() }).leaseMs).toBe(15_000);
    expect(new LeaseNode({ storage: memoryStorage(), leaseMs: 100 }).leaseMs).toBe(100);
  });

  test.each([
    [{ storage: undefined }, 'options.storage'],
    [{ storage: null }, 'options.storage'],
    [{ storage: memoryStorage(), leaseMs: 99 }, 'options.leaseMs'],
    [{ storage: memoryStorage(), ttlMs: 1_000 }, 'options.ttlMs'],
  ])('%o is refused, naming %s', (options, path) => {
    const make = () => new LeaseNode(options as never);
    expect(make).toThrow(InvalidInputError);
    expect(make).toThrow(expect.objectContaining({ path }));
  });
});

test('a record that no node writes is damage, not a node', async () => {
  const { node, storage } = member();
  for (const meta of [null, {}, { node: 'a', beat: -1, leaseMs: 1 }, { node: 'a', beat: 0, leaseMs: 0 }]) {
    await leaveOddRecord(storage, 'a', meta);
    await expect(node.isGone('a')).rejects.toMatchObject({ code: 'HOLDFAST_CORRUPTION', key: 'nodes/a' });
  }
});

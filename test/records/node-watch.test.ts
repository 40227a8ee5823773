import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, expect, test, vi } from 'vitest';
import { CorruptionError } from '../../src/base/errors.js';
import { nodeKey } from '../../src/records/node-record.js';
import { NodeWatch } from '../../src/records/node-watch.js';
import { OutcomeUnknownError, StorageError, type StoredEntry } from '../../src/storage/adapter.js';
import { ownProcess, type ProcessIdentity } from '../../src/storage/host-process.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { deferred } from '../support/deferred.js';
import { altered, damageRecord, LEASE_MS, leaveRecord, member, obstructed } from './node-world.js';

const WATCH_MS = 1.05 * LEASE_MS;
const HOUR_MS = 3_600_000;
const TEN_YEARS_MS = 10 * 365 * 24 * HOUR_MS;

/** A watch on a clock of its own. */
function watcher(storage = memoryStorage()) {
  const clock = new VirtualClock();
  return { storage, clock, watch: new NodeWatch(storage, clock) };
}

/** A process of this host that ran and was killed. */
async function deadProcess(): Promise<ProcessIdentity> {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const startTime = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(' ')[21] ?? '';
  child.kill('SIGKILL');
  await once(child, 'exit');
  return { host: ownProcess()?.host ?? '', pid: child.pid ?? 0, startTime };
}

describe('a holder', () => {
  test('that is this very node is not gone, and nothing is read to know it', async () => {
    const inner = memoryStorage();
    const get = vi.spyOn(inner, 'get');
    const { node } = member(altered(inner, {}));
    const { id } = await node.tenure();
    expect(await node.isGone(id)).toBe(false);
    expect(get).not.toHaveBeenCalled();
  });

  test('that was this node until its record was deleted is gone', async () => {
    const { node, storage, clock } = member();
    const { id } = await node.tenure();
    await storage.delete(nodeKey(id));
    await clock.advance(1_000);
    expect(await node.isGone(id)).toBe(true);
  });

  test('without a record is gone: it left, or was swept', async () => {
    expect(await member().node.isGone('who')).toBe(true);
  });

  test('that left is gone at once', async () => {
    const one = member();
    const { id } = await one.node.tenure();
    const other = member(one.storage);
    expect(await other.node.isGone(id)).toBe(false);
    await one.node.leave();
    expect(await other.node.isGone(id)).toBe(true);
  });

  test('whose record is damaged is neither: that is an error', async () => {
    const { storage, clock, watch } = watcher();
    await leaveRecord(storage, 'a');
    await damageRecord(storage, 'a');
    await expect(watch.isGone('a')).rejects.toThrow(CorruptionError);
    await clock.advance(WATCH_MS);
    await expect(watch.isGone('a')).rejects.toThrow(CorruptionError);
  });

  test('whose record may not be the newest is neither: that is an error', async () => {
    const inner = memoryStorage();
    await leaveRecord(inner, 'a');
    const suspect = { ...((await inner.get(nodeKey('a'))) as StoredEntry), suspect: true as const };
    const { watch } = watcher(altered(inner, { get: async () => suspect }));
    await expect(watch.isGone('a')).rejects.toMatchObject({ code: 'HOLDFAST_CORRUPTION', key: 'nodes/a' });
  });

  test('is neither while the storage cannot be read', async () => {
    const down = () => Promise.reject(new StorageError('down'));
    await expect(watcher(altered(memoryStorage(), { get: down })).watch.isGone('a')).rejects.toThrow(StorageError);
  });
});

describe('proof of death', () => {
  test.runIf(process.platform === 'linux')('a holder whose process on this host is dead is gone at once', async () => {
    const { storage, watch } = watcher();
    await leaveRecord(storage, 'a', { process: await deadProcess() });
    expect(await watch.isGone('a')).toBe(true);
    expect(await watch.sweep('a')).toBe(true);
  });

  test('a holder whose process is dead on another host is not gone before its time', async () => {
    const { storage, clock, watch } = watcher();
    await leaveRecord(storage, 'a', { process: { host: 'another', pid: 2 ** 22 + 1, startTime: '1' } });
    expect(await watch.isGone('a')).toBe(false);
    await clock.advance(WATCH_MS);
    expect(await watch.isGone('a')).toBe(true);
  });

  test('a process that runs does not keep a holder alive whose heart has stopped', async () => {
    const { storage, clock, watch } = watcher();
    await leaveRecord(storage, 'a', { process: ownProcess() });
    expect(await watch.isGone('a')).toBe(false);
    await clock.advance(WATCH_MS);
    expect(await watch.isGone('a')).toBe(true);
  });
});

describe('a record that stands still', () => {
  test('is gone after 1.05 of its lease, seen by our own clock, and not before', async () => {
    const { storage, clock, watch } = watcher();
    await leaveRecord(storage, 'a');
    expect(await watch.isGone('a')).toBe(false);
    await clock.advance(WATCH_MS - 1);
    expect(await watch.isGone('a')).toBe(false);
    await clock.advance(1);
    expect(await watch.isGone('a')).toBe(true);
    expect(await watch.isGone('a')).toBe(true);
  });

  test('is watched for the lease that it names, not for ours', async () => {
    const { storage, clock, watch } = watcher();
    await leaveRecord(storage, 'a', { leaseMs: 10 * LEASE_MS });
    await watch.isGone('a');
    await clock.advance(10 * WATCH_MS - 1);
    expect(await watch.isGone('a')).toBe(false);
    await clock.advance(1);
    expect(await watch.isGone('a')).toBe(true);
  });

  test('is not gone at first sight, however long it has stood', async () => {
    const { storage, clock, watch } = watcher();
    await leaveRecord(storage, 'a');
    await clock.advance(HOUR_MS);
    expect(await watch.isGone('a')).toBe(false);
  });

  test('is watched anew after every beat', async () => {
    const { storage, clock, watch } = watcher();
    await leaveRecord(storage, 'a');
    await watch.isGone('a');
    await clock.advance(WATCH_MS - 1);
    await leaveRecord(storage, 'a', { beat: 8 });
    await clock.advance(1);
    expect(await watch.isGone('a')).toBe(false);
    await clock.advance(WATCH_MS - 1);
    expect(await watch.isGone('a')).toBe(false);
    await clock.advance(1);
    expect(await watch.isGone('a')).toBe(true);
  });

  test('is each watched for itself', async () => {
    const { storage, clock, watch } = watcher();
    await leaveRecord(storage, 'a');
    await watch.isGone('a');
    await clock.advance(WATCH_MS);
    await leaveRecord(storage, 'b');
    expect([await watch.isGone('b'), await watch.isGone('a')]).toEqual([false, true]);
  });

  test.each([
    ['an hour back', -HOUR_MS],
    ['ten years forward', TEN_YEARS_MS],
  ])('is gone neither sooner nor later when our wall time jumps %s', async (_where, jumpMs) => {
    const { storage, clock, watch } = watcher();
    await leaveRecord(storage, 'a');
    await watch.isGone('a');
    clock.jumpWall(jumpMs);
    await clock.advance(WATCH_MS - 1);
    expect(await watch.isGone('a')).toBe(false);
    await clock.advance(1);
    expect(await watch.isGone('a')).toBe(true);
  });

  test('is known to have stood when it was asked for, not when the answer came', async () => {
    const inner = memoryStorage();
    const answer = deferred();
    let isSlow = false;
    const get = async (key: string) => {
      const entry = await inner.get(key);
      if (isSlow) await answer.promise;
      return entry;
    };
    const { clock, watch } = watcher(altered(inner, { get }));
    await leaveRecord(inner, 'a');
    await watch.isGone('a');
    isSlow = true;
    const verdict = watch.isGone('a');
    await clock.advance(WATCH_MS);
    answer.resolve();
    expect(await verdict).toBe(false);
  });

  test('counts from when the first answer came, not from when it was asked for', async () => {
    const inner = memoryStorage();
    const answer = deferred();
    const get = async (key: string) => {
      await answer.promise;
      return inner.get(key);
    };
    const { clock, watch } = watcher(altered(inner, { get }));
    const first = watch.isGone('a');
    await clock.advance(1_000);
    await leaveRecord(inner, 'a');
    answer.resolve();
    await first;
    await clock.advance(WATCH_MS - 1_000);
    expect(await watch.isGone('a')).toBe(false);
    await clock.advance(1_000);
    expect(await watch.isGone('a')).toBe(true);
  });

  test('was written by a node that knows by then that it is over', async () => {
    const { storage, obstacle } = obstructed();
    const one = member(storage);
    const tenure = await one.node.tenure();
    obstacle.act = () => Promise.reject(new StorageError('down'));
    const other = member(storage);
    await other.node.isGone(tenure.id);
    await one.clock.advance(LEASE_MS);
    await other.clock.advance(WATCH_MS);
    expect([tenure.isValid(), await other.node.isGone(tenure.id)]).toEqual([false, true]);
  });

  test('is remembered among 10,000 at most: the one that stood longest is watched from the beginning', async () => {
    const { storage, clock, watch } = watcher();
    for (let at = 0; at <= 10_000; at++) await leaveRecord(storage, `n${at}`);
    for (let at = 0; at <= 10_000; at++) await watch.isGone(`n${at}`);
    await clock.advance(WATCH_MS);
    expect([await watch.isGone('n10000'), await watch.isGone('n1')]).toEqual([true, true]);
    expect(await watch.isGone('n0')).toBe(false);
  });
});

describe('sweep', () => {
  test('deletes the record of one that is gone', async () => {
    const { storage, clock, node } = member();
    await leaveRecord(storage, 'a');
    await node.isGone('a');
    await clock.advance(WATCH_MS);
    expect(await node.isGone('a')).toBe(true);
    expect(await node.sweep('a')).toBe(true);
    expect(await storage.get(nodeKey('a'))).toBeUndefined();
  });

  test('deletes nothing of one that may be alive', async () => {
    const { storage, node } = member();
    await leaveRecord(storage, 'a');
    expect(await node.sweep('a')).toBe(false);
    expect(await storage.get(nodeKey('a'))).toBeDefined();
  });

  test('finds nothing to delete where there is no record', async () => {
    expect(await member().node.sweep('a')).toBe(false);
  });

  test('never deletes the record of this very node', async () => {
    const { clock, node, storage } = member();
    const { id } = await node.tenure();
    expect(await node.sweep(id)).toBe(false);
    await clock.advance(WATCH_MS);
    expect([await node.sweep(id), await node.sweepGone()]).toEqual([false, []]);
    expect(await storage.get(nodeKey(id))).toBeDefined();
  });

  test('loses against a beat that comes after the verdict, and the node is watched anew', async () => {
    const inner = memoryStorage();
    const { clock, watch } = watcher(
      altered(inner, {
        async delete(key, options) {
          await leaveRecord(inner, 'a', { beat: 8 });
          return inner.delete(key, options);
        },
      }),
    );
    await leaveRecord(inner, 'a');
    await watch.isGone('a');
    await clock.advance(WATCH_MS);
    expect(await watch.sweep('a')).toBe(false);
    expect(await watch.isGone('a')).toBe(false);
  });

  test('says what the storage says when it fails', async () => {
    const unknown = () => Promise.reject(new OutcomeUnknownError('nodes/a'));
    const inner = memoryStorage();
    const { clock, watch } = watcher(altered(inner, { delete: unknown }));
    await leaveRecord(inner, 'a');
    await watch.isGone('a');
    await clock.advance(WATCH_MS);
    await expect(watch.sweep('a')).rejects.toThrow(OutcomeUnknownError);
  });
});

describe('sweepGone', () => {
  test('sweeps all that are gone, from the second time on, and leaves those that live', async () => {
    const { storage, clock, node } = member();
    await leaveRecord(storage, 'a');
    await leaveRecord(storage, 'b');
    const other = member(storage);
    const { id } = await other.node.tenure();
    expect(await node.sweepGone()).toEqual([]);
    await clock.advance(WATCH_MS);
    await other.clock.advance(WATCH_MS);
    expect(await node.sweepGone()).toEqual(['a', 'b']);
    expect((await storage.list('')).entries.map(({ key }) => key)).toEqual([nodeKey(id)]);
  });

  test('leaves those that are to be kept', async () => {
    const { storage, clock, node } = member();
    await leaveRecord(storage, 'a');
    await leaveRecord(storage, 'b');
    await node.sweepGone();
    await clock.advance(WATCH_MS);
    expect(await node.sweepGone((holder) => holder === 'a')).toEqual(['b']);
  });

  test('goes through all pages of a long list', async () => {
    const inner = memoryStorage();
    const paged = altered(inner, { list: (prefix, options) => inner.list(prefix, { ...options, limit: 2 }) });
    const { clock, watch } = watcher(paged);
    for (const name of ['a', 'b', 'c', 'd', 'e']) await leaveRecord(inner, name);
    await watch.sweepGone(() => false);
    await clock.advance(WATCH_MS);
    expect(await watch.sweepGone(() => false)).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  test('is not stopped by damaged records, leaves them, and names the first in the end', async () => {
    const { storage, clock, node } = member();
    for (const name of ['a', 'b', 'c']) await leaveRecord(storage, name);
    await damageRecord(storage, 'a');
    await damageRecord(storage, 'b');
    await expect(node.sweepGone()).rejects.toMatchObject({ key: 'nodes/a' });
    await clock.advance(WATCH_MS);
    await expect(node.sweepGone()).rejects.toMatchObject({ key: 'nodes/a' });
    expect((await storage.list('')).entries.map(({ key }) => key)).toEqual(['nodes/a', 'nodes/b']);
  });

  test('is stopped by a storage that fails', async () => {
    const inner = memoryStorage();
    await leaveRecord(inner, 'a');
    const down = () => Promise.reject(new StorageError('down'));
    await expect(member(altered(inner, { get: down })).node.sweepGone()).rejects.toThrow(StorageError);
  });
});

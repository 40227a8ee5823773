import { expect, test } from 'vitest';
import { createHoldfast } from '../../src/holdfast.js';
import { nodeKey } from '../../src/records/node-record.js';
import { sessionKey } from '../../src/sessions/session-record.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { damageRecord } from '../records/node-world.js';

const LEASE_MS = 3_000;

/** A process with two sessions that has died, and a rescuer that has not looked yet. */
async function afterDeath() {
  const storage = memoryStorage();
  const dead = createHoldfast({ storage, clock: new VirtualClock(), leaseMs: LEASE_MS });
  const sessions = [await dead.sessions.open('a'), await dead.sessions.open('b')];
  const node = (await dead.sessions.get('a'))?.node as string;
  const clock = new VirtualClock();
  const holdfast = createHoldfast({ storage, clock, leaseMs: LEASE_MS });
  const isThere = async (id: string) => (await storage.get(nodeKey(id))) !== undefined;
  const rescue = (prefix = '') => holdfast.rescue(() => undefined, { prefix });
  return { storage, dead, sessions, node, clock, holdfast, isThere, rescue };
}

test('the record of a dead node goes with the rescue after the one that took the last of its sessions', async () => {
  const { node, clock, isThere, rescue } = await afterDeath();
  await rescue();
  await clock.advance(LEASE_MS * 1.1);
  expect((await rescue('a')).completed).toEqual(['a']);
  expect((await rescue('a')).completed).toEqual([]);
  expect(await isThere(node)).toBe(true); // "b" names it.
  expect((await rescue()).completed).toEqual(['b']);
  expect(await isThere(node)).toBe(true);
  expect(await rescue()).toMatchObject({ completed: [], failed: [] });
  expect(await isThere(node)).toBe(false);
});

test('the record of a node that is silent, but not for long enough, stays', async () => {
  const { sessions, node, clock, isThere, rescue } = await afterDeath();
  for (const session of sessions) await session.end();
  await rescue();
  await clock.advance(LEASE_MS);
  await rescue();
  expect(await isThere(node)).toBe(true);
  await clock.advance(LEASE_MS * 0.1);
  await rescue();
  expect(await isThere(node)).toBe(false);
});

test('the record of a node that lives stays, although it holds nothing', async () => {
  const { storage, clock, isThere, rescue } = await afterDeath();
  const live = createHoldfast({ storage, clock, leaseMs: LEASE_MS });
  const session = await live.sessions.open('c');
  const node = (await live.sessions.get('c'))?.node as string;
  await session.end();
  for (let look = 0; look < 4; look++) {
    await rescue();
    await clock.advance(LEASE_MS);
  }
  expect(await isThere(node)).toBe(true);
});

test('no record of a node goes while a session cannot be read, which may name it', async () => {
  const { storage, sessions, node, clock, isThere, rescue } = await afterDeath();
  for (const session of sessions) await session.end();
  await storage.put(sessionKey('b'), Buffer.from('garbage'));
  await rescue();
  await clock.advance(LEASE_MS * 1.1);
  expect((await rescue()).failed).toMatchObject([{ id: 'b' }]);
  expect(await isThere(node)).toBe(true);
});

test('a record of a node that cannot be read is told, and every session is rescued all the same', async () => {
  const { storage, clock, holdfast, node, rescue } = await afterDeath();
  const other = createHoldfast({ storage, clock: new VirtualClock(), leaseMs: LEASE_MS });
  await (await other.sessions.open('c')).end();
  const { entries } = await storage.list('nodes/');
  const ended = entries.map(({ key }) => key.slice('nodes/'.length)).find((id) => id !== node) as string;
  await damageRecord(storage, ended);
  await holdfast.sessions.interrupted();
  await clock.advance(LEASE_MS * 1.1);
  const report = await rescue();
  expect(report.completed).toEqual(['a', 'b']);
  expect(report).toMatchObject({ failed: [], sweepError: { code: 'HOLDFAST_CORRUPTION', key: nodeKey(ended) } });
});

test('a session that names a swept node is found, and may be taken', async () => {
  const { storage, node, holdfast } = await afterDeath();
  await storage.delete(nodeKey(node));
  const found = await holdfast.sessions.interrupted();
  expect(found.map(({ id, failure }) => [id, failure])).toEqual([
    ['a', 'crashed'],
    ['b', 'crashed'],
  ]);
  expect((await holdfast.rescue(() => undefined)).completed).toEqual(['a', 'b']);
});

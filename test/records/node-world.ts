import { randomUUID } from 'node:crypto';
import { sealRecord } from '../../src/records/envelope.js';
import { LeaseNode, type NodeEvent } from '../../src/records/node.js';
import { type NodeRecord, nodeKey, openNodeRecord, sealNodeRecord } from '../../src/records/node-record.js';
import type { StorageAdapter, StoredEntry } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

/** One lease, in numbers that are easy to follow: a beat each second, valid for 2,850 ms, watched for 3,150 ms. */
export const LEASE_MS = 3_000;

/** A process that takes part, on a clock of its own. */
export function member(storage: StorageAdapter = memoryStorage(), clock = new VirtualClock()) {
  const events: NodeEvent[] = [];
  const node = new LeaseNode({ storage, leaseMs: LEASE_MS, clock, emit: (event) => events.push(event) });
  const types = () => events.map(({ type }) => type);
  return { storage, clock, events, types, node };
}

/** The same storage with some methods replaced. */
export function altered(storage: StorageAdapter, changes: Partial<StorageAdapter>): StorageAdapter {
  return { ...storage, ...changes };
}

/** A storage whose puts do `act` first, as long as there is one. It may throw, hang, or write by itself. */
export function obstructed(inner = memoryStorage()) {
  const obstacle: { act?: ((write: () => Promise<string>) => Promise<string>) | undefined } = {};
  const storage = altered(inner, {
    put(key, value, options) {
      const write = () => inner.put(key, value, options);
      return obstacle.act === undefined ? write() : obstacle.act(write);
    },
  });
  return { storage, obstacle, inner };
}

export function never<Result>(): Promise<Result> {
  return new Promise(() => undefined);
}

export async function readNode(storage: StorageAdapter, id: string): Promise<NodeRecord> {
  return openNodeRecord((await storage.get(nodeKey(id))) as StoredEntry);
}

/** The record of a node whose process is not known. */
export async function leaveRecord(storage: StorageAdapter, node: string, record: Partial<NodeRecord> = {}) {
  return storage.put(nodeKey(node), sealNodeRecord({ node, beat: 7, leaseMs: LEASE_MS, ...record }));
}

/** A record that proves itself, yet says something that no node says. */
export async function leaveOddRecord(storage: StorageAdapter, node: string, meta: unknown) {
  const key = nodeKey(node);
  await storage.put(key, sealRecord({ key, id: randomUUID(), parent: null, meta }, Buffer.alloc(0)).bytes);
}

export async function damageRecord(storage: StorageAdapter, node: string): Promise<void> {
  const { value } = (await storage.get(nodeKey(node))) as StoredEntry;
  value[50] = (value[50] as number) ^ 1;
  await storage.put(nodeKey(node), value);
}

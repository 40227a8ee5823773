import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CorruptionError } from '../../src/base/errors.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { copyBytes, readCopy } from '../../src/storage/replicated/copy-format.js';
import { type ReplicatedOptions, replicated } from '../../src/storage/replicated/replicated.js';
import type { ReplicationEvent } from '../../src/storage/replicated/replication-event.js';
import { keysOf, text } from '../../src/testing/contract/entries.js';
import { connectionTo } from './inner-stores.js';

/** A memory store of a name of its own. */
export function named(name: string, store: StorageAdapter = memoryStorage()): StorageAdapter {
  return { ...store, name, capabilities: store.capabilities };
}

/** A store whose methods can be replaced while it is used. */
export function switchable(name: string, store: StorageAdapter = memoryStorage()) {
  const faults: Partial<StorageAdapter> = {};
  const adapter: StorageAdapter = {
    ...named(name, connectionTo(store)), // Tests look at the store when the replicated one is closed.
    get: (...given) => (faults.get ?? store.get)(...given),
    put: (...given) => (faults.put ?? store.put)(...given),
    delete: (...given) => (faults.delete ?? store.delete)(...given),
    list: (...given) => (faults.list ?? store.list)(...given),
    batch: (operations) => (faults.batch ?? (store as Required<StorageAdapter>).batch)(operations),
  };
  return { adapter, store, faults };
}

/** What all methods of a store that is down do. */
export function down(error: unknown): Partial<StorageAdapter> {
  const fail = async () => {
    throw error;
  };
  return { get: fail, put: fail, delete: fail, list: fail, batch: fail };
}

/** A replicated store in memory with its parts and what it reported. */
export function scene(options: ReplicatedOptions = {}, backups = 1) {
  const events: ReplicationEvent[] = [];
  const primary = switchable('primary');
  const others = Array.from({ length: backups }, (_, at) => switchable(`backup ${at + 1}`));
  const [backup] = others as [ReturnType<typeof switchable>];
  const store = replicated([primary.adapter, ...others.map(({ adapter }) => adapter)], {
    ...options,
    emit: (event) => events.push(event),
  });
  return { store, primary, backup, backups: others, events };
}

/** What a backup holds, as text by key; a place held is `null`. */
export async function copiesIn(backup: StorageAdapter): Promise<Record<string, string | null>> {
  const entries = await Promise.all(
    (await keysOf(backup, '')).map(async (key) => {
      const copy = readCopy(key, (await backup.get(key))?.value ?? new Uint8Array());
      return [key, copy.kind === 'value' ? (text(copy.value) ?? null) : null] as const;
    }),
  );
  return Object.fromEntries(entries);
}

/** What a store holds, as text by key. */
export async function valuesIn(store: StorageAdapter): Promise<Record<string, string | undefined>> {
  const keys = await keysOf(store, '');
  const entries = await Promise.all(keys.map(async (key) => [key, text((await store.get(key))?.value)] as const));
  return Object.fromEntries(entries);
}

/** The bytes of a copy of `value`, as a primary with ordered versions made it. */
export function copyOf(key: string, value: string, version = '0000000000000001'): Uint8Array {
  return copyBytes(key, { kind: 'value', isOrdered: true, version, value: new TextEncoder().encode(value) });
}

/** Flips one bit in the middle of these bytes, wherever the file store in this folder has them. */
export function damageLog(directory: string, stored: string): void {
  const path = join(directory, 'log-00000001');
  const log = readFileSync(path);
  const at = log.lastIndexOf(stored) + (stored.length >> 1);
  log[at] = (log[at] as number) ^ 1;
  writeFileSync(path, log);
}

/** Damages what the store shows of this key from now on: its `get` rejects, its `list` shows it as before. */
export function damageKey({ faults, store }: ReturnType<typeof switchable>, ...keys: readonly string[]): void {
  const damaged = new Set(keys);
  faults.get = async (key, options) => {
    if (damaged.has(key)) throw new CorruptionError(`"${key}" is damaged.`, key);
    return store.get(key, options);
  };
  faults.put = async (key, value, options) => {
    const version = await store.put(key, value, options);
    damaged.delete(key);
    return version;
  };
}

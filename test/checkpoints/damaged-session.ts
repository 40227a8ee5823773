import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { CheckpointRecords } from '../../src/checkpoints/checkpoint-records.js';
import { prepareCodecs } from '../../src/records/codec.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';

export const SESSION = 'agent';

/** Some 40 KB of which each step changes one part: that part's text begins with `new <step> `. */
export function stateOf(step: number): unknown {
  const text = (part: number) => `${part <= step ? 'new' : 'old'} ${part} `.repeat(200);
  return { parts: Array.from({ length: 30 }, (_, part) => text(part)) };
}

/** A session with checkpoints 1 to `count`: number n holds `stateOf(n)`. */
export async function saved(count: number, storage: StorageAdapter = memoryStorage()) {
  const checkpoints = new CheckpointManager<unknown>({ storage });
  for (let step = 1; step <= count; step++) await checkpoints.save(SESSION, stateOf(step));
  return { storage, checkpoints, records: recordsIn(storage) };
}

export function recordsIn(storage: StorageAdapter): CheckpointRecords {
  return new CheckpointRecords(storage, prepareCodecs());
}

export function keyOf(sequence: number): string {
  return recordsIn(memoryStorage()).key(SESSION, sequence);
}

/** Changes one byte of what stands under a key: where `text` stands in it, or so many bytes from its begin. */
export async function flip(storage: StorageAdapter, key: string, where: string | number): Promise<void> {
  const value = (await storage.get(key))?.value ?? new Uint8Array();
  const at = typeof where === 'number' ? where : Buffer.from(value).indexOf(where);
  if (value[at] === undefined) throw new Error(`${where} is not in "${key}"`);
  value[at] ^= 1;
  await storage.put(key, value);
}

/** All that a storage holds, as text to compare. */
export async function contentOf(storage: StorageAdapter): Promise<string[]> {
  const { entries } = await storage.list('');
  return Promise.all(
    entries.map(async ({ key, version }) => {
      const value = (await storage.get(key))?.value ?? [];
      return `${key} ${version} ${Buffer.from(value).toString('base64')}`;
    }),
  );
}

/** The same bytes under the same keys in a store of its own. */
export async function copyOf(storage: StorageAdapter): Promise<StorageAdapter> {
  const copy = memoryStorage();
  for (const { key } of (await storage.list('')).entries) {
    await copy.put(key, (await storage.get(key))?.value ?? new Uint8Array());
  }
  return copy;
}

/** The same storage with some methods replaced. */
export function altered(storage: StorageAdapter, changes: Partial<StorageAdapter>): StorageAdapter {
  return { ...storage, ...changes };
}

/** A store that takes no larger values, so that packs are spread over several records. */
export function withSmallValues(maxValueBytes: number): StorageAdapter {
  const storage = memoryStorage();
  return altered(storage, { capabilities: { ...storage.capabilities, maxValueBytes } });
}

/** Sequences of the checkpoints that are restored with the state they were saved with. */
export async function restorable(storage: StorageAdapter, count: number): Promise<number[]> {
  const checkpoints = new CheckpointManager<unknown>({ storage });
  const whole: number[] = [];
  for (let sequence = count; sequence >= 1; sequence--) {
    const found = await checkpoints.restore(SESSION, { sequence, fallback: false }).catch(() => undefined);
    if (found && JSON.stringify(found.state) === JSON.stringify(stateOf(sequence))) whole.push(sequence);
  }
  return whole;
}

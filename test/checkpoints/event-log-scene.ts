import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { EventLog } from '../../src/checkpoints/event-log/event-log.js';
import type { EventLogOptions } from '../../src/checkpoints/event-log/event-log-options.js';
import type { EventLogEvent } from '../../src/checkpoints/event-log/event-log-results.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

export const SESSION = 'agent';

/** What the tests append: `n` counts from 1, so that order and gaps can be seen. */
export interface Step {
  readonly id: string;
  readonly n: number;
  readonly text?: string;
}

/** Every `n` that was applied, in order. */
export type Applied = readonly number[];

/** A log with all around it. */
export function scene(options: Partial<EventLogOptions<Step, Applied>> = {}) {
  const storage = options.storage ?? memoryStorage();
  const clock = new VirtualClock();
  const heard: EventLogEvent[] = [];
  const checkpoints = new CheckpointManager<Applied>({ storage, clock });
  const events = new EventLog<Step, Applied>({
    storage,
    checkpoints,
    clock,
    emit: (event) => heard.push(event),
    ...options,
  });
  return { storage, clock, heard, checkpoints, events };
}

export const step = (n: number): Step => ({ id: `step-${n}`, n });

/** About so many bytes when it is stored. */
export const longStep = (n: number, sizeBytes = 1_000): Step => ({ ...step(n), text: 'x'.repeat(sizeBytes) });

export const numbers = (from: number, to: number): number[] =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, at) => from + at);

/** A reducer: remembers every event, in order. */
export const apply = (applied: Applied, { n }: Step): Applied => [...applied, n];

/** The `n` of everything in the log. */
export async function stored(events: EventLog<Step, Applied>, after = 0, session = SESSION): Promise<number[]> {
  const all: number[] = [];
  for await (const { event } of events.read(session, { after })) all.push(event.n);
  return all;
}

/** The store with some methods replaced. */
export function altered(storage: StorageAdapter, changes: Partial<StorageAdapter>): StorageAdapter {
  return { ...storage, ...changes };
}

/** Counts what is written, and lets a test step in before a write. */
export function watched(storage: StorageAdapter) {
  const log = { puts: [] as string[], gets: [] as string[] };
  const watching = altered(storage, {
    async get(key, options) {
      log.gets.push(key);
      return storage.get(key, options);
    },
    async put(key, value, options) {
      log.puts.push(key);
      return storage.put(key, value, options);
    },
  });
  return { storage: watching, log };
}

export async function keysOf(storage: StorageAdapter, prefix: string): Promise<string[]> {
  return (await storage.list(prefix, { limit: 10_000 })).entries.map(({ key }) => key);
}

/** Changes one byte of what is stored under `key`: `at` counts from the end. */
export async function damage(storage: StorageAdapter, key: string, at = 1): Promise<void> {
  const entry = await storage.get(key);
  if (entry === undefined) throw new Error(`"${key}" is not there.`);
  const bytes = Buffer.from(entry.value);
  bytes.writeUInt8(bytes.readUInt8(bytes.length - at) ^ 1, bytes.length - at);
  await storage.put(key, bytes);
}

/** What `promise` comes to, while the clock is moved for whoever waits by it. */
export async function inTime<Result>(clock: VirtualClock, promise: Promise<Result>): Promise<Result> {
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  promise.then(over, over);
  while (!isOver) await clock.advance(100);
  return promise;
}

import { expect } from 'vitest';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import type { NodeEvent } from '../../src/records/node.js';
import type { SessionEvent } from '../../src/sessions/session-event.js';
import type { SessionStatus } from '../../src/sessions/session-info.js';
import type { SessionRegistryOptions } from '../../src/sessions/session-options.js';
import { SessionRegistry } from '../../src/sessions/session-registry.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

/** One lease: valid for 2,850 ms, watched for 3,150 ms. */
export const LEASE_MS = 3_000;

export interface Counted {
  readonly count: number;
}

/** Four methods and no more: what a host writes by itself. */
export function withoutBatch(storage: StorageAdapter): StorageAdapter {
  const { batch: _, ...rest } = storage;
  return { ...rest, capabilities: { ...storage.capabilities, atomicBatch: false } };
}

type Settings = Partial<Omit<SessionRegistryOptions<CheckpointManager<Counted>>, 'storage' | 'checkpoints' | 'clock'>>;

/** A process that takes part, on a clock of its own: one whose clock stands still is dead, or stopped. */
export function member(
  storage: StorageAdapter = memoryStorage(),
  settings: Settings = {},
  clock = new VirtualClock(),
  states = storage,
) {
  const events: (SessionEvent | NodeEvent)[] = [];
  const checkpoints = new CheckpointManager<Counted>({ storage: states, clock });
  const emit = (event: SessionEvent | NodeEvent) => void events.push(event);
  const sessions = new SessionRegistry({ storage, checkpoints, clock, leaseMs: LEASE_MS, emit, ...settings });
  const types = () => events.map(({ type }) => type).filter((type) => type.startsWith('session.'));
  /** Sees the silence of whoever died: looks, waits for more than a lease, and has it looked at again. */
  const outwait = async () => {
    await sessions.interrupted();
    await clock.advance(LEASE_MS * 1.1);
  };
  return { storage, clock, events, types, checkpoints, sessions, outwait };
}

interface Listed {
  get(id: string): Promise<{ readonly status: SessionStatus } | undefined>;
}

/** Waits until a session has come so far. */
export async function until(sessions: Listed, id: string, status: SessionStatus): Promise<void> {
  await expect.poll(async () => (await sessions.get(id))?.status).toBe(status);
}

/** Another process takes a session over, whoever holds it: as after a silence that only it has seen. */
export async function takeByForce(storage: StorageAdapter, id: string) {
  const taker = member(storage);
  await taker.outwait();
  return { taker, session: await taker.sessions.recover(id) };
}

export { obstructed } from '../records/node-world.js';

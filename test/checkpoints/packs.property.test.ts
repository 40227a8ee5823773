import { describe, expect, test } from 'vitest';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { StateEncoder } from '../../src/checkpoints/packs/state-encoder.js';
import { DEFAULT_CODEC_SETTINGS } from '../../src/records/codec.js';
import { deepFreeze } from '../../src/records/deep-freeze.js';
import { encodeValue } from '../../src/records/encode.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { type AgentState, agentState, edited } from './agent-state.js';

const SESSION = 'agent';

/** The same value without a shared or frozen part. */
function copyOf(state: AgentState): AgentState {
  return structuredClone(state);
}

function rootOf(state: unknown): string {
  return new StateEncoder(DEFAULT_CODEC_SETTINGS).encode(state, () => false).root.id;
}

/** A memory store that takes small values only, so that packs are spread over several. */
function smallValues(): StorageAdapter {
  const storage = memoryStorage();
  return { ...storage, capabilities: { ...storage.capabilities, maxValueBytes: 48 * 1024 } };
}

/** Saves random edits, now and then from a new process or after a prune; every kept checkpoint must stay what it was. */
async function play(seed: number, storage: StorageAdapter, saves: number): Promise<void> {
  const random = seededRandom(seed);
  const isFrozen = random() < 0.5;
  let state = agentState(random, 20);
  let checkpoints = new CheckpointManager<AgentState>({ storage });
  const saved = new Map<number, { bytes: Buffer; checksum: string }>();
  for (let save = 1; save <= saves; save++) {
    for (let edits = 1 + random() * 2; edits > 0; edits--) state = edited(state, random);
    if (isFrozen) deepFreeze(state);
    else state = copyOf(state);
    const label = random() < 0.1 ? { label: 'pin' } : {};
    const { sequence, checksum } = await checkpoints.save(SESSION, state, label);
    saved.set(sequence, { bytes: encodeValue(state), checksum });
    if (random() < 0.1) checkpoints = new CheckpointManager<AgentState>({ storage });
    if (random() < 0.1) state = (await checkpoints.restore(SESSION))?.state as AgentState;
    if (random() < 0.2) {
      const { removed } = await checkpoints.prune(SESSION, { keepLast: Math.floor(random() * 12), maxBytes: 500_000 });
      for (const one of removed) saved.delete(one);
    }
  }
  const report = await checkpoints.verify(SESSION, { depth: 'deep' });
  expect(report).toMatchObject({ isIntact: true, checked: saved.size });
  for (const [sequence, { bytes, checksum }] of saved) {
    const restored = await checkpoints.restore(SESSION, { sequence, fallback: false });
    expect(restored?.checkpoint).toMatchObject({ checksum, sizeBytes: bytes.length });
    expect(encodeValue(restored?.state).equals(bytes)).toBe(true);
  }
}

describe('whatever is edited, restarted and pruned, every kept checkpoint restores equal', () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('seed %i', async (seed) => {
    await play(seed, memoryStorage(), 60);
  });

  test.each([11, 12, 13])('where values must be small, seed %i', async (seed) => {
    await play(seed, smallValues(), 30);
  });
});

test('the chunks of a state depend on what it holds, not on its past, on frozen parts or the order of its keys', () => {
  const random = seededRandom(5);
  const encoder = new StateEncoder(DEFAULT_CODEC_SETTINGS);
  let state = agentState(random, 40);
  for (let edits = 0; edits < 60; edits++) {
    state = deepFreeze(edited(state, random));
    const { root } = encoder.encode(state, () => true);
    expect(root.id).toBe(rootOf(copyOf(state)));
    expect(root.sizeBytes).toBe(encodeValue(state).length);
  }
  const reversed = Object.fromEntries(Object.entries(state).reverse());
  expect(rootOf(reversed)).toBe(rootOf(state));
});

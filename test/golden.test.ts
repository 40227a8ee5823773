import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CheckpointManager, EventLog, type FileStorage, fileStorage, memoryStorage } from '../src/index.js';
import { type GoldenState, goldenStates } from './golden/states.js';

interface Checksums {
  readonly agent: Readonly<Record<string, string>>;
  readonly small: Readonly<Record<string, string>>;
}

const golden = (name: string) => join(import.meta.dirname, 'golden', name);
const checksums = JSON.parse(await readFile(golden('checksums.json'), 'utf8')) as Checksums;

describe('what the first version has written', () => {
  let folder: string;
  let storage: FileStorage;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-golden-'));
    await cp(golden('store-1'), folder, { recursive: true });
    storage = fileStorage(folder);
  });

  afterEach(async () => {
    await storage.close();
    await rm(folder, { recursive: true });
  });

  test('is restored, checkpoint by checkpoint', async () => {
    const checkpoints = new CheckpointManager<GoldenState>({ storage });
    for (const state of goldenStates().slice(2)) {
      const restored = await checkpoints.restore('agent', { sequence: state.step, fallback: false });
      expect(restored?.state).toEqual(state);
      expect(restored?.checkpoint).toMatchObject({
        checksum: checksums.agent[state.step],
        label: `step ${state.step}`,
        operation: 'golden',
        metadata: { step: state.step },
        schemaVersion: 1,
      });
    }
    expect((await checkpoints.restore('small'))?.state).toEqual({ hello: 'world' });
    expect(await checkpoints.verify('agent', { depth: 'deep' })).toMatchObject({ isIntact: true, checked: 6 });
  });

  test('is gone on from: a save that changes little stores little', async () => {
    const checkpoints = new CheckpointManager<GoldenState>({ storage });
    const state = goldenStates()[7] as GoldenState;
    const { sequence, storedBytes, sizeBytes } = await checkpoints.save('agent', { ...state, step: 9 });
    expect(sequence).toBe(9);
    expect(storedBytes).toBeLessThan(sizeBytes / 10);
  });

  test('has events that are read and not appended again', async () => {
    const events = new EventLog<{ id: string; amount: number }, number>({ storage });
    expect(await events.append('account', { id: 'event 299', amount: 299 })).toMatchObject({
      position: 300,
      isNew: false,
    });
    const { state } = await events.replay('account', (sum, { amount }) => sum + amount, { initial: 0 });
    expect(state).toBe(44_850);
  });
});

test('a state has the checksum that it had in the first version', async () => {
  const checkpoints = new CheckpointManager({ storage: memoryStorage() });
  for (const state of goldenStates()) {
    expect((await checkpoints.save('agent', state)).checksum).toBe(checksums.agent[state.step]);
  }
  expect((await checkpoints.save('small', { hello: 'world' })).checksum).toBe(checksums.small[1]);
});

import { describe, expect, test } from 'vitest';
import { CorruptionError, LimitError } from '../../src/base/errors.js';
import type { CheckpointEvent } from '../../src/checkpoints/checkpoint.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import type { CheckpointManagerOptions } from '../../src/checkpoints/options.js';
import { encodeValue } from '../../src/records/encode.js';
import { ConflictError, OutcomeUnknownError, type StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { deferred } from '../support/deferred.js';
import { type AgentState, agentState, messageOf, textOf } from './agent-state.js';
import { flip, keyOf, SESSION, saved, stateOf } from './damaged-session.js';

const S = 'agent';
const random = seededRandom(3);

function make(storage: StorageAdapter = memoryStorage(), options: Partial<CheckpointManagerOptions<AgentState>> = {}) {
  const events: CheckpointEvent[] = [];
  const emit = (event: CheckpointEvent) => void events.push(event);
  return { storage, events, checkpoints: new CheckpointManager<AgentState>({ storage, emit, ...options }) };
}

function appended(state: AgentState): AgentState {
  return { ...state, messages: [...state.messages, messageOf(random)] };
}

/** Saves `saves` states, each with one more message; all of them. */
async function converse(checkpoints: CheckpointManager<AgentState>, saves: number, from = agentState(random, 30)) {
  const states: AgentState[] = [];
  for (let state = appended(from); states.length < saves; state = appended(state)) {
    states.push(state);
    await checkpoints.save(S, state);
  }
  return states;
}

async function keysIn(storage: StorageAdapter, prefix: string): Promise<string[]> {
  return (await storage.list(prefix)).entries.map(({ key }) => key);
}

async function listed(checkpoints: CheckpointManager<AgentState>): Promise<number[]> {
  const sequences: number[] = [];
  for await (const { sequence } of checkpoints.list(S)) sequences.push(sequence);
  return sequences;
}

function same(one: unknown, other: unknown): boolean {
  return encodeValue(one).equals(encodeValue(other));
}

/** Flips a byte near the end of a stored record, where its chunks are. */
async function damage(storage: StorageAdapter, key: string): Promise<void> {
  const value = Buffer.from((await storage.get(key))?.value as Uint8Array);
  value[value.length - 9] = (value[value.length - 9] as number) ^ 1;
  await storage.put(key, value);
}

/** A store that one record of a large state does not fit into. */
function smallValues(storage = memoryStorage()): StorageAdapter {
  return { ...storage, capabilities: { ...storage.capabilities, maxValueBytes: 48 * 1024 } };
}

describe('a save', () => {
  test('stores what changed, also the first one of a new process, with and without a restore', async () => {
    const { storage, checkpoints } = make();
    const [state] = (await converse(checkpoints, 1)) as [AgentState];
    const whole = encodeValue(state).length;
    for (const [at, next] of [checkpoints, make(storage).checkpoints, make(storage).checkpoints].entries()) {
      if (at === 2) await next.restore(S);
      const { storedBytes, sizeBytes } = await next.save(S, { ...state, counter: at });
      expect(sizeBytes).toBeGreaterThanOrEqual(whole);
      expect(storedBytes).toBeLessThan(whole / 5);
    }
  });

  test('takes the state when it is called, also behind others of its session', async () => {
    const { checkpoints } = make();
    const state = structuredClone(agentState(random, 30)) as { counter: number; messages: unknown[] } & AgentState;
    const saving = [];
    const expected: Buffer[] = [];
    for (let counter = 1; counter <= 10; counter++) {
      state.counter = counter;
      state.messages.splice(counter, 2, messageOf(random));
      expected.push(encodeValue(state));
      saving.push(checkpoints.save(S, state));
    }
    await Promise.all(saving);
    for (const [at, bytes] of expected.entries()) {
      const restored = await checkpoints.restore(S, { sequence: at + 1, fallback: false });
      expect(encodeValue(restored?.state).equals(bytes)).toBe(true);
    }
  });

  test('that goes on from another state than it was taken beside brings what that one lacks', async () => {
    const storage = memoryStorage();
    const gate = deferred();
    let isGated = false;
    const schema = {
      '~standard': {
        version: 1 as const,
        vendor: 'test',
        validate: async (value: unknown) => {
          if (isGated) await gate.promise;
          return { value: value as AgentState };
        },
      },
    };
    const { checkpoints } = make(storage, { schema });
    const first = agentState(random, 5);
    await checkpoints.save(S, first);
    const long = { ...first, messages: Array.from({ length: 60 }, () => messageOf(random)) };
    await checkpoints.save(S, long);
    isGated = true;
    const saving = checkpoints.save(S, { ...long, counter: 7 }); // Without the chunks that checkpoint 2 has.
    isGated = false;
    const header = (await storage.get((await keysIn(storage, 'checkpoints/'))[1] as string))?.value as Uint8Array;
    await storage.put((await keysIn(storage, 'checkpoints/'))[1] as string, header.with(50, 0));
    expect(await checkpoints.restore(S)).toMatchObject({ degraded: true, checkpoint: { sequence: 1 } });
    await storage.put((await keysIn(storage, 'checkpoints/'))[1] as string, header);
    gate.resolve(undefined);
    expect(await saving).toMatchObject({ sequence: 3, parent: 1 });
    const restored = await make(storage).checkpoints.restore(S, { fallback: false });
    expect(same(restored?.state, { ...long, counter: 7 })).toBe(true);
  });

  test('merges packs, so that a state of any age is in few of them', async () => {
    const { storage, checkpoints } = make();
    const states = await converse(checkpoints, 70);
    let reads = 0;
    const counting: StorageAdapter = {
      ...storage,
      get(...args) {
        reads++;
        return storage.get(...args);
      },
    };
    const restored = await make(counting).checkpoints.restore(S);
    expect(same(restored?.state, states.at(-1))).toBe(true);
    expect(reads).toBeLessThan(35);
  });

  test('that finds a pack damaged which it would merge is refused; the next one stores everything anew', async () => {
    const { storage, checkpoints } = make();
    const states = await converse(checkpoints, 10);
    await damage(storage, (await keysIn(storage, 'checkpoints/'))[0] as string);
    await damage(storage, (await keysIn(storage, 'checkpoints/'))[4] as string);
    let state = states.at(-1) as AgentState;
    let refusal: unknown;
    for (let saves = 0; saves < 20 && refusal === undefined; saves++) {
      state = appended(state);
      await checkpoints.save(S, state).catch((error: unknown) => {
        refusal = error;
      });
    }
    expect(refusal).toBeInstanceOf(CorruptionError);
    expect((refusal as Error).message).toMatch(/Save again/);
    await checkpoints.save(S, state);
    const restored = await make(storage).checkpoints.restore(S, { fallback: false });
    expect(same(restored?.state, state)).toBe(true);
  });
});

describe('a restore', () => {
  test('takes a chunk from another pack where the one that is named is damaged', async () => {
    const { storage, checkpoints } = make();
    const states = await converse(checkpoints, 17);
    // The last one has merged the packs before it.
    await storage.delete((await keysIn(storage, 'checkpoints/'))[2] as string);
    const restored = await make(storage).checkpoints.restore(S, { sequence: 15, fallback: false });
    expect(restored?.degraded).toBe(false);
    expect(same(restored?.state, states[14])).toBe(true);
  });

  test.each([1, 3])(
    'takes a chunk that two of its packs have from the other one when it is damaged in %i',
    async (pack) => {
      const { storage, checkpoints } = await saved(2);
      await checkpoints.save(SESSION, stateOf(1)); // It needs pack 1, and what pack 2 had changed is stored again.
      await flip(storage, keyOf(pack), 'old 2 ');
      const options = { sequence: 3, fallback: false };
      expect((await make(storage).checkpoints.restore(SESSION, options))?.state).toEqual(stateOf(1));
      await flip(storage, keyOf(4 - pack), 'old 2 ');
      await expect(make(storage).checkpoints.restore(SESSION, options)).rejects.toThrow(CorruptionError);
    },
  );

  test('falls back past what cannot be put together, and says which records it lacks', async () => {
    const { storage, checkpoints } = make();
    const first = agentState(random, 30);
    await checkpoints.save(S, first);
    await checkpoints.save(S, { ...first, messages: Array.from({ length: 30 }, () => messageOf(random)) });
    await checkpoints.save(S, { ...first, counter: 3, messages: [messageOf(random)] });
    await damage(storage, (await keysIn(storage, 'checkpoints/'))[1] as string);
    const { checkpoints: fresh, events } = make(storage);
    expect((await fresh.restore(S))?.checkpoint.sequence).toBe(3);
    const stand = await fresh.restore(S, { sequence: 2 });
    expect(stand).toMatchObject({ degraded: true, skipped: [{ sequence: 2, reason: 'corrupt' }] });
    expect(stand?.skipped[0]?.error.message).toMatch(/records 2, which are damaged/);
    expect(events).toContainEqual(expect.objectContaining({ type: 'checkpoint.corrupt', sequence: 2 }));
    await storage.delete((await keysIn(storage, 'checkpoints/'))[0] as string);
    await expect(fresh.restore(S, { sequence: 1 })).rejects.toThrow(/no checkpoint 1/);
    await expect(fresh.restore(S)).rejects.toThrow(CorruptionError);
  });

  test('finds the newest although what it reads is pruned under it', async () => {
    const storage = memoryStorage();
    const { checkpoints } = make(storage);
    const states = await converse(checkpoints, 5);
    let isFirst = true;
    const pruned: StorageAdapter = {
      ...storage,
      async get(key) {
        const entry = await storage.get(key);
        if (!isFirst) return entry;
        isFirst = false; // The newest has been read, what it needs has not.
        // Nothing in common with what is being read, which would do as well as the newest if all of it were there.
        for (let saves = 0; saves < 30; saves++) states.push(agentState(random, 3));
        for (const state of states.slice(5)) await checkpoints.save(S, state);
        await checkpoints.prune(S, { keepLast: 1 });
        return entry;
      },
    };
    const restored = await make(pruned).checkpoints.restore(S);
    expect(restored).toMatchObject({ degraded: false, checkpoint: { sequence: 35 } });
    expect(same(restored?.state, states.at(-1))).toBe(true);
  });
});

describe('pruning', () => {
  test('leaves the packs that kept checkpoints need, and nothing of the others', async () => {
    const { storage, checkpoints } = make();
    const states = await converse(checkpoints, 12);
    const report = await checkpoints.prune(S, { keepLast: 2 });
    expect(report).toMatchObject({ kept: [12, 11], removed: [10, 9, 8, 7, 6, 5, 4, 3, 2, 1] });
    expect(await listed(checkpoints)).toEqual([12, 11]);
    expect(await checkpoints.verify(S, { depth: 'deep' })).toMatchObject({ isIntact: true, checked: 2 });
    expect(same((await checkpoints.restore(S, { sequence: 11 }))?.state, states[10])).toBe(true);
    await expect(checkpoints.restore(S, { sequence: 5, fallback: false })).rejects.toThrow(/no checkpoint 5/);
    await checkpoints.save(S, { ...agentState(random, 3) });
    await checkpoints.prune(S, { keepLast: 1 });
    expect(await keysIn(storage, 'checkpoints/')).toHaveLength(1);
  });

  test('does not cut a writer that goes on in another process', async () => {
    const storage = memoryStorage();
    const writer = make(storage).checkpoints;
    let state = agentState(random, 30);
    for (let saves = 0; saves < 60; saves++) {
      state = appended(state);
      await Promise.all([writer.save(S, state), make(storage).checkpoints.prune(S, { keepLast: 1 })]);
    }
    expect(same((await make(storage).checkpoints.restore(S, { fallback: false }))?.state, state)).toBe(true);
    expect(await writer.verify(S, { depth: 'deep' })).toMatchObject({ isIntact: true });
  });

  test('follows each save where retention is set, and its failure is an event, not a failed save', async () => {
    const storage = memoryStorage();
    const { checkpoints, events } = make(storage, { retention: { keepLast: 3 } });
    const states = await converse(checkpoints, 30);
    expect(await listed(checkpoints)).toEqual([30, 29, 28]);
    const stuck = make({ ...storage, delete: () => Promise.reject(new Error('no deletes today')) }, { retention: {} });
    await stuck.checkpoints.prune(S, { keepLast: 1 }).then(
      () => expect.unreachable(),
      (error: Error) => expect(error.message).toMatch(/no deletes today/),
    );
    const unable = make({ ...storage, delete: () => Promise.reject(new Error('no')) }, { retention: { keepLast: 1 } });
    await unable.checkpoints.save(S, appended(states.at(-1) as AgentState));
    expect(unable.events.at(-1)).toMatchObject({ type: 'checkpoint.prune-failed', session: S });
    expect(events.filter(({ type }) => type === 'checkpoint.pruned').length).toBeGreaterThan(20);
  });
});

test('pruning after a save leaves alone what was saved behind it in the meantime', async () => {
  const storage = memoryStorage();
  const { checkpoints } = make(storage, { retention: { keepLast: 0 } });
  const states = Array.from({ length: 30 }, (_, counter) => ({ ...agentState(random, 2), counter }));
  await Promise.all(states.map((state) => checkpoints.save(S, state)));
  expect((await make(storage).checkpoints.restore(S))?.state).toEqual(states.at(-1));
});

test('a stale writer that misses packs which others have pruned is told of them, not of damage', async () => {
  const storage = memoryStorage();
  const { checkpoints } = make(storage);
  const states = await converse(checkpoints, 16);
  const { checkpoints: other } = make(storage);
  await other.restore(S);
  await other.save(S, agentState(random, 2));
  await other.prune(S, { keepLast: 1 });
  const stale = appended(states.at(-1) as AgentState);
  for (let saves = 0; saves < 2; saves++) await expect(checkpoints.save(S, stale)).rejects.toThrow(ConflictError);
  await other.delete(S);
  await other.save(S, agentState(random, 3));
  const again = await checkpoints.restore(S);
  expect(await checkpoints.save(S, again?.state as AgentState)).toMatchObject({ sequence: 2, parent: 1 });
});

test('deleting a session takes along what is saved to it meanwhile', async () => {
  const inner = memoryStorage();
  const { checkpoints: writer } = make(inner);
  const states = await converse(writer, 4);
  let isFirst = true;
  const { checkpoints } = make({
    ...inner,
    batch: async (operations) => {
      if (isFirst) await writer.save(S, appended(states.at(-1) as AgentState));
      isFirst = false;
      return inner.batch?.(operations) as Promise<string>;
    },
  });
  expect(await checkpoints.delete(S)).toBe(5);
  expect((await inner.list('')).entries).toEqual([]);
});

test('a save that cannot be confirmed, nor taken back, says that its outcome is not known', async () => {
  const inner = memoryStorage();
  const { checkpoints: writer } = make(inner);
  await converse(writer, 2);
  const lying: StorageAdapter = {
    ...inner,
    put: async (key, value, options) => {
      await inner.put(key, value, options);
      throw new OutcomeUnknownError(key);
    },
    get: (key) => (key.endsWith('3') ? Promise.reject(new Error('away')) : inner.get(key)),
  };
  await expect(make(lying).checkpoints.save(S, agentState(random, 2))).rejects.toThrow(OutcomeUnknownError);
});

describe('a pack above what the store takes', () => {
  test('leaves nothing behind where the save is refused, also because it cannot be split', async () => {
    const storage = smallValues();
    const [one, other] = [make(storage).checkpoints, make(storage).checkpoints];
    await one.save(S, agentState(random, 200));
    await other.restore(S);
    await other.save(S, agentState(random, 200));
    const before = await keysIn(storage, 'checkpoint-parts/');
    await expect(one.save(S, agentState(random, 200))).rejects.toThrow(ConflictError);
    expect(await keysIn(storage, 'checkpoint-parts/')).toEqual(before);
    const tiny = { ...storage, capabilities: { ...storage.capabilities, maxValueBytes: 4 * 1024 } };
    await expect(make(tiny).checkpoints.save('tiny', agentState(random, 200))).rejects.toThrow(LimitError);
    expect(await keysIn(storage, 'checkpoint-parts/')).toEqual(before);
  });

  test('is spread over several records, written before the one that names them', async () => {
    const storage = smallValues();
    const { checkpoints } = make(storage);
    const states = await converse(checkpoints, 5, agentState(random, 300));
    const parts = await keysIn(storage, 'checkpoint-parts/');
    expect(parts.length).toBeGreaterThan(5);
    const { checkpoints: fresh } = make(storage);
    expect(same((await fresh.restore(S))?.state, states.at(-1))).toBe(true);
    const records = (await storage.list('checkpoint')).entries.filter(
      ({ key }) => !key.startsWith('checkpoint-restores/'),
    );
    const stored = records.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    let told = 0;
    for await (const { storedBytes } of fresh.list(S)) told += storedBytes;
    expect(told).toBe(stored);
    await storage.delete(parts[0] as string);
    expect(await fresh.verify(S, { depth: 'deep' })).toMatchObject({ isIntact: false });
    await expect(make(storage).checkpoints.restore(S)).rejects.toThrow(CorruptionError);
  });

  test('goes with its checkpoint', async () => {
    const storage = smallValues();
    const { checkpoints } = make(storage);
    await converse(checkpoints, 3, agentState(random, 300));
    expect(await keysIn(storage, 'checkpoint-parts/')).not.toEqual([]);
    await checkpoints.save(S, agentState(random, 0));
    await checkpoints.prune(S, { keepLast: 1 });
    expect(await keysIn(storage, 'checkpoint-parts/')).toEqual([]);
    await checkpoints.save(S, agentState(random, 300));
    await checkpoints.delete(S);
    expect((await storage.list('')).entries).toEqual([]);
  });

  test('holds a long text in pieces', async () => {
    const storage = smallValues();
    const { checkpoints } = make({ ...storage, capabilities: { ...storage.capabilities, maxValueBytes: 64 * 1024 } });
    const state = { ...agentState(random, 0), facts: { article: textOf(random, 400_000) } };
    await checkpoints.save(S, state);
    expect((await checkpoints.restore(S))?.state).toEqual(state);
  });
});

test('deleting a session removes all of it at once, or the oldest first where the store cannot', async () => {
  const { storage, checkpoints } = make();
  await converse(checkpoints, 4);
  await checkpoints.prune(S, { keepLast: 1 });
  await checkpoints.delete(S);
  expect((await storage.list('')).entries).toEqual([]);
  const deleted: string[] = [];
  const { batch: _, ...single } = memoryStorage();
  const noting: StorageAdapter = {
    ...single,
    capabilities: { ...single.capabilities, atomicBatch: false },
    delete(key, options) {
      deleted.push(key);
      return single.delete(key, options);
    },
  };
  const { checkpoints: other } = make(noting);
  await converse(other, 4);
  expect(await other.delete(S)).toBe(4);
  const checkpointKeys = deleted.filter((key) => key.startsWith('checkpoints/'));
  expect(checkpointKeys).toEqual([...checkpointKeys].sort());
  expect(await keysIn(noting, '')).toEqual([]);
});

test('auto-save saves what changed and nothing else', async () => {
  const clock = new VirtualClock();
  const storage = memoryStorage();
  const { checkpoints } = make(storage, { clock });
  let state = agentState(random, 10);
  const autoSave = checkpoints.autoSave(S, () => state, { everyMs: 1_000, jitter: 0 });
  await clock.advance(3_500);
  expect(await listed(checkpoints)).toEqual([1]);
  state = appended(state);
  await clock.advance(2_000);
  expect(await listed(checkpoints)).toEqual([2, 1]);
  expect(await autoSave.saveNow()).toBeUndefined();
  await make(storage).checkpoints.delete(S);
  await expect(autoSave.saveNow()).rejects.toThrow(ConflictError); // Nothing changed, and nothing is saved.
  expect(await checkpoints.restore(S)).toBeUndefined();
  state = appended(state);
  await autoSave.stop();
  expect(same((await checkpoints.restore(S))?.state, state)).toBe(true);
});

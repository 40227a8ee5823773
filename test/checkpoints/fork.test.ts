import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/base/errors.js';
import { MissingCheckpointError, type SkippedCheckpoint } from '../../src/checkpoints/checkpoint.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { CheckpointRecords } from '../../src/checkpoints/checkpoint-records.js';
import { CheckpointWriter } from '../../src/checkpoints/checkpoint-writer.js';
import { forkCheckpoint } from '../../src/checkpoints/fork.js';
import { chunkIdOf, idToHex } from '../../src/checkpoints/packs/chunk.js';
import { sealPack } from '../../src/checkpoints/packs/pack-writer.js';
import { prepareCodecs, type ValueCodec } from '../../src/records/codec.js';
import { ConflictError, OutcomeUnknownError, type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { agentState, edited } from './agent-state.js';

const NEW = 'agent-2';

/** A storage with these states of `agent`. */
async function saved(states: readonly unknown[], codecs: readonly ValueCodec[] = []): Promise<StorageAdapter> {
  const storage = memoryStorage();
  const checkpoints = new CheckpointManager({ storage, codecs });
  for (const [at, state] of states.entries()) {
    await checkpoints.save('agent', state, {
      label: `step ${at + 1}`,
      operation: 'think',
      metadata: { at: new Date(at) },
    });
  }
  return storage;
}

/** Without the codecs of the state. */
function make(storage: StorageAdapter) {
  const records = new CheckpointRecords(storage, prepareCodecs());
  const skipped: SkippedCheckpoint[] = [];
  const source = {
    records,
    writer: new CheckpointWriter(records, () => {}),
    onSkipped: (one: SkippedCheckpoint) => void skipped.push(one),
  };
  const fork = (sequence?: number) =>
    forkCheckpoint(source, 'agent', sequence === undefined ? { newSession: NEW } : { newSession: NEW, sequence });
  return { records, fork, skipped, manager: new CheckpointManager<unknown>({ storage }) };
}

async function keysOf(storage: StorageAdapter, prefix = 'checkpoints/p=agent/'): Promise<string[]> {
  return (await storage.list(prefix)).entries.map(({ key }) => key);
}

/** Changes the last byte of the record of a checkpoint. */
async function damage(storage: StorageAdapter, sequence: number): Promise<void> {
  const key = (await keysOf(storage))[sequence - 1] as string;
  const value = (await storage.get(key))?.value as Uint8Array;
  value[value.length - 1] = (value[value.length - 1] as number) ^ 1;
  await storage.put(key, value);
}

/** The states of an agent that goes on and on, so that the last one is in several packs. */
function history(count: number): unknown[] {
  const random = seededRandom('fork');
  const states = [agentState(random, 60)];
  while (states.length < count) states.push(edited(states.at(-1) as ReturnType<typeof agentState>, random));
  return states;
}

describe('fork', () => {
  test('the newest checkpoint becomes the first of a new session, the same in all but its name', async () => {
    const states = history(20);
    const storage = await saved(states);
    const { fork, manager, skipped } = make(storage);
    const original = await manager.restore('agent');
    const forked = await fork();
    const { storedBytes: _, ...same } = original?.checkpoint ?? { storedBytes: 0 };
    expect(forked).toMatchObject({ ...same, session: NEW, sequence: 1, parent: null });
    expect(forked).toMatchObject({ copyOf: 20, degraded: false, skipped: [] });
    expect((await manager.restore(NEW))?.state).toEqual(states.at(-1));
    expect(await manager.verify(NEW, { depth: 'deep' })).toMatchObject({ isIntact: true, checked: 1 });
    expect(skipped).toEqual([]);
  });

  test('an older one is taken if its sequence is given', async () => {
    const states = history(5);
    const { fork, manager } = make(await saved(states));
    expect(await fork(2)).toMatchObject({ copyOf: 2, label: 'step 2', metadata: { at: new Date(1) } });
    expect((await manager.restore(NEW))?.state).toEqual(states[1]);
  });

  test('the copy stands alone: the other session may be deleted', async () => {
    const states = history(12);
    const { fork, manager } = make(await saved(states));
    await fork();
    await manager.delete('agent');
    expect((await manager.restore(NEW))?.state).toEqual(states.at(-1));
  });

  test('both sessions go on, each by itself', async () => {
    const { fork, manager } = make(await saved([{ step: 1 }]));
    await fork();
    await manager.restore(NEW);
    expect(await manager.save(NEW, { step: 'a' })).toMatchObject({ sequence: 2, parent: 1 });
    expect(await manager.save('agent', { step: 'b' })).toMatchObject({ sequence: 2, parent: 1 });
    expect((await manager.restore(NEW))?.state).toEqual({ step: 'a' });
  });

  test('needs no codecs of the state', async () => {
    class Money {
      constructor(readonly cents: number) {}
    }
    const money: ValueCodec = {
      tag: 'money',
      is: (value) => value instanceof Money,
      encode: (value) => (value as Money).cents,
      decode: (cents) => new Money(cents as number),
    };
    const storage = await saved([{ price: new Money(3) }], [money]);
    await make(storage).fork();
    const restored = await new CheckpointManager<unknown>({ storage, codecs: [money] }).restore(NEW);
    expect(restored?.state).toEqual({ price: new Money(3) });
  });

  test('a state that one record is too small for is copied into several', async () => {
    const states = history(3);
    const inner = await saved(states);
    const storage = { ...inner, capabilities: { ...inner.capabilities, maxValueBytes: 20_000 } };
    const { fork, manager } = make(storage);
    await fork();
    expect((await keysOf(storage, `checkpoint-parts/p=${NEW}/`)).length).toBeGreaterThan(1);
    expect((await manager.restore(NEW))?.state).toEqual(states.at(-1));
  });
});

describe('what cannot be forked', () => {
  test('a new session that has a checkpoint is left alone', async () => {
    const storage = await saved([{ step: 1 }]);
    const { fork, manager } = make(storage);
    await manager.save(NEW, { mine: true });
    await expect(fork()).rejects.toThrow(ConflictError);
    expect(await keysOf(storage, `checkpoints/p=${NEW}/`)).toHaveLength(1);
  });

  test('what is left of a pruned checkpoint counts, too', async () => {
    const long = 'x'.repeat(9000);
    const storage = await saved([{ step: 1 }]);
    const { fork, manager } = make(storage);
    for (const step of [1, 2]) await manager.save(NEW, { long, step });
    await manager.prune(NEW, { keepLast: 1 });
    await storage.delete((await keysOf(storage, `checkpoints/p=${NEW}/`))[1] as string);
    await expect(fork()).rejects.toThrow(ConflictError);
  });

  test('of two that fork to one name at once, one is told', async () => {
    const storage = await saved([{ step: 1 }]);
    const results = await Promise.allSettled([make(storage).fork(), make(storage).fork()]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(results.find(({ status }) => status === 'rejected')).toMatchObject({ reason: expect.any(ConflictError) });
  });

  test('a new session that is begun meanwhile is left alone', async () => {
    const inner = await saved([{ step: 1 }]);
    let isBegun = false;
    const list: StorageAdapter['list'] = async (prefix, options) => {
      const page = await inner.list(prefix, options);
      if (!isBegun) {
        isBegun = true;
        await new CheckpointManager<unknown>({ storage: inner }).save(NEW, { mine: true });
      }
      return page;
    };
    const { fork, manager } = make({ ...inner, list });
    await expect(fork()).rejects.toThrow(ConflictError);
    expect(await manager.restore(NEW)).toMatchObject({ state: { mine: true }, checkpoint: { sequence: 1 } });
  });

  test('a checkpoint that is not there, or a session without any', async () => {
    await expect(make(await saved([{ step: 1 }])).fork(2)).rejects.toThrow(new MissingCheckpointError('agent', 2));
    await expect(make(memoryStorage()).fork()).rejects.toThrow(MissingCheckpointError);
  });
});

describe('damage', () => {
  test('a damaged newest is passed over, and that is said', async () => {
    const storage = await saved([{ step: 1 }, { step: 2 }]);
    await damage(storage, 2);
    const { fork, manager, skipped } = make(storage);
    expect(await fork()).toMatchObject({ copyOf: 1, degraded: true, skipped: [{ sequence: 2, reason: 'corrupt' }] });
    expect(skipped).toMatchObject([{ sequence: 2 }]);
    expect((await manager.restore(NEW))?.state).toEqual({ step: 1 });
  });

  test('one that is asked for by its sequence has to be intact', async () => {
    const storage = await saved([{ step: 1 }, { step: 2 }]);
    await damage(storage, 2);
    await expect(make(storage).fork(2)).rejects.toThrow(CorruptionError);
    expect(await keysOf(storage, `checkpoints/p=${NEW}/`)).toEqual([]);
  });

  test('when all are damaged nothing is forked', async () => {
    const storage = await saved([{ step: 1 }, { step: 2 }]);
    await damage(storage, 1);
    await damage(storage, 2);
    await expect(make(storage).fork()).rejects.toThrow(/No checkpoint of "agent" is intact/);
  });

  test('what is left of a pruned checkpoint is not forked', async () => {
    const storage = memoryStorage();
    const { fork, manager } = make(storage);
    for (const step of [1, 2]) await manager.save('agent', { long: 'x'.repeat(9000), step });
    await manager.prune('agent', { keepLast: 1 });
    await damage(storage, 2);
    await expect(fork()).rejects.toThrow(/No checkpoint of "agent" is intact/);
    await expect(fork(1)).rejects.toThrow(MissingCheckpointError);
  });

  test('a newest that may not be the newest is forked, and that is said; not of one asked for', async () => {
    const inner = await saved([{ step: 1 }]);
    const get: StorageAdapter['get'] = async (key) => {
      const entry = await inner.get(key);
      return entry && { ...entry, suspect: true };
    };
    const first = make({ ...inner, get });
    expect(await first.fork()).toMatchObject({ degraded: true, skipped: [] });
    await first.manager.delete(NEW);
    expect(await make({ ...inner, get }).fork(1)).toMatchObject({ degraded: false });
  });

  test('a state of another size than its header says is damaged', async () => {
    const storage = memoryStorage();
    const { records, fork } = make(storage);
    const bytes = Buffer.from('[1]');
    const place = { session: 'agent', sequence: 1, parentSequence: null, savedAtMs: 0, schemaVersion: 1, packs: [] };
    const meta = { ...place, root: idToHex(chunkIdOf(bytes)), sizeBytes: 4 };
    const { record } = sealPack(records, { meta, parent: null }, [[chunkIdOf(bytes), bytes]]);
    await storage.put(records.key('agent', 1), record.bytes);
    await expect(fork()).rejects.toThrow(CorruptionError);
  });

  test('a storage that fails is not taken for a damaged one', async () => {
    const inner = await saved([{ step: 1 }]);
    const get = () => Promise.reject(new StorageError('no connection'));
    await expect(make({ ...inner, get }).fork()).rejects.toThrow('no connection');
  });
});

describe('at the wrong moment', () => {
  test('what is pruned while it is copied is looked for again', async () => {
    const long = 'x'.repeat(9000);
    const inner = memoryStorage();
    const other = new CheckpointManager<unknown>({ storage: inner });
    for (const step of [1, 2]) await other.save('agent', { long, step });
    const [first] = await keysOf(inner);
    let isFirst = true;
    const get: StorageAdapter['get'] = async (key) => {
      if (key === first && isFirst) {
        isFirst = false;
        await other.save('agent', { step: 3 });
        await other.prune('agent', { keepLast: 1 });
      }
      return inner.get(key);
    };
    expect(await make({ ...inner, get }).fork()).toMatchObject({ copyOf: 3, degraded: false });
  });

  test.each([0, 1, 2, 3, 4])('a crash at write %i leaves the copy whole or absent', async (survived) => {
    const states = history(2);
    const inner = await saved(states);
    let left = survived;
    const put: StorageAdapter['put'] = async (...call) => {
      if (left-- <= 0) throw new StorageError('dead');
      return inner.put(...call);
    };
    const capabilities = { ...inner.capabilities, maxValueBytes: 60_000 };
    await expect(make({ ...inner, put, capabilities }).fork()).rejects.toThrow('dead');
    const { fork, manager } = make({ ...inner, capabilities });
    expect(await manager.restore(NEW)).toBeUndefined();
    await fork();
    expect((await manager.restore(NEW))?.state).toEqual(states.at(-1));
  });

  test('a write of unknown outcome that happened is the fork', async () => {
    const inner = await saved([{ step: 1 }]);
    const put: StorageAdapter['put'] = async (key, ...call) => {
      await inner.put(key, ...call);
      throw new OutcomeUnknownError(key);
    };
    expect(await make({ ...inner, put }).fork()).toMatchObject({ session: NEW, sequence: 1 });
  });
});

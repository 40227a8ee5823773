import { describe, expect, test } from 'vitest';
import { CorruptionError, InvalidInputError, LimitError } from '../../src/base/errors.js';
import { type CheckpointEvent, MissingCheckpointError, NewerSchemaError } from '../../src/checkpoints/checkpoint.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { UnknownCodecError, UnserializableError, type ValueCodec } from '../../src/records/codec.js';
import { sealRecord } from '../../src/records/envelope.js';
import { ConflictError, OutcomeUnknownError, type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';

const SESSION = 'agent';

function make(storage: StorageAdapter = memoryStorage()) {
  const events: CheckpointEvent[] = [];
  const checkpoints = new CheckpointManager<unknown>({ storage, emit: (event) => events.push(event) });
  return { storage, checkpoints, events };
}

async function saveMany(checkpoints: CheckpointManager<unknown>, count: number, session = SESSION): Promise<void> {
  for (let step = 1; step <= count; step++) await checkpoints.save(session, { step });
}

async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Change one byte of the newest stored records: `back` 0 is the newest. `at` counts from the end. */
async function damage(storage: StorageAdapter, back = 0, at = 1): Promise<void> {
  const { entries } = await storage.list('checkpoints/', { reverse: true });
  const key = entries[back]?.key as string;
  const value = (await storage.get(key))?.value as Uint8Array;
  value[value.length - at] = (value[value.length - at] as number) ^ 1;
  await storage.put(key, value);
}

/** The same storage with some methods replaced. */
function altered(storage: StorageAdapter, changes: Partial<StorageAdapter>): StorageAdapter {
  return { ...storage, ...changes };
}

describe('save', () => {
  test('numbers the checkpoints of a session from 1, each made from the one before', async () => {
    const { checkpoints } = make();
    const first = await checkpoints.save(SESSION, { step: 1 });
    const second = await checkpoints.save(
      SESSION,
      { step: 2 },
      { label: 'two', operation: 'think', metadata: { at: new Date(7) } },
    );
    expect([first.sequence, first.parent, second.sequence, second.parent]).toEqual([1, null, 2, 1]);
    expect(second).toMatchObject({
      session: SESSION,
      label: 'two',
      operation: 'think',
      metadata: { at: new Date(7) },
      schemaVersion: 1,
    });
    expect(second.storedBytes).toBeGreaterThan(second.sizeBytes);
    expect(await collect(checkpoints.list(SESSION))).toEqual([second, first]);
  });

  test('equal states have equal checksums, whatever the order of their keys', async () => {
    const { checkpoints } = make();
    const one = await checkpoints.save(SESSION, { a: 1, b: [2] });
    const two = await checkpoints.save(SESSION, { b: [2], a: 1 });
    const three = await checkpoints.save(SESSION, { b: [2], a: 2 });
    expect(two.checksum).toBe(one.checksum);
    expect(three.checksum).not.toBe(one.checksum);
  });

  test('takes the state before it returns: changing it afterwards changes nothing', async () => {
    const { checkpoints } = make();
    const state = { list: [1] };
    const saving = checkpoints.save(SESSION, state);
    state.list.push(2);
    await saving;
    expect((await checkpoints.restore(SESSION))?.state).toEqual({ list: [1] });
  });

  test('many saves at once on one session follow each other in the order of the calls', async () => {
    const { checkpoints } = make();
    const saved = await Promise.all(Array.from({ length: 50 }, (_, step) => checkpoints.save(SESSION, { step })));
    expect(saved.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 50 }, (_, at) => at + 1));
    expect((await checkpoints.restore(SESSION))?.state).toEqual({ step: 49 });
  });

  test('of two writers of one session one is told, and nothing is overwritten', async () => {
    const storage = memoryStorage();
    const [one, two] = [make(storage).checkpoints, make(storage).checkpoints];
    await one.save(SESSION, { by: 'one' });
    await two.restore(SESSION);
    await two.save(SESSION, { by: 'two' });
    await expect(one.save(SESSION, { by: 'one, unaware' })).rejects.toThrow(/Another writer saved to session "agent"/);
    expect((await one.restore(SESSION))?.state).toEqual({ by: 'two' });
    expect((await one.save(SESSION, { by: 'one, aware' })).sequence).toBe(3);
  });

  test('a writer that slept while its next number was used and pruned is told, and leaves nothing behind', async () => {
    const storage = memoryStorage();
    const [sleeper, other] = [make(storage).checkpoints, make(storage).checkpoints];
    await sleeper.save(SESSION, { step: 1 });
    await saveMany(other, 5);
    await other.prune(SESSION, { keepLast: 2 });
    await expect(sleeper.save(SESSION, { stale: true })).rejects.toThrow(ConflictError);
    expect((await collect(other.list(SESSION))).map(({ sequence }) => sequence)).toEqual([6, 5]);
    expect((await other.restore(SESSION))?.state).toEqual({ step: 5 });
  });

  test('a writer whose session was deleted, or made anew by another, is told and leaves nothing behind', async () => {
    const storage = memoryStorage();
    const [unaware, other] = [make(storage).checkpoints, make(storage).checkpoints];
    await unaware.save(SESSION, 'first life');
    await other.delete(SESSION);
    await expect(unaware.save(SESSION, 'ghost', { ifSequence: 1 })).rejects.toThrow(ConflictError);
    expect(await other.restore(SESSION)).toBeUndefined();
    await expect(unaware.save(SESSION, 'ghost')).rejects.toThrow(ConflictError);
    expect(await unaware.restore(SESSION)).toBeUndefined();
    await unaware.save(SESSION, 'second life');
    await other.delete(SESSION);
    await other.save(SESSION, 'third life');
    await expect(unaware.save(SESSION, 'ghost', { ifSequence: 1 })).rejects.toThrow(ConflictError);
    expect((await other.verify(SESSION, { depth: 'deep' })).isIntact).toBe(true);
    expect((await other.restore(SESSION))?.state).toBe('third life');
  });

  test('a writer that was overtaken is told at every save until it restores', async () => {
    const storage = memoryStorage();
    const [sleeper, heir] = [make(storage).checkpoints, make(storage).checkpoints];
    await sleeper.save(SESSION, 'old');
    await heir.restore(SESSION);
    await heir.save(SESSION, 'new');
    for (let saves = 0; saves < 3; saves++) {
      await expect(sleeper.save(SESSION, 'stale')).rejects.toThrow(ConflictError);
    }
    expect((await sleeper.restore(SESSION))?.state).toBe('new');
    expect(await sleeper.save(SESSION, 'newer')).toMatchObject({ sequence: 3, parent: 2 });
    expect(await heir.save(SESSION, 'by number', { ifSequence: 3 })).toMatchObject({ sequence: 4 });
  });

  test('a writer whose save failed does not go over what another saved meanwhile', async () => {
    const inner = memoryStorage();
    let isFull = false;
    const storage = altered(inner, {
      put: async (...given) => (isFull ? Promise.reject(new Error('full')) : inner.put(...given)),
    });
    const { checkpoints } = make(storage);
    await checkpoints.save(SESSION, 1);
    isFull = true;
    await expect(checkpoints.save(SESSION, 2)).rejects.toThrow(/full/);
    isFull = false;
    await make(inner).checkpoints.save(SESSION, 'by another');
    await expect(checkpoints.save(SESSION, 3)).rejects.toThrow(ConflictError);
    const alone = make(storage).checkpoints;
    await alone.save('other', 1);
    isFull = true;
    await expect(alone.save('other', 2)).rejects.toThrow(/full/);
    isFull = false;
    expect(await alone.save('other', 3)).toMatchObject({ sequence: 2, parent: 1 });
  });

  test('a manager that has told of damage does not build on it', async () => {
    const { storage, checkpoints } = make();
    const text = 'long enough to be a chunk of its own '.repeat(300);
    await checkpoints.save(SESSION, { text, more: text.toUpperCase(), step: 1 });
    await checkpoints.save(SESSION, { text, more: text.toUpperCase(), step: 2 });
    const { key } = (await storage.list('checkpoints/')).entries[0] as { key: string };
    const value = Buffer.from((await storage.get(key))?.value as Uint8Array);
    await storage.put(key, value.fill(0, value.length - 9000));
    await expect(checkpoints.restore(SESSION)).rejects.toThrow(CorruptionError);
    const { storedBytes } = await checkpoints.save(SESSION, { text, more: text.toUpperCase(), step: 3 });
    expect(storedBytes).toBeGreaterThan(2 * text.length);
    expect((await make(storage).checkpoints.restore(SESSION))?.state).toMatchObject({ step: 3 });
  });

  test('a save that another writer built on before it was confirmed is acknowledged', async () => {
    const inner = memoryStorage();
    let interfere = async () => {};
    const storage = altered(inner, {
      put: async (...given) => {
        const version = await inner.put(...given);
        const once = interfere;
        interfere = async () => {};
        await once();
        return version;
      },
    });
    const { checkpoints } = make(storage);
    await checkpoints.save(SESSION, 1);
    const other = make(inner).checkpoints;
    interfere = async () => {
      await other.restore(SESSION);
      await other.save(SESSION, 3);
    };
    expect((await checkpoints.save(SESSION, 2)).sequence).toBe(2);
    expect((await other.restore(SESSION))?.checkpoint).toMatchObject({ sequence: 3, parent: 2 });
    await expect(checkpoints.save(SESSION, 'late')).rejects.toThrow(ConflictError);
  });

  test('a restore that ends after a save does not bring back what the session stood at before', async () => {
    const { checkpoints } = make();
    await checkpoints.save(SESSION, 1);
    await Promise.all([checkpoints.restore(SESSION), checkpoints.save(SESSION, 2), checkpoints.restore(SESSION)]);
    await expect(checkpoints.save(SESSION, 3, { ifSequence: 1 })).rejects.toThrow(ConflictError);
    expect((await checkpoints.save(SESSION, 3, { ifSequence: 2 })).parent).toBe(2);
  });

  test('ifSequence holds for the checkpoint that restore gave, and for nothing else', async () => {
    const { checkpoints } = make();
    await checkpoints.save(SESSION, 1, { ifSequence: 0 });
    await checkpoints.save(SESSION, 2, { ifSequence: 1 });
    await expect(checkpoints.save(SESSION, 3, { ifSequence: 1 })).rejects.toThrow(/is at checkpoint 2, not 1/);
    await expect(checkpoints.save(SESSION, 3, { ifSequence: 0 })).rejects.toThrow(ConflictError);
    await expect(checkpoints.save('other', 3, { ifSequence: 4 })).rejects.toThrow(ConflictError);
  });

  test('after a fallback the next save grows out of the intact checkpoint and keeps clear of the damaged number', async () => {
    const { storage, checkpoints } = make();
    await saveMany(checkpoints, 3);
    await damage(storage);
    const fresh = make(storage).checkpoints;
    const restored = await fresh.restore(SESSION);
    expect(restored?.checkpoint.sequence).toBe(2);
    const saved = await fresh.save(SESSION, { step: 'again' }, { ifSequence: 2 });
    expect([saved.sequence, saved.parent]).toEqual([4, 2]);
    const unread = make(storage);
    await damage(storage);
    expect((await unread.checkpoints.save(SESSION, { step: 'unread' })).parent).toBe(2);
    expect(unread.events.filter(({ type }) => type === 'checkpoint.corrupt')).toHaveLength(2);
  });

  test('an outcome that is not known is decided by what is there', async () => {
    const inner = memoryStorage();
    let fault: (key: string, value: Uint8Array) => Promise<unknown> = async () => {};
    const storage = altered(inner, {
      put: async (key, value, options) => {
        const before = fault;
        fault = async () => {};
        if (before.length === 0) return inner.put(key, value, options);
        await before(key, value);
        throw new OutcomeUnknownError(key);
      },
    });
    const { checkpoints } = make(storage);
    fault = (key, value) => inner.put(key, value);
    expect((await checkpoints.save(SESSION, { step: 1 })).sequence).toBe(1);
    fault = async (_key, _value) => {};
    await expect(checkpoints.save(SESSION, { step: 2 })).rejects.toThrow(OutcomeUnknownError);
    fault = (key, _value) => inner.put(key, Buffer.from('of someone else'));
    await expect(checkpoints.save(SESSION, { step: 2 })).rejects.toThrow(ConflictError);
  });

  test('a save that cannot be confirmed to be the newest is of unknown outcome', async () => {
    const inner = memoryStorage();
    let lists = 0;
    const list: StorageAdapter['list'] = async (...given) => {
      if (++lists === 2) throw new Error('gone');
      return inner.list(...given);
    };
    const { checkpoints } = make(altered(inner, { list }));
    await expect(checkpoints.save(SESSION, 1)).rejects.toThrow(OutcomeUnknownError);
    expect((await checkpoints.save(SESSION, 2)).sequence).toBe(2);
  });

  test('what cannot be kept is refused with its path, and nothing is stored', async () => {
    const { storage, checkpoints } = make();
    await expect(checkpoints.save(SESSION, { steps: [{ fn: () => {} }] })).rejects.toThrow(/\$\.steps\[0\]\.fn/);
    await expect(checkpoints.save(SESSION, 1, { metadata: { fn: () => {} } })).rejects.toThrow(UnserializableError);
    await expect(checkpoints.save(SESSION, 1, { metadata: { big: 'x'.repeat(70_000) } })).rejects.toThrow(LimitError);
    for (const metadata of [[1], new Map(), null, 'text', 1]) {
      await expect(checkpoints.save(SESSION, 1, { metadata } as never)).rejects.toThrow(
        /options\.metadata: must be a plain object/,
      );
    }
    await checkpoints.save('other', 1, { metadata: Object.create(null) as Record<string, unknown> });
    await checkpoints.delete('other');
    await expect(checkpoints.save('', 1)).rejects.toThrow(InvalidInputError);
    await expect(checkpoints.save('\ud800', 1)).rejects.toThrow(/session/);
    await expect(checkpoints.save(SESSION, 1, { lable: 'x' } as never)).rejects.toThrow(/lable/);
    const small = new CheckpointManager({ storage, maxBytes: 100 });
    await expect(small.save(SESSION, 'x'.repeat(101))).rejects.toThrow(LimitError);
    expect((await storage.list('checkpoints/')).entries).toEqual([]);
  });
});

describe('restore', () => {
  test('is undefined for a session that was never saved, and only then', async () => {
    const { checkpoints } = make();
    expect(await checkpoints.restore('nobody')).toBeUndefined();
    expect(await checkpoints.restore('nobody', { label: 'x' })).toBeUndefined();
    expect(await checkpoints.restore('nobody', { sequence: 3 })).toBeUndefined();
    await expect(checkpoints.restore('nobody', { atLeast: 1 })).rejects.toThrow(
      /has no checkpoint, but checkpoint 1 was saved/,
    );
  });

  test('passes over damage to the newest intact checkpoint, and says so in every way', async () => {
    const { storage, checkpoints, events } = make();
    await saveMany(checkpoints, 4);
    await damage(storage, 0);
    await damage(storage, 1, 200);
    const restored = await checkpoints.restore(SESSION);
    expect(restored).toMatchObject({ state: { step: 2 }, degraded: true, checkpoint: { sequence: 2 } });
    expect(restored?.skipped.map(({ sequence, reason }) => [sequence, reason])).toEqual([
      [4, 'corrupt'],
      [3, 'corrupt'],
    ]);
    expect(events.filter(({ type }) => type === 'checkpoint.corrupt')).toHaveLength(2);
    expect(events.at(-1)).toEqual({ type: 'checkpoint.restored', session: SESSION, sequence: 2, degraded: true });
    await expect(checkpoints.restore(SESSION, { fallback: false })).rejects.toThrow(CorruptionError);
    await expect(checkpoints.restore(SESSION, { atLeast: 3 })).rejects.toThrow(
      /nothing intact newer than checkpoint 2/,
    );
    expect((await checkpoints.restore(SESSION, { atLeast: 2 }))?.checkpoint.sequence).toBe(2);
  });

  test('with everything damaged it is an error, never a new beginning', async () => {
    const { storage, checkpoints } = make();
    await saveMany(checkpoints, 2);
    await damage(storage, 0);
    await damage(storage, 1);
    await expect(checkpoints.restore(SESSION)).rejects.toThrow(/2, 1 are damaged/);
    expect((await storage.list('checkpoints/')).entries).toHaveLength(2);
  });

  test('goes back to a sequence or a label, and says when something else stands in', async () => {
    const { storage, checkpoints } = make();
    await checkpoints.save(SESSION, 1, { label: 'start' });
    await checkpoints.save(SESSION, 2);
    await checkpoints.save(SESSION, 3, { label: 'start' });
    await checkpoints.save(SESSION, 4);
    expect((await checkpoints.restore(SESSION, { sequence: 2 }))?.state).toBe(2);
    expect((await checkpoints.restore(SESSION, { label: 'start' }))?.state).toBe(3);
    await storage.delete((await storage.list('checkpoints/')).entries[1]?.key as string);
    const stand = await checkpoints.restore(SESSION, { sequence: 2 });
    expect(stand).toMatchObject({ state: 1, degraded: true, skipped: [{ sequence: 2, reason: 'missing' }] });
    await expect(checkpoints.restore(SESSION, { sequence: 2, fallback: false })).rejects.toThrow(
      MissingCheckpointError,
    );
    await checkpoints.prune(SESSION, { keepLast: 1, keepLabels: false });
    await expect(checkpoints.restore(SESSION, { sequence: 2 })).rejects.toThrow(MissingCheckpointError);
    // Looking at an old checkpoint does not change what the next save is made from.
    expect((await checkpoints.save(SESSION, 5)).parent).toBe(4);
  });

  test('a record that was put under another key or session is refused', async () => {
    const { storage, checkpoints } = make();
    await saveMany(checkpoints, 1, 'one');
    await saveMany(checkpoints, 1, 'two');
    const [one, two] = (await storage.list('checkpoints/')).entries.map(({ key }) => key);
    await storage.put(one as string, (await storage.get(two as string))?.value as Uint8Array);
    await expect(checkpoints.restore('one')).rejects.toThrow(CorruptionError);
    const key = (two as string).replace('/0000', '/0001');
    const meta = { session: 'one', sequence: 1, parentSequence: null, savedAtMs: 0, schemaVersion: 1 };
    await storage.put(key, sealRecord({ key, id: 'x', parent: null, meta }, Buffer.from('1')).bytes);
    expect(await checkpoints.restore('two')).toMatchObject({ degraded: true, state: { step: 1 } });
  });

  test('a suspect entry restores as degraded', async () => {
    const inner = memoryStorage();
    const get: StorageAdapter['get'] = async (key) => {
      const entry = await inner.get(key);
      return entry && { ...entry, suspect: true };
    };
    const { checkpoints } = make(altered(inner, { get }));
    await checkpoints.save(SESSION, 1);
    expect(await checkpoints.restore(SESSION)).toMatchObject({ degraded: true, skipped: [] });
    expect(await checkpoints.verify(SESSION)).toMatchObject({ isIntact: false, isSuspect: true, damaged: [] });
  });

  test('a store that fails is an error, never a fallback and never a missing session', async () => {
    const inner = memoryStorage();
    const { checkpoints } = make(altered(inner, { get: () => Promise.reject(new Error('connection lost')) }));
    const unlisted = altered(inner, { list: () => Promise.reject(new Error('connection lost')) });
    await expect(make(unlisted).checkpoints.restore(SESSION)).rejects.toThrow(StorageError);
    await make(inner).checkpoints.save(SESSION, 1);
    await expect(checkpoints.restore(SESSION)).rejects.toThrow(/connection lost/);
    await expect(checkpoints.save(SESSION, 2)).rejects.toThrow(/connection lost/);
  });

  test('what is intact but of a newer schema is no damage: it stays, and nothing is saved over it', async () => {
    const { storage, checkpoints } = make();
    await saveMany(checkpoints, 2);
    const newer = new CheckpointManager({ storage, schemaVersion: 9, migrations: { 9: (state) => state } });
    await newer.save(SESSION, 3);
    const fresh = make(storage).checkpoints;
    await expect(fresh.save(SESSION, 1)).rejects.toThrow(NewerSchemaError);
    await expect(fresh.restore(SESSION)).rejects.toThrow(NewerSchemaError);
    expect(await fresh.verify(SESSION, { depth: 'deep' })).toMatchObject({ isIntact: true, newestIntact: 3 });
    expect((await fresh.prune(SESSION, { keepLast: 1 })).kept).toEqual([3]);
    expect((await newer.restore(SESSION))?.state).toBe(3);
  });

  test('a checkpoint of a newer schema or an unknown codec fails closed', async () => {
    class Money {
      constructor(readonly cents: number) {}
    }
    const money: ValueCodec<Money> = {
      tag: 'money',
      is: (value) => value instanceof Money,
      encode: ({ cents }) => cents,
      decode: (cents) => new Money(cents as number),
    };
    const { storage, checkpoints } = make();
    await checkpoints.save(SESSION, 'older');
    const rich = new CheckpointManager({ storage, codecs: [money as ValueCodec] });
    await rich.save(SESSION, { price: new Money(5) });
    expect((await rich.restore(SESSION))?.state).toEqual({ price: new Money(5) });
    await expect(checkpoints.restore(SESSION)).rejects.toThrow(UnknownCodecError);
    const newer = new CheckpointManager({ storage, codecs: [money as ValueCodec], schemaVersion: 9 });
    await newer.save(SESSION, { price: new Money(6) });
    await expect(checkpoints.restore(SESSION)).rejects.toThrow(NewerSchemaError);
  });

  test('a header whose facts have the wrong shape is damage although its hash is right', async () => {
    const { storage, checkpoints } = make();
    const key =
      (await checkpoints.save(SESSION, 1)) && ((await storage.list('checkpoints/')).entries[0]?.key as string);
    const good = { session: SESSION, sequence: 1, parentSequence: null, savedAtMs: 0, schemaVersion: 1 };
    for (const wrong of [
      { sequence: 0 },
      { parentSequence: -1 },
      { savedAtMs: 'x' },
      { schemaVersion: 0 },
      { label: 1 },
      { session: 1 },
    ]) {
      const meta = { ...good, ...wrong };
      await storage.put(key, sealRecord({ key, id: 'x', parent: null, meta }, Buffer.from('1')).bytes);
      await expect(checkpoints.restore(SESSION)).rejects.toThrow(CorruptionError);
    }
    await storage.put(key, sealRecord({ key, id: 'x', parent: null, meta: null }, Buffer.from('1')).bytes);
    await expect(checkpoints.restore(SESSION)).rejects.toThrow(CorruptionError);
  });
});

describe('list, sessions, verify, prune and delete', () => {
  test('list filters, limits, and leaves damaged ones out with an event', async () => {
    const { storage, checkpoints, events } = make();
    for (let step = 1; step <= 5; step++) {
      await checkpoints.save(SESSION, step, { operation: step % 2 ? 'odd' : 'even', label: `step ${step}` });
    }
    const sequences = async (options: Parameters<typeof checkpoints.list>[1]) =>
      (await collect(checkpoints.list(SESSION, options))).map(({ sequence }) => sequence);
    expect(await sequences({ operation: 'odd' })).toEqual([5, 3, 1]);
    expect(await sequences({ label: 'step 2' })).toEqual([2]);
    expect(await sequences({ before: 4, limit: 2 })).toEqual([3, 2]);
    expect(await sequences({ limit: 0 })).toEqual([]);
    await damage(storage, 1, 300);
    expect(await sequences({})).toEqual([5, 3, 2, 1]);
    expect(events.at(-1)).toMatchObject({ type: 'checkpoint.corrupt', sequence: 4 });
    await expect(collect(checkpoints.list(SESSION, { befor: 1 } as never))).rejects.toThrow(InvalidInputError);
  });

  test('more checkpoints than a page holds are listed once each', async () => {
    const { checkpoints } = make();
    await saveMany(checkpoints, 250);
    const sequences = (await collect(checkpoints.list(SESSION))).map(({ sequence }) => sequence);
    expect(sequences).toEqual(Array.from({ length: 250 }, (_, at) => 250 - at));
  });

  test('every session is found once by its exact name, however strange', async () => {
    const { checkpoints } = make();
    const names = ['plain', 'plain-2', 'a/b', '../..', 'é 😀', 'x'.repeat(700), '0', '~'];
    for (const name of names) await saveMany(checkpoints, 2, name);
    expect((await collect(checkpoints.sessions())).sort()).toEqual([...names].sort());
    expect((await collect(checkpoints.sessions({ prefix: 'plain' }))).sort()).toEqual(['plain', 'plain-2']);
  });

  test('verify finds damage where it is, and deep also what fast cannot see', async () => {
    const { storage, checkpoints } = make();
    await saveMany(checkpoints, 3);
    expect(await checkpoints.verify(SESSION, { depth: 'deep' })).toEqual({
      session: SESSION,
      isIntact: true,
      isSuspect: false,
      checked: 3,
      newestIntact: 3,
      damaged: [],
    });
    await damage(storage, 1);
    expect((await checkpoints.verify(SESSION)).isIntact).toBe(true);
    const deep = await checkpoints.verify(SESSION, { depth: 'deep' });
    expect(deep.damaged.map(({ sequence }) => sequence)).toEqual([2]);
    expect(deep).toMatchObject({ isIntact: false, newestIntact: 3 });
    expect((await checkpoints.verify('nobody')).checked).toBe(0);
  });

  test('verify finds a checkpoint that was exchanged for another one under the same number', async () => {
    const { storage, checkpoints } = make();
    await saveMany(checkpoints, 2);
    const other = make();
    await saveMany(other.checkpoints, 1);
    const key = (await storage.list('checkpoints/')).entries[0]?.key as string;
    await storage.put(key, (await other.storage.get(key))?.value as Uint8Array);
    const { damaged } = await checkpoints.verify(SESSION, { depth: 'deep' });
    expect(damaged.map(({ error }) => error.message).join()).toMatch(/not the one that later ones were made from/);
  });

  test('prune keeps the newest, oldest go first, and a dry run only says so', async () => {
    const { checkpoints, events } = make();
    await saveMany(checkpoints, 6);
    const dry = await checkpoints.prune(SESSION, { keepLast: 2 }, { dryRun: true });
    expect(dry).toMatchObject({ isDryRun: true, kept: [6, 5], removed: [4, 3, 2, 1] });
    expect(await collect(checkpoints.list(SESSION))).toHaveLength(6);
    const done = await checkpoints.prune(SESSION, { keepLast: 2 });
    expect(done).toEqual({ ...dry, isDryRun: false });
    expect(events.at(-1)).toMatchObject({ type: 'checkpoint.pruned', removed: 4, freedBytes: done.freedBytes });
    expect((await checkpoints.prune(SESSION)).removed).toEqual([]);
    await expect(checkpoints.prune(SESSION, { keepLast: -1 })).rejects.toThrow(/retention\.keepLast/);
  });

  test('prune never removes the newest intact checkpoint, however old it is', async () => {
    const { storage, checkpoints } = make();
    await saveMany(checkpoints, 5);
    for (const back of [0, 1, 2]) await damage(storage, back);
    expect((await checkpoints.prune(SESSION, { keepLast: 1 })).kept).toEqual([5, 2]);
    expect((await checkpoints.restore(SESSION))?.state).toEqual({ step: 2 });
    await damage(storage, 1);
    expect((await checkpoints.prune(SESSION, { keepLast: 1 })).kept).toEqual([5]);
  });

  test('delete removes a session and no other, and saving begins again at 1', async () => {
    const { storage, checkpoints, events } = make();
    await saveMany(checkpoints, 3);
    await saveMany(checkpoints, 1, 'agent-2');
    expect(await checkpoints.delete(SESSION)).toBe(3);
    expect(events.at(-1)).toEqual({ type: 'checkpoint.deleted', session: SESSION, removed: 3 });
    expect((await storage.list('checkpoints/')).entries).toHaveLength(1);
    expect(await checkpoints.restore(SESSION)).toBeUndefined();
    expect((await checkpoints.save(SESSION, 1)).sequence).toBe(1);
    expect(await checkpoints.delete('nobody')).toBe(0);
  });

  test('a checkpoint that another process prunes while it is read is no damage', async () => {
    const inner = memoryStorage();
    const { checkpoints } = make(inner);
    await saveMany(checkpoints, 2);
    const newest = (await inner.list('', { reverse: true })).entries[0]?.key;
    const get: StorageAdapter['get'] = async (key) => (key === newest ? undefined : inner.get(key));
    const racing = make(altered(inner, { get })).checkpoints;
    expect(await racing.restore(SESSION)).toMatchObject({ state: { step: 1 }, degraded: false });
    expect(await collect(racing.list(SESSION))).toHaveLength(1);
    expect((await racing.verify(SESSION, { depth: 'deep' })).isIntact).toBe(true);
    await expect(collect(racing.sessions())).resolves.toEqual([SESSION]);
  });

  test('a manager is refused without a storage, with half an adapter, and with an unknown option', () => {
    expect(() => new CheckpointManager(undefined as never)).toThrow(/options\.storage/);
    expect(() => new CheckpointManager({ storage: { get() {} } as never })).toThrow(/needs the method "put"/);
    const { name, ...nameless } = memoryStorage();
    expect(() => new CheckpointManager({ storage: { ...nameless } as never })).toThrow(/needs a `name`/);
    expect(name).toBe('memory');
    expect(() => new CheckpointManager({ storage: memoryStorage(), codec: [] } as never)).toThrow(/codec/);
  });
});

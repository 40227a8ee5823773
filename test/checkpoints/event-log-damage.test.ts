import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/base/errors.js';
import { openLogHead, sealLogHead } from '../../src/checkpoints/event-log/event-log-head.js';
import { LostEventsError } from '../../src/checkpoints/event-log/event-log-results.js';
import { sealRecord } from '../../src/records/envelope.js';
import { ConflictError, type StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { rejectionOf } from '../support/deferred.js';
import { altered, apply, damage, keysOf, longStep, numbers, SESSION, scene, step, stored } from './event-log-scene.js';

const HEAD = 'events/heads/p=agent';
const RANGES = 'events/ranges/p=agent/';

/** A log of 800 events of 1 kB, some 50 ranges, and what was read of it before the first that is lost. */
async function filled() {
  const made = scene();
  await made.events.appendAll(
    SESSION,
    numbers(1, 800).map((n) => longStep(n)),
  );
  return { ...made, ranges: await keysOf(made.storage, RANGES) };
}

async function readUntilLost(made: Awaited<ReturnType<typeof filled>>, after = 0) {
  const read: number[] = [];
  const reading = async () => {
    for await (const { position } of made.events.read(SESSION, { after })) read.push(position);
  };
  return { error: await rejectionOf(reading()), read };
}

/** The store with every entry that matches marked as perhaps not the newest. */
function suspicious(storage: StorageAdapter, pattern: string): StorageAdapter {
  return altered(storage, {
    async get(key) {
      const entry = await storage.get(key);
      return entry && key.includes(pattern) ? { ...entry, suspect: true } : entry;
    },
  });
}

describe('a damaged range', () => {
  test.each([1, 5_000])('with byte %i from the end changed ends a read, which names the events lost', async (at) => {
    const made = await filled();
    const key = made.ranges[7] as string;
    await damage(made.storage, key, at);
    const { error, read } = await readUntilLost(made);
    expect(error).toBeInstanceOf(LostEventsError);
    const { from, to } = (error as LostEventsError).range;
    expect(error).toMatchObject({ code: 'HOLDFAST_LOST_EVENTS', key, session: SESSION });
    expect((error as Error).message).toContain(`Events ${from} to ${to} of session "agent" cannot be read.`);
    expect(read).toEqual(numbers(1, from - 1));
    expect(await stored(made.events, to)).toEqual(numbers(to + 1, 800));
  });

  test('ends a replay before it; one from a checkpoint behind it goes on', async () => {
    const made = await filled();
    await made.events.replay(SESSION, apply, { initial: [], saveEvery: 500 });
    await damage(made.storage, made.ranges[2] as string);
    expect(await made.events.replay(SESSION, apply, { initial: [] })).toMatchObject({
      state: numbers(1, 800),
      replayed: 300,
    });
    await made.checkpoints.delete(SESSION);
    await expect(made.events.replay(SESSION, apply, { initial: [] })).rejects.toBeInstanceOf(LostEventsError);
  });

  test('that is missing is not passed over either', async () => {
    const made = await filled();
    await made.storage.delete(made.ranges[3] as string);
    const { error } = await readUntilLost(made);
    expect(error).toBeInstanceOf(LostEventsError);
    expect((error as Error).message).toContain('is missing');
  });

  test('of links names all events below it', async () => {
    const made = await filled();
    const links = made.ranges.find((key) => key.startsWith(`${RANGES}1-`)) as string;
    await damage(made.storage, links);
    const { error, read } = await readUntilLost(made);
    const { from, to } = (error as LostEventsError).range;
    expect([from, read]).toEqual([1, []]);
    expect(to).toBeGreaterThan(200);
    expect(await stored(made.events, to)).toEqual(numbers(to + 1, 800));
  });

  test('that may not be the newest is refused', async () => {
    const made = await filled();
    const { events } = scene({ storage: suspicious(made.storage, '/0-') });
    await expect(stored(events)).rejects.toBeInstanceOf(LostEventsError);
  });

  test.each([
    ['is not the part of the log that was written there', { log: 'another', from: 1, to: 2 }],
    ['its header is not one that this library writes', null],
  ])('in place of another, intact by itself, is found out: %s', async (message, meta) => {
    const made = await filled();
    const key = made.ranges[4] as string;
    const forged = sealRecord({ key, id: 'range', parent: null, meta }, Buffer.from('["a",1]\t{"id":"a","n":1}\n'));
    await made.storage.put(key, forged.bytes);
    const { error } = await readUntilLost(made);
    expect(error).toBeInstanceOf(LostEventsError);
    expect((error as Error).message).toContain(message);
  });

  test('whose ids an append would be compared with ends the append', async () => {
    const made = await filled();
    await damage(made.storage, made.ranges[7] as string);
    await expect(scene({ storage: made.storage }).events.append(SESSION, step(900))).rejects.toBeInstanceOf(
      LostEventsError,
    );
    expect(await made.events.position(SESSION)).toBe(800);
  });

  test('where a new one is to be written is not taken for it', async () => {
    const storage = memoryStorage();
    const planted = altered(storage, {
      async put(key, value, options) {
        if (!key.startsWith(RANGES)) return storage.put(key, value, options);
        await storage.put(key, Buffer.from('something else'));
        throw new ConflictError(key, 'v');
      },
    });
    const { events } = scene({ storage: planted });
    await events.append(SESSION, longStep(1, 15_000));
    await expect(events.append(SESSION, longStep(2, 15_000))).rejects.toBeInstanceOf(CorruptionError);
    expect(await stored(events)).toEqual([1]);
  });

  test('an error of the store is no damage', async () => {
    const made = await filled();
    const broken = altered(made.storage, {
      get: (key) => (key.startsWith(RANGES) ? Promise.reject(new Error('cable')) : made.storage.get(key)),
    });
    await expect(stored(scene({ storage: broken }).events)).rejects.toMatchObject({ code: 'HOLDFAST_STORAGE' });
  });
});

describe('a damaged head', () => {
  test.each([0, 5, 40, 200])(
    'with byte %i from the end changed is read by nobody, and nothing is put over it',
    async (at) => {
      const { storage, events } = await filled();
      await damage(storage, HEAD, at + 1);
      const before = await storage.get(HEAD);
      const restarted = scene({ storage });
      await expect(stored(events)).rejects.toBeInstanceOf(CorruptionError);
      await expect(events.position(SESSION)).rejects.toBeInstanceOf(CorruptionError);
      await expect(restarted.events.append(SESSION, step(900))).rejects.toBeInstanceOf(CorruptionError);
      await expect(restarted.events.replay(SESSION, apply, { initial: [] })).rejects.toBeInstanceOf(CorruptionError);
      expect((await storage.get(HEAD))?.version).toBe(before?.version);
    },
  );

  test('that may not be the newest is refused', async () => {
    const { storage } = await filled();
    const { events } = scene({ storage: suspicious(storage, 'heads') });
    await expect(events.append(SESSION, step(900))).rejects.toThrow('may not be the newest');
    await expect(events.position(SESSION)).rejects.toBeInstanceOf(CorruptionError);
  });

  test('can be deleted', async () => {
    const { storage, events } = await filled();
    await damage(storage, HEAD);
    expect(await events.delete(SESSION)).toBe(true);
    expect(await keysOf(storage, 'events/')).toEqual([]);
  });

  test('of another session under this key is refused', async () => {
    const { storage, events } = await filled();
    const entry = await storage.get(HEAD);
    const head = openLogHead(entry as NonNullable<typeof entry>);
    await storage.put(HEAD, sealLogHead(HEAD, { ...head, session: 'other' }));
    await expect(events.position(SESSION)).rejects.toThrow('belongs to session "other"');
  });

  test.each([
    ['none', null],
    ['no session', { log: 'l', position: 1, tailFrom: 1, levels: [] }],
    ['no log', { session: SESSION, position: 1, tailFrom: 1, levels: [] }],
    ['a position that is no number', { session: SESSION, log: 'l', position: 'x', tailFrom: 1, levels: [] }],
    ['no levels', { session: SESSION, log: 'l', position: 1, tailFrom: 1 }],
    ['levels that are no lists', { session: SESSION, log: 'l', position: 1, tailFrom: 1, levels: [7] }],
    ['links that are no lists', { session: SESSION, log: 'l', position: 1, tailFrom: 1, levels: [[7]] }],
    ['links without a hash', { session: SESSION, log: 'l', position: 1, tailFrom: 1, levels: [[[1, 2]]] }],
  ])('that says of itself: %s', async (_kind, meta) => {
    const { storage, events } = scene();
    await storage.put(HEAD, sealRecord({ key: HEAD, id: 'x', parent: null, meta }, Buffer.alloc(0)).bytes);
    await expect(events.position(SESSION)).rejects.toBeInstanceOf(CorruptionError);
  });
});

describe('a line of another format', () => {
  test.each([
    ['no tab', '["a",1]{"id":"a","n":1}'],
    ['no JSON', 'a,1\t{"id":"a","n":1}'],
    ['no list', '7\t{"id":"a","n":1}'],
    ['no id', '[1,1]\t{"id":"a","n":1}'],
    ['no time', '["a","1"]\t{"id":"a","n":1}'],
    ['a write that is no text', '["a",1,7]\t{"id":"a","n":1}'],
  ])('with %s is not read as an event', async (_kind, line) => {
    const { storage, events } = scene();
    const head = { session: SESSION, log: 'l', position: 1, tailFrom: 1, levels: [] };
    await storage.put(HEAD, sealLogHead(HEAD, { ...head, tail: Buffer.from(`${line}\n`) }));
    await expect(stored(events)).rejects.toThrow('is not an event of this version');
    await expect(events.append(SESSION, step(1))).rejects.toBeInstanceOf(CorruptionError);
  });
});

describe('deleted while it is read', () => {
  test('is told as such, not as damage', async () => {
    const made = await filled();
    const reading = made.events.read(SESSION, { after: 0 });
    await reading.next();
    await scene({ storage: made.storage }).events.delete(SESSION);
    const rest = async () => {
      for await (const { position } of reading) expect(position).toBeLessThan(801);
    };
    await expect(rest()).rejects.toBeInstanceOf(ConflictError);
  });
});

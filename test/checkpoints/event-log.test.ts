import { describe, expect, test } from 'vitest';
import { InvalidInputError, LimitError } from '../../src/base/errors.js';
import { EventLog } from '../../src/checkpoints/event-log/event-log.js';
import { EventIdConflictError, type StoredEvent } from '../../src/checkpoints/event-log/event-log-results.js';
import { UnserializableError, type ValueCodec } from '../../src/records/codec.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { rejectionOf } from '../support/deferred.js';
import {
  altered,
  keysOf,
  longStep,
  numbers,
  SESSION,
  type Step,
  scene,
  step,
  stored,
  watched,
} from './event-log-scene.js';

describe('append', () => {
  test('gives positions from 1 without gaps, for each session its own', async () => {
    const { events } = scene();
    expect(await events.append(SESSION, step(1))).toEqual({ position: 1, isNew: true });
    expect(await events.append(SESSION, step(2))).toEqual({ position: 2, isNew: true });
    expect(await events.append('other', step(1))).toEqual({ position: 1, isNew: true });
    expect(await events.position(SESSION)).toBe(2);
    expect(await events.position('nobody')).toBe(0);
  });

  test('is one write, and none if the event is there already', async () => {
    const { storage, log } = watched(memoryStorage());
    const { events } = scene({ storage });
    await events.append(SESSION, step(1));
    await events.append(SESSION, step(2));
    expect(log.puts).toEqual(['events/heads/p=agent', 'events/heads/p=agent']);
    expect(await events.append(SESSION, step(1))).toEqual({ position: 1, isNew: false });
    expect(log.puts).toHaveLength(2);
    expect(await stored(events)).toEqual([1, 2]);
  });

  test('of an event that another process appended writes nothing', async () => {
    const { storage, events } = scene();
    await events.appendAll(
      SESSION,
      numbers(1, 50).map((n) => longStep(n)),
    );
    const restarted = scene({ storage });
    expect(await restarted.events.append(SESSION, longStep(7))).toEqual({ position: 7, isNew: false });
    expect(await stored(events)).toEqual(numbers(1, 50));
  });

  test('takes the event before it returns: changing it afterwards changes nothing', async () => {
    const { events } = scene();
    const event = { id: 'a', n: 1 };
    const appending = events.append(SESSION, event);
    event.n = 2;
    await appending;
    expect(await stored(events)).toEqual([1]);
  });

  test('refuses a different event under an id that is there, and writes nothing', async () => {
    const { events } = scene();
    await events.append(SESSION, step(1));
    const error = await rejectionOf(events.append(SESSION, { id: 'step-1', n: 99 }));
    expect(error).toBeInstanceOf(EventIdConflictError);
    expect(error).toMatchObject({ code: 'HOLDFAST_EVENT_ID_CONFLICT', session: SESSION, id: 'step-1', position: 1 });
    expect(await stored(events)).toEqual([1]);
  });

  test('sees equal events whatever the order of their keys', async () => {
    const { events } = scene();
    await events.append(SESSION, { id: 'a', n: 1 });
    expect(await events.append(SESSION, { n: 1, id: 'a' })).toEqual({ position: 1, isNew: false });
  });

  test('compares with at least the newest idWindow events, across restarts', async () => {
    const { storage, events } = scene({ idWindow: 10 });
    for (const n of numbers(1, 30)) await events.append(SESSION, step(n));
    expect(await events.append(SESSION, step(21))).toEqual({ position: 21, isNew: false });
    const restarted = scene({ storage, idWindow: 10 });
    expect(await restarted.events.append(SESSION, step(21))).toEqual({ position: 21, isNew: false });
  });

  test('appends anew what is repeated after more than twice idWindow events', async () => {
    const { events } = scene({ idWindow: 10 });
    for (const n of numbers(1, 30)) await events.append(SESSION, step(n));
    expect(await events.append(SESSION, step(1))).toEqual({ position: 31, isNew: true });
  });

  test('reads only the events whose ids it compares with', async () => {
    const { storage } = scene();
    await scene({ storage }).events.appendAll(
      SESSION,
      numbers(1, 400).map((n) => longStep(n)),
    );
    const { storage: watching, log } = watched(storage);
    await scene({ storage: watching, idWindow: 10 }).events.append(SESSION, step(500));
    expect(log.gets.length).toBeLessThan(5);
  });

  test('names an event by idOf where it is given', async () => {
    const events = new EventLog<{ key: number }>({ storage: memoryStorage(), idOf: ({ key }) => `key-${key}` });
    await events.append(SESSION, { key: 1 });
    expect(await events.append(SESSION, { key: 1 })).toEqual({ position: 1, isNew: false });
  });

  test.each([
    ['no id', { n: 1 }],
    ['an empty one', { id: '', n: 1 }],
    ['one that is no string', { id: 7, n: 1 }],
    ['one of 1,025 bytes', { id: `${'é'.repeat(512)}x`, n: 1 }],
    ['nothing at all', undefined],
    ['null', null],
  ])('refuses an event with %s', async (_kind, event) => {
    const { events } = scene();
    const error = await rejectionOf(events.append(SESSION, event as Step));
    expect(error).toBeInstanceOf(InvalidInputError);
    expect(error).toMatchObject({ path: 'event.id' });
  });

  test('of an array says that appendAll is meant', async () => {
    const { events } = scene();
    await expect(events.append(SESSION, [step(1)] as unknown as Step)).rejects.toThrow('Append several with appendAll');
  });

  test('keeps ids with line feeds, tabs and quotes as they are', async () => {
    const { events } = scene();
    const id = 'a\n\t"b" \ud800 é';
    await events.append(SESSION, { id, n: 1 });
    expect(await events.append(SESSION, { id, n: 1 })).toMatchObject({ isNew: false });
    for await (const found of events.read(SESSION)) expect(found.id).toBe(id);
  });

  test('refuses an event over maxEventBytes, and one that cannot be kept; others are written', async () => {
    const { events } = scene({ maxEventBytes: 100 });
    const results = [
      rejectionOf(events.append(SESSION, longStep(1, 100))),
      rejectionOf(events.append(SESSION, { ...step(2), text: (() => 1) as unknown as string })),
      rejectionOf(events.append(SESSION, step(3))),
    ];
    const [tooLong, unfit, fine] = await Promise.all(results);
    expect(tooLong).toBeInstanceOf(LimitError);
    expect(tooLong).toMatchObject({ limit: 'maxEventBytes', allowed: 100 });
    expect(unfit).toBeInstanceOf(UnserializableError);
    expect(fine).toBeUndefined();
    expect(await stored(events)).toEqual([3]);
  });

  test('refuses what the store has no room for before anything is written', async () => {
    const storage = memoryStorage();
    const small = altered(storage, { capabilities: { ...storage.capabilities, maxValueBytes: 64 * 1024 } });
    const { events } = scene({ storage: small });
    const [large, fine] = [events.append(SESSION, longStep(1, 60_000)), events.append(SESSION, longStep(2, 40_000))];
    await expect(large).rejects.toMatchObject({ limit: 'maxEventBytes', allowed: 48 * 1024 });
    await expect(fine).resolves.toEqual({ position: 1, isNew: true });
  });

  test('refuses a session that is no name', async () => {
    const { events } = scene();
    await expect(events.append('', step(1))).rejects.toBeInstanceOf(InvalidInputError);
    await expect(events.position('')).rejects.toBeInstanceOf(InvalidInputError);
  });

  test('shares one write among all that wait, in the order of the calls', async () => {
    const { storage, log } = watched(memoryStorage());
    const { events, heard } = scene({ storage });
    const appended = await Promise.all(numbers(1, 20).map((n) => events.append(SESSION, step(n))));
    expect(appended.map(({ position }) => position)).toEqual(numbers(1, 20));
    expect(log.puts).toHaveLength(2);
    expect(heard).toEqual([
      { type: 'events.appended', session: SESSION, position: 1, count: 1 },
      { type: 'events.appended', session: SESSION, position: 20, count: 19 },
    ]);
  });

  test('does not put more than a megabyte of waiting events into one write', async () => {
    const { events, heard } = scene();
    await Promise.all(numbers(1, 5).map((n) => events.append(SESSION, longStep(n, 600_000))));
    expect(heard.map((event) => 'count' in event && event.count)).toEqual([1, 1, 1, 1, 1]);
  });

  test('of the same event twice at once writes it once', async () => {
    const { events } = scene();
    await events.append(SESSION, step(1));
    const both = await Promise.all([1, 2, 3].map(() => events.append(SESSION, step(2))));
    expect(both.map(({ isNew }) => isNew)).toEqual([true, false, false]);
    expect(await stored(events)).toEqual([1, 2]);
  });

  test('fails alone when others share its write', async () => {
    const { events } = scene();
    const results = [step(1), step(2), { id: 'step-2', n: 3 }, step(4)].map((event) => events.append(SESSION, event));
    const [, , third] = await Promise.allSettled(results);
    expect(third).toMatchObject({ status: 'rejected', reason: { id: 'step-2', position: 2 } });
    expect(await stored(events)).toEqual([1, 2, 4]);
  });

  test('reports nothing for what was there already', async () => {
    const { events, heard } = scene();
    await events.append(SESSION, step(1));
    await events.append(SESSION, step(1));
    expect(heard).toHaveLength(1);
  });
});

describe('appendAll', () => {
  test('gives each event its position; those that are there keep theirs', async () => {
    const { events } = scene();
    await events.append(SESSION, step(2));
    expect(await events.appendAll(SESSION, [step(1), step(2), step(3), step(3)])).toEqual([
      { position: 2, isNew: true },
      { position: 1, isNew: false },
      { position: 3, isNew: true },
      { position: 3, isNew: false },
    ]);
  });

  test('of nothing writes nothing', async () => {
    const { storage, log } = watched(memoryStorage());
    expect(await scene({ storage }).events.appendAll(SESSION, [])).toEqual([]);
    expect(log).toEqual({ puts: [], gets: [] });
  });

  test('with one event that is refused writes none, and leaves no trace of them', async () => {
    const { events } = scene();
    await events.append(SESSION, step(1));
    const [, refused, after] = await Promise.allSettled([
      events.append(SESSION, step(3)), // While it is written, the others wait for a write that they share.
      events.appendAll(SESSION, [step(2), { id: 'step-1', n: 9 }]),
      events.append(SESSION, { id: 'step-2', n: 5 }),
    ]);
    expect(refused).toMatchObject({ status: 'rejected', reason: { id: 'step-1' } });
    expect(after).toMatchObject({ status: 'fulfilled', value: { position: 3, isNew: true } });
    expect(await stored(events)).toEqual([1, 3, 5]);
  });

  test('of thousands of events is one commit: a reader sees all of them or none', async () => {
    const { storage, log } = watched(memoryStorage());
    const { events } = scene({ storage });
    await events.appendAll(SESSION, numbers(1, 3_000).map(step));
    expect(log.puts.filter((key) => key.startsWith('events/heads/'))).toHaveLength(1);
    expect(log.puts.at(-1)).toBe('events/heads/p=agent');
    expect(await stored(events)).toEqual(numbers(1, 3_000));
  });
});

describe('read', () => {
  test('gives events as they were appended, with position, id and time', async () => {
    const { events, clock } = scene();
    await events.append(SESSION, step(1));
    await clock.advance(5_000);
    await events.append(SESSION, { ...step(2), text: 'two' });
    const all: StoredEvent<Step>[] = [];
    for await (const found of events.read(SESSION)) all.push(found);
    expect(all).toEqual([
      { position: 1, id: 'step-1', event: step(1), appendedAtMs: Date.UTC(2026, 0, 1) },
      { position: 2, id: 'step-2', event: { ...step(2), text: 'two' }, appendedAtMs: Date.UTC(2026, 0, 1) + 5_000 },
    ]);
  });

  test.each([0, 1, 15, 16, 17, 500, 799, 800, 801])(
    'gives what is behind position %i, and nothing else',
    async (after) => {
      const { events } = scene();
      for (const n of numbers(1, 200)) await events.append(SESSION, longStep(n));
      await events.appendAll(
        SESSION,
        numbers(201, 700).map((n) => longStep(n)),
      );
      for (const n of numbers(701, 800)) await events.append(SESSION, longStep(n));
      expect(await stored(events, after)).toEqual(numbers(after + 1, 800));
    },
  );

  test('of the end of a long log reads few records', async () => {
    const { storage, events } = scene();
    await events.appendAll(
      SESSION,
      numbers(1, 8_000).map((n) => longStep(n)),
    );
    expect((await keysOf(storage, 'events/ranges/')).length).toBeGreaterThan(500);
    const { storage: watching, log } = watched(storage);
    expect(await stored(scene({ storage: watching }).events, 7_990)).toEqual(numbers(7_991, 8_000));
    expect(log.gets.length).toBeLessThan(6);
  });

  test('leaves timers their turn, also on a store that answers at once', async () => {
    const { events } = scene();
    await events.appendAll(
      SESSION,
      numbers(1, 1_000).map((n) => longStep(n)),
    );
    let turns = 0;
    const counting = setInterval(() => turns++, 0);
    await stored(events);
    clearInterval(counting);
    expect(turns).toBeGreaterThan(0);
  });

  test('keeps classes with a codec', async () => {
    const url: ValueCodec<Buffer> = {
      tag: 'buffer',
      is: (value) => Buffer.isBuffer(value),
      encode: (value) => value.toString('hex'),
      decode: (encoded) => Buffer.from(encoded as string, 'hex'),
    };
    const events = new EventLog<{ id: string; bytes: Buffer }>({
      storage: memoryStorage(),
      codecs: [url as ValueCodec],
    });
    await events.append(SESSION, { id: 'a', bytes: Buffer.from('hello') });
    for await (const { event } of events.read(SESSION)) expect(event.bytes.toString()).toBe('hello');
  });

  test('reads an event that is larger than maxEventBytes is now', async () => {
    const { storage, events } = scene();
    await events.append(SESSION, longStep(1));
    expect(await stored(scene({ storage, maxEventBytes: 10 }).events)).toEqual([1]);
  });
});

describe('sessions and delete', () => {
  test('sessions names each that has events, long and odd names included', async () => {
    const { events } = scene();
    const names = ['a', 'x/y z', 'long-'.repeat(100)];
    for (const name of names) await events.append(name, step(1));
    await events.append('gone', step(1));
    await events.delete('gone');
    const found: string[] = [];
    for await (const session of events.sessions()) found.push(session);
    expect(found.sort()).toEqual(names.sort());
  });

  test('sessions goes through all pages of the store', async () => {
    const storage = memoryStorage();
    const { events } = scene({
      storage: altered(storage, { list: (prefix, options) => storage.list(prefix, { ...options, limit: 2 }) }),
    });
    for (const n of numbers(1, 5)) await events.append(`s${n}`, step(1));
    const found: string[] = [];
    for await (const session of events.sessions()) found.push(session);
    expect(found).toEqual(['s1', 's2', 's3', 's4', 's5']);
  });

  test('sessions passes over one that is deleted while they are listed', async () => {
    const storage = memoryStorage();
    const long = 'long-'.repeat(100);
    const { events } = scene({ storage: altered(storage, { get: async () => undefined }) });
    await scene({ storage }).events.append(long, step(1));
    for await (const session of events.sessions()) expect.unreachable(session);
  });

  test('delete removes every record, and the session begins again at 1', async () => {
    const { storage, events } = scene();
    await events.appendAll(
      SESSION,
      numbers(1, 100).map((n) => longStep(n)),
    );
    await events.append('agent-2', step(1));
    expect(await events.delete(SESSION)).toBe(true);
    expect(await keysOf(storage, 'events/')).toEqual(['events/heads/p=agent-2']);
    expect(await events.position(SESSION)).toBe(0);
    expect(await events.append(SESSION, longStep(1))).toEqual({ position: 1, isNew: true });
    expect(await stored(events)).toEqual([1]);
  });

  test('delete of what is not there says so', async () => {
    expect(await scene().events.delete(SESSION)).toBe(false);
  });

  test('an event that was deleted by another process is appended anew', async () => {
    const { storage, events } = scene();
    await events.append(SESSION, step(1));
    await scene({ storage }).events.delete(SESSION);
    expect(await events.append(SESSION, step(1))).toEqual({ position: 1, isNew: true });
    expect(await stored(events)).toEqual([1]);
  });
});

describe('a log that another process began anew', () => {
  test('is not taken for the one before, also if it is longer', async () => {
    const { storage, events } = scene();
    await events.appendAll(SESSION, [step(1), step(2)]);
    const other = scene({ storage }).events;
    await other.delete(SESSION);
    await other.appendAll(SESSION, numbers(11, 15).map(step));
    expect(await events.append(SESSION, step(1))).toEqual({ position: 6, isNew: true });
    expect(await events.append(SESSION, step(11))).toEqual({ position: 1, isNew: false });
  });
});

describe('many sessions', () => {
  test('those that are idle are forgotten, and their ids read again', async () => {
    const { storage, log } = watched(memoryStorage());
    const { events } = scene({ storage });
    for (const n of numbers(1, 1_200)) await events.append(`s${n}`, step(1));
    const before = log.gets.length;
    expect(await events.append('s1200', step(2))).toMatchObject({ position: 2 });
    expect(log.gets.length).toBe(before);
    expect(await events.append('s1', step(1))).toEqual({ position: 1, isNew: false });
    expect(log.gets.length).toBeGreaterThan(before);
  });
});

describe('options', () => {
  test.each([
    ['an unknown one', { idwindow: 5 }, 'options.idwindow'],
    ['an idWindow of 0', { idWindow: 0 }, 'options.idWindow'],
    ['a maxEventBytes that is no number', { maxEventBytes: '1' }, 'options.maxEventBytes'],
    ['an idOf that is no function', { idOf: 'id' }, 'options.idOf'],
    ['checkpoints that are none', { checkpoints: {} }, 'options.checkpoints'],
    ['checkpoints that are null', { checkpoints: null }, 'options.checkpoints'],
    ['no storage', { storage: undefined }, 'options.storage'],
  ])('%s is refused', (_kind, options, path) => {
    const make = () => new EventLog({ storage: memoryStorage(), ...(options as object) });
    expect(make).toThrow(InvalidInputError);
    expect(make).toThrow(path);
  });

  test('an unknown one of read and replay is refused', async () => {
    const { events } = scene();
    const read = events.read(SESSION, { from: 1 } as object);
    await expect(read.next()).rejects.toMatchObject({ path: 'options.from' });
    const replay = events.replay(SESSION, () => [], { initail: [] } as object);
    await expect(replay).rejects.toMatchObject({ path: 'options.initail' });
  });

  test("events carry the machine's time without a clock", async () => {
    const events = new EventLog<Step>({ storage: memoryStorage() });
    await events.append(SESSION, step(1));
    for await (const { appendedAtMs } of events.read(SESSION)) expect(appendedAtMs).toBeGreaterThan(1.7e12);
  });
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { EventLog } from '../../src/checkpoints/event-log/event-log.js';
import type { AppendedEvent } from '../../src/checkpoints/event-log/event-log-results.js';
import { ConflictError, OutcomeUnknownError, type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { fileStorage } from '../../src/storage/file.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { chaosStorage } from '../../src/testing/chaos-storage.js';
import { type SeededRandom, seededRandom } from '../../src/testing/seeded-random.js';
import { rejectionOf } from '../support/deferred.js';
import {
  type Applied,
  altered,
  apply,
  inTime,
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

const HEAD = 'events/heads/p=agent';

/** 40 events that fill 20 ranges: more than the links of one level. */
const STEPS = numbers(1, 40).map((n) => longStep(n, 7_500));
const WRITES = numbers(1, 60);

/** The store, with something instead of write number `at`, or of every write from then on. */
function failing(
  storage: StorageAdapter,
  { at, isForGood = false }: { readonly at: number; readonly isForGood?: boolean },
  instead: (write: () => Promise<string>, key: string) => Promise<string>,
): StorageAdapter {
  let writes = 0;
  return altered(storage, {
    put(key, value, options) {
      const write = () => storage.put(key, value, options);
      writes++;
      return writes === at || (isForGood && writes > at) ? instead(write, key) : write();
    },
  });
}

/** Appends in order until one fails; what was acknowledged. */
async function appendUntilItFails(events: EventLog<Step, Applied>, steps: readonly Step[]): Promise<AppendedEvent[]> {
  const acknowledged: AppendedEvent[] = [];
  for (const event of steps) {
    try {
      acknowledged.push(await events.append(SESSION, event));
    } catch {
      break;
    }
  }
  return acknowledged;
}

describe('a process that dies', () => {
  test('makes 60 writes when it does not', async () => {
    const { storage, log } = watched(memoryStorage());
    await appendUntilItFails(scene({ storage }).events, STEPS);
    expect(log.puts).toHaveLength(WRITES.length);
  });

  test.each(WRITES)('before write %i loses nothing that was acknowledged, and doubles nothing', async (at) => {
    const inner = memoryStorage();
    const dying = failing(inner, { at, isForGood: true }, () => Promise.reject(new StorageError('dead')));
    const acknowledged = await appendUntilItFails(scene({ storage: dying }).events, STEPS);
    const { events } = scene({ storage: inner });
    expect(await stored(events)).toEqual(numbers(1, acknowledged.length));
    for (const event of STEPS) await events.append(SESSION, event);
    expect((await events.replay(SESSION, apply, { initial: [] })).state).toEqual(numbers(1, 40));
  });

  test.each(WRITES)('after write %i, before it is acknowledged, doubles nothing that is appended again', async (at) => {
    const inner = memoryStorage();
    let isDead = false;
    const dying = failing(inner, { at, isForGood: true }, async (write) => {
      if (!isDead) await write();
      isDead = true;
      throw new StorageError('dead');
    });
    const dead = altered(dying, {
      get: (key) => (isDead ? Promise.reject(new StorageError('dead')) : inner.get(key)),
    });
    const acknowledged = await appendUntilItFails(scene({ storage: dead }).events, STEPS);
    const { events } = scene({ storage: inner });
    expect(acknowledged.map(({ position }) => position)).toEqual(numbers(1, acknowledged.length));
    expect((await stored(events)).length).toBeGreaterThanOrEqual(acknowledged.length);
    for (const event of STEPS) await events.append(SESSION, event);
    expect(await stored(events)).toEqual(numbers(1, 40));
  });

  test.each([1, 5, 21, 22])('at write %i of an array leaves all of it or nothing', async (at) => {
    const inner = memoryStorage();
    const dying = failing(inner, { at, isForGood: true }, () => Promise.reject(new StorageError('dead')));
    await rejectionOf(scene({ storage: dying }).events.appendAll(SESSION, STEPS));
    const { events } = scene({ storage: inner });
    expect([0, 40]).toContain(await events.position(SESSION));
    await events.appendAll(SESSION, STEPS);
    expect(await stored(events)).toEqual(numbers(1, 40));
  });
});

describe('a write that fails', () => {
  test.each(WRITES)('once, at write %i, is told to one append; the same process goes on', async (at) => {
    const storage = failing(memoryStorage(), { at }, () => Promise.reject(new StorageError('busy')));
    const { events } = scene({ storage });
    for (const event of STEPS) {
      await events.append(SESSION, event).catch(() => events.append(SESSION, event));
    }
    expect(await stored(events)).toEqual(numbers(1, 40));
  });

  test.each(WRITES)('with its answer lost, at write %i, is found to have happened: nobody hears of it', async (at) => {
    const storage = failing(memoryStorage(), { at }, async (write, key) => {
      await write();
      throw new OutcomeUnknownError(key);
    });
    const { events, clock } = scene({ storage });
    for (const event of STEPS) {
      expect(await inTime(clock, events.append(SESSION, event))).toEqual({ position: event.n, isNew: true });
    }
    expect(await stored(events)).toEqual(numbers(1, 40));
  });

  test('with any other error, though it happened, is found to have happened', async () => {
    const storage = failing(memoryStorage(), { at: 2 }, async (write) => {
      await write();
      throw new StorageError('a store that does not tell');
    });
    const { events, heard } = scene({ storage });
    await events.append(SESSION, step(1));
    expect(await events.append(SESSION, step(2))).toEqual({ position: 2, isNew: true });
    expect(heard).toHaveLength(2);
  });

  test('is found to have happened also when others have appended since', async () => {
    const inner = memoryStorage();
    const rival = scene({ storage: inner }).events;
    const storage = failing(inner, { at: 2 }, async (write, key) => {
      await write();
      for (const n of numbers(100, 110)) await rival.append(SESSION, longStep(n, 7_500));
      throw new OutcomeUnknownError(key);
    });
    const { events } = scene({ storage });
    await events.append(SESSION, step(1));
    expect(await events.append(SESSION, step(2))).toEqual({ position: 2, isNew: true });
    expect(await events.append(SESSION, step(3))).toEqual({ position: 14, isNew: true });
    expect(await stored(events)).toEqual([1, 2, ...numbers(100, 110), 3]);
  });

  test('is not taken for the write of another process that appended the same event at its position', async () => {
    const inner = memoryStorage();
    const rival = scene({ storage: inner }).events;
    const storage = failing(inner, { at: 1 }, async (_write, key) => {
      expect(await rival.append(SESSION, step(1))).toEqual({ position: 1, isNew: true });
      throw new OutcomeUnknownError(key);
    });
    const { events, clock } = scene({ storage });
    expect(await inTime(clock, events.append(SESSION, step(1)))).toEqual({ position: 1, isNew: false });
    expect(await stored(events)).toEqual([1]);
  });

  test('is sent three times in all, waiting in between; then the caller is told that it is not known', async () => {
    let sends = 0;
    const storage = failing(memoryStorage(), { at: 1, isForGood: true }, (_write, key) => {
      sends++;
      return Promise.reject(new OutcomeUnknownError(key));
    });
    const { events, clock } = scene({ storage });
    await expect(inTime(clock, events.append(SESSION, step(1)))).rejects.toBeInstanceOf(OutcomeUnknownError);
    expect([sends, clock.pending]).toEqual([3, 0]);
  });

  test('is told as it was when the store cannot be read either', async () => {
    const inner = memoryStorage();
    let isDown = false;
    const storage = altered(inner, {
      get: (key) => (isDown ? Promise.reject(new Error('down')) : inner.get(key)),
      put: (key) => {
        isDown = true;
        return Promise.reject(new OutcomeUnknownError(key));
      },
    });
    const { events } = scene({ storage });
    await expect(events.append(SESSION, step(1))).rejects.toBeInstanceOf(OutcomeUnknownError);
  });

  test('with a conflict that cannot be looked into says why it cannot', async () => {
    const inner = memoryStorage();
    let isDown = false;
    const storage = altered(inner, {
      get: (key) => (isDown ? Promise.reject(new Error('down')) : inner.get(key)),
      put: (key) => {
        isDown = true;
        return Promise.reject(new ConflictError(key, 'v'));
      },
    });
    await expect(scene({ storage }).events.append(SESSION, step(1))).rejects.toThrow('down');
  });

  test('with a conflict though nothing changed does not go on for ever', async () => {
    const storage = failing(memoryStorage(), { at: 2, isForGood: true }, (_write, key) =>
      Promise.reject(new ConflictError(key, 'v')),
    );
    const { events } = scene({ storage });
    await events.append(SESSION, step(1));
    await expect(events.append(SESSION, step(2))).rejects.toBeInstanceOf(ConflictError);
  });

  test('of a range that is there already goes on', async () => {
    const inner = memoryStorage();
    const storage = failing(inner, { at: 3 }, async (write) => {
      await write();
      throw new StorageError('lost');
    });
    const { events } = scene({ storage });
    for (const event of STEPS.slice(0, 2)) await events.append(SESSION, event);
    await rejectionOf(events.append(SESSION, STEPS[2] as Step));
    expect(await keysOf(inner, 'events/ranges/')).toHaveLength(1);
    expect(await events.append(SESSION, STEPS[2] as Step)).toEqual({ position: 3, isNew: true });
    expect(await keysOf(inner, 'events/ranges/')).toHaveLength(1);
  });

  test('of a range that was deleted since with its log begins the log anew', async () => {
    const inner = memoryStorage();
    const storage = failing(inner, { at: 3 }, async (_write, key) => {
      await scene({ storage: inner }).events.delete(SESSION);
      throw new ConflictError(key, undefined);
    });
    const { events } = scene({ storage });
    for (const event of STEPS.slice(0, 2)) await events.append(SESSION, event);
    expect(await events.append(SESSION, STEPS[2] as Step)).toEqual({ position: 1, isNew: true });
    expect(await stored(events)).toEqual([3]);
  });
});

describe('a delete', () => {
  test('that dies halfway leaves all or nothing, and done again removes the rest', async () => {
    const inner = memoryStorage();
    await scene({ storage: inner }).events.appendAll(SESSION, STEPS);
    let deletes = 0;
    const dying = altered(inner, {
      delete: (key, options) => (++deletes > 5 ? Promise.reject(new StorageError('dead')) : inner.delete(key, options)),
    });
    await rejectionOf(scene({ storage: dying }).events.delete(SESSION));
    const { events } = scene({ storage: inner });
    expect(await events.position(SESSION)).toBe(0);
    await events.append(SESSION, step(1));
    expect(await stored(events)).toEqual([1]);
    await events.delete(SESSION);
    expect(await keysOf(inner, 'events/')).toEqual([]);
  });

  test('removes what is appended while it looks, too', async () => {
    const inner = memoryStorage();
    const rival = scene({ storage: inner }).events;
    await rival.appendAll(SESSION, STEPS);
    let deletes = 0;
    const raced = altered(inner, {
      async delete(key, options) {
        if (++deletes === 1)
          await rival.appendAll(
            SESSION,
            numbers(50, 90).map((n) => longStep(n, 7_500)),
          );
        return inner.delete(key, options);
      },
    });
    expect(await scene({ storage: raced }).events.delete(SESSION)).toBe(true);
    expect(await keysOf(inner, 'events/')).toEqual([]);
  });

  test('leaves the same events alone that are appended anew meanwhile', async () => {
    const inner = memoryStorage();
    await scene({ storage: inner }).events.appendAll(SESSION, STEPS);
    let deletes = 0;
    const slow = altered(inner, {
      async delete(key, options) {
        if (++deletes === 2) await scene({ storage: inner }).events.appendAll(SESSION, STEPS);
        return inner.delete(key, options);
      },
    });
    await scene({ storage: slow }).events.delete(SESSION);
    expect(await stored(scene({ storage: inner }).events)).toEqual(numbers(1, 40));
  });

  test('that the store refuses is told', async () => {
    const inner = memoryStorage();
    await scene({ storage: inner }).events.append(SESSION, step(1));
    const storage = altered(inner, { delete: () => Promise.reject(new StorageError('no')) });
    await expect(scene({ storage }).events.delete(SESSION)).rejects.toThrow('no');
    expect(await keysOf(inner, HEAD)).toEqual([HEAD]);
  });
});

/** Appends its events in bursts, each again until it is acknowledged. Returns what each was told. */
async function insist(
  events: EventLog<Step, Applied>,
  steps: readonly Step[],
  random: SeededRandom,
): Promise<{ readonly n: number; readonly told: AppendedEvent }[]> {
  const left = [...steps];
  const told: { readonly n: number; readonly told: AppendedEvent }[] = [];
  const appendOne = async (event: Step): Promise<void> => {
    const answer = await events.append(SESSION, event).catch(() => undefined);
    if (answer === undefined) return appendOne(event);
    told.push({ n: event.n, told: answer });
  };
  while (left.length > 0) await Promise.all(left.splice(0, 1 + random.integer(5)).map(appendOne));
  return told;
}

describe('several processes in bad weather', () => {
  test.each(numbers(1, 30))('every event is there once, where its appender was told (seed %i)', async (seed) => {
    const inner = memoryStorage();
    const random = seededRandom(seed);
    const processes = [1, 2, 3].map((process) => scene({ storage: chaosStorage(inner, `${seed} ${process}`) }));
    // Numbers 41 to 60 are appended by all.
    const work = processes.map(({ events }, at) => {
      const own = [...numbers(at * 100 + 101, at * 100 + 120), ...numbers(41, 60)];
      return insist(
        events,
        own.map((n) => longStep(n, 2_000)),
        random,
      );
    });
    const clocks = processes.map(({ clock }, at) => inTime(clock, work[at] as (typeof work)[number]));
    const told = (await Promise.all(clocks)).flat();
    const { events } = scene({ storage: inner });
    const all = await stored(events);
    expect([...all].sort((a, b) => a - b)).toEqual([41, 101, 201, 301].flatMap((n) => numbers(n, n + 19)));
    expect(told.filter(({ n, told: { position } }) => all[position - 1] !== n)).toEqual([]);
    const fresh = told.filter(({ told: { isNew } }) => isNew).map(({ n }) => n);
    expect(new Set(fresh).size).toBe(fresh.length);
  });
});

describe('two processes on one file store', () => {
  test('append at once without a gap or a double', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-events-'));
    const stores = [fileStorage(folder), fileStorage(folder)];
    const [one, two] = stores.map((storage) => scene({ storage }).events) as [
      EventLog<Step, Applied>,
      EventLog<Step, Applied>,
    ];
    const told = await Promise.all(
      numbers(1, 100).flatMap((n) => [one.append(SESSION, longStep(n)), two.append(SESSION, longStep(n + 50))]),
    );
    const all = await stored(one);
    expect([...all].sort((a, b) => a - b)).toEqual(numbers(1, 150));
    expect(told.filter(({ isNew }) => isNew)).toHaveLength(150);
    expect(await stored(two)).toEqual(all);
    for (const storage of stores) await storage.close?.();
    await rm(folder, { recursive: true });
  });
});

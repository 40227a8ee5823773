import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { InvalidInputError } from '../../src/base/errors.js';
import { CircuitRegistry } from '../../src/policies/circuit-registry.js';
import { type CircuitPersistenceEvent, persistCircuits } from '../../src/recovery/persist-circuits.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

/** A registry as a new process has it, on a clock of its own that shows wall time `nowMs`. */
function process_(nowMs = 1_000_000) {
  const clock = new VirtualClock({ nowMs });
  const events: CircuitPersistenceEvent[] = [];
  const registry = new CircuitRegistry({ clock, defaults: { openMs: 10_000 } });
  const keep = (storage: StorageAdapter) =>
    persistCircuits(registry, storage, { clock, emit: (event) => void events.push(event) });
  return { clock, registry, events, keep };
}

/** A storage that one process left behind in which these circuits were brought into some state. */
async function leftBehind(act: (registry: CircuitRegistry) => void | Promise<void>, storage = memoryStorage()) {
  const before = process_();
  const kept = await before.keep(storage);
  await act(before.registry);
  await kept.stop();
  return storage;
}

const keysOf = async (storage: StorageAdapter) => (await storage.list('')).entries.map(({ key }) => key);

describe('a circuit that was open when the process ended', () => {
  const openDb = (registry: CircuitRegistry) => registry.get('db').open();

  test('is open in the next one, for what was left of its time', async () => {
    const storage = await leftBehind(openDb);
    const after = process_(1_000_000 + 4_000);
    await after.keep(storage);
    const db = after.registry.get('db');
    await expect(db.run(() => 1)).rejects.toMatchObject({ code: 'HOLDFAST_CIRCUIT_OPEN', retryAfterMs: 6_000 });
    await after.clock.advance(6_000);
    await expect(db.run(() => 1)).resolves.toBe(1);
    expect(after.events).toEqual([{ type: 'circuit.restored', circuit: 'db', state: 'open' }]);
  });

  test('lets a call through to try at once, if its time is over', async () => {
    const storage = await leftBehind(openDb);
    const after = process_(2_000_000);
    await after.keep(storage);
    expect(after.registry.get('db').state).toBe('half-open');
  });

  test('waits no longer than it would have, when wall time went back', async () => {
    const storage = await leftBehind(openDb);
    const after = process_(5);
    await after.keep(storage);
    expect(after.registry.get('db').retryAfterMs).toBe(10_000);
  });

  test('comes back from a file store that was closed and opened again', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
    cleanUps.push(() => rm(directory, { recursive: true }));
    const storage = fileStorage(directory);
    await leftBehind(openDb, storage);
    await storage.close();
    const reopened = fileStorage(directory);
    cleanUps.push(() => reopened.close());
    const after = process_();
    await after.keep(reopened);
    expect(after.registry.get('db').state).toBe('open');
  });
});

describe('what is kept', () => {
  test('isolated and disabled circuits stay so', async () => {
    const storage = await leftBehind((registry) => {
      registry.get('one').isolate();
      registry.get('two').disable();
    });
    const after = process_();
    await after.keep(storage);
    expect(['one', 'two'].map((name) => after.registry.get(name).state)).toEqual(['isolated', 'disabled']);
  });

  test('a closed circuit takes no space', async () => {
    const storage = memoryStorage();
    const before = process_();
    const kept = await before.keep(storage);
    before.registry.get('db').open();
    await before.clock.advance(0);
    expect(await keysOf(storage)).toEqual(['circuits/p=db']);
    before.registry.get('db').close();
    await kept.stop();
    expect(await keysOf(storage)).toEqual([]);
  });

  test('of many changes at once only the last is written', async () => {
    const storage = memoryStorage();
    let writes = 0;
    const counting: StorageAdapter = {
      ...storage,
      put: (...parameters) => {
        writes++;
        return storage.put(...parameters);
      },
    };
    await leftBehind((registry) => {
      const db = registry.get('db');
      for (let change = 0; change < 10; change++) {
        db.close();
        db.open();
      }
    }, counting);
    expect(writes).toBe(1);
  });

  test('any name, and many circuits', async () => {
    const names = ['a/b', '../../etc/passwd', 'ünïcode', ...Array.from({ length: 1_200 }, (_, n) => `tenant ${n}`)];
    const storage = await leftBehind((registry) => {
      for (const name of names) registry.get(name).isolate();
    });
    const after = process_();
    await after.keep(storage);
    expect(names.filter((name) => after.registry.get(name).state !== 'isolated')).toEqual([]);
  });

  test('nothing after stop', async () => {
    const storage = memoryStorage();
    const before = process_();
    {
      await using _kept = await before.keep(storage);
    }
    before.registry.get('db').open();
    await before.clock.advance(0);
    expect(await keysOf(storage)).toEqual([]);
  });
});

describe('while states are brought back', () => {
  test('changes are kept, and newer than what was kept of old', async () => {
    const storage = await leftBehind((registry) => {
      registry.get('db').open();
      registry.get('other').open();
    });
    const after = process_();
    const keeping = after.keep(storage);
    after.registry.get('db').isolate();
    after.registry.get('new').isolate();
    const kept = await keeping;
    await kept.stop();
    expect(['db', 'other', 'new'].map((name) => after.registry.get(name).state)).toEqual([
      'isolated',
      'open',
      'isolated',
    ]);
    const last = process_();
    await last.keep(storage);
    expect(['db', 'new'].map((name) => last.registry.get(name).state)).toEqual(['isolated', 'isolated']);
  });

  test('nothing is written again that was just read', async () => {
    const storage = await leftBehind((registry) => registry.get('db').open());
    let writes = 0;
    const after = process_();
    const kept = await after.keep({ ...storage, put: async () => `${++writes}` });
    await kept.stop();
    expect([after.registry.get('db').state, writes]).toEqual(['open', 0]);
  });
});

test('circuits that the registry forgot take no space', async () => {
  const storage = memoryStorage();
  const clock = new VirtualClock();
  const registry = new CircuitRegistry({ clock, maxCircuits: 3 });
  const kept = await persistCircuits(registry, storage, { clock });
  for (let made = 0; made < 50; made++) registry.get(`tenant ${made}`).isolate();
  await kept.stop();
  expect(await keysOf(storage)).toHaveLength(3);
});

describe('a storage that fails', () => {
  const down = async (): Promise<never> => {
    throw new Error('storage is down');
  };

  test('when states are read: circuits are as without it, and it is said', async () => {
    const after = process_();
    await after.keep({ ...memoryStorage(), list: down });
    expect(after.registry.get('db').state).toBe('closed');
    expect(after.events).toMatchObject([{ type: 'circuit.restore-failed', key: 'circuits/' }]);
  });

  test('when states are written: calls do not notice, and it is said', async () => {
    const before = process_();
    const kept = await before.keep({ ...memoryStorage(), put: down });
    before.registry.get('db').open();
    await expect(before.registry.get('other').run(() => 1)).resolves.toBe(1);
    await kept.stop();
    expect(before.events).toMatchObject([{ type: 'circuit.save-failed', circuit: 'db' }]);
  });

  test('by hanging: no call waits for it', async () => {
    const before = process_();
    await before.keep({ ...memoryStorage(), put: () => new Promise(() => {}) });
    before.registry.get('db').open();
    await before.clock.advance(0);
    await expect(before.registry.get('other').run(() => 1)).resolves.toBe(1);
  });

  test.each<[string, (bytes: Uint8Array) => Uint8Array, string?]>([
    ['garbage', () => Buffer.from('garbage')],
    ['a record of another key', (bytes: Uint8Array) => bytes, 'circuits/p=other'],
    ['one flipped bit', (bytes: Uint8Array) => bytes.with(bytes.length - 3, (bytes.at(-3) as number) ^ 1)],
  ])('by keeping %s: that circuit is closed, others come back, and it is said', async (_name, damage, at) => {
    const storage = await leftBehind((registry) => {
      registry.get('db').open();
      registry.get('fine').isolate();
    });
    const entry = await storage.get('circuits/p=db');
    if (at !== undefined) await storage.delete('circuits/p=db');
    await storage.put(at ?? 'circuits/p=db', damage(entry?.value as Uint8Array));
    const after = process_();
    await after.keep(storage);
    expect(['db', 'other', 'fine'].map((name) => after.registry.get(name).state)).toEqual([
      'closed',
      'closed',
      'isolated',
    ]);
    expect(after.events).toHaveLength(2);
    expect(after.events).toContainEqual({ type: 'circuit.restored', circuit: 'fine', state: 'isolated' });
    expect(after.events).toContainEqual(
      expect.objectContaining({ type: 'circuit.restore-failed', key: at ?? 'circuits/p=db' }),
    );
  });

  test('is no reason to throw; wrong options are', async () => {
    const { registry } = process_();
    await expect(persistCircuits(registry, memoryStorage(), { every: 5 } as never)).rejects.toThrow(InvalidInputError);
  });
});

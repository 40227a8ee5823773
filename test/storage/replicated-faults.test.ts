import { describe, expect, test } from 'vitest';
import type { BatchOperation, StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { replicated } from '../../src/storage/replicated/replicated.js';
import { restoreFromBackups } from '../../src/storage/replicated/restore-from-backups.js';
import { chaosStorage } from '../../src/testing/chaos-storage.js';
import { bytes, putAll } from '../../src/testing/contract/entries.js';
import { type SeededRandom, seededRandom } from '../../src/testing/seeded-random.js';
import { deferred } from '../support/deferred.js';
import { connectionTo } from './inner-stores.js';
import { copiesIn, copyOf, damageKey, scene, switchable, valuesIn } from './replicated-scene.js';

const KEYS = ['a', 'b', 'c'];

/** One write of any kind, as chance has it. Conflicts and failures are the writer's, not the test's. */
async function writeSomething(store: StorageAdapter, random: SeededRandom, value: string): Promise<void> {
  const key = random.pick(KEYS);
  const roll = random.integer(4);
  if (roll === 0) await store.delete(key);
  if (roll === 1) await store.put(key, bytes(value), { ifVersion: null });
  if (roll === 2) await store.put(key, bytes(value));
  if (roll === 3) {
    const operations = KEYS.map(
      (key, at): BatchOperation => (at % 2 ? { type: 'delete', key } : { type: 'put', key, value: bytes(value) }),
    );
    await store.batch?.(operations);
  }
}

/** Writes one after the other, whatever becomes of each. */
async function writeMuch(store: StorageAdapter, seed: string, writes: number): Promise<void> {
  const random = seededRandom(seed);
  for (let write = 0; write < writes; write++) {
    await writeSomething(store, random, `${seed} ${write}`).catch(() => undefined);
  }
}

/** Calls overtake each other; nothing is lost. */
const LATE = { failBefore: 0, noSpace: 0, failUnknown: 0, failAfter: 0, duplicate: 0, delay: 0.6 };

/** A process that dies with its last call: no later one reaches a store, and none that is under way is answered. */
function mortal(lives: number) {
  let calls = 0;
  const death = deferred();
  const reach = async <Result>(call: () => Promise<Result>): Promise<Result> => {
    if (++calls > lives) death.resolve();
    const result = calls > lives ? new Promise<Result>(() => {}) : await call();
    return calls > lives ? new Promise<Result>(() => {}) : result;
  };
  const reaching = (store: StorageAdapter): StorageAdapter => ({
    ...connectionTo(store),
    get: (...given) => reach(() => store.get(...given)),
    list: (...given) => reach(() => store.list(...given)),
    put: (...given) => reach(() => store.put(...given)),
    delete: (...given) => reach(() => store.delete(...given)),
    batch: (operations) => reach(() => (store as Required<StorageAdapter>).batch(operations)),
  });
  return { reaching, death: death.promise };
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}

describe('several instances over the same stores', () => {
  test('a copy that comes after the key was deleted brings nothing back', async () => {
    const [primary, shared] = [memoryStorage(), memoryStorage()];
    const slow = switchable('backup', shared);
    const held = deferred();
    const reached = deferred();
    slow.faults.put = async (key, value, options) => {
      if (options?.ifVersion === null) return shared.put(key, value, options); // The place comes at once.
      reached.resolve();
      await held.promise;
      return shared.put(key, value, options);
    };
    const one = replicated([connectionTo(primary), slow.adapter]);
    const other = replicated([connectionTo(primary), connectionTo(shared)]);
    const put = one.put('key', bytes('value'));
    await reached.promise;
    await other.delete('key');
    held.resolve();
    await put;
    expect(await copiesIn(shared)).toEqual({});
  });

  test('a copy that comes late does not undo a newer one', async () => {
    const [primary, shared] = [memoryStorage(), memoryStorage()];
    const slow = switchable('backup', shared);
    const one = replicated([connectionTo(primary), slow.adapter]);
    const other = replicated([connectionTo(primary), connectionTo(shared)]);
    await one.put('key', bytes('first'));
    const held = deferred();
    const reached = deferred();
    slow.faults.put = async (...given) => {
      reached.resolve();
      await held.promise;
      return shared.put(...given);
    };
    const late = one.put('key', bytes('second'));
    await reached.promise;
    await other.put('key', bytes('third'));
    held.resolve();
    await late;
    expect(await copiesIn(shared)).toEqual({ key: 'third' });
  });

  test('a delete that comes late does not take away what was written since', async () => {
    const [primary, shared] = [memoryStorage(), memoryStorage()];
    const slow = switchable('backup', shared);
    const one = replicated([connectionTo(primary), slow.adapter]);
    const other = replicated([connectionTo(primary), connectionTo(shared)]);
    await one.put('key', bytes('first'));
    const held = deferred();
    const reached = deferred();
    slow.faults.delete = async (...given) => {
      reached.resolve();
      await held.promise;
      return shared.delete(...given);
    };
    const late = one.delete('key');
    await reached.promise;
    await other.put('key', bytes('second'));
    held.resolve();
    await late;
    expect(await copiesIn(shared)).toEqual({ key: 'second' });
  });

  test('a put whose answer overtakes that of an earlier delete is copied', async () => {
    const { store, primary, backup } = scene();
    const [first, earlier] = [deferred(), deferred()];
    backup.faults.list = async (...given) => {
      await first.promise;
      return backup.store.list(...given);
    };
    const before = store.delete('key'); // Its copy keeps those of the others waiting.
    await turns(1);
    primary.faults.delete = async (key) => {
      const existed = await primary.store.delete(key);
      await earlier.promise;
      return existed;
    };
    const deleted = store.delete('key');
    const put = store.put('key', bytes('value'));
    await turns(1);
    earlier.resolve();
    await turns(1);
    first.resolve();
    await Promise.all([before, deleted, put]);
    expect(await copiesIn(backup.store)).toEqual({ key: 'value' });
  });

  test('after writes of all kinds at once a backup has what the primary has, forty times', async () => {
    for (let seed = 0; seed < 40; seed++) {
      const [primary, backup] = [memoryStorage(), memoryStorage()];
      const instances = ['one', 'two', 'three'].map((name) =>
        replicated([
          chaosStorage(connectionTo(primary), `${seed} ${name} primary`, LATE),
          chaosStorage(connectionTo(backup), `${seed} ${name} backup`, LATE),
        ]),
      );
      await Promise.all(
        instances.flatMap((store, at) => [
          writeMuch(store, `${seed} ${at} left`, 6),
          writeMuch(store, `${seed} ${at} right`, 6),
        ]),
      );
      expect(await copiesIn(backup), `seed ${seed}`).toEqual(await valuesIn(primary));
      for (const store of instances) expect(store.divergence()).toMatchObject([{ failed: 0, pending: 0 }]);
    }
  });

  test('a process that dies at any call takes nothing from a backup that another was acknowledged', async () => {
    for (let lives = 1; lives <= 90; lives++) {
      const [primary, backup] = [memoryStorage(), memoryStorage()];
      const process = mortal(lives);
      const wire = chaosStorage(connectionTo(backup), lives, LATE); // What is on it arrives after the death.
      const dying = replicated([process.reaching(primary), process.reaching(wire)]);
      const living = replicated([connectionTo(primary), connectionTo(backup)]);
      void writeMuch(dying, `${lives} dying`, 1_000);
      await writeMuch(living, `${lives} living`, 10);
      await process.death;
      for (const key of KEYS) await living.delete(key);
      await living.put('a', bytes('acknowledged'));
      await turns(20);
      const { a, ...others } = await copiesIn(backup);
      expect(a, `${lives} calls`).toBe('acknowledged');
      // A place may be left, which is nothing; repair clears it away.
      expect(
        Object.values(others).filter((copy) => copy !== null),
        `${lives} calls`,
      ).toEqual([]);
      await living.repair();
      expect(await copiesIn(backup)).toEqual({ a: 'acknowledged' });
    }
  });
});

describe('bad weather', () => {
  test('a backup in it fails no write, and is like the primary after calm and repair', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const [primary, backup] = [memoryStorage(), memoryStorage()];
      const stormy = chaosStorage(connectionTo(backup), seed, { tear: 0.1 });
      const store = replicated([primary, stormy]);
      const random = seededRandom(`${seed} weather`);
      for (let write = 0; write < 40; write++) {
        const fault = await writeSomething(store, random, `write ${write}`).catch((error) => error.code);
        expect([undefined, 'HOLDFAST_CONFLICT']).toContain(fault);
      }
      stormy.calm();
      await store.repair({ believe: 'primary' });
      expect(await copiesIn(backup), `seed ${seed}`).toEqual(await valuesIn(primary));
      expect(store.divergence()).toMatchObject([{ failed: 0 }]);
    }
  });

  test('a primary in it decides as before, and a backup is like it after calm and repair', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const [primary, backup] = [memoryStorage(), memoryStorage()];
      const stormy = chaosStorage(connectionTo(primary), seed);
      const store = replicated([stormy, backup]);
      await Promise.all([writeMuch(store, `${seed} left`, 20), writeMuch(store, `${seed} right`, 20)]);
      stormy.calm();
      await store.repair({ believe: 'primary' });
      expect(await copiesIn(backup), `seed ${seed}`).toEqual(await valuesIn(primary));
    }
  });
});

describe('a process that dies in the middle of looking after stores', () => {
  test('repair broken off at any call can be run again and ends as if it had come through', async () => {
    for (let lives = 0; lives < 110; lives++) {
      const { primary, backups } = scene({}, 2);
      const stores = [primary.adapter, ...backups.map(({ adapter }) => adapter)] as const;
      const whole = replicated(stores as never);
      await putAll(whole, ['damaged', 'extra', 'missing', 'same']);
      await primary.store.delete('extra');
      await backups[0]?.store.delete('missing');
      await backups[1]?.store.put('damaged', copyOf('damaged', 'older', '0'));
      damageKey(primary, 'damaged');
      const process = mortal(lives);
      void replicated(stores.map(process.reaching) as never).repair({ believe: 'backups' });
      await turns(12);
      expect(await replicated(stores as never).repair({ believe: 'backups' })).toMatchObject({ differing: 0 });
      const wanted = { damaged: 'damaged', extra: 'extra', missing: 'missing', same: 'same' };
      expect(await valuesIn(primary.adapter), `${lives} calls`).toEqual(wanted);
      for (const { store } of backups) expect(await copiesIn(store)).toEqual(wanted);
    }
  });

  test('restoreFromBackups broken off at any call can be run again', async () => {
    const { store, backup } = scene();
    await putAll(store, KEYS);
    for (let lives = 0; lives < 20; lives++) {
      const target = memoryStorage();
      const process = mortal(lives);
      void restoreFromBackups([process.reaching(backup.store)], process.reaching(target));
      await turns(12);
      const { restored, alreadyThere } = await restoreFromBackups([backup.store], target);
      expect(restored + alreadyThere).toBe(3);
      expect(await valuesIn(target)).toEqual({ a: 'a', b: 'b', c: 'c' });
    }
  });
});

import { describe, expect, test } from 'vitest';
import { guardedStorage, type WriteGuard } from '../../src/records/guarded-storage.js';
import { FencedError } from '../../src/records/lease.js';
import { ConflictError, OutcomeUnknownError, type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { checked } from '../../src/storage/checked.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { withoutBatch } from '../sessions/session-world.js';
import { rejectionOf } from '../support/deferred.js';
import { altered } from './node-world.js';

const HOLDER = 'holder';
const bytes = (text: string) => new TextEncoder().encode(text);
const text = async (storage: StorageAdapter, key: string) => {
  const entry = await storage.get(key);
  return entry && new TextDecoder().decode(entry.value);
};

/** A guard by the plainest rule: its record still has the bytes that it wrote, whatever its version. */
class PlainGuard implements WriteGuard {
  readonly key = HOLDER;
  isBehind = false;
  confirms = 0;
  #version = '';
  #lost: FencedError | undefined;

  constructor(readonly storage: StorageAdapter) {}

  async hold(): Promise<this> {
    this.#version = await this.storage.put(HOLDER, bytes('me'));
    return this;
  }

  version(): string {
    if (this.#lost) throw this.#lost;
    return this.#version;
  }

  async confirm(): Promise<void> {
    this.confirms++;
    const entry = await this.storage.get(HOLDER);
    if (entry === undefined || new TextDecoder().decode(entry.value) !== 'me') this.#lost = new FencedError('it');
    this.#version = entry?.version ?? '';
    this.version();
  }

  checkedBehind(): void {
    this.isBehind = true;
  }
}

const takeOver = (storage: StorageAdapter) => storage.put(HOLDER, bytes('another'));

async function guardOn(storage: StorageAdapter, states = storage) {
  const guard = await new PlainGuard(storage).hold();
  return { guard, storage, states, guarded: guardedStorage(states, guard) };
}

const grounds: [string, () => Promise<Awaited<ReturnType<typeof guardOn>>>][] = [
  ['in one write with its check', () => guardOn(memoryStorage())],
  ['before its check', () => guardOn(withoutBatch(memoryStorage()))],
  ['in another store', () => guardOn(memoryStorage(), memoryStorage())],
];

describe.each(grounds)('a guarded store that writes %s', (_, world) => {
  test('does what the store does while the guard holds', async () => {
    const { guarded, states } = await world();
    const version = await guarded.put('key', bytes('one'), { ifVersion: null });
    expect(await guarded.get('key')).toMatchObject({ version });
    expect(await rejectionOf(guarded.put('key', bytes('two'), { ifVersion: null }))).toBeInstanceOf(ConflictError);
    await guarded.put('key', bytes('two'), { ifVersion: version });
    await guarded.put('other', bytes('three'));
    expect((await guarded.list('key')).entries).toHaveLength(1);
    expect(await text(states, 'key')).toBe('two');
    expect(await guarded.delete('key')).toBe(true);
    expect(await guarded.delete('key')).toBe(false);
    expect(await rejectionOf(guarded.delete('other', { ifVersion: version }))).toBeInstanceOf(ConflictError);
    expect(guarded.capabilities).toBe(states.capabilities);
  });

  test('acknowledges no write after a takeover, also a conflict it tells as the loss that it is', async () => {
    const { guarded, storage } = await world();
    await guarded.put('key', bytes('mine'));
    await takeOver(storage);
    expect(await rejectionOf(guarded.put('key', bytes('late'), { ifVersion: null }))).toBeInstanceOf(FencedError);
    expect(await rejectionOf(guarded.put('key', bytes('late')))).toBeInstanceOf(FencedError);
    expect(await rejectionOf(guarded.delete('key'))).toBeInstanceOf(FencedError);
    expect(await text(guarded, 'key')).toBe('mine');
  });

  test('goes on when the holder itself has changed its record', async () => {
    const { guarded, guard, storage } = await world();
    await storage.put(HOLDER, bytes('me'));
    await guarded.put('key', bytes('one'));
    expect(guard.confirms).toBe(1);
    expect(await text(guarded, 'key')).toBe('one');
  });

  test('writes nothing when the guard is known to be lost', async () => {
    const { guarded, guard, states, storage } = await world();
    await takeOver(storage);
    await rejectionOf(guard.confirm());
    expect(await rejectionOf(guarded.put('key', bytes('late')))).toBeInstanceOf(FencedError);
    expect(await states.get('key')).toBeUndefined();
  });
});

describe('where write and check are one', () => {
  test('nothing is written after a takeover', async () => {
    const { guarded, storage } = await guardOn(memoryStorage());
    await takeOver(storage);
    await rejectionOf(guarded.put('key', bytes('late')));
    expect(await storage.get('key')).toBeUndefined();
  });

  test('the same store is known again when it was checked already', async () => {
    const storage = memoryStorage();
    const { guard } = await guardOn(checked(storage), storage);
    expect(guard.isBehind).toBe(false);
  });

  test('a batch is checked as a whole', async () => {
    const { guarded, storage } = await guardOn(memoryStorage());
    await guarded.batch?.([{ type: 'put', key: 'a', value: bytes('a') }]);
    await takeOver(storage);
    const late = guarded.batch?.([{ type: 'delete', key: 'a' }]) ?? Promise.resolve();
    expect(await rejectionOf(late)).toBeInstanceOf(FencedError);
    expect(await text(storage, 'a')).toBe('a');
  });

  test('bytes are taken at once, also for a write that has to be made again', async () => {
    const { guarded, storage } = await guardOn(memoryStorage());
    await storage.put(HOLDER, bytes('me'));
    const value = bytes('one');
    const writing = guarded.put('key', value);
    value.fill(0);
    await writing;
    expect(await text(storage, 'key')).toBe('one');
  });
});

describe('where the check comes behind', () => {
  test('the guard is told, and batches stay one write', async () => {
    const { guarded, guard, states } = await guardOn(memoryStorage(), memoryStorage());
    expect(guard.isBehind).toBe(true);
    const batch = guarded.batch as NonNullable<StorageAdapter['batch']>;
    await batch([
      { type: 'put', key: 'a', value: bytes('a') },
      { type: 'put', key: 'b', value: bytes('b') },
    ]);
    const half = batch([
      { type: 'put', key: 'a', value: bytes('x') },
      { type: 'check', key: 'b', ifVersion: null },
    ]);
    expect(await rejectionOf(half)).toBeInstanceOf(ConflictError);
    expect(await text(states, 'a')).toBe('a');
    expect(await rejectionOf(batch([]))).toBeInstanceOf(Error);
  });

  test('a write that is overtaken before its check is in the store, and not acknowledged', async () => {
    const storage = memoryStorage();
    const states = memoryStorage();
    const slow = altered(states, {
      put: async (...given) => {
        await takeOver(storage);
        return states.put(...given);
      },
    });
    const { guarded } = await guardOn(storage, slow);
    expect(await rejectionOf(guarded.put('key', bytes('late')))).toBeInstanceOf(FencedError);
    expect(await text(states, 'key')).toBe('late');
  });

  test('a write whose check fails has an unknown outcome, and one that failed as well tells its own error', async () => {
    const inner = withoutBatch(memoryStorage());
    const outage = { isOn: false };
    const storage = altered(inner, {
      get: (...given) => (outage.isOn ? Promise.reject(new StorageError('down')) : inner.get(...given)),
    });
    const { guarded } = await guardOn(storage, inner);
    outage.isOn = true;
    expect(await rejectionOf(guarded.put('key', bytes('one')))).toBeInstanceOf(OutcomeUnknownError);
    const conflict = guarded.put('key', bytes('one'), { ifVersion: null });
    expect(await rejectionOf(conflict)).toBeInstanceOf(ConflictError);
  });

  test('nobody finds a write of unknown outcome in the store without the check', async () => {
    const storage = memoryStorage();
    const states = memoryStorage();
    const lost = altered(states, { put: (key) => Promise.reject(new OutcomeUnknownError(key)) });
    const { guarded } = await guardOn(storage, lost);
    expect(await rejectionOf(guarded.put('key', bytes('one')))).toBeInstanceOf(OutcomeUnknownError);
    await states.put('key', bytes('one')); // It comes through, later than the next holder.
    await takeOver(storage);
    expect(await rejectionOf(guarded.get('key'))).toBeInstanceOf(FencedError);
  });
});

test('a store that can be watched is watched as it is', async () => {
  const heard: string[] = [];
  const inner = memoryStorage();
  const storage = altered(inner, {
    watch: async (prefix, onChange) => {
      onChange(`${prefix}key`);
      return async () => {};
    },
  });
  const { guarded } = await guardOn(storage);
  await guarded.watch?.('a/', (key) => heard.push(key));
  expect(heard).toEqual(['a/key']);
});

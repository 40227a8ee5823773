import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/base/errors.js';
import { encodeId } from '../../src/records/keys.js';
import {
  ConflictError,
  NoSpaceError,
  OutcomeUnknownError,
  type StorageAdapter,
  StorageError,
} from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { prefixed } from '../../src/storage/prefixed.js';
import { bytes, keysOf, listAll, putAll, textAt } from '../../src/testing/contract/entries.js';
import { deferred } from '../support/deferred.js';
import { watchable } from './inner-stores.js';

/** A memory store of which some methods are replaced. */
function memoryWith(methods: Partial<StorageAdapter>): StorageAdapter {
  return { ...memoryStorage(), ...methods };
}

const fails = (error: unknown) => async () => {
  throw error;
};

describe('what a room sees', () => {
  test('a key is kept as prefix, slash and key', async () => {
    const store = memoryStorage();
    await prefixed(store, 'tenants/a').put('runs/1', bytes('one'));
    expect(await textAt(store, 'tenants/a/runs/1')).toBe('one');
    expect(await keysOf(store, '')).toEqual(['tenants/a/runs/1']);
  });

  test('a prefix with and without its slash is the same room', async () => {
    const store = memoryStorage();
    await prefixed(store, 'a').put('key', bytes('value'));
    expect(await textAt(prefixed(store, 'a/'), 'key')).toBe('value');
  });

  test('rooms whose prefixes begin alike do not see each other', async () => {
    const store = memoryStorage();
    const rooms = ['a', 'ab', 'a-', 'a.', 'A'].map((prefix) => prefixed(store, prefix));
    for (const room of rooms) await putAll(room, ['key', 'b/key']);
    for (const room of rooms) {
      expect(await keysOf(room, '')).toEqual(['b/key', 'key']);
      expect(await keysOf(room, '', { reverse: true })).toEqual(['key', 'b/key']);
    }
    await rooms[0]?.delete('key');
    expect(await keysOf(store, 'ab/')).toEqual(['ab/b/key', 'ab/key']);
  });

  test('keys outside are neither listed, nor read, nor deleted', async () => {
    const store = memoryStorage();
    await putAll(store, ['0', 'a', 'a-', 'a/', 'a0', 'z']);
    const room = prefixed(store, 'a');
    expect(await room.list('')).toEqual({ entries: [] });
    expect((await room.list('', { reverse: true })).entries).toEqual([]);
    expect(await room.get('z')).toBeUndefined();
    expect(await room.delete('a')).toBe(false);
    expect(await keysOf(store, '')).toEqual(['0', 'a', 'a-', 'a/', 'a0', 'z']);
  });

  test('a key outside that is the prefix itself takes no place on a page', async () => {
    const store = memoryStorage();
    await putAll(store, ['a/', 'a/1', 'a/2']);
    const room = prefixed(store, 'a');
    expect((await room.list('', { limit: 2 })).entries.map(({ key }) => key)).toEqual(['1', '2']);
    expect(await keysOf(room, '', { limit: 1, reverse: true })).toEqual(['2', '1']);
  });

  test('after may lie before, behind and inside the room, in both directions', async () => {
    const store = memoryStorage();
    await putAll(store, ['a', 'm/k1', 'm/k2', 'm/x', 'z']);
    const room = prefixed(store, 'm');
    expect(await keysOf(room, '', { after: '' })).toEqual(['k1', 'k2', 'x']);
    expect(await keysOf(room, '', { after: 'k1' })).toEqual(['k2', 'x']);
    expect(await keysOf(room, 'k', { after: 'a' })).toEqual(['k1', 'k2']);
    expect(await keysOf(room, '', { after: '\u{10ffff}' })).toEqual([]);
    expect(await keysOf(room, '', { after: '', reverse: true })).toEqual([]);
    expect(await keysOf(room, 'k', { after: 'z', reverse: true })).toEqual(['k2', 'k1']);
    expect(await keysOf(room, '', { after: 'k2', reverse: true })).toEqual(['k1']);
  });

  test('a room in a room is seen from the outer one', async () => {
    const outer = prefixed(memoryStorage(), 'a');
    await prefixed(outer, 'b').put('key', bytes('value'));
    expect(await keysOf(outer, '')).toEqual(['b/key']);
  });

  test('a watch hears of keys in the room, without the prefix, and of no others', async () => {
    const store = watchable(memoryStorage());
    const room = prefixed(store, 'a');
    const hints: string[] = [];
    const stop = await room.watch?.('', (key) => hints.push(key));
    await putAll(store, ['a/', 'ab/key', 'a/key', 'b']);
    expect(hints).toEqual(['key']);
    await stop?.();
    await stop?.();
    await putAll(store, ['a/late']);
    expect(hints).toEqual(['key']);
  });
});

describe('how long keys may be', () => {
  test('prefix and key of 512 characters together are kept, one more is refused by every method', async () => {
    const room = prefixed(memoryStorage(), 'room');
    const [longest, tooLong] = ['k'.repeat(507), 'k'.repeat(508)];
    await room.put(longest, bytes('value'));
    expect(await keysOf(room, longest)).toEqual([longest]);
    const refused = { code: 'HOLDFAST_LIMIT', limit: 'keyLength', allowed: 507, message: /"room\/".*shorter prefix/ };
    const asRefused = expect.objectContaining({ ...refused, message: expect.stringMatching(refused.message) });
    await expect(room.get(tooLong)).rejects.toEqual(asRefused);
    await expect(room.put(tooLong, bytes('value'))).rejects.toEqual(asRefused);
    await expect(room.delete(tooLong)).rejects.toEqual(asRefused);
    await expect(room.batch?.([{ type: 'check', key: tooLong, ifVersion: null }])).rejects.toEqual(asRefused);
  });

  test('a listing of keys that would be too long is empty', async () => {
    const room = prefixed(memoryStorage(), 'room');
    await room.put('k'.repeat(507), bytes('value'));
    expect(await room.list('k'.repeat(508))).toEqual({ entries: [] });
  });

  test('behind the longest prefix there is room for the longest key of the library', () => {
    const longestId = encodeId('\u{10ffff}'.repeat(256), 'id');
    expect(longestId).toHaveLength(202);
    expect('checkpoint-damaged/'.length + longestId.length + '/'.length + 64).toBeLessThanOrEqual(512 - 200);
  });

  test.each(['', '/'.repeat(201), 'p'.repeat(200), 'é', 'a:b', 'a b', 'a\n', undefined, null, 7, ['a']])(
    'the prefix %j is refused',
    (prefix) => {
      expect(() => prefixed(memoryStorage(), prefix as string)).toThrow(
        expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT', path: 'prefix' }),
      );
    },
  );

  test('a prefix of 200 characters with its slash is taken', async () => {
    const room = prefixed(memoryStorage(), 'p'.repeat(199));
    await room.put('k'.repeat(312), bytes('value'));
    expect(await keysOf(room, '')).toEqual(['k'.repeat(312)]);
  });
});

describe('errors', () => {
  const key = 'a/key';
  test.each([
    ['ConflictError', new ConflictError(key, 'v7'), { key: 'key', currentVersion: 'v7' }],
    ['OutcomeUnknownError', new OutcomeUnknownError(key), { key: 'key' }],
    [
      'CorruptionError',
      new CorruptionError(`"${key}" is damaged.`, key),
      { key: 'key', message: '"a/key" is damaged.' },
    ],
  ])('a %s names the key without the prefix and carries the one of the store', async (_, error, expected) => {
    const thrown = await prefixed(memoryWith({ get: fails(error) }), 'a')
      .get('key')
      .catch((reason) => reason);
    expect(thrown).toBeInstanceOf(error.constructor);
    expect(thrown).toMatchObject({ ...expected, code: error.code, cause: error });
  });

  test.each([
    ['damage of a file', new CorruptionError('The log is damaged.', '/data/log-1')],
    ['no space', new NoSpaceError('disk')],
    ['a failed store', new StorageError('no connection')],
  ])('%s passes as it is', async (_, error) => {
    await expect(prefixed(memoryWith({ put: fails(error) }), 'a').put('key', bytes(''))).rejects.toBe(error);
  });

  test('the reason of an abort passes as it is, even if it looks like an error about a key', async () => {
    const controller = new AbortController();
    const reason = new ConflictError('a/key', undefined);
    const get = async () => {
      controller.abort(reason);
      throw reason;
    };
    const room = prefixed(memoryWith({ get }), 'a');
    await expect(room.get('key', { signal: controller.signal })).rejects.toBe(reason);
  });

  test('a conflict in a batch names the key without the prefix', async () => {
    const room = prefixed(memoryStorage(), 'a');
    const version = await room.put('key', bytes('value'));
    const batch = room.batch?.([{ type: 'put', key: 'key', value: bytes(''), ifVersion: null }]);
    await expect(batch).rejects.toMatchObject({ code: 'HOLDFAST_CONFLICT', key: 'key', currentVersion: version });
  });
});

describe('closing', () => {
  test('a closed room refuses calls, and the store stays open for others', async () => {
    const store = memoryStorage();
    const [room, other] = [prefixed(store, 'a'), prefixed(store, 'b')];
    await room.close?.();
    await expect(room.get('key')).rejects.toMatchObject({ code: 'HOLDFAST_CLOSED' });
    await other.put('key', bytes('value'));
    expect(await textAt(store, 'b/key')).toBe('value');
  });

  test('close waits for the writes under way', async () => {
    const answer = deferred<string>();
    const room = prefixed(memoryWith({ put: () => answer.promise }), 'a');
    const steps: string[] = [];
    const put = room.put('key', bytes('value')).then(() => steps.push('written'));
    const closed = room.close?.().then(() => steps.push('closed'));
    answer.resolve('v1');
    await Promise.all([put, closed]);
    expect(steps).toEqual(['written', 'closed']);
  });

  test('close ends the watches of the room', async () => {
    const store = watchable(memoryStorage());
    const room = prefixed(store, 'a');
    const hints: string[] = [];
    await room.watch?.('', (key) => hints.push(key));
    await room.close?.();
    await putAll(store, ['a/late']);
    expect(hints).toEqual([]);
  });

  test('open opens the store', async () => {
    const opened: string[] = [];
    const open = async () => void opened.push('store');
    await prefixed(memoryWith({ open }), 'a').open?.();
    expect(opened).toEqual(['store']);
  });
});

test('a room has the abilities of its store, no more and no fewer, and says which room it is', () => {
  const plain = memoryStorage();
  const { batch: _, ...without } = plain;
  const room = prefixed({ ...without, capabilities: { ...plain.capabilities, atomicBatch: false } }, 'a');
  expect(room.batch).toBeUndefined();
  expect(room.watch).toBeUndefined();
  expect(room.open).toBeUndefined();
  expect(room.capabilities).toEqual({ ...plain.capabilities, atomicBatch: false });
  expect(room.name).toBe('memory, room a/');
  expect(prefixed(watchable(plain), 'a').capabilities.watch).toBe(true);
});

test('versions are those of the store', async () => {
  const store = memoryStorage();
  const room = prefixed(store, 'a');
  const version = await room.put('key', bytes('value'));
  expect(await listAll(store, '')).toEqual([{ key: 'a/key', version, sizeBytes: 5 }]);
});

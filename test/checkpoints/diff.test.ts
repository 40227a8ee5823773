import { describe, expect, test } from 'vitest';
import { CorruptionError, LimitError } from '../../src/base/errors.js';
import { MissingCheckpointError } from '../../src/checkpoints/checkpoint.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { CheckpointRecords } from '../../src/checkpoints/checkpoint-records.js';
import { diffCheckpoints, type StateChange } from '../../src/checkpoints/diff/diff.js';
import {
  chunkIdOf,
  idToHex,
  REFERENCE_BYTES,
  STRING_PIECE,
  WHOLE_VALUE,
  writeReference,
} from '../../src/checkpoints/packs/chunk.js';
import { sealPack } from '../../src/checkpoints/packs/pack-writer.js';
import { type CodecOptions, prepareCodecs, UnknownCodecError, type ValueCodec } from '../../src/records/codec.js';
import { encodeValue } from '../../src/records/encode.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { applyChanges, editSomewhere, randomValue } from './random-states.js';

const SESSION = 'agent';

/** A storage with these states as checkpoints 1, 2, … */
async function saved(states: readonly unknown[], codecs: readonly ValueCodec[] = []): Promise<StorageAdapter> {
  const storage = memoryStorage();
  const checkpoints = new CheckpointManager({ storage, codecs });
  for (const state of states) await checkpoints.save(SESSION, state);
  return storage;
}

function diff(storage: StorageAdapter, [from, to] = [1, 2], settings?: CodecOptions): Promise<StateChange[]> {
  return diffCheckpoints(new CheckpointRecords(storage, prepareCodecs(settings)), SESSION, {
    from: from as number,
    to: to as number,
  });
}

async function diffOf(before: unknown, after: unknown): Promise<StateChange[]> {
  return diff(await saved([before, after]));
}

/** The same storage, and the keys that were read from it. */
function counted(storage: StorageAdapter) {
  const keys: string[] = [];
  const get: StorageAdapter['get'] = (key, options) => {
    keys.push(key);
    return storage.get(key, options);
  };
  return {
    storage: { ...storage, get },
    sequences: () => [...new Set(keys.map((key) => Number(key.slice(-16))))].sort(),
  };
}

async function keyOf(storage: StorageAdapter, sequence: number): Promise<string> {
  const { entries } = await storage.list('checkpoints/');
  return entries[sequence - 1]?.key as string;
}

/** Changes one byte of a record, counted from its end. */
async function damage(storage: StorageAdapter, sequence: number, at = 1): Promise<void> {
  const key = await keyOf(storage, sequence);
  const value = (await storage.get(key))?.value as Uint8Array;
  value[value.length - at] = (value[value.length - at] as number) ^ 1;
  await storage.put(key, value);
}

const message = (at: number) => ({ at, role: 'user', content: `${at} `.repeat(100) });
const messages = (count: number, from = 0) => Array.from({ length: count }, (_, at) => message(from + at));

describe('what is said', () => {
  test('members that came, went and changed, by name, with what was there and is there', async () => {
    expect(await diffOf({ b: 1, 'a b': { c: [true] }, z: 0 }, { 'a b': { c: [false] }, y: { new: 1 }, z: 0 })).toEqual([
      { path: '$["a b"].c[0]', kind: 'changed', before: true, after: false },
      { path: '$.b', kind: 'removed', before: 1 },
      { path: '$.y', kind: 'added', after: { new: 1 } },
    ]);
  });

  test('an item that was appended is the only change', async () => {
    expect(await diffOf({ messages: messages(300) }, { messages: messages(301) })).toEqual([
      { path: '$.messages[300]', kind: 'added', after: message(300) },
    ]);
  });

  test('an item inserted in the middle has its place in the newer state, a removed one in the older', async () => {
    const [all, first, last] = [messages(300), messages(120), messages(179, 121)];
    const storage = await saved([all, [...first, ...last], all]);
    expect(await diff(storage, [1, 2])).toEqual([{ path: '$[120]', kind: 'removed', before: message(120) }]);
    expect(await diff(storage, [2, 3])).toEqual([{ path: '$[120]', kind: 'added', after: message(120) }]);
  });

  test('items between what is alike at both ends are compared one by one, then come or go', async () => {
    expect(await diffOf([0, 1, 2, 3, 9], [0, 1, 5, 9])).toEqual([
      { path: '$[2]', kind: 'changed', before: 2, after: 5 },
      { path: '$[3]', kind: 'removed', before: 3 },
    ]);
  });

  test('an item put before others is one change even where it makes the array one that is cut', async () => {
    const items = [{ text: 'x'.repeat(2000) }, { text: 'y'.repeat(1500) }];
    const first = { text: 'z'.repeat(3000) };
    expect(await diffOf(items, [first, ...items])).toEqual([{ path: '$[0]', kind: 'added', after: first }]);
    expect(await diffOf([first, ...items], items)).toEqual([{ path: '$[0]', kind: 'removed', before: first }]);
  });

  test('two edits far apart in a long array are two changes', async () => {
    const after = messages(1000);
    after[100] = message(-1);
    after[900] = { ...message(900), role: 'tool' };
    expect((await diffOf(messages(1000), after)).map(({ path }) => path)).toEqual([
      '$[100].at',
      '$[100].content',
      '$[900].role',
    ]);
  });

  test('a member among thousands that came, went or changed is one change', async () => {
    const wide = Object.fromEntries(Array.from({ length: 3000 }, (_, at) => [`fact ${at}`, `${at}`.repeat(9)]));
    const { 'fact 7': gone, ...others } = wide;
    expect(await diffOf(wide, others)).toEqual([{ path: '$["fact 7"]', kind: 'removed', before: gone }]);
    expect(await diffOf(others, wide)).toEqual([{ path: '$["fact 7"]', kind: 'added', after: gone }]);
    expect(await diffOf(wide, { ...wide, 'fact 7': 1 })).toEqual([
      { path: '$["fact 7"]', kind: 'changed', before: gone, after: 1 },
    ]);
  });

  test.each([
    ['a date', new Date(1), new Date(2)],
    ['a map', new Map([['a', 1]]), new Map([['a', 2]])],
    ['a large map', new Map([['a', 'x'.repeat(9000)]]), new Map([['a', 'y'.repeat(9000)]])],
    ['minus zero', 0, -0],
    ['undefined', undefined, null],
    ['an object that looks like a marker', { '$hf:Date': 1 }, { '$hf:Date': 2 }],
    ['a string that is cut', 'x'.repeat(50_000), `${'x'.repeat(49_999)}y`],
    ['one kind for another', [1], { 0: 1 }],
    ['an object for a date', { a: 1 }, new Date(1)],
  ])('%s is compared and reported as a whole', async (_, before, after) => {
    expect(await diffOf({ part: before }, { part: after })).toEqual([
      { path: '$.part', kind: 'changed', before, after },
    ]);
    expect(await diffOf(before, after)).toEqual([{ path: '$', kind: 'changed', before, after }]);
  });

  test('a large object with a single member is looked into', async () => {
    expect(await diffOf({ a: { b: messages(90) } }, { a: { b: messages(91) } })).toMatchObject([{ path: '$.a.b[90]' }]);
  });

  test('a value of a codec comes back as what it was; without the codec that is an error', async () => {
    class Money {
      constructor(readonly cents: number) {}
    }
    const money: ValueCodec<Money> = {
      tag: 'money',
      is: (value) => value instanceof Money,
      encode: ({ cents }) => cents,
      decode: (cents) => new Money(cents as number),
    };
    const codecs = [money as ValueCodec];
    const storage = await saved([{ price: new Money(1) }, { price: new Money(2) }], codecs);
    const [change] = await diff(storage, [1, 2], { codecs });
    expect(change?.after).toEqual(new Money(2));
    await expect(diff(storage)).rejects.toThrow(UnknownCodecError);
  });

  test('the younger state may be the first', async () => {
    const storage = await saved([{ a: 1 }, { a: 2 }]);
    expect(await diff(storage, [2, 1])).toEqual([{ path: '$.a', kind: 'changed', before: 2, after: 1 }]);
  });
});

describe('for random pairs of states', () => {
  test.each(Array.from({ length: 40 }, (_, seed) => seed))(
    'applying the changes to the first gives the second, seed %i',
    async (seed) => {
      const random = seededRandom(`diff ${seed}`);
      const state = { root: randomValue(random), list: randomValue(random), text: 'x' };
      const storage = memoryStorage();
      const checkpoints = new CheckpointManager<unknown>({ storage });
      await checkpoints.save(SESSION, state);
      for (let edit = random.integer(12); edit >= 0; edit--) editSomewhere(state, random);
      await checkpoints.save(SESSION, state);
      await checkpoints.save(SESSION, randomValue(random));
      for (const [from, to] of [
        [1, 2],
        [2, 1],
        [2, 3],
        [3, 1],
      ] as const) {
        const before = (await checkpoints.restore(SESSION, { sequence: from }))?.state;
        const after = (await checkpoints.restore(SESSION, { sequence: to }))?.state;
        const changes = await diff(storage, [from, to]);
        expect(encodeValue(applyChanges(before, changes)).equals(encodeValue(after))).toBe(true);
        expect((await diff(storage, [from, to])).map(({ path }) => path)).toEqual(changes.map(({ path }) => path));
      }
      expect(await diff(storage, [1, 1])).toEqual([]);
    },
  );
});

describe('what is read', () => {
  test('of equal states the two headers, and nothing else', async () => {
    const state = { messages: messages(500) };
    const inner = await saved([state, { a: 1 }, state]);
    const { storage, sequences } = counted(inner);
    expect(await diff(storage, [1, 3])).toEqual([]);
    expect(sequences()).toEqual([1, 3]);
  });

  test('of equal states no chunk at all, so that damage to them is nothing', async () => {
    const storage = await saved([{ a: 1 }, { a: 2 }, { a: 1 }]);
    for (const sequence of [1, 3]) await damage(storage, sequence);
    expect(await diff(storage, [1, 3])).toEqual([]);
  });

  test('not the pack that both states need, if they differ elsewhere', async () => {
    const state = { counter: 0, messages: messages(7000) };
    const states = [0, 1, 2].map((counter) => ({ counter, messages: [...state.messages, ...messages(counter, 7000)] }));
    const inner = await saved(states);
    expect((await inner.get(await keyOf(inner, 1)))?.value.length).toBeGreaterThan(2_000_000);
    const { storage, sequences } = counted(inner);
    expect(await diff(storage, [2, 3])).toMatchObject([{ path: '$.counter' }, { path: '$.messages[7001]' }]);
    expect(sequences()).toEqual([2, 3]);
  });

  test('packs from the newest on, until the chunk is found', async () => {
    const long = 'x'.repeat(3000);
    const states = [1, 2, 3, 4].map((last) => ({ a: long + 1, b: long + Math.min(last, 2), c: long + last }));
    const { storage, sequences } = counted(await saved([...states, { ...states[3], b: 'y' }]));
    expect(await diff(storage, [4, 5])).toMatchObject([{ path: '$.b', after: 'y' }]);
    expect(sequences()).toEqual([2, 3, 4, 5].filter((sequence) => sequence !== 3));
  });

  test('packs that are spread over several records', async () => {
    const small = memoryStorage();
    const storage = { ...small, capabilities: { ...small.capabilities, maxValueBytes: 20_000 } };
    const checkpoints = new CheckpointManager<unknown>({ storage });
    await checkpoints.save(SESSION, { messages: messages(200) });
    await checkpoints.save(SESSION, { messages: messages(199, 1) });
    expect(await diff(storage)).toEqual([{ path: '$.messages[0]', kind: 'removed', before: message(0) }]);
  });
});

describe('what is wrong', () => {
  test('a checkpoint that is not there is named', async () => {
    const storage = await saved([{ a: 1 }]);
    await expect(diff(storage, [1, 2])).rejects.toThrow(new MissingCheckpointError(SESSION, 2));
    await expect(diff(storage, [3, 1])).rejects.toThrow(new MissingCheckpointError(SESSION, 3));
  });

  test('what differs is damaged, and no other pack has it', async () => {
    const storage = await saved([{ a: 1 }, { a: 2 }]);
    await damage(storage, 2);
    await expect(diff(storage)).rejects.toThrow(CorruptionError);
  });

  test('damage to what both have does no harm', async () => {
    const storage = await saved([1, 2, 3].map((counter) => ({ counter, messages: messages(100) })));
    await damage(storage, 1, 5000);
    expect(await diff(storage, [2, 3])).toMatchObject([{ path: '$.counter', before: 2, after: 3 }]);
  });

  test('what a damaged or missing pack had is found in another that has it', async () => {
    const long = 'x'.repeat(5000);
    const storage = await saved([{ a: long }, { a: long, b: 1 }, { a: 2, b: 1 }]);
    const first = await keyOf(storage, 1);
    await storage.put(first, new Uint8Array(9));
    await expect(diff(storage, [2, 3])).rejects.toThrow(/records 1, which are damaged or missing/);
    await storage.delete(first);
    await expect(diff(storage, [2, 3])).rejects.toThrow(CorruptionError);
    await new CheckpointManager<unknown>({ storage }).save(SESSION, { a: long, b: 3 });
    expect(await diff(storage, [2, 3])).toEqual([{ path: '$.a', kind: 'changed', before: long, after: 2 }]);
  });

  test('a checkpoint that is pruned while it is read is missing, not damaged', async () => {
    const long = 'x'.repeat(5000);
    const inner = await saved([{ a: long }, { a: long, b: 1 }, { a: 2, b: 1 }]);
    const [first, second] = [await keyOf(inner, 1), await keyOf(inner, 2)];
    const get: StorageAdapter['get'] = async (key) => {
      if (key === first) for (const gone of [first, second]) await inner.delete(gone);
      return inner.get(key);
    };
    await expect(diff({ ...inner, get }, [2, 3])).rejects.toThrow(new MissingCheckpointError(SESSION, 2));
  });

  test('a state above maxBytes is not looked into', async () => {
    const storage = await saved([{ a: 'x'.repeat(2000) }, { a: 1 }]);
    await expect(diff(storage, [1, 2], { maxBytes: 1000 })).rejects.toThrow(LimitError);
  });

  test('states nested as deep as is allowed are compared; deeper ones end in an error, not in a full stack', async () => {
    const nested = (levels: number, bottom: unknown) => {
      let value = bottom;
      for (let level = 0; level < levels; level++) value = [value];
      return value;
    };
    const storage = await saved([nested(1999, 1), nested(1999, 2)]);
    expect(await diff(storage)).toEqual([{ path: `$${'[0]'.repeat(1999)}`, kind: 'changed', before: 1, after: 2 }]);
    await expect(diff(storage, [1, 2], { maxDepth: 100 })).rejects.toThrow(LimitError);
  });

  test('a storage that fails is not taken for a damaged one', async () => {
    const inner = await saved([
      { a: 1, b: messages(100) },
      { a: 1, b: messages(99) },
      { a: 1, b: [] },
    ]);
    const first = await keyOf(inner, 1);
    const get: StorageAdapter['get'] = async (key) => {
      if (key === first) throw new Error('no connection');
      return inner.get(key);
    };
    await expect(diff({ ...inner, get }, [2, 3])).rejects.toThrow('no connection');
  });
});

/** A storage with one checkpoint per list, of chunks that are proved and are not what the library writes. */
async function forged(...states: readonly Forged[]): Promise<StorageAdapter> {
  const storage = memoryStorage();
  const records = new CheckpointRecords(storage, prepareCodecs());
  for (const [at, { chunks, sizeBytes = 1000 }] of states.entries()) {
    const packed = chunks.map((bytes) => [chunkIdOf(bytes), bytes] as const);
    const [root = ''] = packed.map(([id]) => idToHex(id));
    const place = { session: SESSION, sequence: at + 1, parentSequence: null, savedAtMs: 0, schemaVersion: 1 };
    const { record } = sealPack(records, { meta: { ...place, root, sizeBytes, packs: [] }, parent: null }, packed);
    await storage.put(records.key(SESSION, at + 1), record.bytes);
  }
  return storage;
}

/** The first chunk is the root. */
interface Forged {
  readonly chunks: readonly Buffer[];
  readonly sizeBytes?: number;
}

/** A chunk of texts and of references to other chunks. */
function chunk(...pieces: readonly (string | { readonly to: Buffer; readonly items: number })[]): Buffer {
  return Buffer.concat(
    pieces.map((piece) => {
      if (typeof piece === 'string') return Buffer.from(piece);
      const reference = Buffer.alloc(REFERENCE_BYTES);
      writeReference(reference, 0, { id: chunkIdOf(piece.to), items: piece.items });
      return reference;
    }),
  );
}

describe('chunks of another hand', () => {
  test('what was cut in another way is the same if it says the same', async () => {
    const [run, text, number] = [chunk('1,2'), chunk('"ab"'), chunk('7')];
    const runs = chunk({ to: run, items: 2 });
    const cut = chunk(
      '[',
      { to: runs, items: 2 },
      ',3,',
      { to: text, items: STRING_PIECE },
      ',',
      { to: number, items: 0 },
      ']',
    );
    const storage = await forged({ chunks: [cut, runs, run, text, number] }, { chunks: [chunk('[1,2,3,"ab",7]')] });
    expect(await diff(storage)).toEqual([]);
    expect(await diff(storage, [2, 1])).toEqual([]);
  });

  test('a run that both have is not looked into, on whatever level it stands', async () => {
    const [shared, old, young] = [chunk('1,2'), chunk('3,4,5'), chunk('6,7,8')];
    const runs = chunk({ to: shared, items: 2 }, ',', { to: old, items: 3 });
    const before = chunk('[0,', { to: runs, items: 5 }, ']');
    const after = chunk('[0,', { to: shared, items: 2 }, ',', { to: young, items: 3 }, ']');
    const storage = await forged({ chunks: [before, runs, old] }, { chunks: [after, young] }); // `shared` is nowhere.
    expect((await diff(storage)).map(({ path }) => path)).toEqual(['$[3]', '$[4]', '$[5]']);
    expect((await diff(storage, [2, 1])).map(({ path }) => path)).toEqual(['$[3]', '$[4]', '$[5]']);
  });

  test('items that are alike at both ends are passed over once', async () => {
    const ones = chunk('1,1,1');
    const before = chunk('[', { to: ones, items: 3 }, ',2,', { to: ones, items: 3 }, ']');
    const after = chunk('[1,1,', { to: ones, items: 3 }, ']');
    expect(await diff(await forged({ chunks: [before, ones] }, { chunks: [after] }))).toEqual([
      { path: '$[3]', kind: 'removed', before: 2 },
      { path: '$[4]', kind: 'removed', before: 1 },
    ]);
  });

  const run = chunk('1,2');
  /** Chunks of an array that holds what is in `bottom` two billion times, the root first. */
  const endless = (...bottom: readonly Buffer[]): Forged => {
    const chunks = [...bottom];
    for (let level = 0; level < 31; level++) {
      const half = { to: chunks.at(0) as Buffer, items: 2 ** level };
      chunks.unshift(chunk(half, ',', half));
    }
    return { chunks: [chunk('[', { to: chunks[0] as Buffer, items: 2 ** 31 }, ']'), ...chunks] };
  };
  test.each<[string, string, Forged]>([
    ['an item that is nothing', '[]', { chunks: [chunk('[1,,2]')] }],
    ['a member without a name', '{}', { chunks: [chunk('{1}')] }],
    ['a member whose name is no string', '{}', { chunks: [chunk('{"\\x":1}')] }],
    ['a member whose name does not end', '{}', { chunks: [chunk('{"a')] }],
    ['a run that is longer than it says', '[]', { chunks: [chunk('[', { to: run, items: 1 }, ']'), run] }],
    ['a run that is shorter than it says', '[]', { chunks: [chunk('[0,', { to: run, items: 3 }, ']'), run] }],
    ['a chunk that is nowhere', '[]', { chunks: [chunk('[', { to: run, items: 2 }, ']')] }],
    ['a reference that is cut', '[]', { chunks: [chunk('\u0001abc')] }],
    ['a value that is not JSON', '[]', { chunks: [chunk('nonsense')] }],
    ['more text than there is', '[]', { chunks: [chunk('[0,1]')], sizeBytes: 1 }],
    ['a small record that claims to be endless', '[]', endless(chunk('1'))],
  ])('%s is damage', async (_, other, state) => {
    const storage = await forged(state, { chunks: [chunk(other)] });
    await expect(diff(storage)).rejects.toThrow(CorruptionError);
    await expect(diff(storage, [2, 1])).rejects.toThrow(CorruptionError);
  });

  test('two small records that claim to be endless and say the same are damage, too', async () => {
    const one = chunk('1');
    const storage = await forged(endless(one), endless(chunk({ to: one, items: WHOLE_VALUE }), one));
    await expect(diff(storage)).rejects.toThrow(CorruptionError);
  });
});

import { describe, expect, test } from 'vitest';
import { LimitError } from '../../src/base/errors.js';
import { readPieces } from '../../src/checkpoints/packs/chunk.js';
import { type EncodedState, StateEncoder } from '../../src/checkpoints/packs/state-encoder.js';
import { cutText } from '../../src/checkpoints/packs/text-cutter.js';
import { DEFAULT_CODEC_SETTINGS, prepareCodecs, UnserializableError } from '../../src/records/codec.js';
import { deepFreeze } from '../../src/records/deep-freeze.js';
import { encodeValue } from '../../src/records/encode.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { textOf } from './agent-state.js';

const random = seededRandom(1);
const nothing = () => false;
const everything = () => true;

function encoder(): StateEncoder {
  return new StateEncoder(DEFAULT_CODEC_SETTINGS);
}

function encode(state: unknown): EncodedState {
  return encoder().encode(state, nothing);
}

/** The canonical text again, from the chunks alone. */
function textOfState({ root, fresh }: EncodedState): string {
  const expand = (id: string): Buffer => {
    const pieces: Buffer[] = [];
    readPieces(Buffer.from(fresh.get(id)?.content as string), (text, reference) => {
      pieces.push(text, reference ? expand(reference.id) : Buffer.alloc(0));
    });
    return Buffer.concat(pieces);
  };
  return expand(root.id).toString();
}

/** Bytes of the chunks of `next` that `before` has not. */
function newBytes(before: EncodedState, next: EncodedState): number {
  return [...next.fresh].reduce((sum, [id, { chunk }]) => sum + (before.fresh.has(id) ? 0 : chunk.ownBytes), 0);
}

const messages = Array.from({ length: 400 }, (_, at) => ({ at, text: textOf(random, 300) }));
const facts = Object.fromEntries(messages.map(({ text }, at) => [`fact ${at}`, text]));
const article = textOf(random, 200_000);

describe('chunks', () => {
  test.each([
    ['a small state', { a: 1 }],
    ['a long array', messages],
    ['a wide object', facts],
    ['a long string', { article }],
    ['an array of arrays', Array.from({ length: 40 }, () => messages.slice(0, 20))],
    ['a Map and a Set', { map: new Map(Object.entries(facts)), set: new Set(messages.map(({ text }) => text)) }],
    [
      'Maps of objects in a Map',
      new Map([0, 1].map((at) => [at, new Map(messages.map((message) => [message, message]))])),
    ],
    ['objects without a prototype', messages.map((message) => Object.assign(Object.create(null), { message }))],
    [
      'errors with large causes',
      { errors: [new Error('first', { cause: messages }), new Error('last', { cause: facts })] },
    ],
    [
      'keys that look like numbers',
      Object.fromEntries(messages.map(({ text, at }) => [`${at * 7}`, { 9: text, 10: 1 }])),
    ],
    ['a key called __proto__', JSON.parse(`{"__proto__": ${JSON.stringify(messages)}, "a": 1}`)],
    ['text beyond ASCII', { article: '€😀\ud800'.repeat(30_000) }],
    ['what begins like a reference', { article: '\u0001'.repeat(60_000) }],
    ['undefined and friends', Array.from({ length: 900 }, (_, at) => [undefined, Number.NaN, -0, 1n, new Date(at)])],
  ])('of %s are its canonical bytes, cut', (_, state) => {
    const encoded = encode(state);
    const canonical = encodeValue(state);
    expect(textOfState(encoded)).toBe(canonical.toString());
    expect(encoded.root.sizeBytes).toBe(canonical.length);
  });

  test('of a state in one piece there is one, and its id is the SHA-256 of the canonical bytes', () => {
    expect(encode({ text: 'x'.repeat(3000) }).fresh.size).toBe(1);
    expect(encode({ text: article }).fresh.size).toBeGreaterThan(10);
  });

  test.each([
    ['one appended', [...messages, { at: 400, text: 'new' }]],
    ['one put in front', [{ at: -1, text: 'new' }, ...messages]],
    ['the oldest dropped', messages.slice(1)],
    ['one changed in the middle', messages.with(200, { at: 200, text: 'new' })],
    ['one removed from the middle', messages.toSpliced(200, 1)],
  ])('an array with %s shares all chunks but a few', (_, changed) => {
    const before = encode({ messages });
    expect(newBytes(before, encode({ messages: changed }))).toBeLessThan(before.root.sizeBytes / 15);
  });

  test('an object with one changed member, and a text with one changed word, share all chunks but a few', () => {
    const state = encode({ facts, article });
    const changed = encode({ facts: { ...facts, 'fact 77': 'new' }, article });
    expect(newBytes(state, changed)).toBeLessThan(state.root.sizeBytes / 25);
    const edited = encode({ facts, article: `${article.slice(0, 90_000)}new${article.slice(90_000)}` });
    expect(newBytes(state, edited)).toBeLessThan(state.root.sizeBytes / 5);
  });

  test('equal parts of a state are one chunk', () => {
    const copies = Array.from({ length: 50 }, () => structuredClone(messages));
    expect(encode(copies).fresh.size).toBeLessThan(encode(messages).fresh.size + 30);
  });

  test('that are stored are not brought along', () => {
    expect(encoder().encode({ messages }, everything).fresh.size).toBe(0);
  });
});

describe('what can never change', () => {
  test('is passed over, a long array from the second time on', () => {
    let asked = 0;
    const it = encoder();
    const frozen = deepFreeze({ messages: messages.map((message) => ({ ...message })) });
    const stored = (known: EncodedState) => (id: string) => {
      asked++;
      return known.fresh.has(id);
    };
    const first = it.encode({ frozen, at: 1 }, nothing);
    it.encode({ frozen, at: 2 }, everything);
    const again = it.encode({ frozen, at: 2 }, stored(first));
    expect(again.root.sizeBytes).toBe(first.root.sizeBytes);
    expect(asked).toBeLessThan(6); // Every chunk that is made is asked for.
    it.encode({ frozen: structuredClone(frozen), at: 2 }, stored(first));
    expect(asked).toBeGreaterThan(60);
  });

  test('is looked into again where its chunks are not stored', () => {
    const it = encoder();
    const frozen = deepFreeze({ messages: messages.map((message) => ({ ...message })) });
    const first = it.encode({ frozen }, nothing);
    expect(textOfState(it.encode({ frozen, more: 1 }, nothing))).toBe(encodeValue({ frozen, more: 1 }).toString());
    expect(it.encode({ frozen }, nothing).root.id).toBe(first.root.id);
  });

  test.each([
    ['an object that is not frozen', (inner: object) => ({ inner })],
    ['a frozen object around one that is not', (inner: object) => Object.freeze({ inner })],
    ['a frozen array around one', (inner: object) => Object.freeze([inner, ...messages])],
  ])('does not include %s: a change in it is seen', (_, around) => {
    const inner = { text: 'before' };
    const it = encoder();
    const state = { around: around(inner), messages };
    for (let save = 0; save < 3; save++) it.encode(state, everything);
    inner.text = 'after';
    expect(it.encode(state, everything).root.id).toBe(encode(state).root.id);
  });

  test.each([
    ['a frozen Date', () => Object.freeze(new Date(0)), (date: Date) => date.setTime(1)],
    ['a frozen Map', () => Object.freeze(new Map([['a', 1]])), (map: Map<string, number>) => map.set('a', 2)],
  ])('does not include %s', (_, make, change) => {
    const it = encoder();
    const value = make() as never;
    const state = { held: Object.freeze({ value }), messages };
    for (let save = 0; save < 3; save++) it.encode(state, everything);
    (change as (value: unknown) => unknown)(value);
    expect(it.encode(state, everything).root.id).toBe(encode(state).root.id);
  });

  test('does not include a frozen object with a getter, or a long frozen array with one', () => {
    let now = 1;
    const getter = { enumerable: true, get: () => now };
    const object = Object.freeze(Object.defineProperty({}, 'now', getter));
    const array = Object.freeze(
      Object.defineProperty(
        Array.from({ length: 100 }, () => 'x'),
        50,
        getter,
      ),
    );
    const it = encoder();
    const state = { object, array, messages };
    for (let save = 0; save < 4; save++) it.encode(state, everything);
    now = 2;
    expect(it.encode(state, everything).root.id).toBe(encode(state).root.id);
  });

  test('counts against the limits like anything else', () => {
    const state = deepFreeze({ messages: messages.map((message) => ({ ...message })) });
    const sizeBytes = encodeValue(state).length;
    const it = new StateEncoder(prepareCodecs({ maxBytes: sizeBytes + 100, maxDepth: 5 }));
    it.encode(state, nothing);
    expect(() => it.encode([state, state], everything)).toThrow(LimitError);
    expect(() => it.encode([[[[state]]]], everything)).toThrow(/maxDepth/);
    expect(it.encode([[state]], everything).root.sizeBytes).toBe(sizeBytes + 4);
    const exact = new StateEncoder(prepareCodecs({ maxBytes: sizeBytes }));
    for (let save = 0; save < 4; save++) expect(exact.encode(state, everything).root.sizeBytes).toBe(sizeBytes);
  });

  test('may stand in a small part of the state the next time', () => {
    const it = encoder();
    const [first, second] = deepFreeze(messages.map((message) => ({ ...message })));
    it.encode({ list: deepFreeze([first, second, ...messages]) }, everything);
    const state = { chosen: { first, digits: { 10: second, 9: first } }, messages };
    expect(it.encode(state, everything).root.id).toBe(encode(state).root.id);
    expect(it.encode(first, everything).root.id).toBe(encode(first).root.id);
  });
});

describe('what may change', () => {
  type Item = { at?: unknown; text?: unknown; list?: unknown; odd?: unknown; proto?: unknown; more?: unknown };
  const mutable = (): { items: Item[] } => ({
    items: messages.map(({ at, text }) => {
      const proto = JSON.parse('{"__proto__": {}}');
      return { at, text, list: [at, [text.slice(9)]], odd: { zero: 0, none: null }, proto };
    }),
  });
  /** An encoder that met the state often enough to remember it. */
  const acquainted = (state: unknown): StateEncoder => {
    const old = encoder();
    for (let save = 0; save < 3; save++) old.encode(state, everything);
    return old;
  };

  test('is cut into the very chunks of the last time where it is as it was, from the third time on', () => {
    const state = mutable();
    const old = encoder();
    const [first, second, third, fourth] = [1, 2, 3, 4].map(() => old.encode(state, everything).root.parts[0]);
    expect(second).not.toBe(first);
    expect(fourth).toBe(third);
    (state.items[0] as Item).text = 'changed';
    expect(old.encode(state, everything).root.parts[0]).not.toBe(third);
  });

  test.each<[string, (item: Item) => void]>([
    ['a text', (item) => (item.text = 'another')],
    ['a number', (item) => (item.at = -1)],
    ['the sign of zero', (item) => (item.odd = { zero: -0, none: null })],
    ['null to undefined', (item) => (item.odd = { zero: 0, none: undefined })],
    ['null to an empty object', (item) => (item.odd = { zero: 0, none: {} })],
    ['a member more', (item) => (item.more = 1)],
    ['a member less', (item) => delete item.odd],
    ['the name of a member', (item) => (item.odd = { nil: null, zero: 0 })],
    ['an item more', (item) => (item.list as unknown[]).push(1)],
    ['an item less', (item) => (item.list as unknown[]).pop()],
    ['an item far inside', (item) => (((item.list as unknown[][])[1] as unknown[])[0] = 'x')],
    ['a list to an object with its keys', (item) => (item.list = { ...(item.list as unknown[]) })],
    ['a key called __proto__', (item) => (item.odd = JSON.parse('{"__proto__": {}, "zero": 0}'))],
    ['the key __proto__ to another', (item) => (item.proto = { a: 1 })],
    ['a Date', (item) => (item.odd = new Date(0))],
    ['a frozen part', (item) => (item.odd = deepFreeze({ zero: 1 }))],
  ])('is seen when it is changed in place: %s', (_, change) => {
    const state = mutable();
    const old = acquainted(state);
    change(state.items[200] as Item);
    for (let save = 0; save < 3; save++) {
      const encoded = old.encode(state, nothing);
      expect(textOfState(encoded)).toBe(encodeValue(state).toString());
      expect(encoded.root.id).toBe(encode(state).root.id);
    }
  });

  test('has its chunks again where they are not stored', () => {
    const state = mutable();
    const old = acquainted(state);
    expect(textOfState(old.encode(state, nothing))).toBe(encodeValue(state).toString());
  });

  test('is the same chunks whatever was changed before', () => {
    const state = mutable();
    const old = acquainted(state);
    for (let step = 0; step < 60; step++) {
      const { items } = state;
      const at = Math.floor(random() * items.length);
      const edits: (() => unknown)[] = [
        () => ((items[at] as Item).text = textOf(random, 900 * random())),
        () => items.splice(at, 1),
        () => items.splice(at, 0, { at: step, text: textOf(random, 9_000 * random()) }),
        () => (items[at] = deepFreeze({ ...items[at] })),
        () => (state.items = [...items]),
        () => items.reverse(),
      ];
      const edit = edits[Math.floor(random() * edits.length)] as () => unknown;
      if (!Object.isFrozen(items[at])) edit();
      expect(old.encode(state, nothing).root.id).toBe(encode(state).root.id);
    }
  });
});

test('what cannot be kept is refused with its path, limits while encoding', () => {
  expect(() => encode({ messages, last: [() => 1] })).toThrow(UnserializableError);
  expect(() => encode({ messages, last: [() => 1] })).toThrow('$.last[0]');
  const small = new StateEncoder(prepareCodecs({ maxBytes: 1_000 }));
  expect(() => small.encode({ messages }, nothing)).toThrow(LimitError);
  // Few characters, many bytes: only the encoded text shows it.
  expect(() => small.encode({ text: '€'.repeat(500) }, nothing)).toThrow(LimitError);
});

test('a state may be nested as deep as the codec allows', () => {
  let state: unknown = { end: article.slice(0, 5000) };
  for (let level = 0; level < 1_990; level++) state = { level: state, text: 'x'.repeat(60) };
  expect(textOfState(encode(state))).toBe(encodeValue(state).toString());
});

test('a text is cut between characters, and where its own characters say', () => {
  const emoji = '😀'.repeat(40_000);
  expect(cutText(emoji).some((piece) => /\p{Surrogate}/u.test(piece))).toBe(false);
  expect(cutText(emoji).join('')).toBe(emoji);
  const pieces = new Set(cutText(article));
  const moved = cutText(`something in front ${article}`);
  expect(moved.filter((piece) => !pieces.has(piece)).length).toBeLessThan(5);
});

import { describe, expect, test } from 'vitest';
import { type EncodedState, StateEncoder } from '../../src/checkpoints/packs/state-encoder.js';
import { DEFAULT_CODEC_SETTINGS } from '../../src/records/codec.js';
import { deepFreeze } from '../../src/records/deep-freeze.js';

/** Parts of a state become chunks while the rest of it is still being copied: what each of these could get wrong. */

const nothing = () => false;
const everything = () => true;
const encoder = () => new StateEncoder(DEFAULT_CODEC_SETTINGS);
const anew = (state: unknown) => encoder().encode(state, nothing);
const itemsOf = (name: string) =>
  Array.from({ length: 90 }, (_, at) => ({
    at,
    text: `${name} ${at} `.repeat(60),
    odd: { 10: 'a', 9: ['x'.repeat(at * 9)] },
  }));

/** The same root, and no chunk missing. */
function expectSame(encoded: EncodedState, state: unknown): void {
  const { root, fresh } = anew(state);
  expect(encoded.root.id).toBe(root.id);
  expect([...encoded.fresh.keys()].toSorted()).toEqual([...fresh.keys()].toSorted());
}

test.each([
  ['the part itself', 1502],
  ['a lighter one', 2],
])('an object that looks like what stands for a part is not that part: with the weight of %s', (_, weight) => {
  const list = Array.from({ length: 250 }, () => 1);
  const held: { child: unknown; filler: string } = { child: undefined, filler: 'x'.repeat(3_000) };
  const state = { held, items: itemsOf('item') };
  for (const [before, after] of [
    [{ part: JSON.stringify(list), weight }, list],
    [list, { part: JSON.stringify(list), weight }],
  ]) {
    const old = encoder();
    held.child = before;
    for (let save = 0; save < 4; save++) old.encode(state, everything);
    held.child = after;
    expectSame(old.encode(state, nothing), state);
  }
});

describe('a part that is met again in the same state', () => {
  const frozen = deepFreeze(itemsOf('frozen'));
  const open = itemsOf('open');

  test.each([
    ['in full', { first: frozen, again: frozen, open, more: [open] }],
    ['in part', { first: frozen, some: [frozen[3], frozen[3]], open, last: { ...open[4] } }],
    [
      'in a Map and a Set',
      {
        map: new Map([
          ['frozen', frozen],
          ['open', open],
        ] as const),
        set: new Set([...frozen, ...open]),
        frozen,
      },
    ],
    ['in itself, frozen', deepFreeze({ items: [frozen, [frozen[0]]], small: { item: frozen[1] } })],
  ])('has its chunks once: %s', (_, state) => {
    const old = encoder();
    for (let save = 0; save < 4; save++) expectSame(old.encode(state, nothing), state);
    (open[0] as { text: string }).text += 'changed';
    expectSame(old.encode(state, nothing), state);
  });
});

test('a state that could not be copied to its end leaves nothing behind that a later one could miss', () => {
  const items = deepFreeze(itemsOf('item'));
  const old = encoder();
  const broken = {
    items,
    last: {
      get value() {
        throw new Error('not now');
      },
    },
  };
  for (let save = 0; save < 3; save++) expect(() => old.encode(broken, nothing)).toThrow('could not be read');
  expectSame(old.encode({ items, last: {} }, nothing), { items, last: {} });
});

test('a getter may save parts of the state that it belongs to', () => {
  const [frozen, open] = [deepFreeze(itemsOf('frozen')), itemsOf('open')];
  const old = encoder();
  const state = {
    frozen,
    open,
    middle: {
      get copy() {
        old.encode({ open, frozen, all: [frozen, open] }, everything);
        return frozen;
      },
    },
    map: new Map<string, unknown>([
      ['frozen', frozen],
      ['open', open],
    ]),
  };
  for (let save = 0; save < 5; save++) {
    expectSame(old.encode(state, nothing), { ...state, middle: { copy: frozen } });
    (open[save] as { text: string }).text = 'changed';
  }
});

import { describe, expect, expectTypeOf, test } from 'vitest';
import { deepFreeze } from '../../src/records/deep-freeze.js';

describe('deepFreeze', () => {
  test('freezes plain objects and arrays through and through, in place, and returns the same with its type', () => {
    const state = { list: [{ a: [1] }], part: Object.assign(Object.create(null), { inner: { b: 1 } }) };
    const frozen = deepFreeze(state);
    expect(frozen).toBe(state);
    expectTypeOf(frozen).toEqualTypeOf(state);
    expect(
      [frozen, frozen.list, frozen.list[0], frozen.list[0]?.a, frozen.part, frozen.part.inner].every(Object.isFrozen),
    ).toBe(true);
    expect(() => frozen.list.push({ a: [] })).toThrow(TypeError);
  });

  test('what has no parts is returned as it is', () => {
    for (const value of [1, 'text', null, undefined, 1n, Symbol.iterator, deepFreeze])
      expect(deepFreeze(value)).toBe(value);
    expect(Object.isFrozen(deepFreeze)).toBe(false);
  });

  test('looks into what is frozen already, where parts may not be', () => {
    const inner = { a: 1 };
    deepFreeze(Object.freeze({ outer: Object.freeze([inner]) }));
    expect(Object.isFrozen(inner)).toBe(true);
  });

  test('a state built from parts of a frozen one is frozen through, too', () => {
    const first = deepFreeze({ list: [{ a: 1 }] });
    const next = deepFreeze({ ...first, list: [...first.list, { a: 2 }], more: { b: [3] } });
    expect([next, next.list, next.list[1], next.more, next.more.b].every(Object.isFrozen)).toBe(true);
  });

  test('does not look again into what it froze itself', () => {
    const first = deepFreeze({ inner: {} });
    let asked = 0;
    const { getOwnPropertyDescriptor } = Object;
    Object.getOwnPropertyDescriptor = (...of) => {
      asked++;
      return getOwnPropertyDescriptor(...of);
    };
    try {
      deepFreeze([first, first]);
    } finally {
      Object.getOwnPropertyDescriptor = getOwnPropertyDescriptor;
    }
    expect(asked).toBe(3); // Two items and `length`.
  });

  test('a cycle comes to an end, and no depth fills the stack', () => {
    const cycle: Record<string, unknown> = { part: {} };
    cycle.self = [cycle];
    deepFreeze(cycle);
    expect(Object.isFrozen(cycle.part)).toBe(true);
    const bottom = {};
    let deep: unknown = bottom;
    for (let level = 0; level < 100_000; level++) deep = [deep];
    deepFreeze(deep);
    expect(Object.isFrozen(bottom)).toBe(true);
  });

  test('built-in objects, class instances and proxies are left as they are', async () => {
    const source = 'data:text/javascript,export const part = {};';
    const namespace: object = await import(source);
    class Money {
      cents = { of: 1 };
    }
    class Items extends Array<number> {}
    const left = {
      date: new Date(0),
      map: new Map([['a', { b: 1 }]]),
      bytes: new Uint8Array(3),
      money: new Money(),
      items: Items.of(1),
      proxy: new Proxy({}, { preventExtensions: () => false }),
      odd: Object.setPrototypeOf(new Uint8Array(3), Object.prototype),
      namespace,
    };
    const frozen = deepFreeze({ ...left });
    expect(Object.isFrozen(frozen)).toBe(true);
    expect(Object.values(left).some((value) => Object.isFrozen(value))).toBe(false);
    frozen.bytes[0] = 7;
    frozen.money.cents.of = 2;
    expect([frozen.bytes[0], frozen.money.cents.of]).toEqual([7, 2]);
  });

  test('no getter is called', () => {
    const value = {
      get secret(): never {
        throw new Error('called');
      },
    };
    expect(Object.isFrozen(deepFreeze(value))).toBe(true);
  });

  test('parts that are hidden from JSON are frozen as well', () => {
    const [hidden, bySymbol] = [{}, {}];
    deepFreeze(Object.defineProperty({ [Symbol.iterator]: bySymbol }, 'hidden', { value: hidden }));
    expect([Object.isFrozen(hidden), Object.isFrozen(bySymbol)]).toEqual([true, true]);
  });
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KeyIndex } from '../../src/storage/key-index.js';

const key = fc.string({ unit: fc.constantFrom('a', 'b', '/', '-', 'Z', '9'), minLength: 1, maxLength: 4 });

/** What a page must hold, by the plainest means. */
function expected(model: Map<string, number>, prefix: string, after: string | undefined, reverse: boolean): string[] {
  const keys = [...model.keys()].filter((it) => it.startsWith(prefix)).sort();
  const ordered = reverse ? keys.reverse() : keys;
  return ordered.filter((it) => after === undefined || (reverse ? it < after : it > after));
}

test('pages of an index agree with a sorted map, whatever was set and deleted', () => {
  const change = fc.record({ key, value: fc.option(fc.nat(), { nil: undefined }) });
  const page = fc.record({ prefix: fc.oneof(key, fc.constant('')), after: fc.option(key, { nil: undefined }) });
  const query = fc.tuple(page, fc.boolean(), fc.integer({ min: 1, max: 5 }));
  const run = fc.tuple(fc.array(change, { maxLength: 60 }), query);
  fc.assert(
    fc.property(run, ([changes, [{ prefix, after }, reverse, limit]]) => {
      const index = new KeyIndex<number>();
      const model = new Map<string, number>();
      for (const { key: changed, value } of changes) {
        if (value === undefined) expect(index.delete(changed)).toBe(model.delete(changed));
        else {
          index.set(changed, value);
          model.set(changed, value);
        }
      }
      expect(index.size).toBe(model.size);
      const wanted = expected(model, prefix, after, reverse);
      const { found, more } = index.page(prefix, limit, after, reverse);
      expect(found.map(([it]) => it)).toEqual(wanted.slice(0, limit));
      expect(found.map(([, value]) => value)).toEqual(wanted.slice(0, limit).map((it) => model.get(it)));
      expect(more).toBe(wanted.length > limit);
    }),
    { numRuns: 2_000 },
  );
});

test('thousands of keys in any order of insertion come out sorted and are found again', () => {
  for (const step of [1, 7_919, -1]) {
    const index = new KeyIndex<number>();
    const name = (n: number) => `k/${String(n).padStart(6, '0')}`;
    const order = Array.from({ length: 5_000 }, (_, n) => (((n * step) % 5_000) + 5_000) % 5_000);
    for (const n of order) index.set(name(n), n);
    expect([...index].map(([, n]) => n)).toEqual(Array.from({ length: 5_000 }, (_, n) => n));
    expect(order.every((n) => index.get(name(n)) === n)).toBe(true);
    for (const n of order) expect(index.delete(name(n))).toBe(true);
    expect(index.size).toBe(0);
    expect(index.get('k')).toBeUndefined();
    expect(index.delete('k')).toBe(false);
    expect(index.page('', 10)).toEqual({ found: [], more: false });
  }
});

import { expect } from 'vitest';
import type { ListPage, StorageAdapter } from '../../storage/adapter.js';
import { bytes, putAll, textAt } from './entries.js';
import type { ContractRule } from './rule.js';

/** How a store says that it cannot serve what is there. */
const UNREADABLE = { code: expect.stringMatching(/^HOLDFAST_(CORRUPTION|STORAGE)$/) };

/** From one byte to more than a page of any medium. */
const SIZES = [1, 100, 4_096, 200_000];

const keyOf = (sizeBytes: number) => `of-${sizeBytes}-bytes`;

/** One key per size, each between two others that are to be left alone. */
async function fill(store: StorageAdapter): Promise<readonly string[]> {
  for (const size of SIZES) {
    await putAll(store, [`before-${size}`]);
    await store.put(keyOf(size), new Uint8Array(size).fill(65));
    await putAll(store, [`behind-${size}`]);
  }
  return SIZES.flatMap((size) => [`before-${size}`, `behind-${size}`]);
}

/** Changed bytes are an error: never served, never taken for absent, never in the way of other keys. */
export const damageRules: readonly ContractRule[] = [
  {
    name: 'a damaged value is refused by get, and the values of other keys are as they were',
    needs: ['damage'],
    async run({ store, another, damage }) {
      const others = await fill(store);
      for (const size of SIZES) await damage(keyOf(size));
      for (const reader of [store, await another()]) {
        for (const size of SIZES) {
          await expect(reader.get(keyOf(size)), keyOf(size)).rejects.toMatchObject(UNREADABLE);
        }
        expect(await Promise.all(others.map((key) => textAt(reader, key)))).toEqual(others);
      }
    },
  },
  {
    name: 'a damaged key is not absent: list shows it, is suspect or refuses, and nothing creates it anew',
    needs: ['damage'],
    async run({ store, another, damage }) {
      await putAll(store, ['a', 'b', 'c']);
      await damage('b');
      for (const user of [store, await another()]) {
        const listed: ListPage | Error = await user.list('').catch((error) => error);
        if (listed instanceof Error) expect(listed).toMatchObject(UNREADABLE);
        else if (!listed.suspect) expect(listed.entries.map(({ key }) => key)).toEqual(['a', 'b', 'c']);
        await expect(user.put('b', bytes('anew'), { ifVersion: null })).rejects.toThrow();
        await expect(user.get('b')).rejects.toMatchObject(UNREADABLE);
      }
    },
  },
];

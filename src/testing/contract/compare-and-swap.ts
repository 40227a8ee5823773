import { expect } from 'vitest';
import { bytes, conflict, NEVER_A_VERSION, textAt } from './entries.js';
import type { ContractRule } from './rule.js';

/** Conditions of `put`. */
const putRules: readonly ContractRule[] = [
  {
    name: 'put with ifVersion null creates an absent key',
    async run({ store }) {
      const version = await store.put('key', bytes('created'), { ifVersion: null });
      expect((await store.get('key'))?.version).toBe(version);
    },
  },
  {
    name: 'put with ifVersion null over a present key conflicts and writes nothing',
    async run({ store }) {
      const version = await store.put('key', bytes('first'));
      const second = store.put('key', bytes('second'), { ifVersion: null });
      await expect(second).rejects.toMatchObject(conflict('key', version));
      expect(await textAt(store, 'key')).toBe('first');
      expect((await store.get('key'))?.version).toBe(version);
    },
  },
  {
    name: 'put with ifVersion null conflicts with an empty value too',
    async run({ store }) {
      const version = await store.put('key', new Uint8Array());
      await expect(store.put('key', bytes('2'), { ifVersion: null })).rejects.toMatchObject(conflict('key', version));
    },
  },
  {
    name: 'put with ifVersion null creates again after a delete',
    async run({ store }) {
      await store.put('key', bytes('first'));
      await store.delete('key');
      await store.put('key', bytes('second'), { ifVersion: null });
      expect(await textAt(store, 'key')).toBe('second');
    },
  },
  {
    name: 'put with the current version replaces',
    async run({ store }) {
      const first = await store.put('key', bytes('first'));
      const second = await store.put('key', bytes('second'), { ifVersion: first });
      await store.put('key', bytes('third'), { ifVersion: second });
      expect(await textAt(store, 'key')).toBe('third');
    },
  },
  {
    name: 'put with an old version conflicts and writes nothing',
    async run({ store }) {
      const old = await store.put('key', bytes('old'));
      const current = await store.put('key', bytes('current'));
      await expect(store.put('key', bytes('late'), { ifVersion: old })).rejects.toMatchObject(conflict('key', current));
      expect(await textAt(store, 'key')).toBe('current');
      expect((await store.get('key'))?.version).toBe(current);
    },
  },
  {
    name: 'put with the version of another key conflicts',
    async run({ store }) {
      const other = await store.put('other', bytes('other'));
      const current = await store.put('key', bytes('current'));
      await expect(store.put('key', bytes('late'), { ifVersion: other })).rejects.toMatchObject(
        conflict('key', current),
      );
    },
  },
  {
    name: 'put with a version on an absent key conflicts and creates nothing',
    async run({ store }) {
      const version = await store.put('key', bytes('first'));
      await store.delete('key');
      const late = store.put('key', bytes('late'), { ifVersion: version });
      await expect(late).rejects.toMatchObject(conflict('key', undefined));
      expect(await store.get('key')).toBeUndefined();
    },
  },
  {
    name: 'put with a version that never was conflicts',
    async run({ store }) {
      const current = await store.put('key', bytes('current'));
      const late = store.put('key', bytes('late'), { ifVersion: NEVER_A_VERSION });
      await expect(late).rejects.toMatchObject(conflict('key', current));
      const absent = store.put('absent', bytes('late'), { ifVersion: NEVER_A_VERSION });
      await expect(absent).rejects.toMatchObject(conflict('absent', undefined));
      expect(await textAt(store, 'key')).toBe('current');
    },
  },
  {
    name: 'a version is compared as a whole string, not as a number or a beginning',
    async run({ store }) {
      const current = await store.put('key', bytes('current'));
      for (const similar of [`0${current}`, `${current}0`, ` ${current}`, `${current} `, `${current}.0`]) {
        const late = store.put('key', bytes('late'), { ifVersion: similar });
        await expect(late, similar).rejects.toMatchObject(conflict('key', current));
      }
    },
  },
  {
    name: 'the version a conflict carries serves for the next attempt',
    async run({ store }) {
      await store.put('key', bytes('first'));
      const refused = await store.put('key', bytes('second'), { ifVersion: null }).catch((error) => error);
      expect(refused.currentVersion).toBeTypeOf('string'); // Else the next write would be unconditional.
      await store.put('key', bytes('third'), { ifVersion: refused.currentVersion });
      expect(await textAt(store, 'key')).toBe('third');
    },
  },
];

/** Conditions of `delete`. */
const deleteRules: readonly ContractRule[] = [
  {
    name: 'delete removes the key and says whether it was there',
    async run({ store }) {
      await store.put('key', bytes('value'));
      expect(await store.delete('key')).toBe(true);
      expect(await store.get('key')).toBeUndefined();
      expect(await store.delete('key')).toBe(false);
    },
  },
  {
    name: 'delete of a key that never was is false',
    async run({ store }) {
      expect(await store.delete('never')).toBe(false);
    },
  },
  {
    name: 'delete removes that key and no other',
    async run({ store }) {
      await store.put('key', bytes('1'));
      await store.put('key/below', bytes('2'));
      await store.delete('key');
      expect(await textAt(store, 'key/below')).toBe('2');
    },
  },
  {
    name: 'delete with the current version removes',
    async run({ store }) {
      const version = await store.put('key', bytes('value'));
      expect(await store.delete('key', { ifVersion: version })).toBe(true);
      expect(await store.get('key')).toBeUndefined();
    },
  },
  {
    name: 'delete with an old version conflicts and removes nothing',
    async run({ store }) {
      const old = await store.put('key', bytes('old'));
      const current = await store.put('key', bytes('current'));
      await expect(store.delete('key', { ifVersion: old })).rejects.toMatchObject(conflict('key', current));
      expect((await store.get('key'))?.version).toBe(current);
    },
  },
  {
    name: 'delete with a version that never was conflicts and removes nothing',
    async run({ store }) {
      const current = await store.put('key', bytes('value'));
      const refused = store.delete('key', { ifVersion: NEVER_A_VERSION });
      await expect(refused).rejects.toMatchObject(conflict('key', current));
      expect(await textAt(store, 'key')).toBe('value');
    },
  },
  {
    name: 'delete with a version of an absent key conflicts',
    async run({ store }) {
      const version = await store.put('key', bytes('value'));
      await store.delete('key');
      await expect(store.delete('key', { ifVersion: version })).rejects.toMatchObject(conflict('key', undefined));
    },
  },
];

/** A conditional write happens exactly when its condition holds, and says what it met when it does not. */
export const compareAndSwapRules: readonly ContractRule[] = [...putRules, ...deleteRules];

import { expect } from 'vitest';
import { bytes, keysOf, putAll, textAt } from './entries.js';
import type { ContractRule } from './rule.js';

/** All that a key may hold, in byte order. */
const ALPHABET = '-./0123456789=ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz';

/** Keys that a file system, a URL or a pattern would read as something else. In byte order. */
const DECEPTIVE = [
  '-',
  '--flag',
  '.',
  '..',
  '../up',
  './here',
  '/',
  '//',
  '/etc/passwd',
  '__proto__',
  'a//b',
  'a/b/',
  'constructor',
];

/** A key is its characters: every allowed one, none mistaken for another, none with a meaning. */
export const keyRules: readonly ContractRule[] = [
  {
    name: 'every allowed character is kept, alone and together',
    async run({ store }) {
      const keys = [...ALPHABET, ALPHABET];
      await putAll(store, keys);
      expect(await Promise.all(keys.map((key) => textAt(store, key)))).toEqual(keys);
    },
  },
  {
    name: 'keys of 512 characters are kept, also when only the last one differs',
    async run({ store }) {
      const [one, other] = [`${'k'.repeat(511)}1`, `${'k'.repeat(511)}2`];
      await store.put(one, bytes('one'));
      await store.put(other, bytes('other'));
      expect(await textAt(store, one)).toBe('one');
      expect(await textAt(store, other)).toBe('other');
      expect(await keysOf(store, 'k')).toEqual([one, other]);
    },
  },
  {
    name: 'keys that differ in case only are different keys',
    async run({ store }) {
      await putAll(store, ['KEY', 'Key', 'key']);
      expect(await textAt(store, 'Key')).toBe('Key');
      expect(await store.get('kEY')).toBeUndefined();
      expect(await keysOf(store, 'K')).toEqual(['KEY', 'Key']);
    },
  },
  {
    name: 'keys that differ in one of `- . / = _` only are different keys',
    async run({ store }) {
      const keys = ['a-b', 'a.b', 'a/b', 'a=b', 'a_b'];
      await putAll(store, keys);
      expect(await Promise.all(keys.map((key) => textAt(store, key)))).toEqual(keys);
    },
  },
  {
    name: 'keys that look like paths, flags or properties are only keys',
    async run({ store }) {
      await putAll(store, DECEPTIVE);
      expect(await Promise.all(DECEPTIVE.map((key) => textAt(store, key)))).toEqual(DECEPTIVE);
      expect(await keysOf(store, '')).toEqual(DECEPTIVE);
    },
  },
  {
    name: 'properties that every object has are absent keys',
    async run({ store }) {
      const inherited = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'];
      expect(await Promise.all(inherited.map((key) => store.get(key)))).toEqual(inherited.map(() => undefined));
      expect(await Promise.all(inherited.map((key) => store.delete(key)))).toEqual(inherited.map(() => false));
    },
  },
  {
    name: 'a key is found neither by its beginning nor by a longer key',
    async run({ store }) {
      await store.put('runs/7', bytes('seven'));
      expect(await store.get('runs')).toBeUndefined();
      expect(await store.get('runs/')).toBeUndefined();
      expect(await store.get('runs/77')).toBeUndefined();
    },
  },
];

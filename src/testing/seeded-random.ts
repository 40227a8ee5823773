import { sha256Hex } from '../base/digest.js';
import { InvalidInputError } from '../base/errors.js';

/** Numbers that look random and are the same for the same seed, for ever. Call it in place of `Math.random`. */
export interface SeededRandom {
  /** The next number, at least 0 and less than 1, in steps of 2^-32. */
  (): number;
  /**
   * A whole number from 0 up to, but not, `below`.
   * @throws InvalidInputError unless `below` is a whole number from 1 to 2^32.
   */
  integer(below: number): number;
  /**
   * One of the list, each as likely as the other.
   * @throws InvalidInputError if the list is empty.
   */
  pick<Item>(list: readonly Item[]): Item;
  /** True with this probability: never at 0, always at 1. Draws one number either way. */
  chance(probability: number): boolean;
}

const TWO_TO_32 = 2 ** 32;

/**
 * A generator for tests that can be run again: print the seed when a test fails. `7` and `'7'` are the same seed, so one
 * that comes from an environment variable will do. Not for secrets.
 *
 * Source: sfc32, Chris Doty-Humphrey, PractRand (public domain); its state is the first 96 bits of the seed's SHA-256.
 */
export function seededRandom(seed: number | string): SeededRandom {
  const next = sfc32(String(seed));
  const random = () => next() / TWO_TO_32;
  const integer = (below: number): number => {
    if (Number.isInteger(below) && below >= 1 && below <= TWO_TO_32) return Math.floor(random() * below);
    throw new InvalidInputError(`below: ${below} is not a whole number from 1 to 2^32.`, 'below');
  };
  return Object.assign(random, {
    integer,
    pick<Item>(list: readonly Item[]): Item {
      if (list.length === 0) throw new InvalidInputError('list: nothing can be picked from an empty list.', 'list');
      return list[integer(list.length)] as Item;
    },
    chance: (probability: number) => random() < probability,
  });
}

/** 32-bit whole numbers. */
function sfc32(seed: string): () => number {
  const digest = sha256Hex(Buffer.from(seed, 'utf8'));
  const word = (at: number) => Number.parseInt(digest.slice(at * 8, at * 8 + 8), 16) | 0;
  let [a, b, c, counter] = [word(0), word(1), word(2), 1];
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let round = 0; round < 12; round++) next(); // As PractRand does, so that the state is mixed before its first use.
  return next;
}

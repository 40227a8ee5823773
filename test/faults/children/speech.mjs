import { createInterface } from 'node:readline';

/** Tell the parent. A pipe is written at once: what was said before a kill has been said. */
export function say(...words) {
  process.stdout.write(`${words.join(' ')}\n`);
}

/** What the parent says, line by line; keeps the process alive until the parent is done. */
export function heard() {
  return createInterface({ input: process.stdin })[Symbol.asyncIterator]();
}

/** A small generator that gives the same numbers for the same seed. */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Text of that many characters that no compression and no luck would repeat. */
export function textOf(random, length) {
  const pieces = Array.from({ length: Math.ceil(length / 6) }, () => random().toString(36).slice(2, 8).padEnd(6, '.'));
  return pieces.join('').slice(0, length);
}

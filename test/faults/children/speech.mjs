import { createInterface } from 'node:readline';

const unheard = [];
let wake = () => {};

// A parent that was itself killed can end nobody: its end of the pipe goes with it. Nobody is kept alive by listening.
createInterface({ input: process.stdin })
  .on('line', (line) => {
    unheard.push(line);
    wake();
  })
  .on('close', () => process.exit());
process.stdin.unref();

/** Tell the parent. A pipe is written at once: what was said before a kill has been said. */
export function say(...words) {
  process.stdout.write(`${words.join(' ')}\n`);
}

/** What the parent says, line by line; keeps the process alive. */
export async function* heard() {
  process.stdin.ref();
  for (;;) {
    while (unheard.length > 0) yield unheard.shift();
    await new Promise((resolve) => {
      wake = resolve;
    });
  }
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

const FIRST_MS = 5;
const LONGEST_MS = 500;

/** Wait before try number `tries + 1`: between half of a ceiling and the ceiling, which doubles from 5 ms up to 500 ms. */
export function backOffMs(tries: number, random: () => number = Math.random): number {
  const ceilingMs = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(tries - 1, 16));
  return (ceilingMs * (1 + random())) / 2;
}

import type { VirtualClock } from '../../src/testing/virtual-clock.js';

const STEP_MS = 500;
/** Seventeen minutes: longer than any wait that a test has in mind. */
const MAX_STEPS = 2_000;

/** The outcome of `work`, letting as much time pass as it needs. */
export async function settledOn<Result>(clock: VirtualClock, work: Promise<Result>): Promise<Result> {
  let isSettled = false;
  const note = () => {
    isSettled = true;
  };
  work.then(note, note);
  await clock.advance(0);
  for (let steps = 0; steps < MAX_STEPS && !isSettled; steps++) await clock.advance(STEP_MS);
  if (!isSettled) throw new Error('It does not settle.');
  return work;
}

/** Middle value. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/**
 * Runs the cases in turn, `rounds` times over, so that a slow moment of the machine falls on all of them; medians of
 * what each returns. The first round is thrown away.
 */
export async function interleave(cases, rounds = 5) {
  const results = Object.fromEntries(Object.keys(cases).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, run] of Object.entries(cases)) {
      const value = await run();
      if (round > 0) results[name].push(value);
    }
  }
  return Object.fromEntries(Object.entries(results).map(([name, values]) => [name, median(values)]));
}

/** Acts per second with `callers` of them at once, for about `forMs`. `act(caller, n)` is one act. */
export async function throughput(callers, act, forMs = 400) {
  const start = performance.now();
  let done = 0;
  await Promise.all(
    Array.from({ length: callers }, async (_, caller) => {
      for (let n = 0; performance.now() - start < forMs; n++, done++) await act(caller, n);
    }),
  );
  return done / ((performance.now() - start) / 1000);
}

/** Milliseconds one call takes. */
export async function milliseconds(act) {
  const start = performance.now();
  await act();
  return performance.now() - start;
}

/**
 * Compares what one turn of each loop costs. `loop(turns)` awaits so many; all are warmed up first and then measured in
 * turn, about `sliceMs` each, `rounds` times over. Answers with `(one, other) => how many times as much`: the median of
 * the ratios within each round, because only those hold on a machine that others use.
 */
export async function compareLoops(loops, { rounds = 101, sliceMs = 4 } = {}) {
  const names = Object.keys(loops);
  for (const name of names) await turnsWithin(40 * sliceMs, loops[name]);
  const turns = {};
  for (const name of names) turns[name] = await turnsWithin(sliceMs, loops[name]);
  const costs = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (let at = 0; at < names.length; at++) {
      const name = names[(at + round) % names.length]; // Whoever leaves garbage behind leaves it to another each time.
      await nextTurnOfEventLoop(); // Timers that are due run now and not inside the measurement.
      costs[name].push((await milliseconds(() => loops[name](turns[name]))) / turns[name]);
    }
  }
  return (one, other) => median(costs[one].map((cost, round) => cost / costs[other][round]));
}

/** How many turns of the loop take about `ms` milliseconds. */
async function turnsWithin(ms, loop) {
  for (let turns = 100; ; turns *= 2) {
    await nextTurnOfEventLoop();
    const took = await milliseconds(() => loop(turns));
    if (took > ms / 2) return Math.ceil((turns * ms) / took);
  }
}

const nextTurnOfEventLoop = () => new Promise((resolve) => setImmediate(resolve));

export const times = (ratio) => `${ratio.toFixed(ratio < 10 ? 1 : 0)} x`;
export const ms = (value) => `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`;
export const microseconds = (value) => `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} us`;
export const perSecond = (value) => `${Math.round(value).toLocaleString('en')} /s`;
export const megabytes = (bytes) => `${(bytes / 1024 / 1024).toFixed(1)} MB`;

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

export const times = (ratio) => `${ratio.toFixed(ratio < 10 ? 1 : 0)} x`;
export const ms = (value) => `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`;
export const perSecond = (value) => `${Math.round(value).toLocaleString('en')} /s`;
export const megabytes = (bytes) => `${(bytes / 1024 / 1024).toFixed(1)} MB`;

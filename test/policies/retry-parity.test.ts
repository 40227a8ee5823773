import fc from 'fast-check';
import pRetry from 'p-retry';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { retry } from '../../src/policies/retry.js';
import { RetryError } from '../../src/policies/retry-error.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

// Where p-retry is right it is the oracle: how often a call is made, with which numbers, what comes of it, and how long
// is waited when nothing is left to chance. Where it is wrong: retry-defects.test.ts.

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});

afterEach(() => {
  vi.useRealTimers();
});

class Failure extends Error {
  /** What p-retry's `shouldRetry` and our `classify` say to it. */
  constructor(readonly isWorthIt: boolean) {
    super('failed as planned');
  }
}

/** How one attempt goes, at once or later, and what comes of it. */
type Outcome = { readonly isLater: boolean } & ({ readonly value: unknown } | { readonly error: Failure });

const outcome: fc.Arbitrary<Outcome> = fc.oneof(
  {
    weight: 1,
    arbitrary: fc.record({ isLater: fc.boolean(), value: fc.oneof(fc.jsonValue(), fc.constant(undefined)) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      isLater: fc.boolean(),
      error: fc.integer({ min: 1, max: 10 }).map((n) => new Failure(n > 1)),
    }),
  },
);

/** Enough for every `maxRetries` there is. */
const script = fc.array(outcome, { minLength: 7, maxLength: 7 });
const maxRetries = fc.integer({ min: 0, max: 6 });

/** All of them worth a retry. */
const failures = fc.array(
  fc.record({ isLater: fc.boolean(), error: fc.constant(true).map((isWorthIt) => new Failure(isWorthIt)) }),
  { minLength: 7, maxLength: 7 },
);

/** What can be seen of a run. */
interface Account {
  /** The number that each attempt was given, and when it began. */
  readonly attempts: { readonly attempt: number; readonly atMs: number }[];
  readonly end: { readonly value: unknown } | { readonly error: unknown };
}

type Act = (attempt: number) => unknown;

/** Makes a run of a call that follows the script, moves the time until all is over, and tells what could be seen. */
async function watch(
  outcomes: readonly Outcome[],
  run: (act: Act) => Promise<unknown>,
  time: { readonly nowMs: () => number; readonly pass: () => Promise<unknown> },
): Promise<Account> {
  const attempts: Account['attempts'] = [];
  const act: Act = (attempt) => {
    attempts.push({ attempt, atMs: time.nowMs() });
    const planned = outcomes[attempts.length - 1] as Outcome;
    if ('value' in planned) return planned.isLater ? Promise.resolve(planned.value) : planned.value;
    if (planned.isLater) return Promise.reject(planned.error);
    throw planned.error;
  };
  const end = run(act).then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  await time.pass();
  return { attempts, end: await end };
}

/** Waits of `baseMs` times `factor` to the power of the retries made, never more than `maxMs`. */
interface Waits {
  readonly baseMs: number;
  readonly factor: number;
  readonly maxMs: number;
}

/** Longer than any run takes. */
const LONG_MS = 10_000_000;

function watchPRetry(outcomes: readonly Outcome[], retries: number, { baseMs, factor, maxMs }: Waits) {
  const startedMs = performance.now();
  const options = {
    retries,
    factor,
    minTimeout: baseMs,
    maxTimeout: maxMs,
    maxRetryTime: Number.POSITIVE_INFINITY,
    randomize: false,
    onFailedAttempt: () => {},
    shouldRetry: ({ error }: { error: Error }) => (error as Failure).isWorthIt,
    shouldConsumeRetry: () => true,
  };
  return watch(outcomes, (act) => pRetry(act, options), {
    nowMs: () => performance.now() - startedMs,
    pass: () => vi.advanceTimersByTimeAsync(LONG_MS),
  });
}

function watchOurs(outcomes: readonly Outcome[], retries: number, waits: Waits | 'none') {
  const clock = new VirtualClock();
  const policy = retry({
    clock,
    maxRetries: retries,
    backoff: waits === 'none' ? () => 0 : { kind: 'exponential', ...waits, jitter: 'none' },
    classify: ({ error }) => ((error as Failure).isWorthIt ? 'retry' : 'fail'),
  });
  return watch(outcomes, (act) => policy.run(({ attempt }) => act(attempt)), {
    nowMs: () => clock.monotonicMs(),
    pass: () => clock.advance(LONG_MS),
  });
}

/** With the last error itself in place of the one that says why no more was tried. */
function unwrapped({ attempts, end }: Account): Account {
  return { attempts, end: 'error' in end && end.error instanceof RetryError ? { error: end.error.cause } : end };
}

test('without waits the same calls are made, with the same numbers, and end in the same value or last error', async () => {
  const noWaits = { baseMs: 0, factor: 1, maxMs: 0 };
  await fc.assert(
    fc.asyncProperty(script, maxRetries, async (outcomes, retries) => {
      const theirs = await watchPRetry(outcomes, retries, noWaits);
      const ours = unwrapped(await watchOurs(outcomes, retries, 'none'));
      expect(ours).toStrictEqual(theirs);
      expect(Object.values(ours.end)[0]).toBe(Object.values(theirs.end)[0]); // The very error, not one like it.
    }),
    { numRuns: 300 },
  );
});

test('with growing, capped waits the same calls are made at the same moments', async () => {
  const waits = fc.record({
    baseMs: fc.integer({ min: 1, max: 1_000 }),
    factor: fc.integer({ min: 1, max: 4 }),
    maxMs: fc.integer({ min: 1, max: 5_000 }),
  });
  await fc.assert(
    fc.asyncProperty(script, maxRetries, waits, async (outcomes, retries, chosen) => {
      const theirs = await watchPRetry(outcomes, retries, chosen);
      expect(unwrapped(await watchOurs(outcomes, retries, chosen))).toStrictEqual(theirs);
    }),
    { numRuns: 100 },
  );
});

test('a run that used up its retries lists the failure of every attempt and has the last as its cause', async () => {
  const retries = fc.integer({ min: 1, max: 6 });
  await fc.assert(
    fc.asyncProperty(failures, retries, async (outcomes, count) => {
      const { end } = await watchOurs(outcomes, count, 'none');
      const attempts = outcomes.slice(0, count + 1).map(({ error }, index) => ({ attempt: index + 1, error }));
      expect(end).toEqual({ error: expect.any(RetryError) });
      expect(end).toMatchObject({ error: { reason: 'exhausted', attempts, cause: attempts.at(-1)?.error } });
    }),
  );
});

test('a run that may not retry ends in the error itself', async () => {
  await fc.assert(
    fc.asyncProperty(failures, async (outcomes) => {
      expect((await watchOurs(outcomes, 0, 'none')).end).toEqual({ error: outcomes[0]?.error });
    }),
  );
});

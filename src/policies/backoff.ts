import * as z from 'zod';
import { InvalidInputError } from '../base/errors.js';
import type { AttemptFailure } from './attempt.js';

/**
 * How waits are spread, so that clients that failed together do not come back together. Waits are capped first and
 * drawn then: clients stay spread out at the cap, too. Each is drawn evenly, `capped` being what the curve says:
 *
 * - `decorrelated`: from `baseMs` to three times the wait before. It grows by itself, so `kind` and `factor` have no say.
 * - `full`: from 0 to capped. Fewest calls at once, but some come back immediately.
 * - `equal`: from half of capped to capped.
 * - `proportional`: from half of capped to one and a half of it, which is never more than `maxMs`.
 * - `none`: capped. Only where nobody else waits for the same thing.
 * - a function: what it returns, brought into the range from 0 to `maxMs`. `previousMs` is 0 before the first retry.
 *
 * Sources: "Exponential Backoff and Jitter", AWS Architecture Blog, 2015, for the first three (it caps the decorrelated
 * wait after the draw, which lets clients meet at the cap); the randomization factor 0.5 of Google's HTTP client for
 * Java, `ExponentialBackOff`, for `proportional`.
 */
export type Jitter =
  | 'decorrelated'
  | 'full'
  | 'equal'
  | 'proportional'
  | 'none'
  | ((cappedMs: number, previousMs: number, random: () => number) => number);

type NamedJitter = Extract<Jitter, string>;

/**
 * How long to wait before each retry, in milliseconds. A function decides alone and its answer is taken exactly:
 * no cap, no jitter.
 */
export type Backoff =
  | {
      /** The wait is multiplied each time. */
      readonly kind: 'exponential';
      /** The first wait. Default 100. Raise it to about the time the dependency needs to recover from a hiccup. */
      readonly baseMs?: number;
      /** What each wait is multiplied with, at least 1. Default 2. It has no say with jitter `decorrelated`. */
      readonly factor?: number;
      /** The longest wait. Default 30,000. Lower it where somebody sits and waits for the answer. */
      readonly maxMs?: number;
      /** Default `decorrelated`. Take another where tests or people must foresee the waits. */
      readonly jitter?: Jitter;
    }
  | {
      /** The waits are 1, 1, 1, … times the base, or 1, 2, 3, 4, … times, or 1, 1, 2, 3, 5, … times. */
      readonly kind: 'constant' | 'linear' | 'fibonacci';
      /** The first wait. */
      readonly baseMs: number;
      /** The longest wait. Default 30,000. A base above it is cut to it, too. */
      readonly maxMs?: number;
      /** Default `proportional`, which keeps to the curve on the average. */
      readonly jitter?: Jitter;
    }
  | {
      /** The waits are written down. */
      readonly kind: 'list';
      /** The waits in turn, at least one; after the last one, the last one again. The longest is the cap. */
      readonly delaysMs: readonly number[];
      /** Default `none`: a list is meant as it is written. It has no base for `decorrelated` to start from. */
      readonly jitter?: Exclude<Jitter, 'decorrelated'>;
    }
  | ((failure: AttemptFailure) => number);

/**
 * Milliseconds to wait before retry number `retry`; 1 is the first. `previousMs` is what was waited before the retry
 * before it, 0 at first.
 */
export type WaitMs = (retry: number, previousMs: number, failure: AttemptFailure) => number;

/** A backoff as options carry it. Messages name the property, its bound and what was given. */
export const backoffSchema: z.ZodType<Backoff> = z.unknown().transform((given, context) => {
  if (typeof given === 'function') return given as Backoff;
  const parsed = curveSchema.safeParse(given);
  if (parsed.success) return parsed.data as Backoff;
  // A union of function and object would report "Invalid input" in place of what is wrong with the object.
  for (const { path, message } of parsed.error.issues) context.addIssue({ code: 'custom', path, message });
  return z.NEVER;
});

/**
 * What to wait, by `backoff`; `random` is drawn from at most once a wait. The backoff has passed `backoffSchema`.
 *
 * The result is never negative, never NaN and never above the cap, however many retries there are. It throws
 * `InvalidInputError` if a function of the host's returns what is no wait.
 */
export function compileBackoff(backoff: Backoff, random: () => number): WaitMs {
  if (typeof backoff === 'function') return (_retry, _previousMs, failure) => exactWaitMs(backoff(failure));
  const curve = curveOf(backoff);
  const { jitter, maxMs } = curve;
  const cappedMs = (retry: number) => Math.min(maxMs, curve.uncappedMs(retry));
  if (typeof jitter === 'function')
    return (retry, previousMs) => clampedMs(jitter(cappedMs(retry), previousMs, random), maxMs);
  if (jitter === 'none') return cappedMs;
  const range = ranges[jitter];
  return (retry, previousMs) => {
    const [fromMs, toMs] = range(curve, cappedMs(retry), previousMs);
    return fromMs + random() * (toMs - fromMs);
  };
}

/** True if clients that fail together are spread out. Not with jitter `none`, a list by default, a host's function. */
export function isJittered(backoff: Backoff): boolean {
  return typeof backoff !== 'function' && curveOf(backoff).jitter !== 'none';
}

/** A backoff with its defaults filled in. */
interface Curve {
  readonly baseMs: number;
  readonly maxMs: number;
  readonly jitter: Jitter;
  /** Never NaN; Infinity where the numbers end. */
  readonly uncappedMs: (retry: number) => number;
}

const DEFAULT_BASE_MS = 100;
const DEFAULT_FACTOR = 2;
const DEFAULT_MAX_MS = 30_000;

function curveOf(backoff: Exclude<Backoff, (failure: AttemptFailure) => number>): Curve {
  if (backoff.kind === 'list') {
    const { delaysMs, jitter = 'none' } = backoff;
    const uncappedMs = (retry: number) => delaysMs[Math.min(retry, delaysMs.length) - 1] as number;
    return { baseMs: 0, maxMs: delaysMs.reduce((longest, delayMs) => Math.max(longest, delayMs)), jitter, uncappedMs };
  }
  const { baseMs = DEFAULT_BASE_MS, maxMs = DEFAULT_MAX_MS } = backoff;
  const { jitter = backoff.kind === 'exponential' ? 'decorrelated' : 'proportional' } = backoff;
  const growth = growthOf(backoff);
  const uncappedMs = (retry: number) => (baseMs === 0 ? 0 : baseMs * growth(retry)); // 0 * Infinity is NaN.
  return { baseMs, maxMs, jitter, uncappedMs };
}

/** How many times the base is waited. */
function growthOf(backoff: { readonly kind: string; readonly factor?: number }): (retry: number) => number {
  const { kind, factor = DEFAULT_FACTOR } = backoff;
  if (kind === 'exponential') return (retry) => factor ** (retry - 1);
  if (kind === 'fibonacci') return fibonacci;
  return kind === 'linear' ? (retry) => retry : () => 1;
}

/** 1, 1, 2, 3, 5, … and Infinity from the 1,477th on. */
function fibonacci(nth: number): number {
  let [current, next] = [1, 1];
  for (let at = 1; at < nth && Number.isFinite(current); at++) [current, next] = [next, current + next];
  return current;
}

/** What a wait is drawn from: the shortest and the longest. */
type Range = readonly [fromMs: number, toMs: number];

const ranges: Readonly<
  Record<Exclude<NamedJitter, 'none'>, (curve: Curve, cappedMs: number, previousMs: number) => Range>
> = {
  decorrelated: ({ baseMs, maxMs }, _cappedMs, previousMs) => [
    Math.min(maxMs, baseMs),
    Math.min(maxMs, 3 * Math.max(baseMs, previousMs)), // A wait that the other side named may be shorter than the base.
  ],
  full: (_curve, cappedMs) => [0, cappedMs],
  equal: (_curve, cappedMs) => [cappedMs / 2, cappedMs],
  proportional: ({ maxMs }, cappedMs) => [cappedMs / 2, Math.min(maxMs, 1.5 * cappedMs)],
};

function exactWaitMs(waitMs: unknown): number {
  if (typeof waitMs === 'number' && waitMs >= 0 && waitMs < Number.POSITIVE_INFINITY) return waitMs;
  const message = `backoff: the function must return a finite number of milliseconds >= 0, not ${shown(waitMs)}.`;
  throw new InvalidInputError(message, 'backoff');
}

function clampedMs(waitMs: unknown, maxMs: number): number {
  if (typeof waitMs === 'number' && !Number.isNaN(waitMs)) return Math.max(0, Math.min(maxMs, waitMs));
  const message = `backoff.jitter: the function must return a number of milliseconds, not ${shown(waitMs)}.`;
  throw new InvalidInputError(message, 'backoff.jitter');
}

const waitSchema = z.number(bound('a finite number >= 0')).min(0, bound('a finite number >= 0'));
const factorSchema = z.number(bound('a finite number >= 1')).min(1, bound('a finite number >= 1'));
const listJitters: readonly NamedJitter[] = ['full', 'equal', 'proportional', 'none'];
const kinds = 'exponential, constant, linear, fibonacci, list';
const shared = { maxMs: waitSchema.optional(), jitter: jitterSchema(['decorrelated', ...listJitters]) };

const curveSchema = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({
      kind: z.literal('exponential'),
      baseMs: waitSchema.optional(),
      factor: factorSchema.optional(),
      ...shared,
    }),
    z.strictObject({ kind: z.enum(['constant', 'linear', 'fibonacci']), baseMs: waitSchema, ...shared }),
    z.strictObject({
      kind: z.literal('list'),
      delaysMs: z.array(waitSchema, bound('an array of waits')).min(1, 'must have at least one wait'),
      jitter: jitterSchema(listJitters),
    }),
  ],
  {
    error: ({ code, input }) =>
      code === 'invalid_union'
        ? `must be one of ${kinds}, not ${shown((input as { kind?: unknown }).kind)}`
        : `must be a function or an object of kind ${kinds}, not ${shown(input)}`,
  },
);

function jitterSchema(names: readonly NamedJitter[]) {
  const isJitter = (given: unknown) => typeof given === 'function' || names.includes(given as NamedJitter);
  return z.custom<Jitter>(isJitter, bound(`a function or one of ${names.join(', ')}`)).optional();
}

/** The message when `expected` is not what was given. */
function bound(expected: string) {
  return { error: ({ input }: { readonly input?: unknown }) => `must be ${expected}, not ${shown(input)}` };
}

/** Short, whatever it is; what it is made of is not asked. */
function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40));
  if (typeof value === 'number' || value === undefined || value === null) return String(value);
  return `a value of type ${typeof value}`;
}

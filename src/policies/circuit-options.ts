import * as z from 'zod';
import { type Clock, systemClock } from '../base/clock.js';
import type { Sink } from '../base/emit.js';
import { InvalidInputError } from '../base/errors.js';
import { clockOption, functionOption, parseOptions } from '../base/options.js';
import { type Backoff, backoffSchema, compileBackoff, type WaitMs } from './backoff.js';
import type { CircuitEvent } from './circuit-event.js';

/** When a circuit opens. Rules are looked at when a call fails or is slow, never when all is well. */
export type TripRule =
  | {
      readonly kind: 'consecutive';
      /** Failures in a row. Quick to see an outage, blind to one that lets every fifth call through. */
      readonly failures: number;
    }
  | ({
      readonly kind: 'count';
      /** Looks at this many last calls, at most 1,000,000. For calls that are rare: it has no notion of time. */
      readonly size: number;
    } & RatioLimits)
  | ({
      readonly kind: 'time';
      /** Looks at the calls of this many last milliseconds, in ten steps. */
      readonly windowMs: number;
    } & RatioLimits)
  | {
      readonly kind: 'custom';
      /** Makes the window of one circuit, at its first call. */
      readonly create: () => CustomWindow;
    };

/** What share of calls may go wrong. */
export interface RatioLimits {
  /** Calls before there is a verdict. Default: 20, or `size` if that is less. Fewer open at chance hits. */
  readonly minCalls?: number;
  /** Opens at this share of failures, above 0 and at most 1. Default 0.5. */
  readonly failureRatio?: number;
  /** Opens at this share of slow calls, above 0 and at most 1; needs `slowCallMs`. Default: slow calls do not open. */
  readonly slowRatio?: number;
}

/** A trip rule of the host's own. One that throws is reported as a process warning and does not open. */
export interface CustomWindow {
  /** Takes note of a call that ended. True: open now. */
  record(call: RecordedCall): boolean;
  /** Forget: the circuit closed, and what was before no longer counts. */
  reset(): void;
}

/** A call as trip rules see it. Ignored calls are not seen. */
export interface RecordedCall {
  readonly isFailure: boolean;
  readonly isSlow: boolean;
  /** What was thrown, or what was returned and counts as a failure. */
  readonly failure?: unknown;
}

/** How a call ended. */
export type CircuitOutcome = { readonly value: unknown } | { readonly error: unknown };

/** What an outcome says about the dependency. `ignore` is nothing: it does not close a circuit either. */
export type CircuitVerdict = 'success' | 'failure' | 'ignore';

/** How a circuit breaker behaves, whatever its name. */
export interface CircuitSettingsOptions {
  /** Any of them opens. Default: 5 failures in a row, or half of at least 20 calls in 10 s failed (or were slow). */
  readonly trip?: TripRule | readonly TripRule[];
  /**
   * How long it stays open before a call is let through to try. A number is that many milliseconds each time. A
   * `Backoff` (of any kind but a function) grows with the openings in a row, which are forgotten when the circuit has
   * been closed for as long as it was open. Default: exponential from 5 s to 60 s, decorrelated. Either is lengthened by
   * the `Retry-After` of the failure that opens, up to 10 minutes.
   */
  readonly openMs?: number | Backoff;
  readonly halfOpen?: {
    /** Calls let through at the same time. Default 1. More find out faster, at the price of a recovering dependency. */
    readonly permits?: number;
    /** Successful ones that close it. Default 1. */
    readonly successes?: number;
    /** Milliseconds such a call may take before it counts as failed. Default 60,000. Set it above your time-outs. */
    readonly maxMs?: number;
  };
  /**
   * What an outcome says. Default: what is returned is a success; what is thrown is a failure, except an HTTP status
   * that is the caller's fault (4xx other than 408, 425, 429), which shows that the dependency answers, and what a
   * bulkhead, a limiter or a circuit further in refused, which is ignored: nothing was sent. Not asked when the caller
   * aborted the call: that is ignored. One that throws counts as `failure`.
   */
  readonly classify?: (outcome: CircuitOutcome) => CircuitVerdict;
  /**
   * Calls longer than this, in milliseconds, are slow, also those still running. Default: none are. Needs a rule that
   * looks at them; without `trip`, half of at least 20 calls in 10 s being slow opens. A slow probe is a failed probe.
   */
  readonly slowCallMs?: number;
  /** After half-open, let calls back in step by step, so that they do not fell what just got up. Default: all at once. */
  readonly ramp?: {
    /** Milliseconds until all calls are let through. */
    readonly overMs: number;
    /** The share at the start, above 0 and at most 1. Default 0.1. */
    readonly from?: number;
  };
  /** Where time comes from. Default the machine's clock. */
  readonly clock?: Clock;
  /** What the jitter of `openMs` draws from. Default `Math.random`. */
  readonly random?: () => number;
  /** Hears of changes of state and of refused calls. */
  readonly emit?: Sink<CircuitEvent>;
}

/** How a circuit breaker is made. */
export interface CircuitBreakerOptions extends CircuitSettingsOptions {
  /** Of the dependency: in errors, events and snapshots. One circuit for each thing that fails by itself. */
  readonly name: string;
}

/** Options that were read, with defaults filled in. Circuits alike share one. */
export interface CircuitSettings {
  readonly trip: readonly TripRule[];
  readonly openForMs: WaitMs;
  readonly halfOpen: { readonly permits: number; readonly successes: number; readonly maxMs: number };
  readonly classify: ((outcome: CircuitOutcome) => CircuitVerdict) | undefined;
  readonly slowCallMs: number | undefined;
  readonly ramp: { readonly overMs: number; readonly from: number } | undefined;
  readonly clock: Clock;
  readonly emit: Sink<CircuitEvent> | undefined;
}

const DEFAULT_OPEN: Backoff = {
  kind: 'exponential',
  baseMs: 5_000,
  factor: 2,
  maxMs: 60_000,
  jitter: 'decorrelated',
};

const count = z.int().min(1);
const share = z.number().gt(0).max(1);
const ms = z.number().min(0);
const positiveMs = z.number().gt(0);
const ratioShape = { minCalls: count.optional(), failureRatio: share.optional(), slowRatio: share.optional() };

const tripRuleSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('consecutive'), failures: count }),
  z
    .strictObject({ kind: z.literal('count'), size: count.max(1_000_000), ...ratioShape })
    .refine(({ size, minCalls = 1 }) => minCalls <= size, { path: ['minCalls'], error: 'must not be above size' }),
  z.strictObject({ kind: z.literal('time'), windowMs: positiveMs, ...ratioShape }),
  z.strictObject({ kind: z.literal('custom'), create: functionOption<() => CustomWindow>() }),
]);

export const clockSchema = clockOption.optional();
export const randomSchema = functionOption<() => number>().optional();
export const emitSchema = functionOption<Sink<CircuitEvent>>().optional();

const optionsSchema = z.strictObject({
  name: z.string().min(1),
  trip: z.preprocess(
    (trip) => (trip === undefined || Array.isArray(trip) ? trip : [trip]),
    z.array(tripRuleSchema).min(1).optional(),
  ),
  openMs: z.unknown().optional(),
  halfOpen: z
    .strictObject({ permits: count.optional(), successes: count.optional(), maxMs: positiveMs.optional() })
    .optional(),
  classify: functionOption<(outcome: CircuitOutcome) => CircuitVerdict>().optional(),
  slowCallMs: ms.optional(),
  ramp: z.strictObject({ overMs: positiveMs, from: share.optional() }).optional(),
  clock: clockSchema,
  random: randomSchema,
  emit: emitSchema,
});

/** A name, and options that were read before: how the registry makes thousands of circuits out of one set of options. */
export class ReadCircuitOptions implements CircuitBreakerOptions {
  readonly name: string;
  readonly settings: CircuitSettings;
  /** Called with the name after each change of state. */
  readonly onChange: ((name: string) => void) | undefined;

  constructor(name: string, settings: CircuitSettings, onChange?: (name: string) => void) {
    this.name = name;
    this.settings = settings;
    this.onChange = onChange;
  }
}

/** @throws InvalidInputError naming the option that cannot be used. */
export function readCircuitOptions(options: CircuitBreakerOptions): ReadCircuitOptions {
  if (options instanceof ReadCircuitOptions) return options;
  const read = parseOptions(optionsSchema, options);
  const { trip = defaultRules(read.slowCallMs), slowCallMs, halfOpen, ramp } = read;
  checkSlowRules(trip as readonly TripRule[], slowCallMs);
  return new ReadCircuitOptions(read.name, {
    trip: trip as readonly TripRule[],
    openForMs: openTimes(read.openMs, read.random ?? Math.random),
    halfOpen: {
      permits: halfOpen?.permits ?? 1,
      successes: halfOpen?.successes ?? 1,
      maxMs: halfOpen?.maxMs ?? 60_000,
    },
    classify: read.classify,
    slowCallMs,
    ramp: ramp === undefined ? undefined : { overMs: ramp.overMs, from: ramp.from ?? 0.1 },
    clock: read.clock ?? systemClock,
    emit: read.emit,
  });
}

function defaultRules(slowCallMs: number | undefined): readonly TripRule[] {
  const ratios = slowCallMs === undefined ? { failureRatio: 0.5 } : { failureRatio: 0.5, slowRatio: 0.5 };
  return [
    { kind: 'consecutive', failures: 5 },
    { kind: 'time', windowMs: 10_000, minCalls: 20, ...ratios },
  ];
}

function checkSlowRules(rules: readonly TripRule[], slowCallMs: number | undefined): void {
  const isLookedAt = rules.some((rule) => 'slowRatio' in rule && rule.slowRatio !== undefined);
  if (isLookedAt && slowCallMs === undefined)
    throw new InvalidInputError('options.slowCallMs: a rule with slowRatio needs it.', 'options.slowCallMs');
  if (!isLookedAt && slowCallMs !== undefined && !rules.some(({ kind }) => kind === 'custom')) {
    const message = 'options.slowCallMs: no trip rule looks at slow calls; give one a slowRatio.';
    throw new InvalidInputError(message, 'options.slowCallMs');
  }
}

function openTimes(openMs: unknown, random: () => number): WaitMs {
  if (typeof openMs === 'number') {
    const exactMs = parseOptions(ms, openMs, 'options.openMs');
    return () => exactMs;
  }
  if (openMs !== undefined && (typeof openMs !== 'object' || openMs === null)) {
    const message = `options.openMs: must be a number or a Backoff that is no function, not ${JSON.stringify(openMs) ?? typeof openMs}.`;
    throw new InvalidInputError(message, 'options.openMs');
  }
  return compileBackoff(parseOptions(backoffSchema, openMs ?? DEFAULT_OPEN, 'options.openMs'), random);
}

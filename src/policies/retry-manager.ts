import * as z from 'zod';
import { type Clock, systemClock } from '../base/clock.js';
import type { Sink } from '../base/emit.js';
import { ClosedError } from '../base/errors.js';
import { clockOption, functionOption, parseOptions } from '../base/options.js';
import type { Call } from './attempt.js';
import type { CallGate } from './call-gate.js';
import { CallScope, requireFunction } from './call-scope.js';
import type { CircuitBreaker } from './circuit-breaker.js';
import type { CircuitEvent } from './circuit-event.js';
import { CircuitRegistry } from './circuit-registry.js';
import { Latencies } from './hedge.js';
import type { Policy } from './policy.js';
import { RecentPlans } from './recent-plans.js';
import { RetryPolicy, runGuarded, runPlain } from './retry.js';
import { RetryBudget } from './retry-budget.js';
import type { RetryEvent } from './retry-event.js';
import { type RetryOptions, retrySchema } from './retry-options.js';
import { planRetry, type RetryHome, type RetryPlan, type RetryTarget, requireAnEnd } from './retry-plan.js';

/** How a retry manager is made. */
export interface RetryManagerOptions {
  /** Where circuits named by `circuit` are found. Default: a registry of its own. */
  readonly circuits?: CircuitRegistry;
  /** Options for every run that does not say otherwise. */
  readonly defaults?: RetryOptions;
  /** Time and waiting. Default the machine's. */
  readonly clock?: Clock;
  /** Draws jitter: uniform over [0, 1). Default `Math.random`. */
  readonly random?: () => number;
  /**
   * Hears of attempts, retries and of giving up; also of circuits, if `circuits` is not given: else they are heard where
   * they were made.
   */
  readonly emit?: Sink<RetryEvent | CircuitEvent>;
}

/** `retryWithBackoff` in plain numbers. */
export interface PlainRetryOptions {
  /** Retries after the first attempt. Default 3. */
  readonly maxRetries?: number;
  /** Wait before the first retry, in milliseconds. Default 100. */
  readonly initialDelayMs?: number;
  /** Longest wait, in milliseconds. Default 30,000. */
  readonly maxDelayMs?: number;
  /** Each wait is this many times the one before. Default 2. */
  readonly exponentialBase?: number;
  /** Default true: waits are spread over 50 to 150 %, never above `maxDelayMs`. False makes clients that failed together come back together. */
  readonly jitter?: boolean;
  /** Each attempt goes through the circuit of this name. */
  readonly circuitBreakerKey?: string;
}

const NO_OPTIONS: RetryOptions = Object.freeze({});

const managerSchema = z.strictObject({
  circuits: z.instanceof(CircuitRegistry, { error: 'must be a CircuitRegistry' }).optional(),
  defaults: z
    .custom<RetryOptions>((value) => typeof value === 'object' && value !== null, 'must be RetryOptions')
    .optional(),
  clock: clockOption.optional(),
  random: functionOption<() => number>().optional(),
  emit: functionOption<Sink<RetryEvent | CircuitEvent>>().optional(),
});
const circuitSchema = retrySchema.pick({ circuit: true });
const perRunSchema = retrySchema.pick({ parent: true, signal: true, operationId: true });
const plainSchema = z.strictObject({
  maxRetries: z.int().min(0).optional(),
  initialDelayMs: z.number().min(0).optional(),
  maxDelayMs: z.number().min(0).optional(),
  exponentialBase: z.number().min(1).optional(),
  jitter: z.boolean().optional(),
  circuitBreakerKey: z.string().min(1).optional(),
});

type PerRunOptions = Pick<RetryOptions, 'parent' | 'signal' | 'operationId'>;

/** Does this run alone ask for something that needs a scope around its attempts? */
function isSpecial(options: PerRunOptions | undefined): boolean {
  if (options === undefined) return false;
  return options.signal !== undefined || options.parent !== undefined || options.operationId !== undefined;
}

function perRun({ parent, signal, operationId }: PerRunOptions = {}): PerRunOptions {
  return { parent, signal, operationId };
}

/**
 * Runs calls again when they fail. On the way where nothing fails a run costs about as much as one try/catch; p-retry
 * and everything else begins with the first failure. Keep one manager for what shares a fate: its runs share a retry
 * budget and, by name, circuits.
 */
export class RetryManager implements AsyncDisposable {
  /** The circuits that `circuit` names. */
  readonly circuits: CircuitRegistry;
  readonly #home: RetryHome;
  readonly #defaults: RetryOptions;
  readonly #plans: RecentPlans;
  readonly #plainTarget: RetryTarget;
  /** The circuit named last: nearly always the next one, too. */
  #recent: { readonly name: string; readonly breaker: CircuitBreaker; readonly target: RetryTarget } | undefined;
  readonly #targets = new WeakMap<CallGate, RetryTarget>();

  /** @throws InvalidInputError for options that cannot be used. */
  constructor(options: RetryManagerOptions = {}) {
    const checked = parseOptions(managerSchema, options);
    const { defaults = {}, clock = systemClock, random = Math.random, emit } = checked;
    this.circuits = checked.circuits ?? new CircuitRegistry({ clock, random, ...(emit && { emit }) });
    this.#home = { clock, random, emit, closing: new CallScope(1) };
    this.#defaults = defaults;
    planRetry(defaults, this.#home, 'options.defaults'); // Only to see whether they can be used.
    this.#plans = new RecentPlans((given) => planRetry({ ...defaults, ...given }, this.#home));
    this.#plainTarget = this.#newTarget(undefined);
  }

  /**
   * The result of `call`, tried again while it fails and `options` allow. Options are compared with those of the last
   * runs, so a literal costs little; `policy` and `wrap` compile once for all.
   * Rejects with what the call threw if that is not worth a retry, with the signal's reason if the caller gave up, else
   * with RetryError, which has every attempt.
   * @throws InvalidInputError for options that cannot be used, TypeError if `call` is no function, CircuitOpenError,
   * ClosedError: all as rejections.
   */
  run<T, F = never>(call: Call<T>, options?: RetryOptions<NoInfer<T>, F>): Promise<T | F> {
    try {
      const plan = this.#plan(options as RetryOptions | undefined);
      const target = this.#target(plan, options?.circuit ?? this.#defaults.circuit);
      if (plan.isPlain && !isSpecial(options)) return runPlain(plan, target, call);
      const own = parseOptions(perRunSchema, perRun(options));
      const { parent = plan.parent, signal = plan.signal, operationId = plan.operationId } = own;
      requireAnEnd(plan, parent ?? signal);
      return runGuarded<T | F>(plan, target, { call, parent, signal, operationId });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * `call` with these options around it: same parameters, same `this`, a promise of the same result. It is not given an
   * attempt, so it cannot know when it is cut off: use `run` for calls that can stop.
   * @throws InvalidInputError, TypeError
   */
  wrap<This, Parameters extends unknown[], T, F = never>(
    call: (this: This, ...parameters: Parameters) => T | PromiseLike<T>,
    options?: RetryOptions<NoInfer<T>, F>,
  ): (this: This, ...parameters: Parameters) => Promise<T | F> {
    requireFunction(call, 'call');
    const policy = this.policy(options as RetryOptions<unknown, F> | undefined);
    return function (this: This, ...parameters: Parameters) {
      return policy.run(() => call.apply(this, parameters));
    };
  }

  /** Options checked and compiled once, as a policy for `compose` or for many runs. @throws InvalidInputError */
  policy<F = never>(options?: RetryOptions<unknown, F>): Policy<F> {
    const given = Object.fromEntries(Object.entries(options ?? {}).filter(([, value]) => value !== undefined));
    const plan = planRetry({ ...this.#defaults, ...given }, this.#home);
    requireAnEnd(plan, undefined);
    const circuit = options?.circuit ?? this.#defaults.circuit;
    return new RetryPolicy<F>(plan, () => this.#target(plan, circuit));
  }

  /** The plain form: `call` tried again after growing waits. Options as for any run; errors as for `run`. */
  async retryWithBackoff<T>(call: Call<T>, options: PlainRetryOptions = {}): Promise<T> {
    const checked = parseOptions(plainSchema, options);
    const { initialDelayMs = 100, maxDelayMs = 30_000, exponentialBase = 2, jitter = true } = checked;
    return this.run(call, {
      ...(checked.maxRetries !== undefined && { maxRetries: checked.maxRetries }),
      ...(checked.circuitBreakerKey !== undefined && { circuit: checked.circuitBreakerKey }),
      backoff: {
        kind: 'exponential',
        baseMs: initialDelayMs,
        maxMs: maxDelayMs,
        factor: exponentialBase,
        jitter: jitter ? 'proportional' : 'none',
      },
    });
  }

  /**
   * New runs are refused with ClosedError, and runs that wait for their next attempt end with it at once. Attempts under
   * way are let finish; they are not repeated. Circuits stay: they may be shared.
   */
  async close(): Promise<void> {
    this.#home.closing.abort(new ClosedError('The RetryManager'));
  }

  /** As `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #plan(options: RetryOptions = NO_OPTIONS): RetryPlan {
    if (typeof options !== 'object') parseOptions(retrySchema, options); // Which says what is wrong with it.
    return this.#plans.of(options as Readonly<Record<string, unknown>>);
  }

  #target({ budget }: RetryPlan, circuit: RetryOptions['circuit']): RetryTarget {
    if (this.#home.closing.isAborted) throw this.#home.closing.reason;
    const target = this.#usualTarget(circuit);
    return budget === undefined ? target : { ...target, budget: budget === false ? undefined : budget };
  }

  /** The circuit and the budget that all runs through it share. */
  #usualTarget(circuit: RetryOptions['circuit']): RetryTarget {
    if (circuit === undefined) return this.#plainTarget;
    if (typeof circuit !== 'string') return this.#targetOf(circuit);
    const recent = this.#recent;
    if (recent?.name === circuit && !recent.breaker.isDisposed) return recent.target;
    if (circuit === '') parseOptions(circuitSchema, { circuit }); // Which says what is wrong with it.
    const breaker = this.circuits.get(circuit);
    this.#recent = { name: circuit, breaker, target: this.#targetOf(breaker) };
    return this.#recent.target;
  }

  #targetOf(gate: CallGate): RetryTarget {
    const known = this.#targets.get(gate);
    if (known !== undefined) return known;
    parseOptions(circuitSchema, { circuit: gate });
    const target = this.#newTarget(gate);
    this.#targets.set(gate, target);
    return target;
  }

  #newTarget(gate: CallGate | undefined): RetryTarget {
    return { gate, budget: new RetryBudget({ clock: this.#home.clock }), latencies: new Latencies() };
  }
}

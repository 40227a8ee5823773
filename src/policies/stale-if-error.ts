import * as z from 'zod';
import { type Clock, systemClock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { isClosed } from '../base/errors.js';
import { clockOption, functionOption, parseOptions } from '../base/options.js';
import type { Call, RunContext } from './attempt.js';
import { CallScope, requireFunction } from './call-scope.js';
import { isCallersFault } from './http-failure.js';
import { inWords } from './in-words.js';
import type { Policy } from './policy.js';

/** For `staleIfError`. */
export interface StaleIfErrorOptions {
  /** How old a result may be that stands in for a failed call, in milliseconds. `Infinity`: any age. */
  readonly maxAgeMs: number;
  /** Results remembered, one a key. Default 1,000. When there are more, the one that was not used for longest goes. */
  readonly maxKeys?: number;
  /** Where time comes from. Default the machine's clock. Tests pass a virtual one. */
  readonly clock?: Clock;
  /** Hears of calls that an old result stood in for. Default: nobody. */
  readonly emit?: Sink<ServedStaleEvent>;
}

/** An old result stood in for a call that failed. */
export interface ServedStaleEvent {
  readonly type: 'call.served-stale';
  readonly operationId: string;
  /** Since the result came, in milliseconds. */
  readonly ageMs: number;
  /** Why the call failed, in one line. */
  readonly error: string;
}

/** Remembers the last result of calls that all mean the same; `for` keeps those apart that do not. */
export interface StaleIfError<V> extends Policy<V> {
  /** The policy for calls that share `key`: the URL, the id of what is asked for. Cheap: ask for it at each call. */
  for(key: string): Policy<V>;
}

/**
 * Answers a call that fails with the last result that came, if it is not older than `maxAgeMs`; else the failure passes
 * through untouched. Say with `V` what the calls return: it is what they may get. A result is remembered and handed out
 * as it is, not copied: whoever changes it changes it for all. It is remembered in memory only.
 * When the caller gave up (the signal around this is aborted) nothing is answered, and the signal's reason is thrown.
 * Source of the idea and the name: RFC 5861, section 4.
 * @throws InvalidInputError for options that cannot be used.
 */
export function staleIfError<V>(options: StaleIfErrorOptions): StaleIfError<V> {
  return new Memory<V>(parseOptions(optionsSchema, options));
}

const optionsSchema = z.strictObject({
  maxAgeMs: z.union([z.number().positive(), z.literal(Number.POSITIVE_INFINITY)], 'must be a number > 0 or Infinity'),
  maxKeys: z.int().min(1).default(1_000),
  clock: clockOption.optional(),
  emit: functionOption<Sink<ServedStaleEvent>>().optional(),
});

/** What a call returned, and when, on the monotonic clock. */
interface Remembered<V> {
  readonly value: V;
  readonly atMs: number;
}

/** The key of calls that have none. No string is equal to it. */
const NO_KEY = Symbol('no key');

class Memory<V> implements StaleIfError<V> {
  readonly #options: z.output<typeof optionsSchema>;
  readonly #clock: Clock;
  /** The one that was not used for longest comes first. */
  readonly #results = new Map<string | symbol, Remembered<V>>();

  constructor(options: z.output<typeof optionsSchema>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  run<T>(call: Call<T>, context?: RunContext): Promise<T | V> {
    return this.#run(NO_KEY, call, context);
  }

  for(key: string): Policy<V> {
    return { run: (call, context) => this.#run(key, call, context) };
  }

  async #run<T>(key: string | symbol, call: Call<T>, context: RunContext | undefined): Promise<T | V> {
    requireFunction(call, 'call');
    const scope = CallScope.of(context, this.#clock);
    try {
      const value = await call(scope);
      this.#remember(key, { value: value as unknown as V, atMs: this.#clock.monotonicMs() });
      return value;
    } catch (error) {
      if (scope.isAborted) throw scope.reason;
      if (isClosed(error) || isCallersFault(error)) throw error;
      return this.#answer(key, error, scope);
    } finally {
      if (scope !== context) scope.end();
    }
  }

  #remember(key: string | symbol, result: Remembered<V>): void {
    this.#results.delete(key); // So that it comes last.
    this.#results.set(key, result);
    if (this.#results.size <= this.#options.maxKeys) return;
    const longestUnused = this.#results.keys().next().value as string | symbol; // There is at least the one just set.
    this.#results.delete(longestUnused);
  }

  #answer(key: string | symbol, error: unknown, scope: CallScope): V {
    const { maxAgeMs, emit: sink } = this.#options;
    const result = this.#results.get(key);
    if (result === undefined) throw error;
    const ageMs = this.#clock.monotonicMs() - result.atMs;
    if (ageMs > maxAgeMs) {
      this.#results.delete(key);
      throw error;
    }
    this.#remember(key, result);
    if (sink !== undefined)
      emit(sink, { type: 'call.served-stale', operationId: scope.operationId, ageMs, error: inWords(error) });
    return result.value;
  }
}

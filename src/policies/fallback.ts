import * as z from 'zod';
import { systemClock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { HoldfastError, InvalidInputError, isClosed } from '../base/errors.js';
import { functionOption, parseOptions } from '../base/options.js';
import type { Attempt, Call, RunContext } from './attempt.js';
import { CallScope, requireFunction } from './call-scope.js';
import { inWords } from './in-words.js';
import type { Policy } from './policy.js';

/** A function that makes something to stand in. It is told why the call failed. */
export type FallbackFunction = (error: unknown, attempt: Attempt) => unknown;

/** What stands in for a call that failed: a value as it is, or a function that makes one. */
export type Alternative = FallbackFunction | object | string | number | boolean | bigint | symbol | null | undefined;

/** At least one, in the order they are tried. */
export type Alternatives = readonly [Alternative, ...Alternative[]];

/** What alternatives give in the end. */
export type AlternativeResult<A> = A extends (...given: never[]) => infer Result ? Awaited<Result> : Awaited<A>;

/** For `fallbackWith`. */
export interface FallbackOptions {
  /**
   * True for failures that an alternative may stand in for; others pass through untouched. Default: all. Leave out what
   * must be seen: bugs, refused input.
   */
  readonly when?: (error: unknown) => boolean;
  /** Hears of calls that something stood in for. Default: nobody. */
  readonly emit?: Sink<FallbackEvent>;
}

/** Something stood in for a call that failed. */
export interface FallbackEvent {
  readonly type: 'call.fell-back';
  readonly operationId: string;
  /** Which one, counted from 0. */
  readonly alternative: number;
  /** Why the call failed, in one line. */
  readonly error: string;
}

/** The call failed, and so did everything that was to stand in for it. `cause` is what the call threw. */
export class FallbackError extends HoldfastError {
  readonly code = 'HOLDFAST_FALLBACK_FAILED';
  constructor(
    /** What each alternative threw, in order. Or, alone, what `when` threw. */
    readonly errors: readonly unknown[],
    options: { readonly cause: unknown },
  ) {
    const last = inWords(errors.at(-1));
    super(
      `The call failed, and no alternative could stand in for it. The last one: ${last}. See cause and errors.`,
      options,
    );
  }
}

/**
 * Answers in place of a call that fails: with the first alternative that does not throw. A function is always called,
 * with what the call threw and the attempt; anything else is the answer, as it is. When the caller gave up (the signal
 * around this is aborted) nothing is answered, and the signal's reason is thrown.
 * @throws InvalidInputError without an alternative. From `run`: FallbackError when all of them threw.
 */
export function fallback<A extends Alternatives>(...alternatives: A): Policy<AlternativeResult<A[number]>> {
  return fallbackWith({}, ...alternatives);
}

/** `fallback` for some failures only, or with somebody who hears of them. */
export function fallbackWith<A extends Alternatives>(
  options: FallbackOptions,
  ...alternatives: A
): Policy<AlternativeResult<A[number]>> {
  const checked = parseOptions(optionsSchema, options);
  if (alternatives.length === 0)
    throw new InvalidInputError('alternatives: give at least one value or function to fall back on.', 'alternatives');
  return new Fallback<AlternativeResult<A[number]>>(alternatives, checked);
}

const optionsSchema = z.strictObject({
  when: functionOption<(error: unknown) => boolean>().optional(),
  emit: functionOption<Sink<FallbackEvent>>().optional(),
});

class Fallback<Added> implements Policy<Added> {
  readonly #alternatives: readonly Alternative[];
  readonly #options: z.output<typeof optionsSchema>;

  constructor(alternatives: readonly Alternative[], options: z.output<typeof optionsSchema>) {
    this.#alternatives = alternatives;
    this.#options = options;
  }

  async run<T>(call: Call<T>, context?: RunContext): Promise<T | Added> {
    requireFunction(call, 'call');
    const scope = CallScope.of(context, systemClock);
    try {
      if (scope.isAborted) throw scope.reason;
      return await call(scope);
    } catch (error) {
      if (scope.isAborted) throw scope.reason; // Nobody waits for an answer any more.
      if (isClosed(error) || !this.#mayAnswer(error)) throw error;
      return await this.#answer(error, scope);
    } finally {
      if (scope !== context) scope.end();
    }
  }

  #mayAnswer(error: unknown): boolean {
    try {
      return this.#options.when?.(error) ?? true;
    } catch (thrown) {
      throw new FallbackError([thrown], { cause: error });
    }
  }

  async #answer(error: unknown, scope: CallScope): Promise<Added> {
    const errors: unknown[] = [];
    for (const [index, alternative] of this.#alternatives.entries()) {
      try {
        const answer = await (typeof alternative === 'function'
          ? scope.race(Promise.resolve(alternative(error, scope)))
          : alternative);
        this.#report(scope, index, error);
        return answer as Added;
      } catch (thrown) {
        if (scope.isAborted) throw scope.reason;
        errors.push(thrown);
      }
    }
    throw new FallbackError(errors, { cause: error });
  }

  #report({ operationId }: CallScope, alternative: number, error: unknown): void {
    const { emit: sink } = this.#options;
    if (sink === undefined) return;
    emit(sink, { type: 'call.fell-back', operationId, alternative, error: inWords(error) });
  }
}

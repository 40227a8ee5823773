import type { RetryPlan } from './retry-plan.js';

type Options = Readonly<Record<string, unknown>>;

/** Those that differ from run to run by their nature; no plan depends on them. */
const isPerRun = (key: string): boolean =>
  key === 'circuit' || key === 'signal' || key === 'parent' || key === 'operationId';
/** Options that are nothing but values: they are compared, and copied, by what is in them. */
const isData = (key: string): boolean => key === 'backoff' || key === 'retryAfter' || key === 'hedge';
const REMEMBERED = 16;

interface KnownPlan {
  readonly options: Options;
  readonly keys: number;
  readonly plan: RetryPlan;
}

/**
 * Plans of options seen lately, so that `run(call, { … })` with a literal does not check and compile the same options for
 * each call. Options are compared, not trusted: an object that was changed in the meantime is compiled anew.
 */
export class RecentPlans {
  readonly #compile: (options: Options) => RetryPlan;
  readonly #known: KnownPlan[] = [];
  #oldest = 0;

  constructor(compile: (options: Options) => RetryPlan) {
    this.#compile = compile;
  }

  /** @throws what `compile` throws; such options are not remembered. */
  of(options: Options): RetryPlan {
    for (const known of this.#known) {
      if (isAlike(known, options)) return known.plan;
    }
    return this.#compiled(options);
  }

  #compiled(options: Options): RetryPlan {
    const own = Object.fromEntries(
      Object.entries(options)
        .filter(([key, value]) => !isPerRun(key) && value !== undefined)
        .map(([key, value]) => [key, isData(key) && isPlain(value) ? { ...value } : value]),
    );
    const plan = this.#compile(own);
    this.#known[this.#oldest] = { options: own, keys: Object.keys(own).length, plan };
    this.#oldest = (this.#oldest + 1) % REMEMBERED;
    return plan;
  }
}

function isAlike({ options: known, keys }: KnownPlan, options: Options): boolean {
  let left = keys;
  for (const key in options) {
    if (isPerRun(key)) continue;
    const value = options[key];
    if (value === undefined) continue;
    if (value !== known[key] && !(isData(key) && isAlikeWithin(known[key], value))) return false;
    left--;
  }
  return left === 0;
}

/** One level deep; arrays may have changed inside and are never alike. */
function isAlikeWithin(known: unknown, value: unknown): boolean {
  if (!isPlain(value) || !isPlain(known)) return false;
  const keys = Object.keys(value);
  const isAlikeAt = (key: string) => value[key] === known[key] && !Array.isArray(value[key]);
  return keys.length === Object.keys(known).length && keys.every(isAlikeAt);
}

function isPlain(value: unknown): value is Options {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

import { InvalidInputError } from '../base/errors.js';
import type { Rung } from './rung.js';

/** A rung of the default ladder: what it does, or that with anything else about it. What is said here goes before the default. */
export type LadderSource = Rung['run'] | Omit<Rung, 'name'>;

/** What each rung of the default ladder does. One that is left out is not in the ladder. */
export interface LadderSources {
  /** Does again what failed. For what is transient and minor. */
  readonly retry?: LadderSource | undefined;
  /** Goes on from the newest valid checkpoint. For minor to major. */
  readonly resume?: LadderSource | undefined;
  /** Goes back to an older checkpoint that is intact, and on from there. For minor to catastrophic. */
  readonly rollback?: LadderSource | undefined;
  /** Mends the state where it is. For major to catastrophic. */
  readonly repair?: LadderSource | undefined;
  /** Brings the state back from a backup. For major to catastrophic. */
  readonly backup?: LadderSource | undefined;
  /** Begins with as little as it can work with: ends as `degraded`. For minor to catastrophic. */
  readonly minimal?: LadderSource | undefined;
}

const DEFAULTS: { readonly [Name in keyof Required<LadderSources>]: Omit<Rung, 'name' | 'run'> } = {
  retry: { to: 'minor', when: ({ diagnosis }) => diagnosis.transient },
  resume: { to: 'major' },
  rollback: {},
  repair: { from: 'major' },
  backup: { from: 'major' },
  minimal: { degraded: true },
};

/**
 * What most hosts try, in the order in which the least is lost: retry, resume, rollback, repair, backup, minimal. Says when;
 * the host says how.
 * ```ts
 * const ladder = defaultLadder({
 *   retry: ({ subject }) => jobs.start(subject),
 *   resume: {
 *     preflight: [async ({ subject }) => (await checkpoints.restore(subject)) !== undefined || 'there is no checkpoint'],
 *     run: ({ subject }) => jobs.startFromCheckpoint(subject),
 *     check: ({ subject }) => jobs.isRunning(subject),
 *   },
 *   minimal: ({ subject }) => jobs.startEmpty(subject),
 * });
 * ```
 * @throws InvalidInputError for a rung it does not have.
 */
export function defaultLadder<const Sources extends LadderSources>(
  sources: Sources & LadderSources,
): readonly Rung<keyof Sources & keyof LadderSources>[] {
  const names = Object.keys(DEFAULTS) as (keyof LadderSources)[];
  const unknown = Object.keys(sources).find((name) => !Object.hasOwn(DEFAULTS, name));
  if (unknown !== undefined) {
    const message = `sources.${unknown}: the default ladder has no such rung. It has ${names.join(', ')}.`;
    throw new InvalidInputError(message, `sources.${unknown}`);
  }
  const given: LadderSources = sources;
  const rungs = names.flatMap((name): Rung<keyof LadderSources>[] => {
    const source = given[name];
    if (source === undefined) return [];
    return [{ name, ...DEFAULTS[name], ...(typeof source === 'function' ? { run: source } : source) }];
  });
  return rungs as readonly Rung<keyof Sources & keyof LadderSources>[]; // No rung of a name that was not given.
}

import * as z from 'zod';
import { functionOption, parseOptions } from '../base/options.js';
import { memoryStorage } from '../storage/memory.js';
import type { TransactionStatus } from '../transactions/transaction.js';
import { TransactionManager } from '../transactions/transaction-manager.js';
import { type CrashPlay, type PlayedRun, playRun } from './crash/crash-run.js';
import type { CrashEnding, CrashOptions, CrashReport, CrashScenario, CrashViolation } from './crash/crash-scenario.js';
import type { StorageFactory } from './storage-contract.js';

/** So many say what is wrong. */
const ENOUGH_VIOLATIONS = 10;

/**
 * Kills your transaction at every moment at which that can matter: before and after each write of the store, before and
 * after each effect on the world. Each time another process recovers; it is killed at every moment of its own, too, and a
 * third recovers that. Every run has to end as the one in which nobody dies, with every effect done, or every one taken
 * back in reverse order, and with nothing done twice that may be done once.
 *
 * What the transaction does, it does through `world`, or the kit cannot see it and death does not stop it. Give it one
 * transaction; a body that is repeatable; and no waits but those of `clock`.
 * ```ts
 * const { violations } = await crashMatrix(({ transactions, world }) =>
 *   transactions.define('book-trip', async (tx) => {
 *     await tx.step('flight', world.act, world.undo);
 *     await tx.step('pay', (step) => world.act(step, { once: true }), { compensate: world.undo, verify: world.find });
 *   }),
 * );
 * expect(violations).toEqual([]);
 * ```
 * Resolves whatever is found. A death is what a killed process is: from that moment on nothing it does reaches the store
 * or the world. Processes that are stopped and go on later are not tried here.
 * @throws InvalidInputError for an option that cannot be used; and whatever `scenario` itself or the store's factory threw.
 */
export async function crashMatrix<Input = undefined>(
  scenario: CrashScenario<Input>,
  ...[options]: undefined extends Input
    ? [options?: CrashOptions<Input>]
    : [options: CrashOptions<Input> & { readonly input: Input }]
): Promise<CrashReport> {
  const { deaths, only, ...rest } = parseOptions(optionsSchema, options);
  const play = { scenario, options: rest as CrashPlay<Input>['options'] };
  const matrix = new CrashMatrix(play);
  const first = await matrix.run([]);
  if (only !== undefined) await matrix.run(only);
  else await matrix.runDeaths([{ diedAt: [], moments: first.moments }], deaths);
  return matrix.report(first.moments);
}

const optionsSchema = z.strictObject({
  input: z.unknown().optional(),
  storage: functionOption<StorageFactory>().default(() => memoryStorage),
  manager: functionOption<NonNullable<CrashOptions<unknown>['manager']>>().default(
    () => (options: ConstructorParameters<typeof TransactionManager>[0]) => new TransactionManager(options),
  ),
  allow: z.array(z.enum(['running', 'compensating', 'done', 'rolled-back', 'stuck'])).optional(),
  check: functionOption<NonNullable<CrashOptions<unknown>['check']>>().optional(),
  deaths: z.union([z.literal(1), z.literal(2)]).default(2),
  only: z.array(z.int().min(1)).min(1).optional(),
  patienceMs: z.number().positive().default(3_600_000),
});

/** A run that was played. */
interface Survived {
  readonly diedAt: readonly number[];
  /** Moments at which the process that lived to its end could have died. */
  readonly moments: number;
}

class CrashMatrix<Input> {
  readonly #play: CrashPlay<Input>;
  readonly #violations: CrashViolation[] = [];
  readonly #outcomes = new Map<TransactionStatus, number>();
  #undisturbed: CrashEnding | undefined;
  #runs = 0;

  constructor(play: CrashPlay<Input>) {
    this.#play = play;
  }

  async run(diedAt: readonly number[]): Promise<PlayedRun> {
    const play = this.#undisturbed === undefined ? this.#play : { ...this.#play, undisturbed: this.#undisturbed };
    const played = await playRun(play, diedAt);
    const { ending, deaths, wrong } = played;
    if (diedAt.length === 0) this.#undisturbed = ending;
    this.#runs++;
    if (ending !== undefined) this.#outcomes.set(ending.status, (this.#outcomes.get(ending.status) ?? 0) + 1);
    const at = diedAt.slice(0, deaths.length);
    this.#violations.push(...wrong.map((what) => ({ diedAt: at, moments: deaths, what })));
    return played;
  }

  /**
   * One more death behind those of each run in `before`, at every moment that is left; then another behind it, if there
   * are `deaths` left. Fewer deaths come first: what they show is easier to follow.
   */
  async runDeaths(before: readonly Survived[], deaths: number): Promise<void> {
    const survived: Survived[] = [];
    for (const { diedAt, moments } of before) {
      for (let moment = 1; moment <= moments && this.#violations.length < ENOUGH_VIOLATIONS; moment++) {
        const run = [...diedAt, moment];
        const played = await this.run(run);
        survived.push({ diedAt: run, moments: played.moments });
      }
    }
    if (deaths > 1) await this.runDeaths(survived, deaths - 1);
  }

  report(moments: number): CrashReport {
    const outcomes = Object.fromEntries(this.#outcomes);
    return { runs: this.#runs, moments, violations: this.#violations, outcomes };
  }
}

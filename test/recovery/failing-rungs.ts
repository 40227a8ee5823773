import { defaultLadder } from '../../src/recovery/default-ladder.js';
import type { Failure } from '../../src/recovery/failure.js';
import type { EndedRecovery } from '../../src/recovery/recovery-record.js';
import type { RungContext } from '../../src/recovery/rung.js';
import { type SeededRandom, seededRandom } from '../../src/testing/seeded-random.js';
import { rejectionOf } from '../support/deferred.js';
import { LEASE_MS, RecoveryWorld, type WorldProcess } from './recovery-world.js';

/** How often each rung helps where nothing else is known: guesses at a usual host, not measurements of one. */
const HELPS = { retry: 0.9, resume: 0.85, rollback: 0.8, repair: 0.5, backup: 0.9, minimal: 0.95 };
type RungName = keyof typeof HELPS;
/** How often nothing helps, whatever is tried. */
const HOPELESS = 0.04;
/** How often the process dies in a rung. */
const DIES = 0.02;
const SUBJECTS = 300;
const HOUR_MS = 3_600_000;

const withCode = (code: string) => Object.assign(new Error(`it failed with ${code}`), { code });
const FAILURES: readonly (() => Omit<Failure, 'subject'>)[] = [
  () => ({ error: withCode('ECONNRESET') }),
  () => ({ error: withCode('ETIMEDOUT') }),
  () => ({ error: Object.assign(new Error('HTTP 503'), { status: 503 }) }),
  () => ({ error: Object.assign(new Error('HTTP 429'), { status: 429 }) }),
  () => ({ error: new TypeError('x is not a function') }),
  () => ({ error: withCode('HOLDFAST_CORRUPTION') }),
  () => ({ kind: 'crashed' }),
  () => ({ kind: 'frozen' }),
];

/** What came of all failures. */
export interface Tally {
  readonly deaths: number;
  readonly outcomes: Readonly<Record<string, number>>;
  /** Rungs that ran again after they had ended. */
  readonly ranAgain: readonly string[];
  /** Share of failures after which the subject went on without a person. */
  readonly recoveredShare: number;
}

/** Fails so many times, an hour of wall time apart, on 300 subjects; rungs fail, hang and kill their process. */
export async function failOften(failures: number, seed: number): Promise<Tally> {
  return new FailingWorld(seededRandom(seed)).run(failures);
}

class FailingWorld {
  readonly #world = new RecoveryWorld();
  readonly #random: SeededRandom;
  readonly #ended = new Set<string>();
  readonly #ranAgain: string[] = [];
  #deaths = 0;
  #isHopeless = false;
  #process: WorldProcess<RungName>;

  constructor(random: SeededRandom) {
    this.#random = random;
    this.#process = this.#start();
  }

  async run(failures: number): Promise<Tally> {
    const outcomes: Record<string, number> = {};
    for (let failure = 1; failure <= failures; failure++) {
      const { outcome } = await this.#fail();
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      this.#world.clock.jumpWall(HOUR_MS);
    }
    const well = (outcomes.recovered ?? 0) + (outcomes.degraded ?? 0);
    return {
      deaths: this.#deaths,
      outcomes,
      ranAgain: this.#ranAgain,
      recoveredShare: well / failures,
    };
  }

  async #fail(): Promise<EndedRecovery> {
    this.#isHopeless = this.#random.chance(HOPELESS);
    const failure = { subject: `job-${this.#random.integer(SUBJECTS)}`, ...this.#random.pick(FAILURES)() };
    for (;;) {
      const process = this.#process;
      const recovered = process.recovery.recover(failure, { waitMs: 4 * LEASE_MS });
      const record = await Promise.race([this.#world.settled(recovered), process.died]);
      if (record !== undefined) return record;
      void rejectionOf(recovered);
      this.#deaths++;
      this.#process = this.#start();
    }
  }

  #start(): WorldProcess<RungName> {
    const rung = (name: RungName) => (context: RungContext) => this.#tried(name, context);
    const ladder = defaultLadder({
      retry: rung('retry'),
      resume: rung('resume'),
      rollback: rung('rollback'),
      repair: rung('repair'),
      backup: rung('backup'),
      minimal: rung('minimal'),
    });
    return this.#world.process({ ladder, budget: { attempts: 3 } });
  }

  async #tried(name: RungName, { key, signal }: RungContext): Promise<void> {
    const process = this.#process;
    if (this.#ended.has(key)) this.#ranAgain.push(key);
    if (this.#random.chance(DIES)) await process.crash();
    await this.#world.clock.sleep(this.#random.integer(2_000), { signal });
    this.#ended.add(key);
    if (this.#isHopeless || !this.#random.chance(HELPS[name])) throw new Error(`${name} was of no use`);
  }
}

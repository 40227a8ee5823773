import { InvalidInputError } from '../base/errors.js';
import type { LiveTransaction } from './live-transaction.js';
import type { StepCall } from './step-runner.js';
import type { StepScope } from './step-scope.js';

/** How long branches that a failure overtook are waited for, after the last sign of life of any. */
const GRACE_MS = 1_000;
/** How long a body is waited for that nobody needs any more. It was told to stop. */
const PATIENCE_MS = 30_000;

/** What the body of one life has asked for: each name once, and in the end everything that an earlier life has begun. */
export class StepClaims {
  /** The code of every step that was asked for, by path. */
  readonly calls = new Map<string, StepCall>();
  readonly #live: LiveTransaction;
  readonly #nests = new Set<string>();
  /** What names with a slash in them read as if they were in. */
  readonly #folders = new Set<string>();
  #waiting: (() => void)[] = [];

  constructor(live: LiveTransaction) {
    this.#live = live;
  }

  /** @throws InvalidInputError for a name that is used already */
  addStep(scope: StepScope, call: StepCall): void {
    const { step } = call.identity;
    this.#requireNew(scope, step, 'step');
    this.calls.set(step, call);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** @throws as `addStep` */
  addNest(scope: StepScope, path: string): void {
    this.#requireNew(scope, path, 'nest');
    this.#nests.add(path);
  }

  /**
   * Waits until the body in `scope` has asked for every step that happened, or may have. Branches that a failure overtook
   * may still be on their way when `body` has ended.
   * @throws StuckError if the code no longer runs one of them
   */
  async allRecorded({ prefix }: StepScope, body: Promise<unknown>): Promise<void> {
    if (this.#missing(prefix) === undefined) return;
    const { clock } = this.#live.home;
    const tooLate = Promise.race([body, clock.sleep(PATIENCE_MS)]).then(() => clock.sleep(GRACE_MS));
    await Promise.race([this.#whenNoneIsMissing(prefix), tooLate, this.#live.ended]);
    this.#live.requireGoingOn();
    const missing = this.#missing(prefix);
    if (missing !== undefined) throw this.#live.stuck('steps-not-run', missing);
  }

  /**
   * Waits until the body in `scope` has asked for every step that a process may have died in: those have no record, so only
   * the body can tell. A failure ends it before its other branches come to theirs, and nobody knows how many there are.
   */
  async allBegun(scope: StepScope, body: Promise<unknown>): Promise<void> {
    const { clock } = this.#live.home;
    const untilMs = clock.monotonicMs() + PATIENCE_MS;
    await Promise.race([body, clock.sleep(PATIENCE_MS), this.#live.ended]);
    for (let asked = -1; asked !== this.calls.size && clock.monotonicMs() <= untilMs + GRACE_MS; ) {
      this.#live.requireGoingOn();
      asked = this.calls.size;
      await Promise.race([clock.sleep(GRACE_MS).then(() => scope.quiet()), this.#live.ended]);
    }
    this.#live.requireGoingOn();
  }

  /** The first step that happened, or may have, and that the body has not asked for. */
  #missing(prefix: string): string | undefined {
    return this.#live.state.missing(prefix, (step) => this.calls.has(step));
  }

  async #whenNoneIsMissing(prefix: string): Promise<void> {
    while (this.#missing(prefix) !== undefined) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #requireNew({ prefix }: StepScope, path: string, what: string): void {
    if (this.calls.has(path) || this.#nests.has(path)) {
      const message = `${what} "${path}": this name is used already. Give each its own; in a loop, put the item's id in it.`;
      throw new InvalidInputError(message, `${what} "${path}"`);
    }
    // What is in a nest is known by its path: nothing else may look like that.
    const above = foldersOf(path, prefix.length);
    if (above.some((folder) => this.#nests.has(folder)) || (what === 'nest' && this.#folders.has(path))) {
      const message = `${what} "${path}": there are a nest and, outside of it, a name that reads as if it were inside. Rename one.`;
      throw new InvalidInputError(message, `${what} "${path}"`);
    }
    for (const folder of above) this.#folders.add(folder);
  }
}

/** `a`, `a/b` for `a/b/c`; those that end behind `from`. */
function foldersOf(path: string, from: number): string[] {
  const folders: string[] = [];
  for (let end = path.indexOf('/', from); end >= 0; end = path.indexOf('/', end + 1)) folders.push(path.slice(0, end));
  return folders;
}

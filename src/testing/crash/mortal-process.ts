import { ProcessClock } from './process-clock.js';

/**
 * Turns of the event loop in which nothing reached the store, after which everything has run that can and time may go
 * on. One turn drains promise chains of any depth; the others are for code that goes through `setImmediate`.
 */
const QUIET_TURNS = 3;

/** Pauses without a sleeper after which nobody will ever wake: some 50 ms. */
const PAUSES_UNTIL_HUNG = 10_000;

/** Taken now: a test that fakes the global timers later must not stop the process. */
const nextTurn = setImmediate;

/** What a call of a process came to. `undefined`: it never ended, because the process died, or hangs. */
export type Settled<Result> = PromiseSettledResult<Result> | undefined;

/** For a process that is about to begin. */
export interface Lifetime {
  /** 1 is the first of its run. */
  readonly number: number;
  /** Where its clock begins: where that of the one before it stood. */
  readonly startMs: number;
  /** At which of its moments it dies. Left out: at none. */
  readonly diesAt?: number | undefined;
  /** Milliseconds of its own time that one call may take before it counts as hung. */
  readonly patienceMs: number;
}

/**
 * A process as the outside sees it: what it sends, and what it hears. When it dies its code cannot be stopped, yet
 * nothing that it does reaches anybody any more and nothing is answered to it.
 */
export class MortalProcess {
  readonly number: number;
  readonly clock: ProcessClock;
  readonly #diesAt: number | undefined;
  readonly #patienceMs: number;
  #moments = 0;
  #lastMoment = '';
  #isDead = false;
  #underWay = 0;

  constructor({ number, startMs, diesAt, patienceMs }: Lifetime) {
    this.number = number;
    this.clock = new ProcessClock(startMs);
    this.#diesAt = diesAt;
    this.#patienceMs = patienceMs;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Moments so far at which it could have died. */
  get moments(): number {
    return this.#moments;
  }

  /** The moment it died at, in words. */
  get lastMoment(): string {
    return this.#lastMoment;
  }

  /** Sends something that changes the outside, with a moment to die before it and one after it. */
  async change<Result>(what: string, send: () => Promise<Result> | Result): Promise<Result> {
    this.#reach(`before ${what}`);
    const result = await this.ask(send);
    this.#reach(`after ${what}`);
    return this.#isDead ? never() : result;
  }

  /** Asks the outside something. A process that dies meanwhile is not answered. */
  async ask<Answer>(send: () => Promise<Answer> | Answer): Promise<Answer> {
    if (this.#isDead) return never();
    this.#underWay++;
    const [answer] = await Promise.allSettled([start(send)]);
    this.#underWay--;
    if (this.#isDead) return never();
    if (answer.status === 'rejected') throw answer.reason;
    return answer.value;
  }

  /** Lets the process run, and its time pass, until `call` has ended or never will. */
  async lives<Result>(call: () => Promise<Result>): Promise<Settled<Result>> {
    const heard: { answer?: PromiseSettledResult<Result> } = {};
    void Promise.allSettled([start(call)]).then(([answer]) => {
      if (!this.#isDead) heard.answer = answer;
    });
    const untilMs = this.clock.now() + this.#patienceMs;
    const isOver = () => heard.answer !== undefined || this.#isDead;
    for (let idle = 0; idle < PAUSES_UNTIL_HUNG && this.clock.now() <= untilMs; ) {
      await this.#quiet();
      if (isOver()) break;
      idle = this.clock.wakeNext() ? 0 : idle + 1;
    }
    await this.#quiet(); // What goes on behind the answer, and what was under way when it died, has its end.
    return heard.answer;
  }

  die(): void {
    this.#isDead = true;
    this.clock.stop();
  }

  #reach(moment: string): void {
    if (this.#isDead) return;
    this.#lastMoment = moment;
    if (++this.#moments === this.#diesAt) this.die();
  }

  async #quiet(): Promise<void> {
    for (let quiet = 0; quiet < QUIET_TURNS; quiet = this.#underWay > 0 ? 0 : quiet + 1) {
      await new Promise<void>((resolve) => nextTurn(resolve));
    }
  }
}

/** A call that throws at once fails like one that rejects. */
async function start<Result>(call: () => Promise<Result> | Result): Promise<Result> {
  return call();
}

function never(): Promise<never> {
  return new Promise(() => {});
}

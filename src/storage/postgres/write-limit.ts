import { type Clock, startTimer, type Timer } from '../../base/clock.js';
import { unansweredWrite } from '../answer-within.js';

/** For so large a part of its time a limit takes in further writes, which have that much less. */
const YOUNG_SHARE = 0.01;

/**
 * The time that writes have which were asked for at about the same moment: one timer and one signal for all of them, since a
 * signal costs more than all else that a write costs here.
 */
export class WriteLimit {
  readonly #clock: Clock;
  readonly #ms: number;
  readonly #startMs: number;
  readonly #over = new AbortController();
  /** How those are told that still wait. */
  readonly #waiting = new Set<() => void>();
  #timer: Timer | undefined;

  constructor(clock: Clock, ms: number) {
    this.#clock = clock;
    this.#ms = ms;
    this.#startMs = clock.monotonicMs();
  }

  /** May it be the limit of a write that is asked for now? */
  get isYoung(): boolean {
    return this.#clock.monotonicMs() - this.#startMs <= this.#ms * YOUNG_SHARE;
  }

  /** Aborts when the time is over: what has not begun by then must not begin any more. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** The answer. @throws OutcomeUnknownError if it does not come in time. */
  answer<Answer>(key: string, answer: Promise<Answer>): Promise<Answer> {
    this.#timer ??= startTimer(this.#clock, this.#ms, () => this.#end());
    return new Promise((resolve, reject) => {
      const tell = () => reject(unansweredWrite(key, this.#ms));
      this.#waiting.add(tell);
      const settled = answer.finally(() => this.#forget(tell));
      settled.then(resolve, reject);
    });
  }

  #end(): void {
    this.#over.abort('The time is over.'); // Without a reason an error with a stack would be made.
    for (const tell of this.#waiting) tell();
  }

  #forget(tell: () => void): void {
    this.#waiting.delete(tell);
    if (this.#waiting.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}

import { ClosedError } from '../base/errors.js';

/** Lets calls in until it is shut. Whoever shuts it waits for those inside, and ends what they left running. */
export class Gate {
  readonly #what: string;
  readonly #inside = new Set<Promise<unknown>>();
  readonly #stops = new Set<() => Promise<void>>();
  #isShut = false;

  /** `what` is behind it, as a `ClosedError` should call it. */
  constructor(what: string) {
    this.#what = what;
  }

  /** @throws ClosedError once the gate is shut. */
  requireOpen(): void {
    if (this.#isShut) throw new ClosedError(this.#what);
  }

  /** Starts the call at once, in this very turn. */
  async pass<Result>(call: () => Promise<Result>): Promise<Result> {
    this.requireOpen();
    const running = call();
    this.#inside.add(running);
    try {
      return await running;
    } finally {
      this.#inside.delete(running);
    }
  }

  /** For something that a call started, as a watch: ended by the function that is returned, or when the gate is shut. */
  endLater(end: () => Promise<void>): () => Promise<void> {
    const stop = async () => {
      if (this.#stops.delete(stop)) await end();
    };
    this.#stops.add(stop);
    return stop;
  }

  /** Resolves when the last call inside has ended, well or not, and all that was to be ended later. */
  async shut(): Promise<void> {
    this.#isShut = true;
    await Promise.allSettled(this.#inside);
    await Promise.all([...this.#stops].map((stop) => stop()));
  }
}

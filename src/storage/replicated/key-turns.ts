/** Acts on keys: those that share a key run one after the other, in the order in which they came; others at once. */
export class KeyTurns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs `act` when every earlier act on any of the keys has ended, well or not. */
  async take<Result>(keys: readonly string[], act: () => Promise<Result>): Promise<Result> {
    const turn = Promise.allSettled(keys.map((key) => this.#last.get(key))).then(act);
    for (const key of keys) this.#last.set(key, turn);
    try {
      return await turn;
    } finally {
      for (const key of keys) if (this.#last.get(key) === turn) this.#last.delete(key);
    }
  }

  /** Resolves when the acts on `key` that came so far have ended. */
  async settled(key: string): Promise<void> {
    await Promise.allSettled([this.#last.get(key)]);
  }

  /** Resolves when nothing runs or waits any more. */
  async idle(): Promise<void> {
    while (this.#last.size > 0) await Promise.allSettled(this.#last.values());
  }
}

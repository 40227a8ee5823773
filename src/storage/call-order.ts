/**
 * Writes in the order in which they were called, key by key, though making some of them ready takes longer than others:
 * whoever puts twice without waiting finds the second value, not the one that took longer.
 */
export class CallOrder {
  /** For each key whose last write is not yet sent: resolves when it is, or never will be. Never rejects. */
  readonly #unsent = new Map<string, Promise<void>>();

  /**
   * Calls `send` with what is made ready, once every earlier write of these keys is sent; at once if there is none and
   * nothing is to be waited for.
   */
  async run<Ready, Result>(
    keys: readonly string[],
    ready: Ready | Promise<Ready>,
    send: (ready: Ready) => Promise<Result>,
  ): Promise<Result> {
    const earlier = keys.flatMap((key) => this.#unsent.get(key) ?? []);
    if (earlier.length === 0 && !(ready instanceof Promise)) return send(ready);
    // Settled, not fulfilled: a write that cannot be made ready must not let the ones behind it pass those before it.
    const turn = Promise.allSettled([ready, ...earlier]).then(() => ready);
    const result = turn.then(send);
    const sent = turn.then(nothing, nothing); // Reacts to the same promise after `send`: by then that was called.
    for (const key of keys) this.#unsent.set(key, sent);
    void sent.then(() => {
      for (const key of keys) if (this.#unsent.get(key) === sent) this.#unsent.delete(key);
    });
    return result;
  }

  /** Resolves when every write that was called before is sent. */
  async allSent(): Promise<void> {
    await Promise.all(this.#unsent.values());
  }
}

function nothing(): void {}

interface Watched<Write> {
  readonly writes: Set<Write>;
  readonly onAbort: () => void;
}

/**
 * Hears of the aborts of writes that wait. One listener for all writes of a signal, which may be thousands: a signal looks
 * through those it has whenever one is added.
 */
export class Withdrawals<Write> {
  readonly #watched = new Map<AbortSignal, Watched<Write>>();
  readonly #withdraw: (reasons: ReadonlyMap<Write, unknown>) => void;

  /** `withdraw` is told of all writes of a signal at once, with its reason, in the moment of its abort. */
  constructor(withdraw: (reasons: ReadonlyMap<Write, unknown>) => void) {
    this.#withdraw = withdraw;
  }

  /** From now on until `forget` or the abort. The signal, if there is one, is not aborted yet. */
  watch(write: Write, signal: AbortSignal | undefined): void {
    if (signal === undefined) return;
    const watched = this.#watched.get(signal) ?? this.#listen(signal);
    watched.writes.add(write);
  }

  forget(write: Write, signal: AbortSignal | undefined): void {
    const watched = signal && this.#watched.get(signal);
    if (signal === undefined || watched === undefined) return;
    watched.writes.delete(write);
    if (watched.writes.size > 0) return;
    this.#watched.delete(signal);
    signal.removeEventListener('abort', watched.onAbort);
  }

  #listen(signal: AbortSignal): Watched<Write> {
    const writes = new Set<Write>();
    const onAbort = () => {
      this.#watched.delete(signal);
      this.#withdraw(new Map([...writes].map((write) => [write, signal.reason])));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const watched = { writes, onAbort };
    this.#watched.set(signal, watched);
    return watched;
  }
}

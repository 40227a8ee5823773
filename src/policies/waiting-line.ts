/**
 * Those who wait, in the order they came. Joining, leaving from the middle and calling up the first cost the same
 * however many wait, and nothing is kept of those who left.
 */
export class WaitingLine<Waiter> {
  /** By ticket. A ticket that is missing between `#firstTicket` and `#nextTicket` belonged to one who left. */
  readonly #waiters = new Map<number, Waiter>();
  #firstTicket = 0;
  #nextTicket = 0;

  get length(): number {
    return this.#waiters.size;
  }

  /** Whose turn is next. */
  get first(): Waiter | undefined {
    if (this.#waiters.size === 0) return undefined;
    while (!this.#waiters.has(this.#firstTicket)) this.#firstTicket++;
    return this.#waiters.get(this.#firstTicket);
  }

  /** Stands behind all others. Returns how to leave: true the first time, false if it had left already. */
  join(waiter: Waiter): () => boolean {
    const ticket = this.#nextTicket++;
    this.#waiters.set(ticket, waiter);
    return () => this.#waiters.delete(ticket);
  }

  /** In the order they came. Those who leave meanwhile are passed over. */
  [Symbol.iterator](): IterableIterator<Waiter> {
    return this.#waiters.values();
  }
}

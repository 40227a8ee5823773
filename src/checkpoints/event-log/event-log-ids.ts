/** An event that is in the log. */
export interface KnownEvent {
  readonly position: number;
  readonly fingerprint: string;
}

/**
 * The ids of the newest events of one log, as far as it is known: of at least so many as the window has, and of fewer than
 * twice as many.
 */
export class RecentIds {
  readonly #window: number;
  // Two generations: to delete the oldest of a Map one by one takes time that grows with those deleted before.
  #newer = new Map<string, KnownEvent>();
  #older = new Map<string, KnownEvent>();
  #log: string | undefined;
  #position = 0;

  constructor(window: number) {
    this.#window = window;
  }

  get size(): number {
    return this.#newer.size + this.#older.size;
  }

  /** Of the newest event that is known. */
  get position(): number {
    return this.#position;
  }

  get(id: string): KnownEvent | undefined {
    return this.#newer.get(id) ?? this.#older.get(id);
  }

  /** The next event of the log. */
  add(id: string, fingerprint: string): void {
    this.#position++;
    this.#newer.set(id, { position: this.#position, fingerprint });
    if (this.#newer.size < this.#window) return;
    this.#older = this.#newer;
    this.#newer = new Map();
  }

  /** Prepares for the events of `log` up to `position` that are not known yet. They are those behind `this.position`. */
  expect({ log, position }: { readonly log: string; readonly position: number }): void {
    const oldest = Math.max(0, position - this.#window);
    const goesOn = log === this.#log && position >= this.#position && this.#position >= oldest;
    if (goesOn) return;
    this.#newer = new Map();
    this.#older = new Map();
    this.#log = log;
    this.#position = oldest;
  }
}

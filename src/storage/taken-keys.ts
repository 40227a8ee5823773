import type { BatchOperation } from './adapter.js';

/** Keys that writes have taken: one that is changed for the write alone, one that is only checked for whoever checks it too. */
export class TakenKeys {
  readonly #changed: Set<string>;
  readonly #checked = new Set<string>();

  /** `changed`: those that nobody may share from the start. */
  constructor(changed: Iterable<string>) {
    this.#changed = new Set(changed);
  }

  /** May a write of these operations still take its keys? */
  areFreeFor(operations: readonly BatchOperation[]): boolean {
    return operations.every(
      ({ type, key }) => !this.#changed.has(key) && (type === 'check' || !this.#checked.has(key)),
    );
  }

  take(operations: readonly BatchOperation[]): void {
    for (const { type, key } of operations) (type === 'check' ? this.#checked : this.#changed).add(key);
  }
}

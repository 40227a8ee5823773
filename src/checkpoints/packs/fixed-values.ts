import type { FixedValue } from './chunk-part.js';

/** Items of an array up to which it is looked into the first time it is met. */
const SHORT_ARRAY = 64;

/**
 * What is remembered of values that can never change: plain objects and arrays that are frozen through and through, as
 * `deepFreeze` and Immer leave them. Anything else is looked into at every save, so a change in place is always seen.
 */
export class FixedValues {
  readonly #values = new WeakMap<object, FixedValue>();
  /** Long frozen arrays that were met once: most are replaced by the next save, so proving them waits for the second time. */
  readonly #metArrays = new WeakSet<object>();

  remember(value: FixedValue): FixedValue {
    this.#values.set(value.source, value);
    return value;
  }

  /** What is remembered of `source`. Its chunks need not be stored where the state is saved to now. */
  find(source: object): FixedValue | undefined {
    return this.#values.get(source);
  }

  /** Whether a container whose parts can never change can never change itself: frozen, and no property a getter. */
  isFixed(source: object): boolean {
    if (!Object.isFrozen(source)) return false;
    if (Array.isArray(source) && source.length > SHORT_ARRAY && !this.#metArrays.has(source)) {
      this.#metArrays.add(source);
      return false;
    }
    return Object.keys(source).every((key) => Object.getOwnPropertyDescriptor(source, key)?.get === undefined);
  }
}

import { type CopiedPart, StandIn } from '../../records/copy-taker.js';
import type { JsonObject } from '../../records/json-object.js';
import { SeenValue, type WrittenPart } from './chunk-part.js';

/**
 * What is remembered of values that may change: the copy that was made of each when it was saved last, and its part. Every
 * save copies them again, so a change in place is always seen; what is the same need not be written as text and hashed.
 * Takes about the memory of the containers in a state: strings are shared with it.
 */
export class SeenValues {
  readonly #values = new WeakMap<object, SeenValue>();
  /** Those that were met once: of a state that is built anew for each save, no copy is kept. */
  readonly #met = new WeakSet<object>();

  /** What was remembered of `source`, if `copy` is the same as then. */
  find(source: object, copy: object): SeenValue | undefined {
    const seen = this.#values.get(source);
    return seen && isSameCopy(seen.copy, copy) ? seen : undefined;
  }

  /** The second time that `source` is met: what stands for it from now on. */
  remember(source: object, copied: CopiedPart, part: WrittenPart): SeenValue | undefined {
    if (!this.#met.has(source)) {
      this.#met.add(source);
      return undefined;
    }
    const seen = new SeenValue(copied, part);
    this.#values.set(source, seen);
    return seen;
  }
}

/** Whether two copies hold the same: plain JSON values, whose keys are in one order. */
function isSameCopy(one: object, other: object): boolean {
  // What stands in for a part is the same only as itself: a state may hold an object that looks like it.
  if (one instanceof StandIn || other instanceof StandIn) return one === other;
  if (Array.isArray(one) || Array.isArray(other)) return isSameList(one, other);
  const keys = Object.keys(one);
  const otherKeys = Object.keys(other);
  if (keys.length !== otherKeys.length) return false;
  for (let at = 0; at < keys.length; at++) {
    const key = keys[at] as string;
    if (key !== otherKeys[at] || !isSame((one as JsonObject)[key], (other as JsonObject)[key])) return false;
  }
  return true;
}

function isSameList(one: object, other: object): boolean {
  if (!Array.isArray(one) || !Array.isArray(other) || one.length !== other.length) return false;
  for (let at = 0; at < one.length; at++) if (!isSame(one[at], other[at])) return false;
  return true;
}

function isSame(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false;
  return isSameCopy(one, other);
}

import type { LeaseNode } from '../records/node.js';

/** Somebody on a node who acts for a transaction, or is about to. */
export interface Hold {
  /** It acts no more, although it has not come to its end. */
  readonly isLost: boolean;
}

const holdsOn = new WeakMap<LeaseNode, Map<string, Hold>>();

/**
 * Who acts for which transaction on a node, in any of its managers. Records name the node alone as their owner, so they
 * cannot tell two managers apart, nor one that runs from one whose beginning got no answer.
 */
export class HeldOnNode {
  readonly #holds: Map<string, Hold>;

  constructor(node: LeaseNode) {
    this.#holds = holdsOn.get(node) ?? new Map();
    holdsOn.set(node, this.#holds);
  }

  /** True: from now on `id` is for `hold` alone to act for, until it is released. False: it is for somebody else. */
  take(id: string, hold: Hold): boolean {
    if (this.isTaken(id, hold)) return false;
    this.#holds.set(id, hold);
    return true;
  }

  /** Is it for somebody to act for, other than `hold`? */
  isTaken(id: string, hold?: Hold): boolean {
    const holder = this.#holds.get(id);
    return holder !== undefined && holder !== hold && !holder.isLost;
  }

  /** Does nothing if it is not, or no longer, for `hold`. */
  release(id: string, hold: Hold): void {
    if (this.#holds.get(id) === hold) this.#holds.delete(id);
  }
}

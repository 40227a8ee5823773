import type { LeaseNode } from './node.js';

/** Somebody on a node who acts for a thing, or is about to. */
export interface Hold {
  /** It acts no more, although it has not come to its end. */
  readonly isLost: boolean;
}

/** The kinds of things that a node holds. */
export type HeldKind = 'transaction' | 'session';

const holdsOn = new WeakMap<LeaseNode, Map<string, Hold>>();

/**
 * Who acts for which thing of one kind on a node, in any of its managers. Records name the node alone as their owner, so
 * they cannot tell two managers apart, nor one that runs from one whose beginning got no answer.
 */
export class HeldOnNode {
  readonly #holds: Map<string, Hold>;
  readonly #kind: HeldKind;

  constructor(node: LeaseNode, kind: HeldKind) {
    this.#holds = holdsOn.get(node) ?? new Map();
    holdsOn.set(node, this.#holds);
    this.#kind = kind;
  }

  /** True: from now on `id` is for `hold` alone to act for, until it is released. False: it is for somebody else. */
  take(id: string, hold: Hold): boolean {
    if (this.isTaken(id, hold)) return false;
    this.#holds.set(this.#name(id), hold);
    return true;
  }

  /** Is it for somebody to act for, other than `hold`? */
  isTaken(id: string, hold?: Hold): boolean {
    const holder = this.#holds.get(this.#name(id));
    return holder !== undefined && holder !== hold && !holder.isLost;
  }

  /** Does nothing if it is not, or no longer, for `hold`. */
  release(id: string, hold: Hold): void {
    if (this.#holds.get(this.#name(id)) === hold) this.#holds.delete(this.#name(id));
  }

  #name(id: string): string {
    return `${this.#kind} ${id}`;
  }
}

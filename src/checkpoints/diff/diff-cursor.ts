import type { ListPart } from './diff-list.js';
import type { OpenState } from './diff-state.js';

/** Parts that follow each other; all before `at` are passed. */
interface Stretch {
  readonly parts: readonly ListPart[];
  at: number;
}

/** An array or object of one state. */
export interface OpenList {
  readonly state: OpenState;
  readonly parts: readonly ListPart[];
  readonly isObject: boolean;
}

/** Walks through an array or object in one direction, and into runs only where it is told to. */
export class ListCursor {
  readonly #list: OpenList;
  readonly #isBackward: boolean;
  readonly #stretches: Stretch[] = [];

  constructor(list: OpenList, direction: 'forward' | 'backward') {
    this.#list = list;
    this.#isBackward = direction === 'backward';
    this.#begin(list.parts);
  }

  /** What it stands at; `undefined` at the end. */
  get part(): ListPart | undefined {
    for (let top = this.#stretches.at(-1); top !== undefined; top = this.#stretches.at(-1)) {
      const part = top.parts[top.at];
      if (part !== undefined) return part;
      this.#stretches.pop();
    }
    return undefined;
  }

  /** Goes behind the part that it stands at. */
  pass(): void {
    (this.#stretches.at(-1) as Stretch).at++; // It has given that part.
  }

  /** Goes to the first part of the run that it stands at. */
  async enter(run: ListPart): Promise<void> {
    const parts = await this.#list.state.run(run, this.#list.isObject);
    this.pass();
    this.#begin(parts);
  }

  /** The item or member that it stands at, or the first in the run that it stands at; `undefined` at the end. */
  async item(): Promise<ListPart | undefined> {
    let { part } = this;
    for (; part?.isRun; part = this.part) await this.enter(part);
    return part;
  }

  #begin(parts: readonly ListPart[]): void {
    this.#stretches.push({ parts: this.#isBackward ? parts.toReversed() : parts, at: 0 });
  }
}

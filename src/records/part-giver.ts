import type { CopiedPart, CopyTaker, KnownValue } from './copy-taker.js';
import type { Step } from './describe.js';
import type { JsonObject } from './json-object.js';
import { CONTAINER_WEIGHT, roomAfter, weightOfLeaf } from './weight.js';

/** A container that is being walked, or was until just now. */
export class OpenPart implements CopiedPart {
  copy: object = this;
  source: object | undefined = undefined;
  isFixed = false;
  levels = 0;
  weight = CONTAINER_WEIGHT;
  /** Where it belongs in the container around it. */
  step: Step = undefined;
  /** Bytes of the whole copy when it began; at its end, its own. */
  sizeBytes = 0;
  /** The deepest level before it began. */
  deepest = 0;
  /** Things met before it began that may change. */
  changeable = 0;
  /** Where its parts begin among those that ended. */
  firstPart = 0;
}

/** Gives a copy to its taker while it is being made, part by part as soon as it is too heavy to stay in one piece. */
export class PartGiver {
  readonly #taker: CopyTaker;
  /** Parts that ended, of containers that have not, and are in one piece so far. */
  readonly #ended: OpenPart[] = [];
  /** Parts of markers that are too heavy for one piece, by their copies: only who made the marker knows where they are. */
  readonly #inMarkers = new Map<object, OpenPart>();
  /** Of the container that was met last. */
  #weight = 0;
  /** Things met so far that may change. */
  #changeable = 0;

  constructor(taker: CopyTaker) {
    this.#taker = taker;
  }

  /** The whole copy, if it is a container that was walked. */
  get whole(): CopiedPart | undefined {
    return this.#ended[0];
  }

  /** A part of the copy that stands in a heavy marker. */
  inMarker(copy: object): CopiedPart | undefined {
    return this.#inMarkers.get(copy);
  }

  /** What stands in the copy for `source`, if it was walked before. */
  find(source: object): KnownValue | undefined {
    const known = this.#taker.find(source);
    if (known !== undefined) this.#weight = known.weight;
    return known;
  }

  begin(): OpenPart {
    const part = new OpenPart();
    part.changeable = this.#changeable;
    part.firstPart = this.#ended.length;
    return part;
  }

  /** The copy of a container has one more member. */
  add(part: OpenPart, copy: object, member: unknown): void {
    part.weight += this.#weightOf(member);
    if (part.weight <= this.#taker.wholeWeight) return;
    for (let at = part.firstPart; at < this.#ended.length; at++) {
      const ended = this.#ended[at] as OpenPart;
      (copy as JsonObject)[ended.step as string] = this.#taker.take(ended); // Own already, whatever it is called.
    }
    this.#forgetParts(part);
  }

  /** A container has ended, of which all but this is known. `source`: what it is a copy of, if that may be met again. */
  end(part: OpenPart, copy: object, source: object | undefined): void {
    this.#forgetParts(part);
    part.copy = copy;
    part.source = source;
    part.isFixed = source !== undefined && part.changeable === this.#changeable && this.#taker.isFixed(source);
    if (!part.isFixed) this.#changeable++;
    this.#weight = part.weight;
    this.#ended.push(part);
  }

  /** A marker has ended, whose weight is that of what was made of its value. */
  endMarker(part: OpenPart, marker: object): void {
    part.weight = this.#weigh(marker);
    if (part.weight > this.#taker.wholeWeight) {
      for (const ended of this.#ended.slice(part.firstPart)) this.#inMarkers.set(ended.copy, ended);
    }
    this.end(part, marker, undefined);
  }

  /** A value was met that is no container, but a marker stands for it. */
  leaf(marker: object): void {
    this.#weight = this.#weigh(marker);
  }

  #weigh(marker: object): number {
    const { wholeWeight } = this.#taker;
    return wholeWeight - roomAfter(marker, wholeWeight);
  }

  #weightOf(member: unknown): number {
    return typeof member === 'object' && member !== null ? this.#weight : weightOfLeaf(member);
  }

  #forgetParts({ firstPart }: OpenPart): void {
    while (this.#ended.length > firstPart) this.#ended.pop(); // Setting the length is slow.
  }
}

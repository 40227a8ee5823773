/** Stands in a copy for a value that was walked before, or for a part of the copy that was taken out of it. */
export abstract class StandIn {
  /** Of what it stands for, as `roomAfter` weighs it. */
  abstract readonly weight: number;
}

/** A value that was walked before: what it takes, so that the limits hold without looking into it again. */
export interface KnownValue extends StandIn {
  readonly sizeBytes: number;
  /** Levels of JSON it is deep. */
  readonly levels: number;
}

/** A container in a copy, now that all of it has been walked. */
export interface CopiedPart {
  readonly copy: object;
  /** What it is a copy of; `undefined` for what only stands for a value, as a marker does. */
  readonly source: object | undefined;
  /** Neither the source nor anything in it can ever change. */
  readonly isFixed: boolean;
  readonly sizeBytes: number;
  readonly levels: number;
  readonly weight: number;
}

/** Takes a copy as it grows, and knows values that need none, because they were walked before and cannot have changed. */
export interface CopyTaker {
  /** What weighs more is taken part by part, as soon as each has ended: so it is gone before the next one is copied. */
  readonly wholeWeight: number;
  /** What stands in the copy for `source`; `undefined`: walk it. */
  find(source: object): KnownValue | undefined;
  /** Whether an array or plain object whose parts can never change can never change itself. */
  isFixed(source: object): boolean;
  /** What stands in the copy for a part of it from now on. */
  take(part: CopiedPart): StandIn;
}

/** A value that was walked before: what it takes, so that the limits hold without looking into it again. */
export interface KnownValue {
  readonly sizeBytes: number;
  /** Levels of JSON it is deep. */
  readonly levels: number;
}

/** Values that a walk may pass over, because they were walked before and cannot have changed since. */
export interface KnownValues {
  /** In what takes up to so many bytes, nobody will ask where parts that may change come from. */
  readonly smallBytes: number;
  /** What stands in the copy for `source`; `undefined`: walk it. */
  find(source: object): KnownValue | undefined;
  /** Whether an array or plain object whose parts can never change can never change itself. */
  isFixed(source: object): boolean;
}

/** Where a part of the copy comes from, if that can never change. */
export interface FixedSource extends KnownValue {
  readonly source: object;
}

/** Shared by every copy of the package in a process, so that `isHoldfastError` holds across duplicate installs. */
const BRAND = Symbol.for('holdfast.error');

/**
 * Every error that holdfast itself throws is one of these; errors of the host's own functions pass through untouched.
 * Branch on `code`, which never changes, or on the class; data a handler needs is a field, never only in the message.
 */
export abstract class HoldfastError extends Error {
  /** Stable across versions: `HOLDFAST_` and what happened. */
  abstract readonly code: string;

  constructor(message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = new.target.name;
  }

  /**
   * For logs, by `JSON.stringify`: name, code, message, the fields that are plain values or lists of such, and the causes in
   * words. What hosts and drivers hang on their own errors is left out: it may be circular, or a password.
   */
  toJSON(): object {
    const { message, cause } = this;
    const fields = Object.entries(this).filter(
      ([, value]) => isPlain(value) || (Array.isArray(value) && value.every(isPlain)),
    );
    return { message, ...Object.fromEntries(fields), ...(cause !== undefined && { cause: causeInWords(cause) }) };
  }

  static {
    Object.defineProperty(HoldfastError.prototype, BRAND, { value: true });
  }
}

/** How far causes are followed. */
const MAX_CAUSES = 4;

function isPlain(value: unknown): boolean {
  return value === null || ['string', 'number', 'boolean'].includes(typeof value);
}

function causeInWords(cause: unknown, deeper = MAX_CAUSES - 1): string {
  try {
    if (!(cause instanceof Error)) return String(cause);
    const own = `${cause.name}: ${cause.message}`;
    const isLast = cause.cause === undefined || deeper === 0;
    return isLast ? own : `${own}, caused by ${causeInWords(cause.cause, deeper - 1)}`;
  } catch {
    return 'something that cannot be printed'; // A hostile getter. The value itself is in `cause`.
  }
}

/** True for any holdfast error, also one thrown by another copy of the package (ESM beside CommonJS, two versions). */
export function isHoldfastError(error: unknown): error is HoldfastError {
  try {
    return typeof error === 'object' && error !== null && (error as { [BRAND]?: unknown })[BRAND] === true;
  } catch {
    return false; // A Proxy of the host's that throws when it is looked at: not one of ours.
  }
}

/** What was passed in cannot be used as it is: an unknown option, a wrong type, an id that is too long. Nothing was done. */
export class InvalidInputError extends HoldfastError {
  readonly code = 'HOLDFAST_INVALID_INPUT';
  constructor(
    message: string,
    /** Where the fault is, from the argument's name on: `options.leaseMs`, `session`. */
    readonly path: string,
    options?: { readonly cause?: unknown },
  ) {
    super(message, options);
  }
}

/** The thing was closed by its host. Nothing was done; make a new one to go on. */
export class ClosedError extends HoldfastError {
  readonly code = 'HOLDFAST_CLOSED';
  constructor(readonly what: string) {
    super(`${what} is closed and does nothing more. Make a new one, or close later.`);
  }
}

/** Was something used after its host had closed it? No stand-in may hide that: the host is on its way out. */
export function isClosed(error: unknown): boolean {
  return isHoldfastError(error) && error.code === 'HOLDFAST_CLOSED';
}

/** A size, depth or count went past its limit. Nothing was stored. */
export class LimitError extends HoldfastError {
  readonly code = 'HOLDFAST_LIMIT';
  constructor(
    message: string,
    /** Name of the limit that was passed, as it is called in the options: `maxBytes`, `maxDepth`. */
    readonly limit: string,
    readonly allowed: number,
  ) {
    super(message);
  }
}

/**
 * Stored bytes are not what was written. They are left as they are; nothing older was served in their place.
 * Restore an older checkpoint knowingly, or look at the store with its `repair`.
 */
export class CorruptionError extends HoldfastError {
  readonly code = 'HOLDFAST_CORRUPTION';
  constructor(
    message: string,
    /** The storage key or file that is damaged. */
    readonly key: string,
    options?: { readonly cause?: unknown },
  ) {
    super(message, options);
  }
}

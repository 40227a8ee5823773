import { HoldfastError } from '../base/errors.js';
import { inWords } from '../policies/in-words.js';
import type { StuckReason, TransactionStatus } from './transaction.js';

/** The transaction failed and was rolled back. `cause` is why. Calling it again with the same id gives this error again. */
export class RolledBackError extends HoldfastError {
  readonly code = 'HOLDFAST_ROLLED_BACK';
  /** Steps that were compensated, in the order it was done. */
  readonly compensated: readonly string[];
  /** Steps that had an effect, or may have had one, and have no compensation. */
  readonly leftBehind: readonly string[];
  constructor(
    readonly transaction: string,
    outcome: {
      readonly cause: unknown;
      readonly compensated: readonly string[];
      readonly leftBehind: readonly string[];
    },
  ) {
    const { cause, compensated, leftBehind } = outcome;
    const left =
      leftBehind.length === 0 ? '' : ` Left behind, because they have no compensation: ${leftBehind.join(', ')}.`;
    super(`Transaction "${transaction}" was rolled back: ${reasonOf(cause)}.${left}`, { cause });
    this.compensated = compensated;
    this.leftBehind = leftBehind;
  }
}

/** The transaction cannot go on or back by itself. Look at it with `get(id)` and decide with `resolve(id, ...)`. */
export class StuckError extends HoldfastError {
  readonly code = 'HOLDFAST_STUCK';
  readonly reason: StuckReason;
  /** The step it is stuck at, if it is one. */
  readonly step: string | undefined;
  constructor(
    readonly transaction: string,
    at: { readonly reason: StuckReason; readonly step?: string | undefined; readonly cause?: unknown },
  ) {
    const where = at.step === undefined ? '' : ` at step "${at.step}"`;
    const why = at.cause === undefined ? '' : `: ${reasonOf(at.cause)}`;
    const next = at.reason === 'abandoned' ? 'It was given up by hand.' : 'Look with get(), decide with resolve().';
    super(`Transaction "${transaction}" is stuck${where} (${at.reason})${why}. ${next}`, { cause: at.cause });
    this.reason = at.reason;
    this.step = at.step;
  }
}

/** Somebody cancelled the transaction: the `cause` of its `RolledBackError`. */
export class CancelledError extends HoldfastError {
  readonly code = 'HOLDFAST_CANCELLED';
  constructor(
    readonly transaction: string,
    readonly reason: string,
  ) {
    super(`Transaction "${transaction}" was cancelled: ${reason}`);
  }
}

/** What was asked for does not fit the state the transaction is in. Nothing was changed. */
export class TransactionStateError extends HoldfastError {
  readonly code = 'HOLDFAST_TRANSACTION_STATE';
  constructor(
    message: string,
    readonly transaction: string,
    /** `undefined`: there is no such transaction. */
    readonly status: TransactionStatus | undefined,
  ) {
    super(message);
  }
}

/** One line, to be followed by a full stop. */
function reasonOf(cause: unknown): string {
  return inWords(cause).replace(/\.+$/, '');
}

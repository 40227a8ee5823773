import { HoldfastError } from '../base/errors.js';

/** Somebody else who is alive, or may be, holds what was asked for. Nothing was done. Try later, or wait with `waitMs`. */
export class BusyError extends HoldfastError {
  readonly code = 'HOLDFAST_BUSY';
  constructor(
    /** What is held, in the user's words: `transaction "order-42"`. */
    readonly what: string,
    /** The node that holds it. */
    readonly holder: string,
  ) {
    super(`${what} is held by node ${holder}, which is alive or may be. Try later, or wait for it with waitMs.`);
  }
}

/**
 * What was held is held no longer: somebody took it over, or it could not be confirmed in time that it is still ours.
 * Nothing more was started and nothing more is written. The work may be going on elsewhere: stop acting for it.
 */
export class FencedError extends HoldfastError {
  readonly code = 'HOLDFAST_FENCED';
  constructor(
    /** What was lost, in the user's words: `transaction "order-42"`. */
    readonly what: string,
    options?: { readonly cause?: unknown },
  ) {
    super(
      `${what} is no longer held by this process. Stop acting for it; whoever holds it now goes on with it.`,
      options,
    );
  }
}

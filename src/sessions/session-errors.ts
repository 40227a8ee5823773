import { HoldfastError } from '../base/errors.js';

/** No session has this id. Nothing was done. `run` and `open` begin one; check the id if there should be one. */
export class UnknownSessionError extends HoldfastError {
  readonly code = 'HOLDFAST_UNKNOWN_SESSION';
  constructor(readonly session: string) {
    super(`There is no session "${session}". Check the id; \`run\` and \`open\` begin a new one.`);
  }
}

/** The session has come to its end. Nothing was done. Open it with `reopen: true` to go on with it all the same. */
export class SessionEndedError extends HoldfastError {
  readonly code = 'HOLDFAST_SESSION_ENDED';
  constructor(
    readonly session: string,
    readonly status: 'completed' | 'failed',
  ) {
    super(
      `Session "${session}" has ended: it is ${status}. Open it with \`reopen: true\` to go on with it all the same.`,
    );
  }
}

/**
 * The session was taken over too often: whatever it does, it takes its process down. It is left alone until a person has
 * looked at it and calls `release`. Nothing was done.
 */
export class QuarantinedError extends HoldfastError {
  readonly code = 'HOLDFAST_QUARANTINED';
  constructor(
    readonly session: string,
    readonly reason: string,
  ) {
    super(
      `Session "${session}" is in quarantine: ${reason}. Find out why its processes die, then release("${session}").`,
    );
  }
}

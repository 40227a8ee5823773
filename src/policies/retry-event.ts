import type { GiveUpReason } from './retry-error.js';

/** What happened to the attempts of a run. `error` is one line for humans; the error itself is the host's. */
export type RetryEvent =
  | {
      readonly type: 'attempt.succeeded';
      readonly operationId: string;
      readonly attempt: number;
      readonly durationMs: number;
    }
  | {
      readonly type: 'attempt.failed';
      readonly operationId: string;
      readonly attempt: number;
      readonly durationMs: number;
      readonly error: string;
    }
  | {
      readonly type: 'attempt.timed-out';
      readonly operationId: string;
      readonly attempt: number;
      readonly timeoutMs: number;
    }
  | {
      /** Another copy of the call was started. */
      readonly type: 'attempt.hedged';
      readonly operationId: string;
      readonly attempt: number;
      readonly copy: number;
    }
  | {
      /** The next attempt begins in `delayMs`. */
      readonly type: 'retry.scheduled';
      readonly operationId: string;
      readonly attempt: number;
      readonly delayMs: number;
      readonly error: string;
    }
  | {
      readonly type: 'retry.gave-up';
      readonly operationId: string;
      readonly attempts: number;
      /**
       * `not-worth-it`: judged hopeless, so the error itself was thrown. `aborted`: ended by its signal, its parent or
       * `close()`.
       */
      readonly reason: GiveUpReason | 'not-worth-it' | 'aborted';
      readonly error: string;
    };

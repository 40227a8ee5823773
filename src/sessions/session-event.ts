import type { SessionFailure } from './session-info.js';

/** What happened to sessions. `error` is one line for people. */
export type SessionEvent =
  /** It was begun, or opened again after it had ended or been given back. */
  | { readonly type: 'session.opened'; readonly session: string; readonly fence: number }
  | {
      readonly type: 'session.taken-over';
      readonly session: string;
      readonly fence: number;
      readonly from: string;
      readonly failure: SessionFailure;
    }
  /** Everything before the work is done: the session is at work. */
  | { readonly type: 'session.active'; readonly session: string; readonly fence: number }
  | { readonly type: 'session.completed'; readonly session: string }
  | { readonly type: 'session.failed'; readonly session: string; readonly error: string }
  /** Its process gave it back before it had ended; others may go on with it at once. */
  | { readonly type: 'session.released'; readonly session: string }
  /** It is no longer this process's. */
  | { readonly type: 'session.lost'; readonly session: string; readonly error: string }
  | { readonly type: 'session.quarantined'; readonly session: string; readonly reason: string }
  /** The record of a session cannot be read. It is left as it is. */
  | { readonly type: 'session.unreadable'; readonly key: string; readonly error: string }
  | { readonly type: 'session.archived'; readonly session: string }
  /** Its record was removed: it had ended, and `retention` keeps it no longer. Its checkpoints were left alone. */
  | { readonly type: 'session.expired'; readonly session: string };

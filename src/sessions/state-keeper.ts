import type { WriteGuard } from '../records/guarded-storage.js';

/** Where sessions keep their states: a `CheckpointManager`, or what has these methods of it. */
export interface StateKeeper {
  /** Keeps a state, durable when it resolves. */
  save(session: string, state: never, options?: never): Promise<unknown>;
  /** Gives the newest state that is intact; `undefined` if nothing was ever kept. */
  restore(session: string, options?: never): Promise<unknown>;
  /** The same for one holder, whose writes fail once somebody else holds the session. */
  guardedBy(guard: WriteGuard): StateKeeper;
}

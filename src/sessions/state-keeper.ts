import type { WriteGuard } from '../records/guarded-storage.js';

/** Where sessions keep their states: a `CheckpointManager`, or what has these methods of it. */
export interface StateKeeper {
  save(session: string, state: never, options?: never): Promise<unknown>;
  restore(session: string, options?: never): Promise<unknown>;
  /** The same for one holder, whose writes fail once somebody else holds the session. */
  guardedBy(guard: WriteGuard): StateKeeper;
}

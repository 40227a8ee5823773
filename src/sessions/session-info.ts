/**
 * Where a session is in its life.
 *
 * `initializing`: opened, not at work yet. `active`: at work in a live process. `recovering`: taken over from a process that
 * died, not at work yet. `interrupted`: nobody is at work on it, and it has not ended. `completed`, `failed`: ended.
 */
export type SessionStatus = 'initializing' | 'active' | 'recovering' | 'interrupted' | 'completed' | 'failed';

/** Which of several sessions goes first when not all can. */
export type SessionPriority = 'high' | 'normal' | 'low';

/**
 * What interrupted a session, as far as can be told.
 *
 * `crashed`: its process is proved dead, or nothing was heard of it for more than its lease. `disconnected`: its process
 * gave it back in order, or was seen alive by the host's `probe` although the store hears nothing of it. `frozen`: its
 * process lives and the session shows no progress. `corrupted`: its own record cannot be read, or that of its node.
 */
export type SessionFailure = 'crashed' | 'disconnected' | 'frozen' | 'corrupted';

/** One time that a session was taken over. */
export interface Takeover {
  /** Wall time: a label. */
  readonly atMs: number;
  /** The node it was taken from. */
  readonly from: string;
  /** The node that took it. */
  readonly by: string;
  readonly failure: SessionFailure;
  /** What says so, in words. */
  readonly evidence: readonly string[];
}

/** What is known of a session without its state. */
export interface SessionInfo {
  readonly id: string;
  readonly status: SessionStatus;
  /** The node that holds it; `null` when nobody does. */
  readonly node: string | null;
  /** 1, and one more every time that it is taken: a fencing token for systems outside that compare it. */
  readonly fence: number;
  readonly priority: SessionPriority;
  /** The host's own. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Wall time of its first beginning and of the last change of its record: labels. */
  readonly startedAtMs: number;
  readonly updatedAtMs: number;
  /** How far it is, 0 to 1, as it said with its process's last heartbeat. */
  readonly progress?: number;
  /** Milliseconds since it last showed that it goes on, as of its process's last heartbeat. */
  readonly quietMs?: number;
  /** Newest last; 20 at most are kept. */
  readonly takeovers: readonly Takeover[];
  /** Since when, and why, it is not taken over any more. `release` lifts it. */
  readonly quarantined?: { readonly atMs: number; readonly reason: string };
  /** For one that has ended: when, and what it failed with. */
  readonly endedAtMs?: number;
  readonly error?: string;
}

/** A session that nobody brings on, with what says so. */
export interface InterruptedSession {
  readonly id: string;
  /** `undefined` if its record cannot be read. */
  readonly session: SessionInfo | undefined;
  readonly failure: SessionFailure;
  /** What says so, in words, strongest first. */
  readonly evidence: readonly string[];
}

/** What hosts say of sessions, and what is done to them. */
type FactKind =
  /** The host holds it: `fence` says since when. */
  | 'held'
  /** Its work goes on from the state `count`. */
  | 'begun'
  /** The state `count` was acknowledged. */
  | 'saved'
  /** The record of the state `count`, the newest, was damaged in the store. */
  | 'damaged'
  /** Something failed in it that it has to get over by itself. */
  | 'trouble'
  /** The host was told that it holds it no more. */
  | 'lost'
  /** It ended. */
  | 'over'
  /** It ended badly, or nobody will go on with it. */
  | 'given-up'
  /** The host itself will do or hear nothing more, or nothing for a while. Of no session. */
  | 'fell';

/** One line of a host. Facts of one host are in order; times are by one clock for all. */
export interface Fact {
  readonly atMs: number;
  readonly host: string;
  readonly kind: FactKind;
  /** Empty for what is said of a host. */
  readonly session: string;
  readonly fence: number;
  readonly count: number;
  /** Why, where that has to be said. */
  readonly why: string;
}

/** Troubles that the sessions of one round have. One for each kind of failure that the library promises to survive. */
export const TROUBLES = [
  'host killed',
  'host killed inside a save',
  'host frozen past its lease',
  'newest checkpoint damaged, host killed',
  'rescuer killed in a recovery',
  'recovery step fails twice',
  'store down in a recovery',
  'store refuses writes',
  'dependency fails, its circuit opens',
  'step throws a transient error',
  'work throws a transient error',
] as const;
export type Trouble = (typeof TROUBLES)[number];

/** Steps of a session's work, with a checkpoint after each. */
export const STEPS = 6;

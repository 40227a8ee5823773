import { HoldfastError } from '../base/errors.js';

/** What is known of a checkpoint without its state. */
export interface CheckpointInfo {
  readonly session: string;
  /** 1 for the first checkpoint of a session, then counting up; never reused while the session exists. */
  readonly sequence: number;
  /** Sequence of the checkpoint this one was made from; `null` for the first. */
  readonly parent: number | null;
  /**
   * SHA-256, hexadecimal: equal states have equal checksums. Of the state's canonical bytes if these are few, else the
   * root of a Merkle tree over them.
   */
  readonly checksum: string;
  /** When it was saved, milliseconds since 1970: a label for humans, nothing is decided by it. */
  readonly savedAtMs: number;
  /** The state's canonical bytes. */
  readonly sizeBytes: number;
  /** What it takes in the store. */
  readonly storedBytes: number;
  readonly label?: string;
  readonly operation?: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly schemaVersion: number;
}

/** A checkpoint that `restore` had to pass over. */
export interface SkippedCheckpoint {
  readonly sequence: number;
  readonly reason: 'corrupt' | 'schema' | 'missing';
  readonly error: Error;
}

/** A state that came back, proved to be what was saved. */
export interface RestoredCheckpoint<State> {
  readonly state: State;
  readonly checkpoint: CheckpointInfo;
  /** This may not be the newest state that was saved: see `skipped`; if that is empty, the store itself is damaged. */
  readonly degraded: boolean;
  /** What was passed over on the way to this one, newest first. */
  readonly skipped: readonly SkippedCheckpoint[];
}

/** What a checkpoint manager reports, after the fact is durable. */
export type CheckpointEvent =
  | {
      readonly type: 'checkpoint.saved';
      readonly session: string;
      readonly sequence: number;
      readonly sizeBytes: number;
      readonly storedBytes: number;
    }
  | {
      readonly type: 'checkpoint.restored';
      readonly session: string;
      readonly sequence: number;
      readonly degraded: boolean;
    }
  | {
      readonly type: 'checkpoint.corrupt';
      readonly session: string;
      readonly sequence: number;
      readonly reason: string;
    }
  | {
      readonly type: 'checkpoint.pruned';
      readonly session: string;
      readonly removed: number;
      readonly freedBytes: number;
    }
  | { readonly type: 'checkpoint.auto-save-failed'; readonly session: string; readonly error: string }
  | { readonly type: 'checkpoint.statistics-failed'; readonly session: string; readonly error: string }
  | { readonly type: 'checkpoint.imported'; readonly session: string; readonly checkpoints: number }
  | {
      readonly type: 'checkpoint.repaired';
      readonly session: string;
      readonly severity: 'none' | 'minor' | 'major' | 'catastrophic';
      readonly lost: number;
      readonly repointed: number;
    }
  | { readonly type: 'checkpoint.prune-failed'; readonly session: string; readonly error: string }
  | { readonly type: 'checkpoint.deleted'; readonly session: string; readonly removed: number };

/** The checkpoint asked for by its sequence is not there and nothing older may stand in for it. */
export class MissingCheckpointError extends HoldfastError {
  readonly code = 'HOLDFAST_MISSING_CHECKPOINT';
  constructor(
    readonly session: string,
    readonly sequence: number,
  ) {
    super(
      `Session "${session}" has no checkpoint ${sequence}: it was pruned or never saved. list() shows what there is.`,
    );
  }
}

/**
 * A checkpoint was written by a newer version of the program than this one. It is intact and was left alone; falling
 * back to an older one would undo what the newer version did. Run the newer version.
 */
export class NewerSchemaError extends HoldfastError {
  readonly code = 'HOLDFAST_NEWER_SCHEMA';
  constructor(
    readonly session: string,
    readonly sequence: number,
    readonly schemaVersion: number,
    readonly knownVersion: number,
  ) {
    super(
      `Checkpoint ${sequence} of "${session}" has schema version ${schemaVersion}; this program knows up to ${knownVersion}. Run the newer version.`,
    );
  }
}

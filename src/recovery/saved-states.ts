import { CorruptionError } from '../base/errors.js';
import { MissingCheckpointError, type RestoredCheckpoint } from '../checkpoints/checkpoint.js';
import type { CheckpointManager } from '../checkpoints/checkpoint-manager.js';
import { inWords } from '../policies/in-words.js';
import { blotted } from '../storage/driver-fault.js';
import { isPassing } from './passing-trouble.js';
import type { CheckAnswer } from './rung.js';
import type { CheckpointedSession, SessionRecoveryOptions } from './session-recovery-options.js';

/** Checkpoints that are looked at, newest first. */
export const MAX_LOOKED_AT = 100;

/** A state that can be gone on from, and the checkpoints that are newer. */
export interface UsableState<State> extends RestoredCheckpoint<State> {
  readonly lost: readonly number[];
}

/** What there is to go on from. */
export interface FoundState<State> {
  /** The newest intact state; `undefined` if nothing was ever saved, or none can be restored. */
  readonly restored?: RestoredCheckpoint<State> | undefined;
  /** How much of what was saved is damaged; `undefined` if it cannot be told, as this program cannot read all of it. */
  readonly damage: 'none' | 'newest' | 'all' | undefined;
}

/** What a session saved, and which of it can be gone on from: what is intact, and valid to the host. */
export class SavedStates<State> {
  readonly #checkpoints: CheckpointManager<State>;
  readonly #validate: SessionRecoveryOptions<State>['validate'];

  constructor(checkpoints: CheckpointManager<State>, validate: SessionRecoveryOptions<State>['validate']) {
    this.#checkpoints = checkpoints;
    this.#validate = validate;
  }

  /** @throws what the storage throws if it gives no answer for now: nothing is decided by that. */
  async find(session: CheckpointedSession<State>): Promise<FoundState<State>> {
    try {
      const restored = await session.restore();
      if (restored?.degraded !== true) return { restored, damage: 'none' };
      return { restored, damage: restored.skipped[0]?.reason === 'schema' ? undefined : 'newest' };
    } catch (error) {
      if (isPassing(error)) throw error;
      return { damage: error instanceof CorruptionError ? 'all' : undefined };
    }
  }

  /** The newest that is intact and valid; `undefined` if none of those looked at is. @throws CorruptionError if none is intact */
  async newestUsable(session: CheckpointedSession<State>): Promise<UsableState<State> | undefined> {
    const newest = await session.restore(); // Where the next checkpoint goes on, past what is damaged.
    const lost = (newest?.skipped ?? []).map(({ sequence }) => sequence);
    for await (const { sequence } of this.#checkpoints.list(session.id, { limit: MAX_LOOKED_AT })) {
      if (lost.includes(sequence)) continue;
      const restored = await this.#usable(session, sequence);
      if (restored !== undefined) return { ...restored, lost };
      lost.push(sequence);
    }
    return undefined;
  }

  /** To begin with less, it is not enough that the other rungs have failed: they may have met what has passed by now. */
  async areLost(session: CheckpointedSession<State>): Promise<CheckAnswer> {
    try {
      const usable = await this.newestUsable(session);
      return usable === undefined || `checkpoint ${usable.checkpoint.sequence} can be gone on from`;
    } catch (error) {
      if (isDamage(error)) return true;
      throw error;
    }
  }

  /** The sequences of all that it saved and still has, whatever became of them, newest first. */
  async all({ id }: CheckpointedSession<State>): Promise<readonly number[]> {
    const { damaged } = await this.#checkpoints.verify(id);
    const sequences = new Set(damaged.filter(({ isLost }) => isLost).map(({ sequence }) => sequence));
    for await (const { sequence } of this.#checkpoints.list(id)) sequences.add(sequence);
    return [...sequences].sort((one, other) => other - one);
  }

  /** @throws Error that says why it is not valid; what goes away by waiting, if that keeps it from being told. */
  async requireValid(session: CheckpointedSession<State>, state: State): Promise<void> {
    const answer = await this.#validity(session, state);
    if (answer !== true) throw new Error(typeof answer === 'string' ? answer : 'the state is not valid');
  }

  async #usable(session: CheckpointedSession<State>, sequence: number): Promise<RestoredCheckpoint<State> | undefined> {
    try {
      const restored = await session.restore({ sequence, fallback: false });
      if (restored !== undefined && (await this.#validity(session, restored.state)) === true) return restored;
    } catch (error) {
      if (!isDamage(error)) throw error;
    }
    return undefined;
  }

  /** What it throws is a no, unless it goes away by waiting: then it is no answer. */
  async #validity(session: CheckpointedSession<State>, state: State): Promise<CheckAnswer> {
    try {
      return (await this.#validate?.(state, session)) ?? true;
    } catch (error) {
      if (isPassing(error)) throw error;
      return `validate threw: ${blotted(inWords(error))}`;
    }
  }
}

function isDamage(error: unknown): boolean {
  return error instanceof CorruptionError || error instanceof MissingCheckpointError;
}

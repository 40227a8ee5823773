import * as z from 'zod';
import { functionOption } from '../base/options.js';
import type { CheckpointManager } from '../checkpoints/checkpoint-manager.js';
import type { Session } from '../sessions/session.js';
import type { RecoveryBudget } from './budget.js';
import type { FailureRule } from './failure.js';
import { type Requirements, requirementsSchema } from './requirements.js';
import type { CheckAnswer } from './rung.js';

/** A session whose states a `CheckpointManager` keeps. */
export type CheckpointedSession<State> = Session<CheckpointManager<State>>;

/** What a host says of how its sessions are brought back. */
export interface SessionRecoveryOptions<State> {
  /**
   * Is this a state to go on from? Asked of every state that is intact: `true`, or why not. Default: yes. If it throws what
   * is transient it is asked again, five times; that is no answer, so nothing is begun with less because of it.
   */
  readonly validate?: (state: State, session: CheckpointedSession<State>) => CheckAnswer | Promise<CheckAnswer>;
  /** What has to be so before any session goes on. Default nothing. */
  readonly requirements?: Requirements;
  /** A state from elsewhere, when no checkpoint will do; `undefined` if there is none for this session. */
  readonly backup?: (session: CheckpointedSession<State>) => State | undefined | Promise<State | undefined>;
  /** As little as a session can begin with, when nothing else is left: the recovery is `degraded` then. */
  readonly minimal?: (session: CheckpointedSession<State>) => State | Promise<State>;
  /** What failures are known by, before the rules for sessions are asked. */
  readonly rules?: readonly FailureRule[];
  /** Recoveries that one session may have. Default 3 in 72 hours. */
  readonly budget?: RecoveryBudget;
}

export const sessionRecoverySchema = z.strictObject({
  validate: functionOption<SessionRecoveryOptions<never>['validate']>().optional(),
  requirements: requirementsSchema.optional(),
  backup: functionOption<SessionRecoveryOptions<never>['backup']>().optional(),
  minimal: functionOption<SessionRecoveryOptions<never>['minimal']>().optional(),
  rules: z.array(functionOption<FailureRule>()).optional(),
  budget: z.custom<RecoveryBudget>((budget) => typeof budget === 'object' && budget !== null).optional(),
});

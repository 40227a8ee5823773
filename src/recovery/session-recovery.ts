import type { Clock } from '../base/clock.js';
import type { Sink } from '../base/emit.js';
import { parseOptions } from '../base/options.js';
import type { RestoredCheckpoint } from '../checkpoints/checkpoint.js';
import type { CheckpointManager } from '../checkpoints/checkpoint-manager.js';
import { RECOVERY_OPERATION } from '../checkpoints/retention.js';
import type { StorageAdapter } from '../storage/adapter.js';
import type { TransactionManager } from '../transactions/transaction-manager.js';
import { type Confidence, confidence } from './confidence.js';
import { defaultLadder } from './default-ladder.js';
import type { Failure, RuleAnswer } from './failure.js';
import { defaultRules } from './failure-rules.js';
import { UNTIL_IT_PASSES } from './passing-trouble.js';
import type { RecoveryEvent } from './recovery-event.js';
import { RecoveryManager } from './recovery-manager.js';
import type { EndedRecovery } from './recovery-record.js';
import { unmetRequirements } from './requirements.js';
import type { CheckAnswer, NamedCheck } from './rung.js';
import { type FoundState, MAX_LOOKED_AT, SavedStates } from './saved-states.js';
import { RecoveryFailedError } from './session-recovery-error.js';
import {
  type CheckpointedSession,
  type SessionRecoveryOptions,
  sessionRecoverySchema,
} from './session-recovery-options.js';

export type { CheckpointedSession, SessionRecoveryOptions } from './session-recovery-options.js';

/** What sessions are recovered with. */
export interface SessionRecoveryParts<State> {
  /** Runs recoveries of sessions and nothing else: only whoever holds a session can go on with its recovery. */
  readonly transactions: TransactionManager;
  readonly storage: StorageAdapter;
  readonly checkpoints: CheckpointManager<State>;
  readonly clock: Clock;
  readonly emit: Sink<RecoveryEvent>;
}

/** How a session was brought back. */
export interface SessionRecoveryReport {
  readonly outcome: 'recovered' | 'degraded';
  /** What did it. */
  readonly rung: SessionRung;
  /** The checkpoint that it goes on from; `undefined`: nothing had been saved, it begins anew. */
  readonly sequence: number | undefined;
  /**
   * Checkpoints that are newer and could not be used, for a `backup` or a `minimal` all there are: what they held and this
   * state does not is lost.
   */
  readonly lost: readonly number[];
  /** How far the state can be relied on; `undefined` if there is none. */
  readonly confidence: Confidence | undefined;
  /** The whole story. */
  readonly recovery: EndedRecovery;
}

/** Rungs of the ladder for sessions. */
export type SessionRung = 'resume' | 'rollback' | 'repair' | 'backup' | 'minimal';

/** A session that is being recovered, and what was found of its states when that began. */
interface UnderWay<State> {
  readonly session: CheckpointedSession<State>;
  readonly found: FoundState<State>;
}

/** What a rung found to go on from. */
interface Source {
  readonly sequence: number | undefined;
  readonly savedAtMs: number | undefined;
  readonly lost: readonly number[];
}

/**
 * Brings sessions that were taken over to a state they can go on from: the newest checkpoint that is intact and valid, an
 * older one, a repaired one, a backup, or as little as they can begin with. Nothing that was saved is overwritten: a state
 * from elsewhere, or an older one, is saved as a new checkpoint, with operation `recovery.<rung>`, and retention keeps what was
 * the newest intact one until then.
 */
export class SessionRecovery<State> {
  readonly manager: RecoveryManager<SessionRung>;
  readonly #parts: SessionRecoveryParts<State>;
  readonly #options: SessionRecoveryOptions<State>;
  readonly #states: SavedStates<State>;
  /** Sessions that are being recovered here, by id. */
  readonly #underWay = new Map<string, UnderWay<State>>();
  readonly #sources = new WeakMap<CheckpointedSession<State>, Source>();
  readonly #reports = new WeakMap<CheckpointedSession<State>, SessionRecoveryReport>();

  constructor(parts: SessionRecoveryParts<State>, options: SessionRecoveryOptions<State> = {}) {
    const { transactions, storage, checkpoints, clock, emit } = parts;
    const { rules = [], budget } = parseOptions(sessionRecoverySchema, options, 'options.recovery');
    this.#parts = parts;
    this.#options = options;
    this.#states = new SavedStates(checkpoints, options.validate);
    this.manager = new RecoveryManager({
      transactions,
      storage,
      clock,
      emit,
      name: 'session-recovery',
      ladder: this.#ladder(),
      rules: [...rules, ({ subject, kind }) => this.#judgeStates(subject, kind), ...defaultRules],
      ...(budget && { budget }),
    });
  }

  /**
   * Brings a session that was taken over to a state it can go on from: for `prepare` of a `SessionRegistry`.
   * @throws RecoveryFailedError if no rung is accepted or the budget is spent; nothing that was saved is changed.
   * @throws what the storage throws if its states cannot be read for now: nothing was begun, or counted in its budget.
   */
  async prepare(session: CheckpointedSession<State>): Promise<void> {
    const { id, takeover } = session;
    this.#underWay.set(id, { session, found: await this.#states.find(session) });
    try {
      const { evidence = [], from = null } = takeover ?? {};
      const context = { fence: session.fence, from, evidence };
      const recovery = await this.manager.recover({ subject: id, kind: takeover?.failure ?? 'crashed', context });
      const { outcome, rung } = recovery;
      if (outcome !== 'recovered' && outcome !== 'degraded') throw new RecoveryFailedError(recovery);
      // A recovery that another process finished before it died did its work there: look at what it left.
      const source = this.#sources.get(session) ?? (await this.#sourceOf(await session.restore()));
      const report = { outcome, rung: rung as SessionRung, recovery, ...source };
      this.#reports.set(session, { ...report, confidence: this.#confidence(source, session) });
    } finally {
      this.#underWay.delete(id);
    }
  }

  /** How this session was brought back; `undefined` if it was not taken over. */
  reportOf(session: CheckpointedSession<State>): SessionRecoveryReport | undefined {
    return this.#reports.get(session);
  }

  #ladder() {
    const { backup, minimal } = this.#options;
    const requirements = { name: 'requirements', run: () => this.#meetsRequirements() };
    const loss = {
      name: 'loss',
      run: ({ subject }: Pick<Failure, 'subject'>) => this.#states.areLost(this.#session(subject)),
    };
    const rung = (run: (session: CheckpointedSession<State>) => Promise<Source>, ...preflight: NamedCheck[]) => ({
      preflight: [requirements, ...preflight],
      retry: UNTIL_IT_PASSES,
      run: async ({ subject }: Pick<Failure, 'subject'>) => {
        const session = this.#session(subject);
        this.#sources.set(session, await run(session));
      },
    });
    return defaultLadder({
      resume: rung((session) => this.#resume(session)),
      rollback: rung((session) => this.#rollback(session)),
      repair: rung((session) => this.#repair(session)),
      // Also for a mere crash: states that are intact and not valid are as lost as damaged ones.
      backup: backup && {
        from: 'minor',
        ...rung((session) => this.#begin(session, 'backup', () => backup(session)), loss),
      },
      minimal: minimal && rung((session) => this.#begin(session, 'minimal', () => minimal(session)), loss),
    });
  }

  async #resume(session: CheckpointedSession<State>): Promise<Source> {
    const found = this.#underWay.get(session.id)?.found;
    // It is not read again; but what is wrong with it is asked for, to be told.
    const restored = found?.damage === 'none' ? found.restored : await session.restore({ fallback: false });
    if (restored !== undefined) await this.#states.requireValid(session, restored.state);
    return this.#sourceOf(restored);
  }

  /** Saved anew, so that it is what comes next. */
  async #rollback(session: CheckpointedSession<State>): Promise<Source> {
    const found = await this.#states.newestUsable(session);
    if (found === undefined) throw new Error(`none of its newest ${MAX_LOOKED_AT} checkpoints can be used`);
    const { state, checkpoint, lost } = found;
    const saved = await session.checkpoint(state, { operation: `${RECOVERY_OPERATION}rollback` });
    return { sequence: saved.sequence, savedAtMs: checkpoint.savedAtMs, lost };
  }

  async #repair(session: CheckpointedSession<State>): Promise<Source> {
    await this.#parts.checkpoints.guardedBy(session.guard).repair(session.id);
    const restored = await session.restore();
    if (restored === undefined) throw new Error('nothing was left to repair');
    await this.#states.requireValid(session, restored.state);
    return this.#sourceOf(restored);
  }

  async #begin(
    session: CheckpointedSession<State>,
    rung: SessionRung,
    stateOf: () => State | undefined | Promise<State | undefined>,
  ): Promise<Source> {
    const state = await stateOf();
    if (state === undefined) throw new Error(`there is no ${rung} for this session`);
    await this.#states.requireValid(session, state);
    const lost = await this.#states.all(session);
    const { sequence } = await session.checkpoint(state, { operation: `${RECOVERY_OPERATION}${rung}` });
    return { sequence, savedAtMs: undefined, lost };
  }

  #sourceOf(restored: RestoredCheckpoint<State> | undefined): Source {
    if (restored === undefined) return { sequence: undefined, savedAtMs: undefined, lost: [] };
    const { checkpoint, skipped } = restored;
    const { sequence, savedAtMs } = checkpoint;
    return { sequence, savedAtMs, lost: skipped.map((checkpoint) => checkpoint.sequence) };
  }

  async #meetsRequirements(): Promise<CheckAnswer> {
    const unmet = await unmetRequirements(this.#options.requirements ?? {});
    return unmet.length === 0 || unmet.map(({ kind, name, why }) => `${kind} "${name}" ${why}`).join('; ');
  }

  /** What is wrong with a session's states decides how bad it is: a crash that left them whole is minor. */
  #judgeStates(id: string, kind: string | undefined): RuleAnswer | undefined {
    const damage = this.#underWay.get(id)?.found.damage;
    if (damage === undefined || kind === undefined) return undefined;
    if (damage === 'none') return { kind, severity: 'minor' };
    const severity = damage === 'newest' ? 'major' : 'catastrophic';
    return { kind: 'corrupted', severity, causes: ['the newest checkpoint is damaged'] };
  }

  #confidence({ savedAtMs, lost }: Source, { takeover }: CheckpointedSession<State>): Confidence | undefined {
    if (savedAtMs === undefined) return undefined;
    const ageMs = Math.max(0, (takeover?.atMs ?? this.#parts.clock.now()) - savedAtMs);
    return confidence({ ageMs, completeness: lost.length === 0 ? 1 : 0.5, tracking: takeover === undefined ? 0 : 1 });
  }

  #session(id: string): CheckpointedSession<State> {
    const session = this.#underWay.get(id)?.session;
    if (session === undefined) throw new Error(`session "${id}" is not held here: \`run\` or \`recover\` it`);
    return session;
  }
}

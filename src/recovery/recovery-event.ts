import type { Severity } from './failure.js';
import type { RecoveryOutcome } from './recovery-record.js';

/**
 * What happened to recoveries, after the fact is durable. `recovery` is the id, `why` and `error` are a line for people. A
 * process that dies between a fact and its event never reports it. A recovery whose transaction gets stuck where nobody
 * called `recover` for it reports itself as `transaction.stuck` only.
 */
export type RecoveryEvent =
  /** Not of one that is suppressed, of which nothing is run. */
  | {
      readonly type: 'recovery.started';
      readonly recovery: string;
      readonly subject: string;
      readonly kind: string;
      readonly severity: Severity;
      readonly transient: boolean;
      readonly strategy: string;
      readonly fingerprint?: string;
    }
  /** One that the recovery came to. Rungs for other severities are in the record only. */
  | {
      readonly type: 'recovery.rung';
      readonly recovery: string;
      readonly subject: string;
      readonly rung: string;
      readonly status: 'ok' | 'failed' | 'skipped';
      readonly why?: string;
      readonly ms?: number;
    }
  | {
      readonly type: 'recovery.finished';
      readonly recovery: string;
      readonly subject: string;
      readonly outcome: RecoveryOutcome;
      readonly rung?: string;
      readonly why?: string;
      readonly tookMs: number;
    }
  | {
      readonly type: 'recovery.resolved';
      readonly recovery: string;
      readonly subject: string;
      readonly outcome: RecoveryOutcome;
      readonly note: string;
    }
  /** A rule, or `signals`, threw or answered nonsense; the diagnosis went on without it. */
  | {
      readonly type: 'recovery.diagnosis-failed';
      readonly subject: string;
      readonly part: 'rule' | 'signals';
      readonly error: string;
    };

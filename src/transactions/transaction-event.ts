import type { StuckReason } from './transaction.js';

/** What happened to transactions, after the fact is durable. `error` is one line for people. */
export type TransactionEvent = {
  /** Id of the transaction. */
  readonly transaction: string;
  /** What it was defined as; left out for one given to `run` or `execute`. */
  readonly name?: string;
} & (
  | { readonly type: 'transaction.started' }
  /** Taken over from a node that is gone, or that let go of it. */
  | { readonly type: 'transaction.taken-over'; readonly fence: number; readonly from?: string }
  | { readonly type: 'transaction.cancelled'; readonly reason: string }
  | { readonly type: 'transaction.compensating'; readonly error: string }
  | { readonly type: 'transaction.done' }
  | { readonly type: 'transaction.rolled-back'; readonly compensated: number; readonly leftBehind: readonly string[] }
  | {
      readonly type: 'transaction.stuck';
      readonly reason: StuckReason;
      readonly step?: string;
      readonly error?: string;
    }
  | { readonly type: 'transaction.resolved'; readonly decision: string; readonly step?: string }
  /** Held no longer: by a close, for others to go on with. */
  | { readonly type: 'transaction.released' }
  /** It was taken over from us, or we could not show in time that it is still ours. */
  | { readonly type: 'transaction.fenced'; readonly error: string }
  /** The journal could not be written; it is tried again, the step is not run again. */
  | { readonly type: 'journal.delayed'; readonly error: string; readonly attempt: number }
  | { readonly type: 'step.done'; readonly step: string }
  | { readonly type: 'step.failed'; readonly step: string; readonly error: string }
  | { readonly type: 'step.unknown'; readonly step: string; readonly error: string }
  /** An unknown outcome was settled: by `verify`, by running it again, or by a person. */
  | { readonly type: 'step.settled'; readonly step: string; readonly happened: boolean }
  /** Asked for when no more steps start: the transaction ended, or goes back, or is let go of. It does not run. */
  | { readonly type: 'step.refused'; readonly step: string; readonly error: string }
  | { readonly type: 'step.compensated'; readonly step: string }
  | { readonly type: 'nest.rolled-back'; readonly nest: string; readonly error: string }
);

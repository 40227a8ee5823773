import * as z from 'zod';
import type { Clock } from '../../base/clock.js';

/** How often each thing goes wrong, as a probability from 0 to 1 per call, and by which clock calls are delayed. */
export interface ChaosOptions {
  /** Any call rejects with `StorageError`; the store never hears of it. Default 0.05. */
  readonly failBefore?: number;
  /** A `put`, or a `batch` with one, rejects with `NoSpaceError`; nothing was written. Default 0.01. */
  readonly noSpace?: number;
  /** A write rejects with `OutcomeUnknownError` and did not happen: the request was lost. Default 0.05. */
  readonly failUnknown?: number;
  /** A write goes to the store and its answer, good or bad, is lost: `OutcomeUnknownError`. Default 0.05. */
  readonly failAfter?: number;
  /** Any call reaches the store late, or its answer comes late: calls overtake each other. Default 0.2. */
  readonly delay?: number;
  /**
   * A write reaches the store twice. Default 0.1. Only writes that the store must refuse the second time: those that
   * demand a version of a key they change. A doubled unconditional write could undo what another writer did in between;
   * so could a doubled create (`ifVersion: null`), by bringing back a key that was deleted since.
   */
  readonly duplicate?: number;
  /** A value is cut short or has one bit flipped before it is stored. Default 0: no store may do that. */
  readonly tear?: number;
  /** Delays sleep on this clock. Left out: they let turns of the event loop pass, and no time. */
  readonly clock?: Clock;
  /** Longest sleep of one delay, in milliseconds of `clock`. Default 100. */
  readonly maxDelayMs?: number;
}

/** What went wrong, named as in `ChaosOptions`. */
export type ChaosFaultKind = Exclude<keyof ChaosOptions, 'clock' | 'maxDelayMs'>;

/** One thing that was done to one call. */
export interface ChaosFault {
  readonly operation: 'get' | 'put' | 'delete' | 'list' | 'batch';
  /** The call's key; the prefix of a `list`, the first key of a `batch`. */
  readonly key: string;
  readonly fault: ChaosFaultKind;
}

/** `ChaosOptions` with the defaults filled in. */
export type ChaosSettings = z.infer<typeof chaosOptionsSchema>;

const probability = (usual: number) => z.number().min(0).max(1).default(usual);

/** The defaults, and what is refused. */
export const chaosOptionsSchema = z.strictObject({
  failBefore: probability(0.05),
  noSpace: probability(0.01),
  failUnknown: probability(0.05),
  failAfter: probability(0.05),
  delay: probability(0.2),
  duplicate: probability(0.1),
  tear: probability(0),
  clock: z.custom<Clock>((clock) => typeof (clock as Clock | undefined)?.sleep === 'function').optional(),
  maxDelayMs: z.number().positive().default(100),
});

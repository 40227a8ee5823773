import * as z from 'zod';
import { parseOptions } from '../base/options.js';

/** What is known of the state that something was recovered from. */
export interface ConfidenceInput {
  /** How old the state is, in milliseconds. */
  readonly ageMs: number;
  /** Which share of the work it describes: 0 to 1. */
  readonly completeness: number;
  /** Which share of those at work it names: 0 to 1. */
  readonly tracking: number;
}

/** How far what was recovered can be relied on, and what that is made of: `value` is the sum of the rest, 0.95 at most. */
export interface Confidence {
  /** 0.50 to 0.95. */
  readonly value: number;
  /** 0.50: an intact state is worth at least as much as it is not. */
  readonly base: number;
  /** Up to 0.20: all of it for a state under 60 s old, half as much for every 5 min more. */
  readonly freshness: number;
  /** Up to 0.15. */
  readonly completeness: number;
  /** Up to 0.10. */
  readonly tracking: number;
}

const BASE = 0.5;
const MOST = 0.95;
const FRESH_MS = 60_000;
const HALF_LIFE_MS = 5 * 60_000;

const share = z.number().min(0).max(1);
const inputSchema = z.strictObject({ ageMs: z.number().min(0), completeness: share, tracking: share });

/**
 * `min(0.95, 0.50 + 0.20 x freshness + 0.15 x completeness + 0.10 x tracking)`, freshness being 1 under 60 s and halving
 * every 5 min from there. An estimate to rank sources by and to show to people: nothing was measured to get the weights.
 * Never 1: whoever recovers was not there.
 * @throws InvalidInputError for an age below 0 or a share outside 0 to 1.
 */
export function confidence(input: ConfidenceInput): Confidence {
  const { ageMs, completeness, tracking } = parseOptions(inputSchema, input, 'input');
  const terms = {
    base: BASE,
    freshness: 0.2 * 2 ** (-Math.max(0, ageMs - FRESH_MS) / HALF_LIFE_MS),
    completeness: 0.15 * completeness,
    tracking: 0.1 * tracking,
  };
  const sum = terms.base + terms.freshness + terms.completeness + terms.tracking;
  return { value: Math.min(MOST, sum), ...terms };
}

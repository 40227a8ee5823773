import type { Retention } from './checkpoint.js';

/** How many checkpoints stay when nothing else is said. */
const DEFAULT_KEEP_LAST = 20;

/**
 * Which sequences to remove, oldest first, so that a crash half-way never leaves an older state as the newest one.
 * `sequences` come newest first; `newestIntact` always stays.
 */
export function sequencesToRemove(
  sequences: readonly number[],
  newestIntact: number | undefined,
  retention: Retention,
): number[] {
  const { keepLast = DEFAULT_KEEP_LAST } = retention;
  return sequences
    .slice(keepLast)
    .filter((sequence) => sequence !== newestIntact)
    .reverse();
}

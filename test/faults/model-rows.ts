import { crashStates } from './crash-states.js';
import { everyByteFlipped, everyTruncation, randomFlips, zeroedAndGarbage } from './damage.js';
import { everyCallFails } from './file-system-faults.js';
import { hostileBytes } from './hostile.js';
import type { FaultRow } from './row.js';

/** Rows that run the shipped code over a modelled disk: deterministic, and the same on every machine. */
export const modelRows: readonly FaultRow[] = [
  crashStates,
  everyCallFails,
  everyByteFlipped,
  everyTruncation,
  randomFlips,
  zeroedAndGarbage,
  hostileBytes,
];

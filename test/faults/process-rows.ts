import { failingFleet } from './failing-fleet.js';
import { frozenHolder } from './frozen-holder.js';
import { frozenOwner } from './frozen-owner.js';
import { frozenWriter } from './frozen-writer.js';
import { fullDisk } from './full-disk.js';
import { killedCompactors } from './killed-compactors.js';
import { killedHolder } from './killed-holder.js';
import { killedSaves } from './killed-saves.js';
import { leftBehind } from './left-behind.js';
import { racedCreation } from './raced-creation.js';
import { racedRecovery } from './raced-recovery.js';
import { racedRescue } from './raced-rescue.js';
import type { FaultRow } from './row.js';
import { sharedCounters } from './shared-counters.js';
import { suddenEndings } from './sudden-endings.js';
import { killedTransactions } from './transactions-killed.js';
import { wrongClock } from './wrong-clock.js';

/** Faults that are done to real processes, files and disks. */
export const processRows: readonly FaultRow[] = [
  killedSaves,
  killedCompactors,
  suddenEndings,
  sharedCounters,
  racedCreation,
  frozenWriter,
  fullDisk,
  wrongClock,
  leftBehind,
  killedTransactions,
  frozenOwner,
  racedRecovery,
  killedHolder,
  frozenHolder,
  racedRescue,
  failingFleet,
];

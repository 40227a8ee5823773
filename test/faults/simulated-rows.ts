import { failingFleetApart } from './failing-fleet-apart.js';
import type { FaultRow } from './row.js';
import { fourMethods, statesApart, statesTogether } from './session-schedules.js';

/** Rows in which the hosts, their clocks and the line between them are simulated: the same on every machine. */
export const simulatedRows: readonly FaultRow[] = [failingFleetApart, statesTogether, fourMethods, statesApart];

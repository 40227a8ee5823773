import { type Ground, playSchedules } from '../sessions/session-schedule.js';
import type { FaultRow } from './row.js';

/**
 * Three processes share sessions while their clocks drift and jump, they stop, die and are cut off, and calls to the store
 * are late, lost or refused. There is one holder at a time, nothing that was acknowledged is lost, nothing stays behind.
 */
function schedulesOn(ground: Ground, where: string): FaultRow {
  return {
    fault: `sessions on drifting, stopping, dying processes over a bad line, ${where}`,
    async run(lane) {
      const tried = lane === 'quick' ? 100 : 3_334; // On three grounds: 300, and 10,000.
      const { saves, takeovers, violations } = await playSchedules(ground, tried);
      const bad = [...violations];
      if (saves < tried * 5 || takeovers < tried)
        bad.push(`${saves} saves, ${takeovers} takeovers: this proves too little`);
      return { tried, bad, note: `${saves} saves, ${takeovers} takeovers` };
    },
  };
}

export const statesTogether = schedulesOn('together', 'states beside the records');
export const fourMethods = schedulesOn('four methods', 'a store without batches');
export const statesApart = schedulesOn('apart', 'states in a store of their own');

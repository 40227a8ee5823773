import * as z from 'zod';
import type { CircuitState } from './circuit-event.js';

/** A circuit as it can be kept and brought back, perhaps in another process. JSON-safe; holds no time of day. */
export interface CircuitSnapshot {
  readonly version: 1;
  readonly name: string;
  readonly state: CircuitState;
  /** True: the circuit is disabled, but calls are counted. */
  readonly isMetricsOnly: boolean;
  /** What is left of the open time, in milliseconds; 0 unless open. It does not run while nobody runs the circuit. */
  readonly openForMs: number;
  /** Makes open times grow. */
  readonly openingsInARow: number;
  /** How long it was last to be open, in milliseconds. */
  readonly lastOpenMs: number;
}

export const snapshotSchema: z.ZodType<CircuitSnapshot> = z.strictObject({
  version: z.literal(1),
  name: z.string().min(1),
  state: z.enum(['closed', 'open', 'half-open', 'isolated', 'disabled']),
  isMetricsOnly: z.boolean(),
  openForMs: z.number().min(0),
  openingsInARow: z.int().min(0),
  lastOpenMs: z.number().min(0),
});

/** What came of one row of the fault table. */
export interface FaultResult {
  /** How many faults were tried. */
  readonly tried: number;
  /** Each bad outcome in a sentence; none is the only good answer. */
  readonly bad: readonly string[];
  /** A figure worth printing beside it. */
  readonly note?: string;
}

/** `quick` runs inside `npm test`, `full` in `npm run faults`. */
export type Lane = 'quick' | 'full';

/** One row of the fault table: something real is broken, and what holdfast promises is checked afterwards. */
export interface FaultRow {
  /** What is done to the store. */
  readonly fault: string;
  run(lane: Lane): Promise<FaultResult>;
}

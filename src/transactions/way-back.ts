import { parseWith } from '../records/standard-schema.js';
import type { LiveTransaction } from './live-transaction.js';
import { learnResult, settleStep, waitsOnWayBack } from './settle.js';
import { compensateStep, type StepCall } from './step-runner.js';
import type { StepRecord } from './transaction-state.js';

/** What goes back: the whole transaction, or a nest in it. */
export interface WayBack {
  /** In front of the names of its steps. */
  readonly prefix: string;
  readonly cause: unknown;
  /** The code of steps, by path. */
  readonly calls: ReadonlyMap<string, StepCall>;
}

/**
 * Takes back what stands, the last one first. Everything that ran has come to rest, and steps without a record never
 * ran. Each compensation is written down before the next one begins, so after a crash none runs again that is known to
 * be done.
 * @throws StuckError, FencedError, ClosedError
 */
export async function goBack(live: LiveTransaction, { prefix, cause, calls }: WayBack): Promise<void> {
  for (const record of live.state.unknown(prefix)) {
    live.requireGoingOn();
    await settleStep(live, requireCall(live, calls, record), record);
  }
  const pivot = live.state.pivot(prefix);
  if (pivot !== undefined) throw live.stuck('past-pivot', pivot.step, cause); // It was cut off, and happened.
  const aside = { scope: live.backScope, waits: waitsOnWayBack(live) };
  for (const record of live.state.standing(prefix)) {
    live.requireGoingOn();
    const call = requireCall(live, calls, record);
    if (record.isRead || call.code.compensate === undefined) continue; // It stays, and is said to be left behind.
    await compensate(live, { ...call, ...aside }, { record, cause });
  }
}

async function compensate(
  live: LiveTransaction,
  call: StepCall,
  { record, cause }: { readonly record: StepRecord; readonly cause: unknown },
): Promise<void> {
  const { step } = record;
  const result = await recordedResult(live, call, record);
  try {
    await compensateStep(live.home.retries, call, { result, cause });
  } catch (error) {
    live.requireHeld();
    live.requireGoingOn(); // Nor is one stuck that is lost or let go of: another process goes on with it.
    throw live.stuck('compensation-failed', step, error);
  }
  await live.write({ type: 'compensated', step });
  live.report({ type: 'step.compensated', step });
}

/** As it was recorded, also when the body has changed it since: the same after a crash as without one. */
async function recordedResult(live: LiveTransaction, call: StepCall, record: StepRecord): Promise<unknown> {
  if (record.isLost) return call.unkept === undefined ? learnResult(live, call, record) : call.unkept.result;
  const result = live.decode(record.value);
  const { parse } = call.code;
  if (parse === undefined) return result;
  // What its schema refuses now was its result all the same.
  return parseWith(parse, result, record.step).catch(() => live.decode(record.value));
}

function requireCall(live: LiveTransaction, calls: ReadonlyMap<string, StepCall>, { step }: StepRecord): StepCall {
  const call = calls.get(step);
  if (call === undefined) throw live.stuck('steps-not-run', step);
  return call;
}

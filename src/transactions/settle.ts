import { CallScope } from '../policies/call-scope.js';
import type { JournalFact } from './journal-entry.js';
import { ifTooLarge, type LiveTransaction, type Refusal } from './live-transaction.js';
import { runStep, type StepCall, verifyStep } from './step-runner.js';
import type { StepRecord } from './transaction-state.js';

/** Whether a step happened, and what it gave. */
type Learned = { readonly happened: true; readonly result: unknown } | { readonly happened: false };

/** Aborted when this life ends: what goes back waits for no other attempt then. */
export function waitsOnWayBack(live: LiveTransaction): CallScope {
  const waits = new CallScope(1);
  void live.ended.then(() => waits.abort(live.interruption?.error));
  return waits;
}

/**
 * On the way back: finds out whether a step happened whose outcome is unknown, and writes it down. `record` is what the
 * journal says of it; without one a process that died may have begun it.
 * @throws StuckError if nothing can tell.
 */
export async function settleStep(live: LiveTransaction, call: StepCall, record: StepRecord | undefined): Promise<void> {
  const { code, identity } = call;
  const { step } = identity;
  if (code.effect === 'once' && code.verify === undefined && record === undefined) return; // It would have been announced.
  // A pivot that may have happened may have made everything final: neither running it nor going on back is safe.
  if (code.isPivot && code.verify === undefined) {
    // Recorded as a pivot, so that it is one also if a person says that it happened.
    const value = record?.value ?? live.encodeError(new Error('Its process died.'));
    if (record === undefined) await live.write({ type: 'unknown', step, isPivot: true }, value);
    throw live.stuck('unknown-outcome', step, live.decode(value));
  }
  if (code.effect === 'idempotent' && code.verify === undefined && code.compensate === undefined) {
    // Running it again would only make certain that there is something nobody can take back.
    if (record === undefined)
      await live.write({ type: 'unknown', step }, live.encodeError(new Error('Its process died.')));
    return;
  }
  const learned = await learn(live, call, record);
  if (learned.happened) await writeDone(live, call, learned.result);
  else if (record !== undefined) await live.write({ type: 'failed', step }, record.value);
  if (learned.happened || record !== undefined) live.report({ type: 'step.settled', step, happened: learned.happened });
}

/**
 * What a step gave whose result could not be kept.
 * @throws StuckError if nothing can tell.
 */
export async function learnResult(live: LiveTransaction, call: StepCall, record: StepRecord): Promise<unknown> {
  const learned = await learn(live, call, record);
  if (learned.happened) return learned.result;
  throw live.stuck('unknown-outcome', record.step, new Error('It happened, and now nothing is known of it.'));
}

/**
 * Writes down that a step is done and what it gave. Of a result that cannot be kept only that it happened, and the result
 * stays with the call, for its compensation; gives the error then.
 */
export function writeDone(live: LiveTransaction, call: StepCall, result: unknown): Promise<unknown> {
  const { code, identity } = call;
  const fact: JournalFact = {
    type: 'done',
    step: identity.step,
    ...(code.isPivot && { isPivot: true }),
    ...(code.effect === 'none' && { isRead: true }),
  };
  const writeLost = async ({ error }: Refusal) => {
    call.unkept = { result };
    await live.write({ ...fact, isLost: true });
    return error;
  };
  const value = live.tryEncode(result);
  if ('error' in value) return writeLost(value);
  return live.write(fact, value).then(
    () => undefined,
    (error: unknown) => writeLost(ifTooLarge(error)),
  );
}

async function learn(live: LiveTransaction, call: StepCall, record: StepRecord | undefined): Promise<Learned> {
  const { code, identity } = call;
  const { retries } = live.home;
  const aside = { ...call, scope: live.backScope, waits: waitsOnWayBack(live) }; // Those of the step are aborted already.
  if (code.effect === 'none') return { happened: false };
  if (code.verify !== undefined) {
    try {
      const result = await verifyStep(retries, aside);
      return result === undefined ? { happened: false } : { happened: true, result };
    } catch (error) {
      live.requireGoingOn(); // What ended with this process tells nothing: the next life asks again.
      throw live.stuck('unknown-outcome', identity.step, error);
    }
  }
  if (code.effect === 'once') throw live.stuck('unknown-outcome', identity.step, live.decode(record?.value));
  live.requireHeld();
  const outcome = await runStep(retries, { ...aside, code: { ...code, retry: code.compensateRetry } });
  if (outcome.kind === 'done') return { happened: true, result: outcome.result };
  // Of a step that a process may have died in, a failure now is its outcome: an idempotent step has only one. But a call that
  // was cut off and fails now, perhaps because the other side is down, may well have happened.
  if (outcome.kind === 'failed' && record === undefined) return { happened: false };
  live.requireGoingOn();
  throw live.stuck('unknown-outcome', identity.step, outcome.error);
}

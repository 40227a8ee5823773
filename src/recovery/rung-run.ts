import { inWords } from '../policies/in-words.js';
import { blotted } from '../storage/driver-fault.js';
import { wasInterrupted } from '../transactions/unknown-outcome.js';
import type { Check, CheckAnswer, RecoveryCase, Rung, RungAttempt, RungReport } from './rung.js';

/** One attempt of a rung: whether it may run, whether it was accepted. Rejects with what `run` throws. */
export async function runRung(
  rung: Rung,
  attempt: RungAttempt,
  isAskedFor: boolean,
): Promise<Pick<RungReport, 'status' | 'why'>> {
  const whySkipped = await whyNot(rung, attempt, isAskedFor);
  if (whySkipped !== undefined) return { status: 'skipped', why: whySkipped };
  attempt.result = await rung.run(attempt);
  if (rung.check === undefined) return { status: 'ok' };
  const whyRefused = await refusal('check', () => rung.check?.(attempt));
  return whyRefused === undefined ? { status: 'ok' } : { status: 'failed', why: whyRefused };
}

/**
 * Why a rung is not worth trying; `undefined` if it is. `when` is not asked of a rung that was asked for by name.
 * A question that throws is answered with no.
 */
export async function whyNot(rung: Rung, at: RecoveryCase, isAskedFor: boolean): Promise<string | undefined> {
  if (!isAskedFor && rung.when !== undefined) {
    const why = await refusal('when', async () => (await rung.when?.(at)) || 'it is not for this failure');
    if (why !== undefined) return why;
  }
  for (const [index, check] of (rung.preflight ?? []).entries()) {
    const why = await refusal(nameOf(check, index), () => ask(check, at));
    if (why !== undefined) return why;
  }
  return undefined;
}

function ask(check: Check, at: RecoveryCase): CheckAnswer | PromiseLike<CheckAnswer> {
  return typeof check === 'function' ? check(at) : check.run(at);
}

function nameOf(check: Check, index: number): string {
  return typeof check === 'function' ? `preflight ${index + 1}` : check.name;
}

/** `undefined` if the answer is `true`. @throws what says that the recovery itself has ended here */
async function refusal(what: string, question: () => unknown): Promise<string | undefined> {
  try {
    const answer = await question();
    if (answer === true) return undefined;
    if (typeof answer === 'string') return `${what}: ${blotted(answer)}`;
    return answer === false ? `${what} said no` : `${what} answered ${inWords(answer)}: true or a reason is needed`;
  } catch (error) {
    if (wasInterrupted(error)) throw error;
    return `${what} threw: ${blotted(inWords(error))}`;
  }
}

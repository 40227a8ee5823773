import { isDeepStrictEqual } from 'node:util';
import { isHoldfastError } from '../../base/errors.js';
import { inWords } from '../../policies/in-words.js';
import type { TransactionStatus } from '../../transactions/transaction.js';
import { RolledBackError } from '../../transactions/transaction-errors.js';
import type { CrashEnding } from './crash-scenario.js';
import { refusalOf, type WorldCall } from './crash-world.js';

/** What the call of a transaction came to. */
export type Answer = PromiseSettledResult<unknown>;

/** A failure counts once it is recorded, which takes a few writes at most. */
const RECORDED_MS = 10;

const CODES: Readonly<Partial<Record<TransactionStatus, string>>> = {
  'rolled-back': 'HOLDFAST_ROLLED_BACK',
  stuck: 'HOLDFAST_STUCK',
};

/** What is wrong with an answer, given the status of the transaction behind it. */
export function wrongAnswer(answer: Answer, status: TransactionStatus | undefined): string[] {
  if (status === undefined) return ['there is no such transaction after its call has ended'];
  const code = answer.status === 'fulfilled' ? undefined : codeOf(answer.reason);
  if (answer.status === 'fulfilled' ? status === 'done' : code === CODES[status] && code !== undefined) return [];
  return [`it is ${status}, and its call ${inWordsOf(answer)}`];
}

/** What is wrong if the same call was answered in one way and in another. */
export function otherAnswer(first: Answer, second: Answer): string[] {
  if (isDeepStrictEqual(shown(first), shown(second))) return [];
  return [`its call ${inWordsOf(first)}, and called again it ${inWordsOf(second)}`];
}

/** What is wrong with the effects that stand at the end; `undisturbed` is the ending of the run in which nobody died. */
export function wrongEffects(ending: CrashEnding, undisturbed: CrashEnding): string[] {
  const standing = standingSteps(ending);
  if (ending.status === 'rolled-back') {
    const leftBehind = ending.error instanceof RolledBackError ? ending.error.leftBehind : [];
    const forgotten = standing.filter((step) => !leftBehind.includes(step));
    return forgotten.map((step) => `${step} was not compensated, and is not said to be left behind`);
  }
  if (ending.status !== 'done' || undisturbed.status !== 'done') return [];
  const expected = standingSteps(undisturbed);
  return [
    ...expected.filter((step) => !standing.includes(step)).map((step) => `${step} is missing, though it is done`),
    ...standing.filter((step) => !expected.includes(step)).map((step) => `${step} was not taken back`),
  ];
}

/**
 * Steps that were begun after the failure that all was rolled back for. Only in the first process: a later one cannot know
 * what an earlier one had begun, and may have to run a step to learn what there is to take back.
 */
export function begunAfterFailure(calls: readonly WorldCall[], { error }: CrashEnding): string[] {
  const cause = error instanceof RolledBackError ? error.cause : undefined;
  const inFirst = calls.filter(({ process }) => process === 1);
  const refusal = inFirst.find(({ kind, step }) => kind === 'refuse' && inWords(cause) === refusalOf(step));
  const failedMs = refusal?.ended?.atMs;
  if (refusal === undefined || failedMs === undefined) return [];
  return inFirst
    .filter((call) => call.kind === 'act' && inFirst.find(({ key }) => key === call.key) === call)
    .filter(({ begun }) => begun.atMs > failedMs + RECORDED_MS)
    .map(({ step }) => `${step} was begun after ${refusal.step} had failed`);
}

/** Names of steps whose effect was done and not taken back. */
function standingSteps({ events }: CrashEnding): string[] {
  const undone = new Set(events.filter(({ kind }) => kind === 'undo').map(({ receipt }) => receipt));
  const standing = events.filter(({ kind, receipt }) => kind === 'act' && !undone.has(receipt));
  return [...new Set(standing.map(({ step }) => step))];
}

function codeOf(error: unknown): string | undefined {
  return isHoldfastError(error) ? error.code : undefined;
}

function inWordsOf(answer: Answer): string {
  if (answer.status === 'fulfilled') return `gave ${inWords(answer.value)}`;
  const { reason } = answer;
  const back = reason instanceof RolledBackError ? ` (compensated: ${reason.compensated.join(', ')})` : '';
  return `failed with ${codeOf(reason) ?? 'an error'}: ${inWords(reason)}${back}`;
}

/** What has to be the same. An error that was read back has another stack. */
function shown(answer: Answer): unknown {
  if (answer.status === 'fulfilled') return answer.value;
  const { reason } = answer;
  if (!(reason instanceof RolledBackError)) return [codeOf(reason), inWords(reason)];
  const { message, compensated, leftBehind } = reason;
  return [message, compensated, leftBehind];
}

import type { Clock } from '../base/clock.js';
import { OutcomeUnknownError, StorageError } from './adapter.js';

/** How long to wait for an answer. */
export interface AnswerLimit {
  readonly clock: Clock;
  readonly ms: number;
  /** Ends the wait, rejecting with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** What is thrown when no answer came in time. */
  readonly late: () => Error;
}

/** Ends a wait for which there is an answer. Made once: an abort without a reason makes an error with a stack each time. */
const ANSWERED = 'answered';

/** The answer, unless it takes too long; the wait does not keep the process alive. What was asked for is not called off. */
export async function answerWithin<Answer>(limit: AnswerLimit, answer: Promise<Answer>): Promise<Answer> {
  const { clock, ms, signal } = limit;
  const wait = new AbortController();
  const stop = () => wait.abort(signal?.aborted ? signal.reason : ANSWERED);
  const late = clock.sleep(ms, { signal: wait.signal, unref: true }).then(() => {
    throw limit.late();
  });
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    return await Promise.race([answer, late]);
  } finally {
    signal?.removeEventListener('abort', stop);
    stop();
  }
}

/** For a write of `key`: one that has not been answered may have happened. */
export function unansweredWrite(key: string, ms: number): OutcomeUnknownError {
  return new OutcomeUnknownError(key, { cause: new StorageError(`The storage gave no answer within ${ms} ms.`) });
}

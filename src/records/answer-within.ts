import type { Clock } from '../base/clock.js';
import { OutcomeUnknownError, StorageError } from '../storage/adapter.js';

/** How long to wait for an answer. */
export interface AnswerLimit {
  readonly clock: Clock;
  readonly ms: number;
  /** Ends the wait, rejecting with its reason. */
  readonly signal?: AbortSignal;
}

/**
 * The answer of a write to `key`; the wait for it does not keep the process alive. The write itself is not called off.
 * @throws OutcomeUnknownError if there is none within the limit.
 */
export async function answerWithin<Answer>(limit: AnswerLimit, key: string, answer: Promise<Answer>): Promise<Answer> {
  const { clock, ms, signal } = limit;
  const wait = new AbortController();
  const stop = () => wait.abort(signal?.reason);
  const late = clock.sleep(ms, { signal: wait.signal, unref: true }).then(() => {
    throw new OutcomeUnknownError(key, { cause: new StorageError(`The storage gave no answer within ${ms} ms.`) });
  });
  signal?.addEventListener('abort', stop, { once: true });
  try {
    return await Promise.race([answer, late]);
  } finally {
    signal?.removeEventListener('abort', stop);
    stop();
  }
}

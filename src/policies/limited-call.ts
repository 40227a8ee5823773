import { type Clock, startTimer } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import type { Call } from './attempt.js';
import type { CallScope } from './call-scope.js';
import type { RetryEvent } from './retry-event.js';
import { TimeoutError } from './timeout.js';

/** How long an attempt may take, and who hears when it took longer. */
export interface AttemptLimit {
  readonly clock: Clock;
  readonly attemptTimeoutMs: number | undefined;
  readonly emit: Sink<RetryEvent> | undefined;
}

/**
 * The call in a scope of its own, cut off when that is aborted or `attemptTimeoutMs` have passed. A call that does not
 * listen to its signal goes on by itself and counts as left behind. Ends the scope. One promise and no `async`, because
 * this is on the way of every call with a time limit.
 */
export function limitedCall<T>(limit: AttemptLimit, call: Call<T>, scope: CallScope): T | Promise<T> {
  if (scope.isAborted) throw scope.reason;
  const { clock, attemptTimeoutMs } = limit;
  if (attemptTimeoutMs !== undefined) {
    const timer = startTimer(clock, attemptTimeoutMs, () => scope.abort(timedOut(limit, scope)));
    scope.endsBy(timer, clock, attemptTimeoutMs);
  }
  const made = begin(call, scope);
  return isPromiseLike(made) ? cutOff(Promise.resolve(made), scope) : made; // A query that runs on `then` must run once.
}

function begin<T>(call: Call<T>, scope: CallScope): T | PromiseLike<T> {
  try {
    const made = call(scope);
    if (!isPromiseLike(made)) scope.end();
    return made;
  } catch (error) {
    scope.end();
    throw error;
  }
}

function cutOff<T>(made: Promise<T>, scope: CallScope): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    scope.whenAborted((reason) => {
      scope.leaveBehind(made);
      scope.end();
      reject(reason);
    });
    made.then(
      (value) => {
        scope.end();
        resolve(value);
      },
      (error: unknown) => {
        scope.end();
        reject(error); // After an abort this changes nothing: the caller was told.
      },
    );
  });
}

function timedOut({ attemptTimeoutMs, emit: sink }: AttemptLimit, scope: CallScope): TimeoutError {
  const timeoutMs = attemptTimeoutMs as number; // Only a limited call times out.
  if (sink !== undefined) {
    const { operationId, attempt } = scope;
    emit(sink, { type: 'attempt.timed-out', operationId, attempt, timeoutMs });
  }
  return new TimeoutError(timeoutMs);
}

function isPromiseLike<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as PromiseLike<T> | null | undefined)?.then === 'function';
}

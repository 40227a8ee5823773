import { isHoldfastError } from '../base/errors.js';
import type { CallScope } from '../policies/call-scope.js';

/** Names end in these: `TimeoutError`, undici's `HeadersTimeoutError`, axios' `CanceledError`. */
const CUT_OFF_NAME = /(?:Timeout|Abort|Canceled)Error$/;

/** A connection that broke, a wait that was given up, a part that does not know: somewhere between request and answer. */
const CUT_OFF_CODES: ReadonlySet<unknown> = new Set([
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ECONNABORTED',
  'ERR_CANCELED',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'UND_ERR_SOCKET',
  'HOLDFAST_OUTCOME_UNKNOWN',
  'HOLDFAST_BUSY',
  'HOLDFAST_STUCK',
]);

/** Certain, whatever they were made of: nothing was sent, or what was done is taken back. */
const CERTAIN_CODES: ReadonlySet<unknown> = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'HOLDFAST_CIRCUIT_OPEN',
  'HOLDFAST_BULKHEAD_FULL',
  'HOLDFAST_RATE_LIMITED',
  'HOLDFAST_ROLLED_BACK',
]);

const ENDED_CODES: ReadonlySet<unknown> = new Set(['HOLDFAST_CLOSED', 'HOLDFAST_FENCED']);

/** How many errors are looked at. No real one is made of more. */
const MAX_PARTS = 1_000;

/**
 * Was a call cut off, so that it may have happened all the same? Told by name and code, because such errors come from
 * anywhere: from sockets, clients of services, `AbortSignal.timeout`, another realm; and by what the transaction was aborted
 * with, which a `fetch` throws as it is. What an error was made of counts: causes, attempts of a run inside, aggregates.
 * Never throws; true for what cannot be looked at.
 */
export function isUnknownOutcome(error: unknown, scope: CallScope): boolean {
  const isReason = (part: unknown) => scope.isAborted && part === scope.reason;
  return isMadeOf(error, (part) => isReason(part) || isCutOff(part)) ?? true;
}

/**
 * Did something that the step was part of, or went through, end with this process: a transaction inside, the manager? What was
 * begun there may go on elsewhere. Never throws.
 */
export function wasInterrupted(error: unknown): boolean {
  return isMadeOf(error, (part) => isHoldfastError(part) && ENDED_CODES.has(part.code)) ?? false;
}

function isCutOff(part: unknown): boolean {
  if (!isObject(part)) return false;
  if (typeof part.name === 'string' && CUT_OFF_NAME.test(part.name)) return true;
  // The code of an aggregate is that of its first error: they speak for themselves.
  return listOf(part.errors).length === 0 && CUT_OFF_CODES.has(part.code);
}

function isCertain(part: unknown): boolean {
  if (!isObject(part)) return false;
  return CERTAIN_CODES.has(part.code) || part.syscall === 'connect' || part.name === 'ConnectTimeoutError';
}

/**
 * Is this true of `error`, or of anything it was made of? What is certain is left out, with what it was made of. `undefined` if
 * it cannot be looked at: a proxy that throws, a getter that makes up ever more.
 */
function isMadeOf(error: unknown, isOne: (part: unknown) => boolean): boolean | undefined {
  const parts = new Set([error]); // A set goes on to what is added meanwhile, and ends in a ring.
  try {
    for (const part of parts) {
      if (isCertain(part)) continue;
      if (isOne(part)) return true;
      for (const inner of innerOf(part)) parts.add(inner);
      if (parts.size > MAX_PARTS) return undefined;
    }
  } catch {
    return undefined; // It says nothing. The step failed already; a second error would hide the first.
  }
  return false;
}

function innerOf(part: unknown): readonly unknown[] {
  if (!isObject(part)) return [];
  const thrown = listOf(part.attempts).map((attempt) => (isObject(attempt) ? attempt.error : undefined));
  return [part.cause, ...thrown, ...listOf(part.errors)];
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value.slice(0, MAX_PARTS) : [];
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

import { types } from 'node:util';
import type { Clock } from '../base/clock.js';
import { propertyOf, statusOf } from './http-failure.js';

/**
 * How long the other side asked us to wait, in milliseconds; `undefined` if it did not say, or said nothing that can be
 * read as a wait. `failure` is what was thrown, or the result that was refused: a fetch `Response`, or an error of got,
 * axios, undici, the AWS SDK, openai, anthropic and their like. The first of these that can be read counts:
 *
 * 1. `retryAfterMs` of the failure itself, a number.
 * 2. `retry-after-ms`.
 * 3. `retry-after`: seconds, also fractions, or a date.
 * 4. With status 429, or 403 or 503 and `x-ratelimit-remaining: 0`: `x-ratelimit-reset-after` (seconds), then
 *    `ratelimit-reset` and `x-ratelimit-reset`, which are seconds from now, seconds or milliseconds since 1970, or a date:
 *    services disagree, but the sizes do not overlap.
 *
 * A moment that is past is a wait of 0. Moments are taken relative to the response's own `date`, if it has one, so that
 * clocks which disagree do no harm. How much of the wait is honoured is for the caller to decide; the `cause` is not
 * asked. Never throws, whatever it is handed.
 *
 * Sources: RFC 9110, sections 5.6.7 and 10.2.3; draft-ietf-httpapi-ratelimit-headers-03 for `ratelimit-reset`.
 */
export function retryAfterMsOf(failure: unknown, clock: Clock): number | undefined {
  const own = propertyOf(failure, 'retryAfterMs');
  if (isWait(own)) return own;
  const header = headersOf(failure);
  return (
    numberIn(header('retry-after-ms')) ??
    secondsIn(header('retry-after')) ??
    untilMs(momentIn(header('retry-after')), header, clock) ??
    (isRateLimited(failure, header) ? rateLimitResetMs(header, clock) : undefined)
  );
}

/** The value of a header, by its name in lower case; `undefined` if there is none. */
type HeaderReader = (name: string) => unknown;

/** Other answers carry the reset headers too, as news about the quota, not as a request to wait. */
function isRateLimited(failure: unknown, header: HeaderReader): boolean {
  const status = statusOf(failure);
  if (status === 429) return true;
  return (status === 403 || status === 503) && numberIn(header('x-ratelimit-remaining')) === 0;
}

function rateLimitResetMs(header: HeaderReader, clock: Clock): number | undefined {
  const resetIn = (value: unknown) => {
    const amount = numberIn(value);
    if (amount !== undefined && amount < FIRST_EPOCH_SECONDS) return amount * 1_000;
    const atMs = amount === undefined || amount >= FIRST_EPOCH_MS ? amount : amount * 1_000;
    return untilMs(atMs ?? momentIn(value), header, clock);
  };
  return (
    secondsIn(header('x-ratelimit-reset-after')) ??
    resetIn(header('ratelimit-reset')) ??
    resetIn(header('x-ratelimit-reset'))
  );
}

/** September 2001. As a wait it would be 31 years. */
const FIRST_EPOCH_SECONDS = 1e9;

/** March 1973. As seconds it would be the year 5138. */
const FIRST_EPOCH_MS = 1e11;

/** From the response's `date`, else from now, until `atMs`. */
function untilMs(atMs: number | undefined, header: HeaderReader, clock: Clock): number | undefined {
  return atMs === undefined ? undefined : Math.max(0, atMs - (momentIn(header('date')) ?? clock.now()));
}

const isWait = (value: unknown): value is number =>
  typeof value === 'number' && value >= 0 && value < Number.POSITIVE_INFINITY;

/** Digits, and a fraction if need be: no sign, no exponent, no hexadecimal, no unit. */
const DECIMAL = /^\d{1,20}(\.\d{1,20})?$/;

function numberIn(value: unknown): number | undefined {
  if (typeof value === 'string' && DECIMAL.test(value)) return Number(value);
  return isWait(value) ? value : undefined;
}

function secondsIn(value: unknown): number | undefined {
  const ms = (numberIn(value) ?? Number.NaN) * 1_000;
  return isWait(ms) ? ms : undefined;
}

const ISO_DATE = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)$/;

/** The three forms of RFC 9110. The last, of C's `asctime`, ends in the year, names no zone and means GMT. */
const HTTP_DATE = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6},? [\w -]{6,12} \d\d:\d\d:\d\d( GMT| \d{4})$/;

function momentIn(value: unknown): number | undefined {
  if (typeof value !== 'string') return undefined;
  const isHttpDate = HTTP_DATE.test(value);
  if (!isHttpDate && !ISO_DATE.test(value)) return undefined; // Date.parse reads years out of nearly any text.
  const atMs = Date.parse(isHttpDate && !value.endsWith(' GMT') ? `${value} GMT` : value);
  return Number.isNaN(atMs) ? undefined : atMs;
}

/** Reads the headers of a failure, or of the response it carries (the AWS SDK keeps it in `$response`). */
function headersOf(failure: unknown): HeaderReader {
  const holders = [failure, propertyOf(failure, 'response'), propertyOf(failure, '$response')];
  const all = holders.map((holder) => propertyOf(holder, 'headers'));
  return (name) => {
    for (const headers of all) {
      const value = headerIn(headers, name);
      if (value !== undefined) return value;
    }
    return undefined;
  };
}

/** From `Headers` and what resembles it, a map, or an object whose names are in any case. */
function headerIn(headers: unknown, name: string): unknown {
  try {
    const value = types.isMap(headers) ? entryIn(Map.prototype.entries.call(headers), name) : valueIn(headers, name);
    return textOf(Array.isArray(value) ? value[0] : value);
  } catch {
    return undefined; // As in `propertyOf`: a failure that cannot be read asks for nothing.
  }
}

function valueIn(headers: unknown, name: string): unknown {
  if (typeof headers !== 'object' || headers === null) return undefined;
  const get = propertyOf(headers, 'get');
  const value = typeof get === 'function' ? get.call(headers, name) : undefined;
  return value ?? entryIn(Object.entries(headers), name);
}

function entryIn(entries: Iterable<[unknown, unknown]>, name: string): unknown {
  for (const [key, value] of entries) if (typeof key === 'string' && key.toLowerCase() === name) return value;
  return undefined;
}

/** What a header may hold; a promise, for one, is nothing that can be read. */
function textOf(value: unknown): string | number | undefined {
  return typeof value === 'string' ? value.trim() : typeof value === 'number' ? value : undefined;
}

/**
 * The HTTP status that an error or a response carries; `undefined` if none. Clients disagree on where it is: `status`,
 * `statusCode`, both also on `response`, `$metadata.httpStatusCode`. Only whole numbers from 100 to 599 are taken. The
 * `cause` is not asked: it is the story of another call. Never throws, whatever it is handed.
 */
export function statusOf(error: unknown): number | undefined {
  const response = propertyOf(error, 'response');
  const candidates = [
    propertyOf(error, 'status'),
    propertyOf(error, 'statusCode'),
    propertyOf(response, 'status'),
    propertyOf(response, 'statusCode'),
    propertyOf(propertyOf(error, '$metadata'), 'httpStatusCode'),
  ];
  return candidates.find(isStatus);
}

/** Caller's errors that go away by waiting: request timeout, too early, too many requests. */
const PASSING = new Set([408, 425, 429]);

/**
 * True for an HTTP answer that says the request itself is wrong: 4xx except 408, 425 and 429. Sending it again changes
 * nothing, and whoever answered is well.
 */
export function isCallersFault(error: unknown): boolean {
  const status = statusOf(error);
  return status !== undefined && status >= 400 && status < 500 && !PASSING.has(status);
}

/** A property of what may be anything: `undefined` if it is no object or if reading throws (getters, proxies). */
export function propertyOf(value: unknown, name: string): unknown {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined;
  try {
    return (value as Record<string, unknown>)[name];
  } catch {
    return undefined; // What cannot be read says nothing. The call failed already; a second error would hide the first.
  }
}

function isStatus(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 100 && (value as number) <= 599;
}

// @ts-check
/** @typedef {{ licence: string, also: string[] }} Answer The licence a text states first, and others it holds. */

/**
 * Asks which licence a text is. The service is busy or silent now and then: an attempt has a quarter of a second, and is
 * repeated after a growing, jittered wait.
 * @param {string} url
 * @param {import('holdfast').RetryManager} retries
 * @param {(event: { type: 'service.failed', reason: string }) => void} tell
 * @returns {(text: string) => Promise<Answer>}
 */
export function classifierClient(url, retries, tell) {
  const policy = retries.policy({
    maxRetries: 9,
    attemptTimeoutMs: 250,
    backoff: { kind: 'exponential', baseMs: 20, maxMs: 200 },
    onRetry: ({ error }) => tell({ type: 'service.failed', reason: reasonOf(error) }),
  });
  return (text) => policy.run(({ signal }) => ask(url, text, signal));
}

/**
 * @param {string} url
 * @param {string} text
 * @param {AbortSignal} signal
 * @returns {Promise<Answer>}
 */
async function ask(url, text, signal) {
  const response = await fetch(url, { method: 'POST', body: text, signal });
  const body = await response.text(); // Read also when it failed: an unread answer keeps its connection.
  if (!response.ok) {
    const { status, headers } = response; // What a retry goes by: which statuses are worth one, and Retry-After.
    throw Object.assign(new Error(`the classifier answered ${status}`), { status, headers });
  }
  return JSON.parse(body);
}

/** @param {unknown} error */
function reasonOf(error) {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return 'no answer';
  return 'status' in error ? String(error.status) : 'no connection';
}

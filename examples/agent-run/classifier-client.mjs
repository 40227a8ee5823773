// @ts-check
import { setTimeout as sleep } from 'node:timers/promises';

const ANSWER_WITHIN_MS = 250;
const MAX_ATTEMPTS = 10;
const FIRST_DELAY_MS = 20;
const MAX_DELAY_MS = 200;

/** @typedef {{ licence: string, also: string[] }} Answer The licence a text states first, and others it holds. */

/**
 * Which licence a text is. The service is busy or silent now and then, so it is asked again after a growing, jittered
 * wait: this loop is by hand until `holdfast/policies` takes it over.
 * @param {string} url
 * @param {string} text
 * @param {(event: { type: 'service.failed', reason: string }) => void} tell
 * @returns {Promise<Answer>}
 */
export async function classify(url, text, tell) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask(url, text);
    } catch (error) {
      if (attempt === MAX_ATTEMPTS) throw error;
      tell({ type: 'service.failed', reason: reasonOf(error) });
      await sleep(Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** (attempt - 1)) * Math.random());
    }
  }
}

/**
 * @param {string} url
 * @param {string} text
 * @returns {Promise<Answer>}
 */
async function ask(url, text) {
  const response = await fetch(url, { method: 'POST', body: text, signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
  const body = await response.text(); // Read also when it failed: an unread answer keeps its connection.
  if (!response.ok) throw new Error(`the classifier answered ${response.status}`, { cause: response.status });
  return JSON.parse(body);
}

/** @param {unknown} error */
function reasonOf(error) {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return 'no answer';
  return typeof error.cause === 'number' ? String(error.cause) : 'no connection';
}

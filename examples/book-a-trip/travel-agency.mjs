// @ts-check
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * @typedef {object} Booking
 * @property {string} what `flight`, `hotel`, `car` or `payment`.
 * @property {string} city
 * @property {string} key What the customer calls it.
 * @property {number} number What the agency calls it.
 */

/** What it cannot do. */
const REFUSALS = new Map([
  ['car in Oslo', 'there is no car left in Oslo'],
  ['payment in Rome', 'the card was declined'],
]);

/** How long a message to or from the agency takes. */
const LATENCY_MS = 10;

/**
 * The outside world: an agency that keeps a ledger of its own, a line in a file for everything it did. It books what it
 * is asked to book, also twice; but it notes the customer's key, so he can ask whether he has booked already.
 */
export class TravelAgency {
  #path;

  /** @param {string} directory */
  constructor(directory) {
    mkdirSync(directory, { recursive: true });
    this.#path = join(directory, 'ledger.jsonl');
  }

  /**
   * @param {string} what
   * @param {string} city
   * @param {string} key
   * @returns {Promise<Booking>}
   */
  async book(what, city, key) {
    await sleep(LATENCY_MS);
    const refusal = REFUSALS.get(`${what} in ${city}`);
    if (refusal !== undefined) throw new Error(refusal);
    const booking = { what, city, key, number: this.ledger().length + 1 };
    this.#note({ act: 'booked', ...booking });
    await sleep(LATENCY_MS); // Who dies here has booked and does not know it.
    return booking;
  }

  /**
   * The booking of this key, if there is one.
   * @param {string} key
   * @returns {Promise<Booking | undefined>}
   */
  async find(key) {
    await sleep(LATENCY_MS);
    const line = this.ledger().find((entry) => entry.act === 'booked' && entry.key === key);
    return line && { what: line.what, city: line.city, key, number: line.number };
  }

  /**
   * Does nothing if it is cancelled already. Flights to Rome are cancelled only while the refund desk is open.
   * @param {Booking} booking
   */
  async cancel({ what, city, number }) {
    await sleep(LATENCY_MS);
    const ledger = this.ledger();
    if (ledger.some((entry) => entry.act === 'cancelled' && entry.number === number)) return;
    const isOpen = ledger.some(({ act }) => act === 'refund desk opened');
    if (what === 'flight' && city === 'Rome' && !isOpen) throw new Error('the refund desk is closed');
    this.#note({ act: 'cancelled', what, city, number });
    await sleep(LATENCY_MS);
  }

  openRefundDesk() {
    this.#note({ act: 'refund desk opened' });
  }

  /** What is booked and not cancelled. */
  standing() {
    const ledger = this.ledger();
    const cancelled = new Set(ledger.filter(({ act }) => act === 'cancelled').map(({ number }) => number));
    return ledger.filter(({ act, number }) => act === 'booked' && !cancelled.has(number));
  }

  /** Everything that happened, in order. */
  ledger() {
    try {
      return readFileSync(this.#path, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line));
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT') return []; // Nothing happened yet.
      throw error;
    }
  }

  /** @param {object} entry */
  #note(entry) {
    appendFileSync(this.#path, `${JSON.stringify(entry)}\n`); // One write: there whole or not at all if we are killed.
  }
}

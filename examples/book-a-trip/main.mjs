// @ts-check
/**
 * Books three trips, each a flight, a hotel, a car and a payment, or nothing. Kill it wherever you like and start it
 * again: it finishes what it had begun.
 *
 *   node examples/book-a-trip/main.mjs [directory to keep its files in]
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileStorage, RolledBackError, StuckError, TransactionManager } from 'holdfast';
import { TravelAgency } from './travel-agency.mjs';

const directory = process.argv[2] ?? join(tmpdir(), 'holdfast-book-a-trip');
const agency = new TravelAgency(join(directory, 'world'));
const storage = fileStorage(join(directory, 'journal'));
const transactions = new TransactionManager({ storage, emit: tell });

// One trip. Each step is journaled under its name: what is done stays done, whoever dies.
const bookTrip = transactions.define('book-trip', async (tx, /** @type {{ city: string }} */ { city }) => {
  /** @param {string} what */
  const book = (what) =>
    tx.step(what, (step) => agency.book(what, city, step.key), {
      compensate: (booking) => agency.cancel(booking), //  If a later step fails.
      compensateRetry: 1, //                               Then a person has to look at it.
      verify: (step) => agency.find(step.key), //          If we died while it was booked: was it?
    });
  const flight = await book('flight');
  const hotel = await book('hotel');
  const car = await book('car');
  const payment = await book('payment');
  return [flight, hotel, car, payment].map(({ number }) => number);
});

// 1. Whatever a process before this one left half done is finished, or taken back.
const { resumed, rolledBack, stuck } = await transactions.recover({ waitMs: 60_000 });
for (const id of resumed) console.log(`${id}: begun before, now booked.`);
for (const id of rolledBack) console.log(`${id}: begun before, now taken back.`);
for (const id of stuck) console.log(`${id}: begun before, waits for a person.`);

// 2. The work. A trip that has ended gives what it gave: nothing is booked twice.
console.log('Lisbon: all goes well.');
await arrange('Lisbon');

console.log('Oslo: the last car is gone, so hotel and flight are given back.');
await arrange('Oslo');

console.log('Rome: the card is declined, and the flight cannot be given back until somebody sees to it.');
await arrange('Rome');

const bookings = agency.standing().map(({ what, city }) => `${what} to ${city}`);
console.log(`Done. What stands in the agency's ledger: ${bookings.join(', ')}.`);
await transactions.close();
await storage.close();

/** @param {string} city */
async function arrange(city) {
  const id = `trip to ${city}`;
  try {
    const numbers = await bookTrip(id, { city });
    console.log(`  ${id} is booked, numbers ${numbers.join(', ')}`);
  } catch (error) {
    if (error instanceof RolledBackError) {
      const why = error.cause instanceof Error ? error.cause.message : error.cause;
      console.log(`  ${id} is off: ${why}; given back: ${error.compensated.join(', ')}`);
    } else if (error instanceof StuckError) {
      console.log(`  ${error.message}`);
      await askAPerson(id);
      await arrange(city);
    } else {
      throw error;
    }
  }
}

/**
 * Three in the morning. Look, put right what is wrong out there, decide. `{ do: 'complete' }` instead would say that the
 * flight was given back by telephone.
 * @param {string} id
 */
async function askAPerson(id) {
  const view = await transactions.get(id);
  console.log(`  a person reads: ${view?.steps.map(({ name, status }) => `${name} ${status}`).join(', ')}`);
  agency.openRefundDesk();
  console.log('  a person has the refund desk opened');
  await transactions.resolve(id, { do: 'retry' });
}

/** @param {import('holdfast').TransactionEvent | import('holdfast').NodeEvent} event */
function tell(event) {
  // Without `from` nobody held it any more: it had been stuck.
  if (event.type === 'transaction.taken-over' && event.from)
    console.log(`  ${event.transaction}: goes on after a crash`);
  if (event.type === 'step.settled') console.log(`  ${event.step} ${event.happened ? 'had' : 'had not'} happened`);
  if (event.type === 'step.done') console.log(`  ${event.step} booked`);
  if (event.type === 'step.failed') console.log(`  ${event.step} refused: ${event.error}`);
  if (event.type === 'step.compensated') console.log(`  ${event.step} given back`);
}

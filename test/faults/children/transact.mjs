// Runs, or recovers, transactions of five steps whose effects are lines in a file, and says what it does.
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileStorage, TransactionManager } from 'holdfast';
import { heard, say } from './speech.mjs';

const [folder, name, task, count, leaseMs, stepMs] = process.argv.slice(2);
const world = join(folder, 'world');
const storage = fileStorage(join(folder, 'store'));
const transactions = new TransactionManager({ storage, leaseMs: Number(leaseMs) });
appendFileSync(world, ''); // So that it is there to be read.
const STEPS = ['flight', 'hotel', 'car', 'insurance', 'payment'];

/** One write to a file that is only appended to: there whole, or not at all. */
function write(kind, { transaction, step, key, fence }) {
  appendFileSync(world, `${[kind, transaction, step, key, fence, name].join(' ')}\n`);
  say(kind, transaction, step);
}

async function act(context) {
  write('begun', context);
  await sleep(Math.random() * stepMs);
  write('act', context);
  await sleep(Math.random() * stepMs);
  return context.key;
}

/** What the file says, not what anybody remembers. */
function find({ transaction, step, key }) {
  return readFileSync(world, 'utf8').includes(`act ${transaction} ${step} ${key} `) ? key : undefined;
}

// As many takeovers as it takes: this process is killed all the time, through no fault of a transaction.
const book = transactions.define(
  'book',
  async (tx, { isRefused }) => {
    for (const step of STEPS) {
      if (task === 'run') await rest(tx);
      if (isRefused && step === 'payment') await tx.step('refusal', refuse, { effect: 'none' });
      await tx.step(step, act, { verify: find, compensate: (_, context) => write('undo', context) });
    }
    return 'booked';
  },
  { maxTakeovers: 1_000_000 },
);

/** Nothing runs then and nothing is written. Not for those who go on with others: they would rest at every step again. */
async function rest({ id }) {
  say('rests', id);
  await sleep(Math.random() * stepMs);
}

function refuse() {
  throw new Error('refused');
}

/** Runs them all at once, or gives what they gave. */
async function runAll() {
  const ids = Array.from({ length: Number(count) }, (_, at) => at);
  await Promise.all(ids.map((at) => runOne(`trip-${at}`, { isRefused: at % 3 === 2 })));
}

async function runOne(id, input) {
  try {
    say('gave', id, await book(id, input));
  } catch (error) {
    say('failed', id, error.code ?? error.stack);
  }
}

const tasks = {
  async all() {
    await transactions.recover();
    await runAll();
  },
  run: runAll,
  async recover() {
    await storage.open();
    say('ready');
    await heard().next();
    const report = await transactions.recover({ waitMs: 0 });
    say('report', JSON.stringify(report));
  },
  async take() {
    const report = await transactions.recover({ waitMs: 20_000 });
    say('report', JSON.stringify(report));
  },
};

await tasks[task]();
await transactions.close();
await storage.close();
say('over');
process.exit();

import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { fileStorage, memoryStorage, TransactionManager } from '../dist/index.js';
import { postgresStorage } from '../dist/storage/postgres.js';
import { median, ms, perSecond, throughput, times } from './measure.mjs';
import { startPostgres } from './postgres.mjs';
import { crashAndRecover } from './transactions-crash.mjs';
import * as dbos from './transactions-dbos.mjs';

const STEPS = 5;
const stepNames = Array.from({ length: STEPS }, (_, at) => `step-${at + 1}`);
const nothing = async () => {};

/** Transactions of ours over a store: `commit(id)` has five steps, `rollBack(id)` fails in the last of them. */
function ours(storage) {
  const transactions = new TransactionManager({ storage });
  const commit = transactions.define('commit', async (tx) => {
    for (const name of stepNames) await tx.step(name, nothing, nothing);
  });
  const rollBack = transactions.define('roll back', async (tx) => {
    for (const name of stepNames.slice(0, -1)) await tx.step(name, nothing, nothing);
    await tx.step(stepNames.at(-1), () => Promise.reject(new Error('refused')));
  });
  return { commit, rollBack, close: () => transactions.close() };
}

/** The cases, each with what ends it. DBOS and Postgres are there once for all rounds, stores of ours for one run. */
async function openCases(server) {
  const pool = new pg.Pool({ connectionString: server.url() });
  await postgresStorage(pool).open();
  const commit = dbos.workflow('commit', STEPS, nothing);
  const rollBack = dbos.failingWorkflow('roll back', STEPS, nothing);
  await dbos.launch(server.url('dbos'));
  const cases = {
    memory: async () => ours(memoryStorage()),
    file: async () => {
      const directory = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
      const storage = fileStorage(directory, { durability: 'disk' });
      const { close, ...runs } = ours(storage);
      const end = async () => {
        await close();
        await storage.close();
        await rm(directory, { recursive: true });
      };
      return { ...runs, close: end };
    },
    postgres: async () => {
      const storage = postgresStorage(pool);
      const { close, ...runs } = ours(storage);
      const end = async () => {
        await close();
        await storage.close();
      };
      return { ...runs, close: end };
    },
    dbos: async () => ({ commit, rollBack, close: nothing }),
  };
  const close = async () => {
    await dbos.shutdown();
    await pool.end();
  };
  return { cases, close };
}

/** Rates of every case in each of `rounds` rounds, run in turn; a round before them warms up. */
async function ratesOf(cases, rounds, measure) {
  const rates = Object.fromEntries(Object.keys(cases).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, open] of Object.entries(cases)) {
      const { close, ...runs } = await open();
      const rate = await measure(runs);
      await close();
      if (round > 0) rates[name].push(rate);
    }
  }
  return {
    rate: (name) => perSecond(median(rates[name])),
    /** How many times as fast, within each round: only that holds on a machine that others use. */
    over: (name, other) => median(rates[name].map((rate, round) => rate / rates[other][round])),
  };
}

/** Transactions a second with `callers` of them at once. */
const committed = (callers) => (runs) => throughput(callers, () => runs.commit(randomUUID()), 700);

const rolledBack = (callers) => (runs) =>
  throughput(callers, () => runs.rollBack(randomUUID()).then(shouldHaveFailed, nothing), 700);

function shouldHaveFailed() {
  throw new Error('A transaction that has to be rolled back was done.');
}

async function rateRows(cases) {
  const one = await ratesOf(cases, 3, committed(1));
  const many = await ratesOf(cases, 5, committed(100));
  const row = (name, what) => ({
    what: `5 steps, ${what}, 1 / 100 at once`,
    measured: `${one.rate(name)}, ${many.rate(name)}`,
  });
  const gate = (name, what, least) => {
    const ratio = many.over(name, 'dbos');
    return {
      what: `${what} / DBOS, 100 at once (1 at a time: ${times(one.over(name, 'dbos'))})`,
      measured: times(ratio),
      gate: `>= ${least} x`,
      met: ratio >= least,
    };
  };
  return [
    row('memory', 'memory'),
    row('file', 'file'),
    row('postgres', 'Postgres'),
    row('dbos', 'DBOS'),
    gate('file', 'file', 50),
    gate('postgres', 'Postgres', 10),
  ];
}

async function rollbackRow({ memory: _, ...cases }) {
  const { rate, over } = await ratesOf(cases, 2, rolledBack(100));
  const each = ['file', 'postgres'].map((name) => `${rate(name)} (${times(over(name, 'dbos'))})`);
  return {
    what: '4 steps and 4 compensations, file, Postgres, 100 at once (/ DBOS)',
    measured: `${each.join(', ')}; DBOS ${rate('dbos')}`,
  };
}

/** Statements that clients of this process send for one transaction, one after another. */
async function statementRow({ postgres, dbos: rival }) {
  const { query } = pg.Client.prototype;
  let sent = 0;
  pg.Client.prototype.query = function counted(...statement) {
    sent++;
    return query.apply(this, statement);
  };
  async function perTransaction(open) {
    const { commit, close } = await open();
    await commit(randomUUID()); // Joins the node, if it has to.
    sent = 0;
    for (let n = 0; n < 50; n++) await commit(randomUUID());
    const each = sent / 50;
    await close();
    return each.toFixed(1);
  }
  const [one, other] = [await perTransaction(postgres), await perTransaction(rival)];
  pg.Client.prototype.query = query;
  return { what: 'statements for 5 steps', measured: `${one}; DBOS ${other}` };
}

async function recoveryRows(server) {
  const runs = { dbos: [], postgres: [], verified: [] };
  for (let round = 0; round < 3; round++) {
    for (const [engine, results] of Object.entries(runs)) results.push(await crashAndRecover(server, engine));
  }
  const took = (engine) => ms(median(runs[engine].map(({ recoveredMs }) => recoveredMs)));
  const twice = (engine) => Math.max(...runs[engine].map(({ duplicates }) => duplicates));
  const slower = (round) => Math.max(runs.postgres[round].recoveredMs, runs.verified[round].recoveredMs);
  const share = median(runs.dbos.map(({ recoveredMs }, round) => slower(round) / recoveredMs));
  return [
    {
      what: '100 transactions killed, recovered on Postgres, with verify, by DBOS',
      measured: ['postgres', 'verified', 'dbos'].map(took).join(', '),
    },
    { what: '... the slower of ours / DBOS', measured: share.toFixed(2), gate: '<= 0.20', met: share <= 0.2 },
    {
      what: '... effects that happened twice, of 500, with verify',
      measured: `${twice('verified')}`,
      gate: '0',
      met: twice('verified') === 0,
    },
    { what: '... without verify, DBOS', measured: `${twice('postgres')}, ${twice('dbos')}` },
  ];
}

export async function rows() {
  const server = await startPostgres();
  const { cases, close } = await openCases(server);
  const measured = [...(await rateRows(cases)), await rollbackRow(cases), await statementRow(cases)];
  await close();
  const recovered = await recoveryRows(server);
  await server.stop();
  return [...measured, ...recovered];
}

// Started by transactions-crash.mjs: works until it is killed, or recovers what another left and says how long it took.
import { appendFileSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { milliseconds } from './measure.mjs';

const { act, engine, url, effects, transactions: count, steps } = JSON.parse(process.argv[2]);
const ids = Array.from({ length: count }, (_, n) => `transaction-${n}`);

/** What a step does: a call of 20 ms, with its effect in the middle. */
async function call(id, step) {
  await sleep(10);
  appendFileSync(effects, `${id} ${step}\n`);
  await sleep(10);
}

async function happened(id, step) {
  return readFileSync(effects, 'utf8').includes(`${id} ${step}\n`) || undefined;
}

const work = await (engine === 'dbos' ? withDbos() : withOurs());
if (act === 'work') await work.run();
else process.send(await milliseconds(work.recover), () => process.exit());

async function withOurs() {
  const { TransactionManager } = await import('../dist/index.js');
  const { postgresStorage } = await import('../dist/storage/postgres.js');
  const storage = postgresStorage(new pg.Pool({ connectionString: url }));
  const transactions = new TransactionManager({ storage });
  const run = transactions.define('crash', async (tx) => {
    for (let at = 1; at <= steps; at++) {
      const step = `step-${at}`;
      const verify = engine === 'verified' ? { verify: () => happened(tx.id, step) } : {};
      await tx.step(step, () => call(tx.id, step), verify);
    }
  });
  return {
    run: async () => {
      await storage.open();
      await Promise.all(ids.map((id) => run(id)));
    },
    recover: async () => {
      await storage.open(); // Connects, as the launch of DBOS does.
      const report = await transactions.recover();
      const open = [...report.stuck, ...report.busy, ...report.unknown, ...report.failed];
      if (open.length > 0) throw new Error(`Not recovered: ${JSON.stringify(report)}`);
    },
  };
}

async function withDbos() {
  const dbos = await import('./transactions-dbos.mjs');
  const run = dbos.workflow('crash', steps, call);
  if (act === 'work') await dbos.launch(url);
  return {
    run: () => Promise.all(ids.map(run)),
    /** It recovers while it launches and goes on in the background, by a queue that it looks at once a second. */
    recover: async () => {
      await dbos.launch(url);
      await allSucceed();
    },
  };
}

/** Asked of the table: handles of workflows that run elsewhere ask only once a second. */
async function allSucceed() {
  const client = new pg.Client(url);
  await client.connect();
  const text = "SELECT count(*)::int AS done FROM dbos.workflow_status WHERE status = 'SUCCESS'";
  while ((await client.query(text)).rows[0].done < count) await sleep(10);
}

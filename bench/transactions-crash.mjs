import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';

const TRANSACTIONS = 100;
const STEPS = 5;
const KILL_AFTER = 200;

/**
 * Runs 100 transactions at once in a child process, kills it with SIGKILL after 200 effects, and starts another that
 * recovers them. `recoveredMs`: from the call that recovers until all of them are done. An effect is a line in a file.
 */
export async function crashAndRecover(server, engine) {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
  const effects = join(folder, 'effects');
  const database = `crash_${engine}_${folder.slice(-6).toLowerCase()}`;
  await createDatabase(server, database);
  const place = { engine, url: server.url(database), effects, transactions: TRANSACTIONS, steps: STEPS };
  try {
    const victim = startChild({ ...place, act: 'work' });
    while ((await linesOf(effects)).length < KILL_AFTER) {
      if (victim.exitCode !== null) throw new Error(`The ${engine} child ended before it could be killed.`);
      await sleep(2);
    }
    victim.kill('SIGKILL');
    await once(victim, 'exit');
    const heir = startChild({ ...place, act: 'recover' });
    const [recoveredMs] = await Promise.race([once(heir, 'message'), once(heir, 'exit').then(diedEarly)]);
    await once(heir, 'exit');
    const lines = await linesOf(effects);
    const distinct = new Set(lines).size;
    if (distinct !== TRANSACTIONS * STEPS) throw new Error(`${engine} lost effects: ${distinct} happened.`);
    return { recoveredMs, duplicates: lines.length - distinct };
  } finally {
    await rm(folder, { recursive: true });
  }
}

function startChild(task) {
  return fork(fileURLToPath(new URL('./transactions-crash-child.mjs', import.meta.url)), [JSON.stringify(task)]);
}

function diedEarly([code]) {
  throw new Error(`The child that recovers ended with ${code}.`);
}

async function createDatabase(server, name) {
  const client = new pg.Client(server.url());
  await client.connect();
  await client.query(`CREATE DATABASE ${client.escapeIdentifier(name)}`);
  await client.end();
}

async function linesOf(file) {
  const text = await readFile(file, 'utf8').catch(() => ''); // Not there before the first effect.
  return text.split('\n').slice(0, -1);
}

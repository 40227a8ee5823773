import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { TransactionManager } from '../../src/transactions/transaction-manager.js';
import { PostgresScene } from '../support/postgres-scene.js';
import { PostgresServer } from '../support/postgres-server.js';
import { packageRoot } from '../support/program.js';

let server: PostgresServer;
let scene: PostgresScene;
let folder: string;

beforeAll(async () => {
  server = await PostgresServer.start();
  scene = new PostgresScene(server);
  folder = mkdtempSync(join(tmpdir(), 'holdfast-pg-library-'));
});
afterEach(() => scene.close());
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Begins the transaction `order-1`, does its first step, says so and hangs in the second one. */
const OWNER = `
  import { postgresStorage } from './src/storage/postgres.ts';
  import { TransactionManager } from './src/transactions/transaction-manager.ts';
  import pg from 'pg';
  const [url, table] = process.argv.slice(2);
  const pool = new pg.Pool({ connectionString: url });
  const transactions = new TransactionManager({ storage: postgresStorage(pool, { table }), leaseMs: 1_000 });
  const order = transactions.define('order', async (tx) => {
    await tx.step('reserve', () => 'reserved by the first');
    process.stdout.write('reserved');
    await tx.step('charge', () => new Promise(() => {}));
  });
  void order('order-1');`;

async function startOwner(table: string): Promise<ChildProcess> {
  const program = join(folder, 'owner.cjs');
  await build({
    stdin: { contents: OWNER, resolveDir: packageRoot },
    outfile: program,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    logLevel: 'silent',
  });
  const owner = spawn(process.execPath, [program, server.url(), table], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(owner.stdout as NodeJS.ReadableStream, 'data');
  return owner;
}

test('checkpoints are saved, restored, and fallen back from when the newest is damaged', async () => {
  const table = scene.nextTable();
  const storage = scene.store(undefined, { table });
  const checkpoints = new CheckpointManager<{ step: number }>({ storage });
  for (const step of [1, 2, 3]) await checkpoints.save('run', { step });
  expect(await checkpoints.restore('run')).toMatchObject({ state: { step: 3 }, degraded: false });
  const damage = `UPDATE ${table} SET value = overlay(value PLACING 'x' FROM 20) WHERE key LIKE 'checkpoints/%3'`;
  expect((await scene.pool().query(damage)).rowCount).toBe(1);
  expect(await checkpoints.restore('run')).toMatchObject({ state: { step: 2 }, degraded: true });
});

test('a transaction whose owner was killed is finished by another process, and no step is done twice', async () => {
  const table = scene.nextTable();
  const owner = await startOwner(table);
  owner.kill('SIGKILL');
  await once(owner, 'exit');
  const transactions = new TransactionManager({ storage: scene.store(undefined, { table }), leaseMs: 1_000 });
  const did: string[] = [];
  const order = transactions.define('order', async (tx) => {
    const reserved = await tx.step('reserve', () => {
      did.push('reserve');
      return 'reserved again';
    });
    return tx.step('charge', () => {
      did.push('charge');
      return `${reserved}, charged`;
    });
  });
  const report = await transactions.recover({ waitMs: 5_000 });
  expect({ resumed: report.resumed, did }).toEqual({ resumed: ['order-1'], did: ['charge'] });
  expect(await order('order-1')).toBe('reserved by the first, charged');
  await transactions.close();
});

test('forty transactions at once are all done', async () => {
  const storage = scene.store();
  const transactions = new TransactionManager({ storage });
  const order = transactions.define('order', async (tx, input: number) => {
    const one = await tx.step('one', () => input);
    return tx.step('two', () => one + 1);
  });
  const results = await Promise.all(Array.from({ length: 40 }, (_, at) => order(`order-${at}`, at)));
  expect(results).toEqual(Array.from({ length: 40 }, (_, at) => at + 1));
  await transactions.close();
});

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import type { TransactionStatus } from '../../src/transactions/transaction.js';
import { TransactionManager } from '../../src/transactions/transaction-manager.js';

/** A line that `children/transact.mjs` wrote about a step. */
export interface WorldLine {
  readonly kind: 'begun' | 'act' | 'undo';
  readonly transaction: string;
  readonly step: string;
  readonly key: string;
  readonly fence: number;
  /** Name of the process. */
  readonly by: string;
}

const STEPS = 5;
const STEPS_BEFORE_REFUSAL = 4;

/** What the processes in `folder` did, in that order. */
export async function readWorld(folder: string): Promise<WorldLine[]> {
  const text = await readFile(join(folder, 'world'), 'utf8').catch(() => '');
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const [kind = '', transaction = '', step = '', key = '', fence = '', by = ''] = line.split(' ');
      return { kind: kind as WorldLine['kind'], transaction, step, key, fence: Number(fence), by };
    });
}

/** Names every one of `count` transactions that is not done whole or rolled back whole, and every effect done twice. */
export async function judgeBookings(folder: string, count: number): Promise<string[]> {
  const statuses = await statusesIn(folder);
  const lines = await readWorld(folder);
  const ids = Array.from({ length: count }, (_, at) => `trip-${at}`);
  return ids.flatMap((id, at) => {
    const [isRefused, status] = [at % 3 === 2, statuses.get(id)];
    if (status !== (isRefused ? 'rolled-back' : 'done')) return [`${id} is ${status}`];
    const own = lines.filter(({ transaction }) => transaction === id);
    return judgeBooking(own, isRefused).map((what) => `${id}, which is ${status}: ${what}`);
  });
}

function judgeBooking(lines: readonly WorldLine[], isRefused: boolean): string[] {
  const steps = (kind: WorldLine['kind']) => lines.filter((line) => line.kind === kind).map(({ step }) => step);
  const [acts, undos] = [steps('act'), new Set(steps('undo'))];
  const doubled = acts.filter((step, at) => acts.indexOf(step) !== at);
  const bad = doubled.map((step) => `${step} was done twice`);
  const expected = isRefused ? STEPS_BEFORE_REFUSAL : STEPS;
  if (new Set(acts).size !== expected) bad.push(`${acts.join(', ')} was done`);
  if (undos.size !== (isRefused ? expected : 0)) bad.push(`${[...undos].join(', ')} was taken back`);
  return bad;
}

async function statusesIn(folder: string): Promise<Map<string, TransactionStatus>> {
  const storage = fileStorage(join(folder, 'store'));
  const transactions = new TransactionManager({ storage });
  const statuses = new Map<string, TransactionStatus>();
  for await (const { id, status } of transactions.list()) statuses.set(id, status);
  await transactions.close();
  await storage.close();
  return statuses;
}

import { isHoldfastError } from '../base/errors.js';
import type { LeaseNode } from '../records/node.js';
import type { RecoverReport } from './transaction.js';
import type { NamedDefinition, TransactionRunner } from './transaction-runner.js';
import type { StoredTransaction, TransactionStore } from './transaction-store.js';

/** For `recover`. */
export interface RecoverOptions {
  /** How long to wait, in milliseconds, for what a live process may still hold. Default 0: it is `busy`. */
  readonly waitMs?: number;
}

/** What a recovery works with. */
export interface RecoveryParts {
  readonly store: TransactionStore;
  readonly runner: TransactionRunner;
  readonly node: LeaseNode;
  readonly definitions: ReadonlyMap<string, NamedDefinition>;
}

/** A report while it is made. */
type Found = { [List in keyof Omit<RecoverReport, 'sweepError'>]: RecoverReport[List][number][] };

/** Where the error of a transaction puts it. */
const LIST_BY_CODE: Readonly<Record<string, 'rolledBack' | 'stuck' | 'busy'>> = {
  HOLDFAST_ROLLED_BACK: 'rolledBack',
  HOLDFAST_STUCK: 'stuck',
  HOLDFAST_BUSY: 'busy',
  HOLDFAST_FENCED: 'busy',
};

/** Goes on with everything that nobody holds. One that fails does not keep the others from being recovered. */
export async function recoverAll(parts: RecoveryParts, waitMs: number): Promise<RecoverReport> {
  const { store, runner, node, definitions } = parts;
  const report: Found = { resumed: [], rolledBack: [], stuck: [], busy: [], unknown: [], failed: [] };
  const owners = new Set<string>();
  const recoveries: Promise<void>[] = [];
  for await (const found of store.open()) {
    if ('error' in found) {
      report.failed.push({ id: found.id ?? found.key, error: found.error });
      continue;
    }
    const { id, name, status, owner } = found.meta;
    if (owner !== null) owners.add(owner);
    const definition = name === null ? undefined : definitions.get(name);
    if (status === 'stuck') report.stuck.push(id);
    else if (runner.isRunning(id)) report.busy.push(id);
    else if (definition === undefined) report.unknown.push(id);
    else recoveries.push(recoverOne(runner, { found, definition, waitMs }, report));
  }
  // Nodes that owned something are kept, so nothing here waits for the ends of transactions.
  const swept = await sweep(node, owners);
  await Promise.all(recoveries);
  for (const list of [report.resumed, report.rolledBack, report.stuck, report.busy, report.unknown]) list.sort();
  report.failed.sort((a, b) => (a.id < b.id ? -1 : 1));
  return { ...report, ...swept };
}

async function recoverOne(
  runner: TransactionRunner,
  one: { readonly found: StoredTransaction; readonly definition: NamedDefinition; readonly waitMs: number },
  report: Found,
): Promise<void> {
  const { id } = one.found.meta;
  try {
    await runner.takeUp(one.found, one.definition, one.waitMs);
    report.resumed.push(id);
  } catch (error) {
    const list = isHoldfastError(error) ? LIST_BY_CODE[error.code] : undefined;
    if (list === undefined) report.failed.push({ id, error });
    else report[list].push(id);
  }
}

/** Records of nodes that are gone and hold nothing are removed. What that fails with is no failure of the recovery. */
async function sweep(node: LeaseNode, owners: ReadonlySet<string>): Promise<Pick<RecoverReport, 'sweepError'>> {
  try {
    await node.sweepGone((holder) => owners.has(holder));
    return {};
  } catch (sweepError) {
    return { sweepError };
  }
}

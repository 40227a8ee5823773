import type { BatchOperation, StoredEntry, Version } from '../adapter.js';
import {
  groupStatement,
  type MarkedWrite,
  parametersOf,
  refusalBy,
  type Verdict,
  verdictsOf,
} from './group-statement.js';
import { KeptPlans, type KeptStatement, sizeClass } from './kept-plans.js';
import { LoneWrites } from './lone-writes.js';
import { type PostgresClient, rowsOf } from './postgres-pool.js';
import { PutGroups } from './put-groups.js';
import { PLACEHOLDER } from './row-version.js';
import type { StoreTable } from './table.js';

/** The statements of one table, but for those that list it. */
export class Statements {
  readonly #table: string;
  readonly #timeoutMs: number;
  readonly #plans = new KeptPlans();
  readonly #lone: LoneWrites;
  /** For writes that are alike, at less cost than `write`. */
  readonly puts: PutGroups;
  readonly #group: KeptStatement;
  readonly #get: KeptStatement;

  constructor(table: StoreTable, timeoutMs: number) {
    this.#table = table.table;
    this.#timeoutMs = timeoutMs;
    this.#lone = new LoneWrites(table, this.#plans);
    this.puts = new PutGroups(table, this.#plans);
    this.#group = groupStatement(table);
    // Bytes travel as base64: in a third less room than in the server's own form, and whatever bytea_output is.
    const columns = `encode(value, 'base64') AS value, version, ${sizeClass(table.table)}`;
    this.#get = { name: `holdfast_get_${table.mark}`, text: `SELECT ${columns} FROM ${table.table} WHERE key = $1` };
  }

  async get(client: PostgresClient, key: string): Promise<StoredEntry | undefined> {
    const [row] = await this.#plans.askBySize(client, this.#get, [key]);
    return row && { key, value: Buffer.from(row.value as string, 'base64'), version: row.version as Version };
  }

  /** Which version each of the keys has; those that are absent are left out. */
  async versionsOf(client: PostgresClient, keys: readonly string[]): Promise<ReadonlyMap<string, Version>> {
    const rows = await rowsOf(client, `SELECT key, version FROM ${this.#table} WHERE key = ANY ($1)`, [keys]);
    return new Map(rows.map(({ key, version }) => [key as string, version as Version]));
  }

  /**
   * Writes each of `writes` whole or not at all and says which: one statement, one commit, unless a key must stay absent. A
   * key that one of them changes is in none of the others. @throws what the driver says: then none of them happened, or
   * nobody knows.
   */
  async write(client: PostgresClient, writes: readonly MarkedWrite[]): Promise<readonly Verdict[]> {
    const [only, ...others] = writes;
    if (only?.operations.length === 1 && others.length === 0) {
      const verdict = await this.#writeOne(client, only);
      if (verdict) return [verdict];
    }
    const isGuarded = writes.some(({ operations }) => operations.some(mustStayAbsent));
    return isGuarded ? this.#writeGuarded(client, writes) : this.#writeAll(client, writes);
  }

  /** Where its condition did not hold, a second statement says what is in its way; `undefined` if nothing is any more. */
  async #writeOne(client: PostgresClient, { operations, mark }: MarkedWrite): Promise<Verdict | undefined> {
    const operation = operations[0] as BatchOperation;
    const { type, key } = operation;
    if (type === 'check') return undefined;
    const written = await (type === 'put'
      ? this.#lone.put(client, operation, mark)
      : this.#lone.delete(client, operation, mark));
    if (written) return { written };
    const refusal = refusalBy([operation], [(await this.versionsOf(client, [key])).get(key)]);
    return refusal && { refusal };
  }

  async #writeAll(client: PostgresClient, writes: readonly MarkedWrite[]): Promise<readonly Verdict[]> {
    return verdictsOf(writes, await this.#plans.askBySize(client, this.#group, parametersOf(writes)));
  }

  /**
   * With keys that must stay absent until the commit: a row of their own keeps whoever creates them waiting, and they keep us
   * waiting who are just doing so. Keys to be created get one too, so that all of them are taken in one order. It takes a
   * transaction of three round trips, in which nobody else sees these rows.
   */
  async #writeGuarded(client: PostgresClient, writes: readonly MarkedWrite[]): Promise<readonly Verdict[]> {
    const absent = writes.flatMap(({ operations }) => operations.filter(({ ifVersion }) => ifVersion === null));
    const keys = [...new Set(absent.map(({ key }) => `'${key}'`))].toSorted(); // Of characters that need no escape: `checked` saw to it.
    const rows = keys.map((key) => `(${key}, '', '${PLACEHOLDER}')`).join(', ');
    const hold = `INSERT INTO ${this.#table} VALUES ${rows} ON CONFLICT DO NOTHING`;
    const drop = `DELETE FROM ${this.#table} WHERE version = '${PLACEHOLDER}' AND key IN (${keys.join(', ')})`;
    // A server that does not notice that we are gone must not keep the keys for hours.
    const leave = `SET LOCAL idle_in_transaction_session_timeout = ${this.#timeoutMs}`;
    await rowsOf(client, `BEGIN ISOLATION LEVEL READ COMMITTED; ${leave}; ${hold}`);
    const verdicts = await this.#writeAll(client, writes);
    await rowsOf(client, `${drop}; COMMIT`);
    return verdicts;
  }
}

function mustStayAbsent({ type, ifVersion }: BatchOperation): boolean {
  return type === 'check' && ifVersion === null;
}

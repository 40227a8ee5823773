import type { BatchOperation, Version } from '../adapter.js';
import { sqlStateOf } from './connections.js';
import type { KeptPlans, KeptStatement } from './kept-plans.js';
import { type PostgresClient, type PostgresRow, rowsOf } from './postgres-pool.js';
import { comparable, nextVersion, PLACEHOLDER } from './row-version.js';
import type { StoreTable } from './table.js';

export type Put = Extract<BatchOperation, { readonly type: 'put' }>;
type Delete = Extract<BatchOperation, { readonly type: 'delete' }>;

/** What `LoneWrites` did. `existed` is of a delete only. */
interface LoneWrite {
  readonly version: Version;
  readonly existed: boolean;
}

type PutStatements = Readonly<Record<'put' | 'create' | 'replace', KeptStatement>>;

const DIVISION_BY_ZERO = '22012';

/**
 * A put or a delete that shares its commit with no other: by statements that cost half of the one for many. All puts are
 * inserts, which find a row by its unique key and by nothing else, so that connections may always keep them prepared.
 */
export class LoneWrites {
  readonly #table: string;
  readonly #sequence: string;
  readonly #puts: PutStatements;
  readonly #plans: KeptPlans;

  constructor({ table, sequence, mark }: StoreTable, plans: KeptPlans) {
    this.#plans = plans;
    this.#table = table;
    this.#sequence = sequence;
    const version = nextVersion(sequence, '$3');
    const insert = `INSERT INTO ${table} AS entry VALUES ($1, $2, ${version}) ON CONFLICT`;
    // Drawn when the row is locked, and not before, as that of the row to insert is: versions of a key only grow.
    const set = `UPDATE SET value = excluded.value, version = ${version}`;
    // An insert that must not be one: it has a version no write has, by which a division by zero undoes it.
    const never = `INSERT INTO ${table} AS entry VALUES ($1, $2, '${PLACEHOLDER}') ON CONFLICT`;
    const statement = (name: string, text: string) => ({ name: `holdfast_${name}_${mark}`, text });
    this.#puts = {
      put: statement('put', `${insert} (key) DO ${set} RETURNING version`),
      create: statement('create', `${insert} DO NOTHING RETURNING version`),
      replace: statement(
        'replace',
        `${never} (key) DO ${set} WHERE entry.version = $4
        RETURNING version, 1 / length(version) AS "isReplaced"`,
      ),
    };
  }

  /** `undefined` if its condition did not hold. */
  async put(client: PostgresClient, { key, value, ifVersion }: Put, mark: string): Promise<LoneWrite | undefined> {
    if (typeof ifVersion !== 'string') {
      const statement = ifVersion === null ? this.#puts.create : this.#puts.put;
      const [row] = await this.#plans.ask(client, statement, [key, value, mark]);
      return row && { version: row.version as Version, existed: false };
    }
    try {
      const [row] = await this.#plans.ask(client, this.#puts.replace, [key, value, mark, comparable(ifVersion)]);
      return row && { version: row.version as Version, existed: true };
    } catch (error) {
      if (sqlStateOf(error) === DIVISION_BY_ZERO) return undefined; // The key is absent.
      throw error;
    }
  }

  /** `undefined` if its condition did not hold. */
  async delete(client: PostgresClient, { key, ifVersion }: Delete, mark: string): Promise<LoneWrite | undefined> {
    const [condition, versions] = ifVersion === undefined ? ['', []] : [' AND version = $3', [comparable(ifVersion)]];
    const text = `WITH gone AS (DELETE FROM ${this.#table} WHERE key = $1${condition} RETURNING 1)
      SELECT ${nextVersion(this.#sequence, '$2')} AS version, (SELECT count(*) FROM gone)::text AS gone`;
    const [row] = (await rowsOf(client, text, [key, mark, ...versions])) as [PostgresRow];
    const existed = row.gone === '1';
    return ifVersion === undefined || existed ? { version: row.version as Version, existed } : undefined;
  }
}

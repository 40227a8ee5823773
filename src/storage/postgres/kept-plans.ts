import { sqlStateOf } from './connections.js';
import { type PostgresClient, type PostgresRow, rowsOf, rowsOfNamed } from './postgres-pool.js';

/** A statement that connections may keep prepared, under a name that no other text has. */
export interface KeptStatement {
  readonly name: string;
  readonly text: string;
}

/**
 * Sizes of a table, in bytes, that part it into classes. A plan that reads all of a small table looks cheap, and the server
 * keeps it until it counts the table again, however large that has become by then. So a plan is kept for one class: what it
 * reads grows fourfold at most, or to 64 KiB. No plan that is made in the last class reads all of a table.
 */
const CLASS_BYTES = [64 * 1024, 256 * 1024, 1024 * 1024];
const LAST_CLASS = String(CLASS_BYTES.length);

/** SQL for the column `sizeClass` of what `askBySize` asks. */
export function sizeClass(table: string): string {
  return `(SELECT width_bucket(pg_relation_size('${table}'), '{${CLASS_BYTES}}'::bigint[])::text) AS "sizeClass"`;
}

/** The server has no statement of this name, or has it already. */
const MISPLACED: readonly unknown[] = ['26000', '42P05'];

/** Which statements the connections keep prepared: it halves what the server has to do for a small one. */
export class KeptPlans {
  /** Of the table, as the last answer said; `undefined` if it said nothing. */
  #class: string | null | undefined;
  /** Between us and the server may be something that gives each statement another connection: PgBouncer before 1.21. */
  #areFound = true;

  /** For statements that find their rows by nothing but the unique key, so that they have but one plan. */
  async ask(client: PostgresClient, statement: KeptStatement, values: unknown[]): Promise<readonly PostgresRow[]> {
    if (!this.#areFound) return rowsOf(client, statement.text, values);
    try {
      return await rowsOfNamed(client, statement, values);
    } catch (error) {
      if (isMisplaced(sqlStateOf(error))) this.#areFound = false;
      throw error;
    }
  }

  /** For all others: kept for the class of size that the table had at the last answer, and planned anew without one. */
  async askBySize(client: PostgresClient, { name, text }: KeptStatement, values: unknown[]) {
    const size = this.#class;
    const rows = await (size
      ? this.ask(client, { name: `${name}_${size}`, text }, values)
      : rowsOf(client, text, values));
    // The answer about an absent key has no rows: whoever asks for nothing else must not keep a plan that it outgrows.
    if (this.#class !== LAST_CLASS) this.#class = rows[0]?.sizeClass;
    return rows;
  }
}

/** Did only the preparation fail? The same call will not again. */
export function isMisplaced(sqlState: string | undefined): boolean {
  return MISPLACED.includes(sqlState);
}

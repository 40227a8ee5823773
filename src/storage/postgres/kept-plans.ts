import { sqlStateOf } from './connections.js';
import { type PostgresClient, type PostgresRow, rowsOf, rowsOfNamed } from './postgres-pool.js';

/** A statement that connections may keep prepared, under a name that no other text has. */
export interface KeptStatement {
  readonly name: string;
  readonly text: string;
}

/**
 * From this size of a table on, in bytes, no plan that reads all of it looks cheap. One that was made earlier may do so, and
 * the server would keep it until it counts the table again, however large that has become by then.
 */
const LARGE_BYTES = 1024 * 1024;

/** SQL that is true as text once the table is large: for the column `isLarge` of what `askWhenLarge` asks. */
export function isLarge(table: string): string {
  return `(SELECT (pg_relation_size('${table}') >= ${LARGE_BYTES})::text) AS "isLarge"`;
}

/** The server has no statement of this name, or has it already. */
const MISPLACED: readonly unknown[] = ['26000', '42P05'];

/** Which statements the connections keep prepared: it halves what the server has to do for a small one. */
export class KeptPlans {
  #isLarge = false;
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

  /** For all others: they are planned each time until one of them has said that the table is large. */
  async askWhenLarge(client: PostgresClient, statement: KeptStatement, values: unknown[]) {
    if (this.#isLarge) return this.ask(client, statement, values);
    const rows = await rowsOf(client, statement.text, values);
    this.#isLarge = rows[0]?.isLarge === 'true';
    return rows;
  }
}

/** Did only the preparation fail? The same call will not again. */
export function isMisplaced(sqlState: string | undefined): boolean {
  return MISPLACED.includes(sqlState);
}

import { InvalidInputError } from '../../base/errors.js';

/** What is bound to a `?` of a statement. */
export type SqliteParameter = string | number | Uint8Array;

/**
 * An open database handle, as the host's driver gives it: what better-sqlite3, libsql and `DatabaseSync` of `node:sqlite`
 * have in common. They are synchronous; a driver that answers with promises or callbacks does not fit.
 */
export interface SqliteDatabase {
  /** Runs SQL that takes no parameters and whose answer does not matter. */
  exec(sql: string): unknown;
  /** Compiles one statement. */
  prepare(sql: string): SqliteStatement;
}

/**
 * One compiled statement. Never call it with a `Uint8Array` as its only parameter: drivers take a single object for a
 * list of named parameters (libsql 0.5 ends the process).
 */
export interface SqliteStatement {
  /** Runs a statement that answers no rows. */
  run(...parameters: SqliteParameter[]): unknown;
  /** The first row as an object by column name; `undefined` if there is none. */
  get(...parameters: SqliteParameter[]): unknown;
  /** All rows. */
  all(...parameters: SqliteParameter[]): unknown[];
}

const WHAT_FITS = 'Give an open handle of better-sqlite3, of libsql or of node:sqlite (DatabaseSync)';

/** @throws InvalidInputError unless it looks like a handle. */
export function requireDatabase(database: SqliteDatabase): void {
  for (const method of ['exec', 'prepare'] as const) {
    if (typeof database?.[method] === 'function') continue;
    throw new InvalidInputError(`database: it has no method "${method}". ${WHAT_FITS}.`, 'database');
  }
}

/**
 * The one value that a pragma answers.
 * @throws InvalidInputError if the answer is no row: the driver is asynchronous, or was told to answer arrays.
 */
export function pragma(database: SqliteDatabase, name: string, column: string): string | number | bigint {
  const statement = database.prepare(`PRAGMA ${name}`);
  const row = typeof statement?.get === 'function' ? statement.get() : undefined;
  const value = (row as Record<string, unknown> | undefined)?.[column];
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint') return value;
  const message = `database: it does not answer at once with rows as objects. ${WHAT_FITS}, with \`returnArrays\` off.`;
  throw new InvalidInputError(message, 'database');
}

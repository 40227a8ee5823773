import { CorruptionError } from '../../base/errors.js';
import { type ListedEntry, type ListOptions, type ListPage, StorageError, type StoredEntry } from '../adapter.js';
import type { SqliteDatabase, SqliteStatement } from './sqlite-database.js';

/** Format of the two tables. A new one is written when an older holdfast could no longer read them rightly. */
const FORMAT = 1;

/** Versions are written with leading zeros: 16 digits hold every number that a double holds exactly. */
const VERSION_DIGITS = 16;

/**
 * The entries of one store: `<name>` holds a row for each key, `<name>_meta` one row with the format and the number of
 * the newest write, which outlives every delete. Rows have a hidden number of their own and keys an index beside them:
 * measured against a table kept in key order (WITHOUT ROWID), 2 KB values are read and written in half the time.
 */
export class SqliteTable {
  readonly #entry: SqliteStatement;
  readonly #version: SqliteStatement;
  readonly #put: SqliteStatement;
  readonly #delete: SqliteStatement;
  readonly #lastWrite: SqliteStatement;
  readonly #setLastWrite: SqliteStatement;
  readonly #ascending: SqliteStatement;
  readonly #descending: SqliteStatement;
  readonly #place: string;

  /** Of tables that are there: see `openTable`. `place` is what messages call them. */
  constructor(database: SqliteDatabase, name: string, place: string) {
    const page = `SELECT key, version, length(value) AS sizeBytes FROM "${name}" WHERE key >= ? AND key < ? ORDER BY key`;
    this.#entry = database.prepare(`SELECT version, value FROM "${name}" WHERE key = ?`);
    this.#version = database.prepare(`SELECT version FROM "${name}" WHERE key = ?`);
    this.#put = database.prepare(
      // An empty array reaches SQLite as NULL through some drivers (node:sqlite of Node 22 and 24, Deno).
      `INSERT INTO "${name}" (key, version, value) VALUES (?, ?, ifnull(?, x''))
       ON CONFLICT (key) DO UPDATE SET version = excluded.version, value = excluded.value`,
    );
    this.#delete = database.prepare(`DELETE FROM "${name}" WHERE key = ?`);
    // Two statements: one with RETURNING takes longer than both.
    this.#lastWrite = database.prepare(`SELECT last_write AS lastWrite FROM "${name}_meta"`);
    this.#setLastWrite = database.prepare(`UPDATE "${name}_meta" SET last_write = ?`);
    this.#ascending = database.prepare(`${page} LIMIT ?`);
    this.#descending = database.prepare(`${page} DESC LIMIT ?`);
    this.#place = place;
  }

  get(key: string): StoredEntry | undefined {
    const row = this.#entry.get(key) as { version: number | bigint; value: Uint8Array } | undefined;
    return row && { key, value: row.value, version: versionOf(row.version) };
  }

  versionOf(key: string): string | undefined {
    const row = this.#version.get(key) as { version: number | bigint } | undefined;
    return row && versionOf(row.version);
  }

  put(key: string, write: number, value: Uint8Array): void {
    this.#put.run(key, write, value);
  }

  delete(key: string): void {
    this.#delete.run(key);
  }

  /** Takes `count` numbers for writes and returns the last one. Part of the transaction: undone with it. */
  reserve(count: number): number {
    const row = this.#lastWrite.get() as { lastWrite: number | bigint } | undefined;
    if (row === undefined) throw lostCounter(this.#place);
    const last = Number(row.lastWrite) + count;
    this.#setLastWrite.run(last);
    return last;
  }

  list(prefix: string, { after, limit = 1_000, reverse = false }: ListOptions): ListPage {
    // Keys consist of characters between ' ' and '~', neither of which is in one.
    const behindPrefix = `${prefix}~`;
    const start = after === undefined ? undefined : asciiBound(after);
    const low = !reverse && start !== undefined && start >= prefix ? `${start} ` : prefix;
    const high = reverse && start !== undefined && start < behindPrefix ? start : behindPrefix;
    const rows = (reverse ? this.#descending : this.#ascending).all(low, high, limit + 1) as ListedRow[];
    const entries = rows.slice(0, limit).map(listed);
    const last = entries.at(-1);
    return rows.length > limit && last ? { entries, next: last.key } : { entries };
  }
}

/**
 * Makes the tables if neither is there, and takes up what is there otherwise. Two processes may do so at once.
 * @throws StorageError if the tables are not whole or of another format, CorruptionError if the counter is lost.
 */
export function openTable(database: SqliteDatabase, name: string, place: string): SqliteTable {
  if (!isThere(database, name, place)) create(database, name, place);
  requireFormat(database, name, place);
  return new SqliteTable(database, name, place);
}

export function versionOf(write: number | bigint): string {
  return String(write).padStart(VERSION_DIGITS, '0');
}

interface ListedRow {
  readonly key: string;
  readonly version: number | bigint;
  readonly sizeBytes: number | bigint;
}

function listed({ key, version, sizeBytes }: ListedRow): ListedEntry {
  return { key, version: versionOf(version), sizeBytes: Number(sizeBytes) };
}

/**
 * A bound with the same keys on either side of it, in ASCII: NUL, lone surrogates and databases in UTF-16 then need no
 * thought. From the first character that sorts outside the characters of keys on, nothing matters but on which side.
 */
function asciiBound(text: string): string {
  return text.replace(/[^ -~].*$/su, (rest) => (rest < ' ' ? ' ' : '~'));
}

/** @throws StorageError if only one of the two is there: to make the other would be to begin anew over someone's entries. */
function isThere(database: SqliteDatabase, name: string, place: string): boolean {
  const sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND lower(name) IN (lower(?), lower(?))";
  const found = database.prepare(sql).all(name, `${name}_meta`) as { name: string }[];
  if (found.length !== 1) return found.length === 2;
  const why = `of the tables "${name}" and "${name}_meta" only "${found[0]?.name}" is there`;
  const advice = 'Give the store another `table`, or bring back the one that is missing from a backup';
  throw new StorageError(`${place}: ${why}. ${advice}.`);
}

function create(database: SqliteDatabase, name: string, place: string): void {
  database.exec('BEGIN IMMEDIATE');
  try {
    // Another process may have made them while this one waited for the lock.
    if (!isThere(database, name, place)) database.exec(creationOf(name));
    database.exec('COMMIT');
  } catch (error) {
    rollBack(database);
    throw error;
  }
}

function creationOf(name: string): string {
  return `
    CREATE TABLE "${name}" (key TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, value BLOB NOT NULL) STRICT;
    CREATE TABLE "${name}_meta" (format INTEGER NOT NULL, last_write INTEGER NOT NULL) STRICT;
    INSERT INTO "${name}_meta" VALUES (${FORMAT}, 0);`;
}

function requireFormat(database: SqliteDatabase, name: string, place: string): void {
  const [row, ...more] = database.prepare(`SELECT format FROM "${name}_meta"`).all() as { format: number | bigint }[];
  if (row === undefined || more.length > 0) throw lostCounter(place);
  if (Number(row.format) === FORMAT) return;
  const what = `is of format ${row.format}; this holdfast reads format ${FORMAT}`;
  throw new StorageError(`${place} ${what}. Upgrade holdfast, or give the store another \`table\`.`);
}

function lostCounter(place: string): CorruptionError {
  const why = 'its meta table must hold one row, with the number of the newest write';
  const advice = 'Bring back a backup: numbers must not be used again';
  return new CorruptionError(`${place} is damaged: ${why}. ${advice}.`, place);
}

/** Ends a transaction of ours that failed. SQLite has often ended it already; then there is nothing to do. */
export function rollBack(database: SqliteDatabase): void {
  try {
    database.exec('ROLLBACK');
  } catch {
    // "No transaction is active". Were one still open, the next BEGIN would say so.
  }
}

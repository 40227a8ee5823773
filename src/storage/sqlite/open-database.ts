import { type StorageCapabilities, StorageError } from '../adapter.js';
import { DatabaseFile } from './database-file.js';
import type { TransactionTarget } from './group-transaction.js';
import { pragma, type SqliteDatabase } from './sqlite-database.js';
import { isBusy, sqliteFault } from './sqlite-fault.js';
import { openTable } from './sqlite-table.js';

/** What an acknowledged write is to survive. */
export type StoreDurability = 'disk' | 'process';

/** A database made ready, and what it promises. */
export interface OpenDatabase extends TransactionTarget, Promises {
  /** The table and its file, for messages. */
  readonly place: string;
}

/** The settings of `synchronous`, by the numbers in which SQLite reads them back. */
const SYNCHRONOUS = { disk: { name: 'FULL', number: 2 }, process: { name: 'NORMAL', number: 1 } } as const;

/**
 * Sets up the handle and its table; what it finds is checked, not believed. May be repeated after it has thrown.
 * @throws StorageError for a database that cannot keep what it should; SQLITE_BUSY as the driver throws it.
 */
export function openDatabase(database: SqliteDatabase, name: string, durability: StoreDurability): OpenDatabase {
  const path = String(pragma(database, 'database_list', 'file'));
  const place = `table "${name}" of ${path === '' ? 'a database in memory' : path}`;
  const file = path === '' ? undefined : new DatabaseFile(path);
  try {
    database.exec('PRAGMA busy_timeout = 0'); // It would block the event loop.
    file?.requireInPlace();
    const promises = setUp(database, durability, place);
    const table = openTable(database, name, place);
    return { database, table, requireInPlace: () => file?.requireInPlace(), place, ...promises };
  } catch (error) {
    throw isBusy(error) ? error : sqliteFault(error, place);
  }
}

type Promises = Pick<StorageCapabilities, 'durability' | 'scope'>;

function setUp(database: SqliteDatabase, durability: StoreDurability, place: string): Promises {
  const mode = pragma(database, 'journal_mode = WAL', 'journal_mode');
  if (mode === 'memory') return { durability: 'none', scope: 'process' };
  if (mode !== 'wal') throw withoutLog(place, mode);
  requireSync(database, durability, place);
  return { durability, scope: 'host' };
}

function requireSync(database: SqliteDatabase, durability: StoreDurability, place: string): void {
  const { name, number } = SYNCHRONOUS[durability];
  database.exec(`PRAGMA synchronous = ${name}`);
  database.exec('PRAGMA fullfsync = ON'); // Of macOS, where a plain fsync leaves the write in the cache of the disk.
  const found = pragma(database, 'synchronous', 'synchronous');
  if (Number(found) === number) return;
  throw new StorageError(
    `${place}: synchronous = ${name} was not taken (it is ${found}). Use another build of SQLite.`,
  );
}

function withoutLog(place: string, mode: unknown): StorageError {
  const why = `the database keeps journal_mode "${mode}" where this store needs WAL`;
  const advice = 'Open a file on a local disk, with rights to write, and no other mode forced';
  return new StorageError(`${place}: ${why}. ${advice}.`);
}

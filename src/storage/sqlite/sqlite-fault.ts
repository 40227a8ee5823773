import { CorruptionError, isHoldfastError } from '../../base/errors.js';
import { NoSpaceError, StorageError } from '../adapter.js';
import { blotted, driverFault } from '../driver-fault.js';

/** Result codes of SQLite that are told apart here. Source: https://sqlite.org/rescode.html */
const NAMES = new Map([
  [3, 'SQLITE_PERM'],
  [5, 'SQLITE_BUSY'],
  [6, 'SQLITE_LOCKED'],
  [8, 'SQLITE_READONLY'],
  [10, 'SQLITE_IOERR'],
  [11, 'SQLITE_CORRUPT'],
  [13, 'SQLITE_FULL'],
  [14, 'SQLITE_CANTOPEN'],
  [23, 'SQLITE_AUTH'],
  [26, 'SQLITE_NOTADB'],
  [4874, 'SQLITE_IOERR_SHMSIZE'],
]);

/** Name of the result code: better-sqlite3 and libsql give it, `node:sqlite` gives the number. Empty: not from SQLite. */
function resultCode(error: unknown): string {
  const { code, errcode } = Object(error) as { code?: unknown; errcode?: unknown };
  if (typeof errcode === 'number') return NAMES.get(errcode) ?? NAMES.get(errcode & 0xff) ?? `SQLITE_${errcode}`;
  return typeof code === 'string' && code.startsWith('SQLITE_') ? code : '';
}

/** Whether a code is `name` or an extended code of it, as SQLITE_BUSY_RECOVERY is of SQLITE_BUSY. */
function isCode(error: unknown, name: string): boolean {
  const code = resultCode(error);
  return code === name || code.startsWith(`${name}_`);
}

/** Another connection holds a lock: nothing was done, and it may be tried again. */
export function isBusy(error: unknown): boolean {
  return isCode(error, 'SQLITE_BUSY') || isCode(error, 'SQLITE_LOCKED');
}

/**
 * There was no room for what had to be written. SQLite's own manual gives a full volume as the reason of IOERR_SHMSIZE.
 */
export function isFull(error: unknown): boolean {
  return isCode(error, 'SQLITE_FULL') || isCode(error, 'SQLITE_IOERR_SHMSIZE');
}

/** The host has begun a transaction on the handle that it gave to the store. */
function isInHostTransaction(error: unknown): boolean {
  return error instanceof Error && /\b(within|inside) a transaction/.test(error.message);
}

/** What a driver threw, in the library's words. `place` names the table and its file, `key` what was asked for. */
export function sqliteFault(error: unknown, place: string, key = place): Error {
  if (isHoldfastError(error)) return error;
  const cause = driverFault(error);
  if (isFull(error)) return new NoSpaceError(place, { cause });
  if (isCode(error, 'SQLITE_CORRUPT')) {
    const advice =
      'Stop writing, keep a copy of the file, and bring back a backup or run ".recover" of the sqlite3 shell';
    return new CorruptionError(`${place} is damaged: ${cause.message}. ${advice}.`, key, { cause });
  }
  if (isInHostTransaction(error)) {
    const advice = 'Give the store a handle of its own, opened for it alone';
    return new StorageError(`${place}: the host has a transaction open on this handle. ${advice}.`, { cause });
  }
  const code = resultCode(error);
  const advice = [...ADVICE].find(([name]) => isCode(error, name))?.[1] ?? OTHERWISE;
  const said = `${blotted(cause.message)}${code && ` (${code})`}`;
  return new StorageError(`${place}: ${said}. ${advice}.`, { cause });
}

const RIGHTS = 'This process must be able to write the database file and its folder, where SQLite keeps -wal and -shm';

const ADVICE = new Map([
  ['SQLITE_READONLY', `The database is read-only. ${RIGHTS}; open the handle without its read-only option`],
  ['SQLITE_PERM', RIGHTS],
  ['SQLITE_AUTH', 'The authorizer of the handle forbids it. Give the store a handle without one'],
  ['SQLITE_CANTOPEN', `The folder may be gone or closed to this user. ${RIGHTS}`],
  ['SQLITE_NOTADB', 'This file is no SQLite database, or it is encrypted. Open another path'],
  ['SQLITE_IOERR', 'Look at the disk and at limits on file sizes; nothing was acknowledged'],
]);

const OTHERWISE = 'Give the store an open handle of its own, of SQLite 3.37 or later';

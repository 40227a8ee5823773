import { NoSpaceError, StorageError } from '../adapter.js';
import { driverFault } from '../driver-fault.js';
import type { CallFailure } from './connections.js';
import type { StoreTable } from './table.js';

/** What to do about what the server says, by SQLSTATE. */
const ADVICE: Readonly<Record<string, string>> = {
  '42P01': 'The table is gone. Restore it, or make a new store to have an empty one made',
  '25006':
    'The server or the session takes no writes. Connect the pool to the primary, or look at default_transaction_read_only',
  '28P01': 'The server refuses the credentials. Look at the user and password of the pool',
  '28000': 'The server refuses the connection. Look at the user of the pool and at pg_hba.conf',
  '3D000': 'There is no such database. Look at the database of the pool',
  '53300': 'The server has no free connection. Lower the max of the pools, or raise max_connections',
  '57014': 'The statement was cancelled. Look at statement_timeout of the pool and of the role',
  '55P03': 'A lock was not to be had in time. Look at lock_timeout, and at who holds a lock on the table',
  '40P01': 'It met a deadlock each time. Look at who else locks rows of the table',
  '40001': 'Others changed the same keys each time. Try again later',
  '22012': 'Others created the same keys each time. Try again later, and look at triggers and policies of the table',
};

const NO_RIGHT = '42501';
const DISK_FULL = '53100';

const BY_KIND = {
  unreachable:
    'There was no connection to be had. Is the server there, does the pool name it, and is its max large enough? ' +
    'A higher timeoutMs waits longer',
  refused: 'The server said no',
  lost: 'The connection broke, or gave no answer within timeoutMs',
} as const;

/** What the caller is told of `failure`: to which store, doing what, and what to change. Without credentials. */
export function asStorageError(failure: CallFailure, table: StoreTable, act: string): StorageError | NoSpaceError {
  const cause = driverFault(failure.fault);
  const { sqlState = '', kind } = failure;
  if (sqlState === DISK_FULL) return new NoSpaceError(`the Postgres store ${table.shown}`, { cause });
  const advice = sqlState === NO_RIGHT ? rightsFor(table) : (ADVICE[sqlState] ?? BY_KIND[kind]);
  const message = `The Postgres store ${table.shown} could not ${act}. ${advice}. (${cause.message})`;
  return new StorageError(message, { cause });
}

function rightsFor({ table, sequence }: StoreTable): string {
  const grants = `GRANT SELECT, INSERT, UPDATE, DELETE ON ${table}, and GRANT USAGE ON SEQUENCE ${sequence}`;
  return `The role lacks a right. ${grants}; to have the store make them, CREATE on the schema`;
}

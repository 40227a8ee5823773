import { type StorageCapabilities, StorageError } from '../adapter.js';
import { CallFailure, type Connections } from './connections.js';
import { asStorageError } from './postgres-errors.js';
import { type PostgresClient, rowsOf } from './postgres-pool.js';
import { creationOf, FORMAT, formatOf, type StoreTable } from './table.js';

/** What the server survives, so what a write that it acknowledged survives. */
export type Durability = Extract<StorageCapabilities['durability'], 'process' | 'disk' | 'replicated'>;

/** How a store is opened. */
export interface OpeningOptions {
  readonly table: StoreTable;
  /** Make what is missing? If not, opening fails and says what to run. */
  readonly create: boolean;
  readonly timeoutMs: number;
}

/** `MATERIALIZED` came with it. */
const OLDEST_SERVER = 120_000;

/**
 * One look at the settings of this session and at the table. A comment belongs to the table it was made for: one that only
 * has the same name has none of ours.
 */
const LOOK = `SELECT current_setting('server_version_num') AS "server", current_setting('fsync') AS "fsync",
  current_setting('full_page_writes') AS "pages", current_setting('synchronous_commit') AS "commit",
  current_setting('synchronous_standby_names') AS "standbys",
  (to_regclass($1) IS NOT NULL)::text AS "isThere", obj_description(to_regclass($1), 'pg_class') AS "comment",
  (to_regnamespace($2) IS NOT NULL)::text AS "hasSchema",
  (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression')::text AS "hasLz4"`;

/** Only one process at a time makes a table of this name; the others wait and then find it. */
const MAKING = `SELECT pg_advisory_xact_lock(hashtext('holdfast storage'), hashtext($1))::text`;

/**
 * Makes sure that the table is there and in a format that is known, and learns what the server promises. All in one
 * transaction: a crash half-way leaves nothing. Any number of processes may do it at once.
 * @throws StorageError when the table is missing and may not be made, belongs to something else, or is of a newer format.
 */
export async function openTable(connections: Connections, options: OpeningOptions): Promise<Durability> {
  const { table, create, timeoutMs } = options;
  try {
    return await connections.run(timeoutMs, async (client) => {
      const found = await look(client, table);
      if (isReady(found, table)) return durabilityOf(found);
      if (!create) throw missing(table, found);
      const leave = `SET LOCAL idle_in_transaction_session_timeout = ${Math.ceil(timeoutMs)}`; // Though we be gone unnoticed.
      await rowsOf(client, `BEGIN ISOLATION LEVEL READ COMMITTED; ${leave}`);
      await rowsOf(client, MAKING, [table.table]);
      const before = await look(client, table);
      if (!isReady(before, table)) await rowsOf(client, statementsFor(table, before).join(';\n'));
      await rowsOf(client, 'COMMIT');
      return durabilityOf(found);
    });
  } catch (error) {
    throw error instanceof CallFailure ? asStorageError(error, table, 'be opened') : error;
  }
}

interface Found {
  readonly server: string;
  readonly fsync: string;
  readonly pages: string;
  readonly commit: string;
  readonly standbys: string;
  readonly isThere: string;
  readonly comment: string | null;
  readonly hasSchema: string;
  readonly hasLz4: string | null;
}

async function look(client: PostgresClient, { table, schema }: StoreTable): Promise<Found> {
  const [found] = await rowsOf(client, LOOK, [table, schema]);
  return found as unknown as Found;
}

/** Is the table there, and ours to use? */
function isReady({ server, isThere, comment }: Found, { shown }: StoreTable): boolean {
  if (Number(server) < OLDEST_SERVER) {
    throw new StorageError(`The Postgres store ${shown} needs a server of version 12 or later, not ${server}.`);
  }
  if (isThere !== 'true') return false;
  const format = formatOf(comment);
  if (format === undefined) {
    throw new StorageError(
      `${shown} is there and is no holdfast store (its comment does not say so). Choose another schema or table.`,
    );
  }
  if (format !== FORMAT) {
    throw new StorageError(
      `${shown} has format ${format}; this holdfast knows ${FORMAT}. Use the version that made it.`,
    );
  }
  return true;
}

function statementsFor(table: StoreTable, { hasSchema, hasLz4 }: Found): readonly string[] {
  const making = creationOf(table, hasLz4 === 'true');
  return hasSchema === 'true' ? making : [`CREATE SCHEMA ${table.schema}`, ...making];
}

function missing(table: StoreTable, found: Found): StorageError {
  const statements = statementsFor(table, found).map((statement) => `${statement};`);
  return new StorageError(
    `The Postgres store ${table.shown} has no table, and \`create\` is false. Run this as a role with CREATE on the ` +
      `schema, then GRANT SELECT, INSERT, UPDATE, DELETE on the table and USAGE on the sequence:\n${statements.join('\n')}`,
  );
}

/**
 * A commit that is acknowledged before it is on disk is lost with the server, and so is one on a disk that is not synced or
 * whose pages may be torn: such writes outlive the process that made them, and nothing more.
 */
function durabilityOf({ fsync, pages, commit, standbys }: Found): Durability {
  if (fsync !== 'on' || pages !== 'on' || commit === 'off') return 'process';
  return standbys !== '' && commit !== 'local' ? 'replicated' : 'disk';
}

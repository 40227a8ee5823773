import { InvalidInputError } from '../../base/errors.js';

/** One statement as `pg` takes it. */
export interface PostgresQuery {
  /** Under which each connection keeps it prepared. */
  readonly name?: string;
  readonly text: string;
  readonly values?: unknown[];
  /** Every column stays the text it came as, whatever parsers the host has set for its own queries. */
  readonly types: PostgresTypes;
}

/** How columns are read. */
export interface PostgresTypes {
  /** What reads a column, whatever its type. */
  getTypeParser(): (column: string) => string;
}

/** A row: text or null by column name. */
export type PostgresRow = Readonly<Record<string, string | null>>;

/** What another session told those that listen. */
export interface PostgresNotification {
  readonly channel: string;
  readonly payload?: string | undefined;
}

/** The few methods of a client of `pg` that are called. */
export interface PostgresClient {
  /** Runs a statement, or several without values. */
  query(query: PostgresQuery): Promise<{ readonly rows: readonly PostgresRow[] }>;
  /** Gives it back to the pool; with true it is cut off instead. */
  release(destroy?: boolean): void;
  /** Hears that the connection broke, or ended. */
  on(event: 'error' | 'end', listener: () => void): unknown;
  /** Hears what others notify. */
  on(event: 'notification', listener: (message: PostgresNotification) => void): unknown;
  /** As `on`, undone. */
  removeListener(event: 'error' | 'end', listener: () => void): unknown;
  /** As `on`, undone. */
  removeListener(event: 'notification', listener: (message: PostgresNotification) => void): unknown;
}

/** The one method of a `Pool` of `pg` that is called. */
export interface PostgresPool {
  /**
   * With a callback, since a connection may break in the very moment in which it is made: between that and the answer of a
   * promise nobody would hear its `error` event, which then ends the process.
   */
  connect(callback: (error: Error | undefined, client: PostgresClient | undefined) => void): void;
}

/** The rows of one statement. Without values it may also be several statements, one after the other: then no rows. */
export function rowsOf(client: PostgresClient, text: string, values?: unknown[]): Promise<readonly PostgresRow[]> {
  return ask(client, { text, types: AS_TEXT, ...(values && { values }) });
}

/** The same by a statement that the connection keeps under `name`. */
export function rowsOfNamed(
  client: PostgresClient,
  { name, text }: { readonly name: string; readonly text: string },
  values: unknown[],
): Promise<readonly PostgresRow[]> {
  return ask(client, { name, text, values, types: AS_TEXT });
}

async function ask(client: PostgresClient, query: PostgresQuery): Promise<readonly PostgresRow[]> {
  return (await client.query(query)).rows;
}

const AS_TEXT: PostgresQuery['types'] = { getTypeParser: () => (column) => column };

/** @throws InvalidInputError unless it is a pool. */
export function requirePool(pool: PostgresPool): PostgresPool {
  const given = pool as Partial<Record<'connect' | 'duplicate' | 'connectionParameters' | 'release', unknown>> | null;
  const isConnecting = typeof given?.connect === 'function';
  // Others have `connect` too: a client of Redis would never answer, and a lone one of Postgres fail at the second use.
  const isRedis = isConnecting && typeof given.duplicate === 'function';
  const isLone = isConnecting && (given.connectionParameters !== undefined || given.release !== undefined);
  if (isConnecting && !isRedis && !isLone) return pool;
  const lone = isLone ? 'this is a single client' : 'the method "connect" is missing';
  const what = isRedis ? 'this looks like a Redis client, which redisStorage takes' : lone;
  throw new InvalidInputError(`pool: ${what}. Pass a Pool of the package pg: new pg.Pool({ … }).`, 'pool');
}

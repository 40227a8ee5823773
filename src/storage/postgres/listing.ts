import type { ListedEntry, ListOptions, ListPage } from '../adapter.js';
import { type PostgresClient, rowsOf } from './postgres-pool.js';
import type { StoreTable } from './table.js';

/** Above and below every character a key may have. */
const ABOVE = '\x7f';
const BELOW = '\x01';

/**
 * One page of the keys that begin with `prefix`. A range of keys and nothing else, so that the primary key serves it: all
 * keys of a prefix lie between it and the prefix with a character behind it that no key has.
 */
export async function listPage(
  client: PostgresClient,
  { table }: StoreTable,
  { prefix, after, limit = 1_000, reverse = false }: ListOptions & { readonly prefix: string },
): Promise<ListPage> {
  const end = `${prefix}${ABOVE}`;
  const from = after === undefined ? undefined : comparable(after);
  const isWithin = from !== undefined && (reverse ? from < end : from >= prefix);
  const [lower, upper] = reverse ? [prefix, isWithin ? from : end] : [isWithin ? from : prefix, end];
  const [beyond, order] = reverse ? ['>=', 'DESC'] : [isWithin ? '>' : '>=', 'ASC'];
  // A limit that is not known when the plan is made: one that seems to take in most of a table that the server has not counted
  // yet would have it read and sort all of it.
  const text = `SELECT key, version, octet_length(value)::text AS size FROM ${table}
    WHERE key ${beyond} $1 AND key < $2 ORDER BY key ${order} LIMIT (SELECT $3::int)`;
  const rows = await rowsOf(client, text, [lower, upper, limit + 1]);
  const entries = rows.slice(0, limit).map(({ key, version, size }) => ({ key, version, sizeBytes: Number(size) }));
  const last = entries.at(-1);
  const page = { entries: entries as ListedEntry[] };
  return rows.length > limit && last ? { ...page, next: last.key as string } : page;
}

/**
 * A string of printable characters, but for the last, that stands at the same place among keys: `after` may be any string,
 * and a server takes neither NUL nor, in every encoding, all of the others. Keys are printable ASCII, so whatever is below
 * or beyond that stands before or behind all keys that begin alike.
 */
function comparable(after: string): string {
  const at = after.search(/[^ -~]/);
  if (at === -1) return after;
  return after.slice(0, at) + (after.charCodeAt(at) < 32 ? BELOW : ABOVE);
}

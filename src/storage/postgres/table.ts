import { sha256Hex } from '../../base/digest.js';

/** Where a store keeps its entries, as SQL names it. */
export interface StoreTable {
  /** The table, quoted and qualified. */
  readonly table: string;
  /** The sequence that numbers its writes, quoted and qualified. */
  readonly sequence: string;
  readonly schema: string;
  /** Tells it from other tables, in names of things that are shared by all of them. */
  readonly mark: string;
  /** For messages. */
  readonly shown: string;
}

/** What both names may be: letters, digits and `_`. The sequence beside a table needs room for its own ending. */
export const SCHEMA_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,62}$/;
export const TABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,53}$/;

/** Both match their rules, so quotes are all the escaping they need. */
export function storeTable(schema: string, table: string): StoreTable {
  return {
    table: `"${schema}"."${table}"`,
    sequence: `"${schema}"."${table}_versions"`,
    schema: `"${schema}"`,
    mark: sha256Hex(`${schema}.${table}`).slice(0, 16),
    shown: `${schema}.${table}`,
  };
}

/** What this code writes and reads. A table says in its comment which one it has. */
export const FORMAT = 1;
const COMMENT = 'holdfast storage, format ';

/** The comment of a table of ours. */
function formatComment(format = FORMAT): string {
  return `${COMMENT}${format}`;
}

/** The format a comment tells of; `undefined` if it is not one of ours. */
export function formatOf(comment: string | null): number | undefined {
  return comment?.startsWith(COMMENT) ? Number(comment.slice(COMMENT.length)) : undefined;
}

/**
 * The statements that make a store. They are shown to whoever has the rights, and run by the store itself if it may.
 *
 * - Collation "C": byte order, and an index that serves ranges of keys.
 * - A third of each page stays free, so that a record that is written again stays on its page and no index changes.
 * - Values up to about 4 KB stay in their row: beside it they cost a second table's row and index entry. Larger ones are
 *   compressed by lz4 where the server has it (half the log for JSON at no time), else kept as they are: the server's older
 *   method took half as long again as the whole write.
 * - The sequence ends before its numbers outgrow 16 digits, where versions would stop sorting.
 */
export function creationOf({ table, sequence }: StoreTable, hasLz4: boolean): readonly string[] {
  const storage = hasLz4 ? 'SET COMPRESSION lz4' : 'SET STORAGE EXTERNAL';
  return [
    `CREATE TABLE ${table} (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL, version text NOT NULL)
  WITH (fillfactor = 70, toast_tuple_target = 4080)`,
    `ALTER TABLE ${table} ALTER COLUMN value ${storage}`,
    `CREATE SEQUENCE ${sequence} MAXVALUE 9999999999999999`,
    `COMMENT ON TABLE ${table} IS '${formatComment()}'`,
  ];
}

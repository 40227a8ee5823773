import type { BatchOperation, Version } from '../adapter.js';
import type { Written } from '../write-queue.js';
import { type KeptStatement, sizeClass } from './kept-plans.js';
import type { PostgresRow } from './postgres-pool.js';
import { comparable, nextVersion, PLACEHOLDER } from './row-version.js';
import type { StoreTable } from './table.js';

/** A write on its way, with the mark by which it is known again once it has happened. */
export interface MarkedWrite {
  readonly operations: readonly BatchOperation[];
  /** Nobody else's, and no other write's. Ends the version the write gets. */
  readonly mark: string;
}

/** The first condition that did not hold. */
interface Refusal {
  readonly key: string;
  readonly currentVersion: Version | undefined;
}

export type Verdict = { readonly written: Written } | { readonly refusal: Refusal };

/**
 * Any number of writes. Locks all rows they name, in the order of the keys, so that two such statements never wait for each
 * other in a ring; a row that another one changed meanwhile is looked at as that one left it. Then decides for each write
 * whether its conditions hold, draws a version for each that passed (now and not before, so that versions of a key only
 * grow), and does it. A row that was created since the statement began is not seen by it: then an insert finds its place
 * taken, fewer rows are changed than should be, and a division by zero undoes everything, to be tried again.
 *
 * Checked rows are locked like changed ones: a second, weaker lock would need an order of its own.
 */
export function groupStatement({ table, sequence, mark }: StoreTable): KeptStatement {
  const text = `WITH
    held AS MATERIALIZED (SELECT key, version FROM ${table} WHERE key = ANY ($3) ORDER BY key FOR UPDATE),
    operation AS MATERIALIZED (SELECT o.*, held.version AS current
      FROM unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::int[], $7::int[]) WITH ORDINALITY
        AS o (write, key, act, condition, start, size, place) LEFT JOIN held USING (key)),
    refused AS (SELECT write FROM operation WHERE condition <> coalesce(current, '${PLACEHOLDER}')),
    passed AS MATERIALIZED (SELECT write, ${nextVersion(sequence, 'mark')} AS version
      FROM unnest($1::text[]) WITH ORDINALITY AS w (mark, write)
      WHERE (SELECT count(*) FROM operation) > 0 AND write NOT IN (SELECT write FROM refused)),
    change AS MATERIALIZED (SELECT key, act, start, size, current, passed.version
      FROM operation JOIN passed USING (write) WHERE act <> 'check'),
    updated AS (UPDATE ${table} e SET value = substr($8::bytea, start, size), version = c.version
      FROM change c WHERE act = 'put' AND current IS NOT NULL AND e.key = c.key RETURNING 1),
    created AS (INSERT INTO ${table} SELECT key, substr($8::bytea, start, size), version
      FROM change WHERE act = 'put' AND current IS NULL ORDER BY key COLLATE "C" ON CONFLICT DO NOTHING RETURNING 1),
    deleted AS (DELETE FROM ${table} e USING change c
      WHERE act = 'delete' AND current IS NOT NULL AND e.key = c.key RETURNING 1),
    effect AS (SELECT FROM updated UNION ALL SELECT FROM created UNION ALL SELECT FROM deleted)
    SELECT o.current, passed.version, ${sizeClass(table)} FROM operation o LEFT JOIN passed USING (write)
    WHERE 1 / ((SELECT count(*) FROM effect)
      = (SELECT count(*) FROM change WHERE act = 'put' OR current IS NOT NULL))::int = 1
    ORDER BY place`;
  return { name: `holdfast_write_${mark}`, text };
}

/** Its parameters. All values travel as one: in an array each byte would travel as two characters. */
export function parametersOf(writes: readonly MarkedWrite[]): unknown[] {
  const columns: unknown[][] = [[], [], [], [], [], []];
  const values: Uint8Array[] = [];
  let start = 1;
  for (const [at, { operations }] of writes.entries()) {
    for (const operation of operations) {
      const { type, key, ifVersion } = operation;
      const value = operation.type === 'put' ? operation.value : NOTHING;
      const row = [at + 1, key, type, conditionOf(ifVersion), start, value.byteLength];
      for (const [column, cell] of row.entries()) columns[column]?.push(cell);
      values.push(value);
      start += value.byteLength;
    }
  }
  return [writes.map(({ mark }) => mark), ...columns, Buffer.concat(values)];
}

const NOTHING = new Uint8Array();

/** The version a row must have; null for no matter which. */
function conditionOf(ifVersion: Version | null | undefined): string | null {
  if (ifVersion === undefined) return null;
  return ifVersion === null ? PLACEHOLDER : comparable(ifVersion);
}

/** What became of each write, from one row for each operation. */
export function verdictsOf(writes: readonly MarkedWrite[], rows: readonly PostgresRow[]): readonly Verdict[] {
  let at = 0;
  return writes.map(({ operations }): Verdict => {
    const own = rows.slice(at, at + operations.length);
    at += operations.length;
    // A placeholder is an absent key.
    const current = own.map((row) => row.current || undefined);
    const refusal = refusalBy(operations, current);
    return refusal
      ? { refusal }
      : { written: { version: own[0]?.version as Version, existed: current[0] !== undefined } };
  });
}

/** The first operation whose condition does not hold, given the versions of their keys. */
export function refusalBy(
  operations: readonly BatchOperation[],
  versions: readonly (Version | undefined)[],
): Refusal | undefined {
  const at = operations.findIndex(({ ifVersion }, index) => !holds(ifVersion, versions[index]));
  const refused = operations[at];
  return refused && { key: refused.key, currentVersion: versions[at] };
}

function holds(ifVersion: Version | null | undefined, current: Version | undefined): boolean {
  return ifVersion === undefined || ifVersion === (current ?? null);
}

import type { Version } from '../adapter.js';
import type { MarkedWrite, Verdict } from './group-statement.js';
import type { KeptPlans, KeptStatement } from './kept-plans.js';
import type { Put } from './lone-writes.js';
import type { PostgresClient } from './postgres-pool.js';
import { markOf, nextVersion, withNextNumber } from './row-version.js';
import type { StoreTable } from './table.js';

/** A put of a key whatever is there, or the creation of one that is absent. */
type PutKind = 'put' | 'create';

/**
 * Puts that share a commit, each a write of its own and all of one kind: by an insert, which costs the server two thirds of
 * the statement for any writes. It finds rows by their unique key and by nothing else, so connections may always keep it
 * prepared. Rows are taken in the order of their keys, those that are there and those that are not: with another statement
 * that creates one of these keys and locks one that is there, that may make a ring, which the server breaks.
 */
export class PutGroups {
  readonly #statements: Readonly<Record<PutKind, KeptStatement>>;
  readonly #plans: KeptPlans;

  constructor({ table, sequence, mark }: StoreTable, plans: KeptPlans) {
    this.#plans = plans;
    const insert = `INSERT INTO ${table} AS entry
      SELECT key, substr($5::bytea, start, size), ${nextVersion(sequence, 'mark')}
      FROM unnest(string_to_array($1, ','), string_to_array($2, ','), $3::int[], $4::int[]) AS o (key, mark, start, size)
      ORDER BY key COLLATE "C" ON CONFLICT (key)`;
    // Drawn when the row is locked, and not before: versions of a key only grow.
    const version = withNextNumber(sequence, 'excluded.version');
    const statement = (name: string, text: string) => ({ name: `holdfast_${name}_${mark}`, text });
    this.#statements = {
      put: statement('puts', `${insert} DO UPDATE SET value = excluded.value, version = ${version} RETURNING version`),
      create: statement('creates', `${insert} DO NOTHING RETURNING version`),
    };
  }

  /** `undefined` for creations that are left undone: their key is there. */
  async write(
    client: PostgresClient,
    kind: PutKind,
    writes: readonly MarkedWrite[],
  ): Promise<readonly (Verdict | undefined)[]> {
    const values: Uint8Array[] = [];
    const keys: string[] = [];
    const starts: number[] = [];
    let start = 1;
    for (const { operations } of writes) {
      const { key, value } = operations[0] as Put;
      keys.push(key);
      values.push(value);
      starts.push(start);
      start += value.byteLength;
    }
    const sizes = values.map(({ byteLength }) => byteLength);
    const marks = writes.map(({ mark }) => mark);
    // Neither keys nor marks have a comma in them, and an array would be escaped piece by piece.
    const parameters = [keys.join(), marks.join(), `{${starts}}`, `{${sizes}}`, Buffer.concat(values)];
    const rows = await this.#plans.ask(client, this.#statements[kind], parameters);
    const versions = new Map(rows.map(({ version }) => [markOf(version as Version), version as Version]));
    return marks.map((mark) => {
      const version = versions.get(mark);
      return version === undefined ? undefined : { written: { version, existed: false } };
    });
  }
}

/** What kind all these writes are of, if there are several, each is one put, and they are alike. */
export function putKindOf(writes: readonly MarkedWrite[]): PutKind | undefined {
  const [first, second] = writes;
  if (second === undefined) return undefined;
  const condition = first?.operations[0]?.ifVersion;
  if (typeof condition === 'string') return undefined;
  const areAlike = writes.every(({ operations: [operation, ...others] }) => {
    return operation?.type === 'put' && operation.ifVersion === condition && others.length === 0;
  });
  return areAlike ? (condition === null ? 'create' : 'put') : undefined;
}

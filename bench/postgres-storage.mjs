import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { ConflictError } from '../dist/index.js';

/** Half of each page stays free, so that a record that is written again stays where it is and no index changes. */
const TABLE = `CREATE TABLE IF NOT EXISTS records
  (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL, version text NOT NULL) WITH (fillfactor = 50)`;

const GET = 'SELECT key, value, version FROM records WHERE key = $1';
const DELETE = 'DELETE FROM records WHERE key = $1';
const CREATE = 'INSERT INTO records VALUES ($1, $2, $3) ON CONFLICT DO NOTHING';
const REPLACE = 'UPDATE records SET value = $2, version = $3 WHERE key = $1 AND version = $4';
const PUT = `INSERT INTO records VALUES ($1, $2, $3)
  ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version`;

/** Any number of operations, all or nothing: unless each of them had its effect, a division by zero undoes the others. */
const WRITE = `WITH
  operation AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::int[])
    AS o (act, key, condition, version, start, size)),
  absent AS (SELECT 1 FROM operation o WHERE act = 'absent' AND NOT EXISTS (SELECT FROM records r WHERE r.key = o.key)),
  held AS (SELECT 1 FROM operation o JOIN records r USING (key) WHERE act = 'hold' AND r.version = condition),
  created AS (INSERT INTO records SELECT key, substr($7::bytea, start, size), version FROM operation
    WHERE act = 'create' ON CONFLICT DO NOTHING RETURNING 1),
  replaced AS (UPDATE records r SET value = substr($7::bytea, start, size), version = o.version FROM operation o
    WHERE act = 'replace' AND r.key = o.key AND r.version = condition RETURNING 1),
  put AS (INSERT INTO records SELECT key, substr($7::bytea, start, size), version FROM operation
    WHERE act = 'put' ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version RETURNING 1),
  deleted AS (DELETE FROM records r USING operation o
    WHERE act = 'delete' AND r.key = o.key AND r.version = condition RETURNING 1),
  dropped AS (DELETE FROM records r USING operation o WHERE act = 'drop' AND r.key = o.key),
  effects AS (SELECT * FROM absent UNION ALL SELECT * FROM held UNION ALL SELECT * FROM created
    UNION ALL SELECT * FROM replaced UNION ALL SELECT * FROM put UNION ALL SELECT * FROM deleted)
  SELECT 1 / (count(*) = (SELECT count(*) FROM operation WHERE act <> 'drop'))::int FROM effects`;

/** Two statements at a time: the server writes one group while this process makes the next. */
const MAX_WRITERS = 2;
const MAX_GROUP = 50;

const DIVISION_BY_ZERO = '22012';

/** The acts of `WRITE`, by type of operation: with no condition, if absent, if at a version. */
const acts = {
  put: ['put', 'create', 'replace'],
  delete: ['drop', undefined, 'delete'],
  check: [undefined, 'absent', 'hold'],
};

/** Connections for the stores below. Rows are always found by their keys, also by plans made while there were few. */
export function openPool(url, max = 10) {
  return new pg.Pool({ connectionString: url, max, options: '-c enable_seqscan=off' });
}

/**
 * Stands in for the Postgres store, which comes later, so that the engine can be measured on the server of its rivals.
 * Has what a bench needs and no more: nothing is done about connections that die half-way or about deadlocks, and a
 * `check` of an absent key does not wait for whoever is creating it. Each write is one statement and one commit.
 */
export function postgresStorage(pool) {
  return new PostgresStorage(pool);
}

/**
 * The same with group commit: writes of one turn of the event loop, and all that arrive while a statement is under way,
 * share the next statement. Many writes cost one round trip and one fsync.
 */
export function groupedPostgresStorage(pool) {
  return new GroupedPostgresStorage(pool);
}

class PostgresStorage {
  name = 'Postgres (bench)';
  capabilities = {
    durability: 'disk',
    scope: 'network',
    atomicBatch: true,
    monotonicVersions: false,
    watch: false,
  };
  #writer = randomUUID();
  #writes = 0;

  constructor(pool) {
    this.pool = pool;
  }

  async open() {
    await this.pool.query(TABLE);
  }

  async get(key) {
    return (await this.query('get', GET, [key])).rows[0];
  }

  async put(key, value, { ifVersion } = {}) {
    const version = this.nextVersion();
    const values = [key, Buffer.from(value), version]; // A copy: the caller may go on writing into his own.
    const [name, text] = ifVersion === undefined ? ['put', PUT] : ['create', CREATE];
    const { rowCount } = ifVersion
      ? await this.query('replace', REPLACE, [...values, ifVersion])
      : await this.query(name, text, values);
    if (rowCount === 0) throw await this.#conflict([{ type: 'put', key, ifVersion }]);
    return version;
  }

  async delete(key, { ifVersion } = {}) {
    if (ifVersion === undefined) return (await this.query('delete', DELETE, [key])).rowCount === 1;
    await this.batch([{ type: 'delete', key, ifVersion }]);
    return true;
  }

  async list(prefix, { after, limit = 1_000, reverse = false } = {}) {
    const [beyond, order] = reverse ? ['<', 'DESC'] : ['>', 'ASC'];
    const text = `SELECT key, version, length(value) AS "sizeBytes" FROM records
      WHERE key >= $1 AND starts_with(key, $1) AND ($2::text IS NULL OR key ${beyond} $2) ORDER BY key ${order} LIMIT $3`;
    const { rows } = await this.query(`list ${order}`, text, [prefix, after ?? null, limit + 1]);
    const entries = rows.slice(0, limit);
    return rows.length > limit ? { entries, next: entries.at(-1).key } : { entries };
  }

  async batch(operations) {
    const version = this.nextVersion();
    await this.write([{ operations, version }]);
    return version;
  }

  /** Writes batches with one statement: all of them or none. */
  async write(batches) {
    try {
      await this.query('write', WRITE, asArrays(batches));
    } catch (error) {
      if (error.code !== DIVISION_BY_ZERO) throw error;
      throw await this.#conflict(batches.flatMap(({ operations }) => operations));
    }
  }

  query(name, text, values) {
    return this.pool.query({ name, text, values });
  }

  /** Made here and not by the server, so that nobody has to ask for it: no other process has this writer's name. */
  nextVersion() {
    return `${this.#writer}.${++this.#writes}`;
  }

  async #conflict(operations) {
    for (const { key, ifVersion } of operations) {
      const current = (await this.get(key))?.version;
      if (ifVersion !== undefined && ifVersion !== (current ?? null)) return new ConflictError(key, current);
    }
    return new ConflictError(operations[0].key, undefined); // Gone again: whoever was in the way is not there any more.
  }
}

class GroupedPostgresStorage extends PostgresStorage {
  #waiting = [];
  #keysUnderWay = new Set();
  #writers = 0;

  async put(key, value, { ifVersion } = {}) {
    return this.batch([{ type: 'put', key, value, ifVersion }]);
  }

  batch(operations) {
    return new Promise((resolve, reject) => {
      const copied = operations.map(({ value, ...rest }) => (value ? { ...rest, value: Buffer.from(value) } : rest));
      this.#waiting.push({ operations: copied, version: this.nextVersion(), resolve, reject });
      if (this.#writers === MAX_WRITERS) return;
      this.#writers++;
      setImmediate(() => this.#writeAll());
    });
  }

  async #writeAll() {
    for (let group = this.#takeGroup(); group.length > 0; group = this.#takeGroup()) {
      await this.#writeGroup(group);
      for (const key of keysOf(group)) this.#keysUnderWay.delete(key);
      await new Promise(setImmediate); // Whoever was answered now writes next: let them all arrive.
    }
    this.#writers--;
  }

  async #writeGroup(group) {
    try {
      await this.write(group);
      for (const { resolve, version } of group) resolve(version);
    } catch {
      await Promise.all(group.map((batch) => this.#writeAlone(batch))); // One of them is to blame: who?
    }
  }

  async #writeAlone(batch) {
    try {
      await this.write([batch]);
      batch.resolve(batch.version);
    } catch (error) {
      batch.reject(error);
    }
  }

  /** Writes of one key keep their order: the next one waits until the one before it is done. */
  #takeGroup() {
    const taken = new Set(this.#keysUnderWay);
    const group = [];
    const later = [];
    for (const batch of this.#waiting) {
      const fits = group.length < MAX_GROUP && batch.operations.every(({ key }) => !taken.has(key));
      for (const { key } of batch.operations) taken.add(key);
      (fits ? group : later).push(batch);
    }
    this.#waiting = later;
    for (const key of keysOf(group)) this.#keysUnderWay.add(key);
    return group;
  }
}

const keysOf = (batches) => batches.flatMap(({ operations }) => operations.map(({ key }) => key));

/** The parameters of `WRITE`. All values travel as one, because arrays of bytes travel as text. */
function asArrays(batches) {
  const columns = [[], [], [], [], [], []];
  const values = [];
  let start = 1;
  for (const { operations, version } of batches) {
    for (const { type, key, value, ifVersion } of operations) {
      const size = value?.byteLength ?? 0;
      const act = acts[type][ifVersion === undefined ? 0 : ifVersion === null ? 1 : 2];
      const row = [act, key, ifVersion ?? null, version, start, size];
      for (const [at, cell] of row.entries()) columns[at].push(cell);
      if (value) values.push(value);
      start += size;
    }
  }
  return [...columns, Buffer.concat(values)];
}

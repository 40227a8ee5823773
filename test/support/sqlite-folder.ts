import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import type { SqliteDatabase, SqliteStatement } from '../../src/storage/sqlite/sqlite-database.js';

/** A handle of libsql, which has the API of better-sqlite3. */
export type SqliteHandle = InstanceType<typeof Database>;

/** Databases in a folder of their own. */
export interface SqliteFolder {
  readonly folder: string;
  /** Path of the database that `handle` opens unless told otherwise. */
  readonly path: string;
  /** A new handle of the file of that name, closed with the folder. Default `store.db`. */
  handle(file?: string): SqliteHandle;
  remove(): Promise<void>;
}

export async function sqliteFolder(): Promise<SqliteFolder> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-sqlite-'));
  const handles: SqliteHandle[] = [];
  return {
    folder,
    path: join(folder, 'store.db'),
    handle(file = 'store.db') {
      const handle = new Database(file === ':memory:' ? file : join(folder, file));
      handles.push(handle);
      return handle;
    },
    async remove() {
      for (const handle of handles) handle.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Plays a test in a folder of its own. */
export async function inSqliteFolder(play: (scene: SqliteFolder) => Promise<void>): Promise<void> {
  const scene = await sqliteFolder();
  try {
    await play(scene);
  } finally {
    await scene.remove();
  }
}

/** What a driver would do differently: called instead of the real `exec` or `run`, which it is given. */
export interface DriverFaults {
  exec?(sql: string, real: () => unknown): unknown;
  run?(parameters: readonly unknown[], real: (...parameters: unknown[]) => unknown): unknown;
  row?(row: unknown): unknown;
}

/** The handle with the faults in front of it. */
export function faulty(handle: SqliteHandle, { exec, run, row = (found) => found }: DriverFaults): SqliteDatabase {
  return {
    exec: (sql) => (exec ? exec(sql, () => handle.exec(sql)) : handle.exec(sql)),
    prepare(sql): SqliteStatement {
      const statement = handle.prepare(sql);
      return {
        run: (...parameters) =>
          run ? run(parameters, (...others) => statement.run(...others)) : statement.run(...parameters),
        get: (...parameters) => row(statement.get(...parameters)),
        all: (...parameters) => statement.all(...parameters).map(row),
      };
    },
  };
}

/** An error as better-sqlite3 and libsql throw it. */
export function sqliteError(code: string, message: string = code): Error {
  return Object.assign(new Error(message), { name: 'SqliteError', code });
}

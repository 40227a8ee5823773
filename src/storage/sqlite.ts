export type { SqliteDatabase, SqliteParameter, SqliteStatement } from './sqlite/sqlite-database.js';
export { type SqliteStorage, type SqliteStorageOptions, sqliteStorage } from './sqlite/sqlite-storage.js';

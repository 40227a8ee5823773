import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll } from 'vitest';
import { type SqliteStorage, sqliteStorage } from '../../src/storage/sqlite.js';
import { storageContract } from '../../src/testing/storage-contract.js';
import { type SqliteHandle, sqliteFolder } from '../support/sqlite-folder.js';
import { type BundledModule, bundledSqliteStore, storeModule } from '../support/sqlite-process.js';

let bundle: BundledModule;
beforeAll(async () => {
  bundle = await bundledSqliteStore();
});
afterAll(() => bundle.remove());

/** Holds the write lock for a moment, as another process would. */
async function hold(other: SqliteHandle): Promise<void> {
  try {
    other.exec('BEGIN IMMEDIATE');
  } catch {
    return; // The store is at work itself.
  }
  await setImmediate();
  other.exec('ROLLBACK');
}

async function opened(storage: SqliteStorage): Promise<SqliteStorage> {
  await storage.open();
  return storage;
}

storageContract(
  'SQLite in a file',
  async () => {
    const scene = await sqliteFolder();
    return {
      open: () => opened(sqliteStorage(scene.handle())), // What it promises is known then.
      destroy: scene.remove,
      inProcess: storeModule(bundle, scene.path),
      interrupt: () => hold(scene.handle()),
    };
  },
  { lacks: ['damage', 'watch'] },
);

import { sqliteStorage } from '../../src/storage/sqlite.js';
import { storageContract } from '../../src/testing/storage-contract.js';
import { sqliteFolder } from '../support/sqlite-folder.js';

storageContract(
  'SQLite in a file, durability "process"',
  async () => {
    const scene = await sqliteFolder();
    const open = async () => {
      const storage = sqliteStorage(scene.handle(), { durability: 'process' });
      await storage.open(); // What it promises is known then.
      return storage;
    };
    return { open, destroy: scene.remove };
  },
  { lacks: ['damage', 'watch', 'processes', 'interrupt'] },
);

storageContract(
  'SQLite in memory',
  async () => {
    const scene = await sqliteFolder();
    const handle = scene.handle(':memory:');
    return { open: () => sqliteStorage(handle), destroy: scene.remove };
  },
  { lacks: ['damage', 'watch', 'processes', 'interrupt', 'durability'] },
);

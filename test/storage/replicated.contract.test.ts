import type { StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { replicated } from '../../src/storage/replicated/replicated.js';
import { type StorageUnderTest, storageContract } from '../../src/testing/storage-contract.js';
import { connectionTo, filesIn, overFiles, watchable, withoutBatch } from './inner-stores.js';

const HOOKS = ['processes', 'damage', 'interrupt'] as const;

/** Two instances, as of two processes, that share a primary and two backups. */
function sharedInMemory(
  primary: StorageAdapter,
  first: StorageAdapter,
  backups: 'wait' | 'follow' = 'wait',
): StorageUnderTest {
  const stores = [primary, first, memoryStorage()] as const;
  return {
    open: () => replicated([connectionTo(stores[0]), connectionTo(stores[1]), connectionTo(stores[2])], { backups }),
  };
}

storageContract('replicated in memory', () => sharedInMemory(memoryStorage(), memoryStorage()), {
  lacks: ['watch', 'durability', ...HOOKS],
});
storageContract(
  'replicated in memory, watched, backups following and without batches',
  () => sharedInMemory(watchable(memoryStorage()), withoutBatch(memoryStorage()), 'follow'),
  { lacks: ['durability', ...HOOKS] },
);
storageContract(
  'replicated in memory without batches',
  () => sharedInMemory(withoutBatch(memoryStorage()), memoryStorage()),
  { lacks: ['watch', 'atomicBatch', 'durability', ...HOOKS] },
);
storageContract(
  'replicated in files',
  () => overFiles((folder) => replicated([filesIn(folder, 'primary'), filesIn(folder, 'backup')])),
  { lacks: ['watch', ...HOOKS] },
);

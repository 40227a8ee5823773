import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FileStorageOptions, fileStorage } from '../../src/storage/log/file-storage.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { type StorageUnderTest, storageContract } from '../../src/testing/storage-contract.js';

async function fileStoreUnderTest(options?: FileStorageOptions): Promise<StorageUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-contract-'));
  return {
    open: () => fileStorage(directory, options),
    destroy: () => rm(directory, { recursive: true }),
  };
}

storageContract('memory', memoryStorage, { lacks: ['watch', 'reopen', 'durability'] });
storageContract('file, synced to disk', () => fileStoreUnderTest(), { lacks: ['watch'] });
storageContract('file, not synced', () => fileStoreUnderTest({ durability: 'process' }), { lacks: ['watch'] });
storageContract(
  'file, compacting all the time',
  () => fileStoreUnderTest({ durability: 'process', compactAtBytes: 4096 }),
  { lacks: ['watch'] },
);

import { mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FileStorageOptions, fileStorage } from '../../src/storage/log/file-storage.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { type StorageUnderTest, storageContract } from '../../src/testing/storage-contract.js';

async function fileStoreUnderTest(options: FileStorageOptions = {}): Promise<StorageUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-contract-'));
  return {
    open: () => fileStorage(directory, options),
    destroy: () => rm(directory, { recursive: true }),
    inProcess: {
      module: new URL('./file-store-process.mjs', import.meta.url),
      argument: JSON.stringify({ directory, options }),
    },
    damage: (key) => flipValue(directory, key),
  };
}

/** Flips a bit of the newest value of `key` where the log keeps it: the layout is that of frame.ts. */
async function flipValue(directory: string, key: string): Promise<void> {
  const newest = (await readdir(directory))
    .filter((name) => name.startsWith('log-'))
    .sort()
    .at(-1) as string;
  const path = join(directory, newest);
  const bytes = await readFile(path);
  const start = bytes.lastIndexOf('HFL1', bytes.lastIndexOf(`"k":"${key}"`));
  const bodyAt = start + 24 + bytes.readUInt32LE(start + 12) + 32;
  const head = JSON.parse(bytes.toString('utf8', start + 24, bodyAt - 32));
  const operations: readonly { k: string; n?: number }[] = head.o.flat();
  const before = operations.slice(
    0,
    operations.findIndex(({ k }) => k === key),
  );
  const at = before.reduce((sum, { n = 0 }) => sum + n, bodyAt);
  const file = await open(path, 'r+');
  await file.write(Buffer.from([(bytes[at] as number) ^ 1]), 0, 1, at);
  await file.close();
}

storageContract('memory', memoryStorage, {
  lacks: ['watch', 'reopen', 'durability', 'processes', 'damage', 'interrupt'],
});
storageContract('file, synced to disk', () => fileStoreUnderTest(), { lacks: ['watch', 'interrupt'] });
storageContract('file, not synced', () => fileStoreUnderTest({ durability: 'process' }), {
  lacks: ['watch', 'interrupt'],
});
storageContract(
  'file, compacting all the time',
  () => fileStoreUnderTest({ durability: 'process', compactAtBytes: 4096 }),
  { lacks: ['watch', 'interrupt'] },
);

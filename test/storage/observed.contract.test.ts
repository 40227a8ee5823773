import { memoryStorage } from '../../src/storage/memory.js';
import { observed } from '../../src/storage/observed.js';
import { storageContract } from '../../src/testing/storage-contract.js';
import { filesIn, overFiles, watchable, withoutBatch } from './inner-stores.js';

const ignore = () => {};
const HOOKS = ['processes', 'damage', 'interrupt'] as const;

storageContract('observed, over memory', () => observed(memoryStorage(), ignore), {
  lacks: ['watch', 'reopen', 'durability', ...HOOKS],
});
storageContract('observed, over memory that is watched', () => observed(watchable(memoryStorage()), ignore), {
  lacks: ['reopen', 'durability', ...HOOKS],
});
storageContract('observed, over memory without batches', () => observed(withoutBatch(memoryStorage()), ignore), {
  lacks: ['watch', 'atomicBatch', 'reopen', 'durability', ...HOOKS],
});
storageContract('observed, over files', () => overFiles((folder) => observed(filesIn(folder), ignore)), {
  lacks: ['watch', ...HOOKS],
});

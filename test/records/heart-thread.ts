import { parentPort, workerData } from 'node:worker_threads';
import { runHeart } from '../../src/records/run-heart.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { fileStorage } from '../../src/storage/log/file-storage.js';

/** Heart threads for the tests: one that beats, and those that do not. */
export type Task = 'beat' | 'fail' | 'throw' | 'end' | 'say nothing';

const { folder, task } = workerData as { folder: string; task: Task };

/** Joins, and can write no more. */
function failing(storage: StorageAdapter): StorageAdapter {
  let writes = 0;
  const put: StorageAdapter['put'] = (key, value, options) =>
    ++writes === 1 ? storage.put(key, value, options) : Promise.reject(new Error('the disk is gone'));
  return { ...bound(storage), put };
}

/** Methods of its own, to be spread. */
function bound(storage: StorageAdapter): StorageAdapter {
  return {
    name: storage.name,
    capabilities: storage.capabilities,
    get: (key, options) => storage.get(key, options),
    put: (key, value, options) => storage.put(key, value, options),
    delete: (key, options) => storage.delete(key, options),
    list: (prefix, options) => storage.list(prefix, options),
  };
}

if (task === 'throw') throw new Error('the heart broke');
if (task === 'say nothing') parentPort?.on('message', () => {});
if (task === 'beat') runHeart(fileStorage(folder));
if (task === 'fail') runHeart(failing(fileStorage(folder)));

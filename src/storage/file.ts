export { type FileStorage, type FileStorageOptions, fileStorage } from './log/file-storage.js';
export type { StorageEvent, StorageRepair } from './log/storage-event.js';

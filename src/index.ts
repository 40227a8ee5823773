/**
 * holdfast: checkpoints with proof, over storage of the host's choice.
 *
 * @packageDocumentation
 */
export { type Clock, systemClock } from './base/clock.js';
export type { Sink } from './base/emit.js';
export {
  ClosedError,
  CorruptionError,
  HoldfastError,
  InvalidInputError,
  isHoldfastError,
  LimitError,
} from './base/errors.js';
export {
  type CheckpointEvent,
  type CheckpointInfo,
  MissingCheckpointError,
  NewerSchemaError,
  type PruneReport,
  type RestoredCheckpoint,
  type Retention,
  type SkippedCheckpoint,
  type VerifyReport,
} from './checkpoints/checkpoint.js';
export { CheckpointManager } from './checkpoints/checkpoint-manager.js';
export type {
  CheckpointManagerOptions,
  ListCheckpointsOptions,
  RestoreOptions,
  SaveOptions,
} from './checkpoints/options.js';
export { UnknownCodecError, UnserializableError, type ValueCodec } from './records/codec.js';
export {
  type BatchOperation,
  ConflictError,
  type DeleteOptions,
  type ListedEntry,
  type ListOptions,
  type ListPage,
  NoSpaceError,
  OutcomeUnknownError,
  type ReadOptions,
  type StorageAdapter,
  type StorageCapabilities,
  StorageError,
  type StoredEntry,
  type Version,
  type WriteOptions,
} from './storage/adapter.js';
export { type FileStorage, type FileStorageOptions, fileStorage } from './storage/log/file-storage.js';
export type { StorageEvent, StorageRepair } from './storage/log/storage-event.js';
export { memoryStorage } from './storage/memory.js';

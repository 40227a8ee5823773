/**
 * holdfast: checkpoints with proof over storage of the host's choice, and calls that survive what they call.
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
export type { AutoSave, AutoSaveOptions } from './checkpoints/auto-save.js';
export {
  type CheckpointEvent,
  type CheckpointInfo,
  MissingCheckpointError,
  NewerSchemaError,
  type RestoredCheckpoint,
  type SkippedCheckpoint,
} from './checkpoints/checkpoint.js';
export { CheckpointManager } from './checkpoints/checkpoint-manager.js';
export type { StateChange } from './checkpoints/diff/diff.js';
export { EventLog } from './checkpoints/event-log/event-log.js';
export type {
  EventLogOptions,
  ReadEventsOptions,
  ReplayCheckpoints,
  ReplayFromOptions,
  ReplayOptions,
} from './checkpoints/event-log/event-log-options.js';
export {
  type AppendedEvent,
  EventIdConflictError,
  type EventLogEvent,
  LostEventsError,
  type Reducer,
  ReplayError,
  type Replayed,
  type StoredEvent,
} from './checkpoints/event-log/event-log-results.js';
export type { ForkedCheckpoint, ForkOptions } from './checkpoints/fork.js';
export {
  InvalidStateError,
  type Migration,
  MigrationError,
  OlderSchemaError,
  type SchemaOptions,
  type StateIssue,
  type StoredState,
} from './checkpoints/migrate.js';
export type {
  CheckpointManagerOptions,
  ListCheckpointsOptions,
  RestoreOptions,
  SaveOptions,
} from './checkpoints/options.js';
export type { RecordRepair, RepairReport } from './checkpoints/repair/repair.js';
export type { DamagedRecord, VerifyReport } from './checkpoints/repair/verify.js';
export type { RestoreStatistics } from './checkpoints/restore-statistics.js';
export type {
  KeepReason,
  PruneReport,
  RemovalReason,
  Retention,
  RetentionDecision,
  RetentionReason,
} from './checkpoints/retention.js';
export type { ExportOptions } from './checkpoints/transfer/export-session.js';
export { ImportError } from './checkpoints/transfer/import-error.js';
export type { ExportedLines } from './checkpoints/transfer/import-lines.js';
export type { ImportOptions, ImportReport } from './checkpoints/transfer/import-session.js';
export type { Attempt, AttemptFailure, Call, RunContext } from './policies/attempt.js';
export { BulkheadFullError } from './policies/bulkhead.js';
export { CircuitBreaker } from './policies/circuit-breaker.js';
export type { CircuitEvent, CircuitState, CircuitStats } from './policies/circuit-event.js';
export { CircuitOpenError } from './policies/circuit-open-error.js';
export type { CircuitBreakerOptions } from './policies/circuit-options.js';
export { CircuitRegistry, type CircuitRegistryOptions } from './policies/circuit-registry.js';
export { FallbackError } from './policies/fallback.js';
export type { Policy } from './policies/policy.js';
export type { PolicyEvent } from './policies/policy-event.js';
export { RateLimitError } from './policies/rate-limit.js';
export { RefusalError } from './policies/refusal-error.js';
export { ResultRefusedError, RetryError } from './policies/retry-error.js';
export type { RetryEvent } from './policies/retry-event.js';
export { RetryManager, type RetryManagerOptions } from './policies/retry-manager.js';
export type { RetryOptions } from './policies/retry-options.js';
export { TimeoutError } from './policies/timeout.js';
export { UnknownCodecError, UnserializableError, type ValueCodec } from './records/codec.js';
export { deepFreeze } from './records/deep-freeze.js';
export { BusyError, FencedError } from './records/lease.js';
export { LeaseNode, type LeaseNodeOptions, type NodeEvent, type Tenure } from './records/node.js';
export type { SchemaIssue, SchemaResult, StandardSchema } from './records/standard-schema.js';
export {
  type CircuitPersistence,
  type CircuitPersistenceEvent,
  type PersistCircuitsOptions,
  persistCircuits,
} from './recovery/persist-circuits.js';
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
export type { AnyListedStep, ListedStep } from './transactions/list-form.js';
export type { RecoverOptions } from './transactions/recover.js';
export type {
  CompensationContext,
  DefinedTransaction,
  DefineOptions,
  HistoryEntry,
  RecoverReport,
  Resolution,
  StepContext,
  StepEffect,
  StepOptions,
  StepRetry,
  StepRetryOptions,
  StepRun,
  StepStatus,
  StepView,
  Stuck,
  StuckReason,
  TransactionBody,
  TransactionFilter,
  TransactionRunOptions,
  TransactionStatus,
  TransactionSummary,
  TransactionView,
  Tx,
  Verified,
} from './transactions/transaction.js';
export {
  CancelledError,
  RolledBackError,
  StuckError,
  TransactionStateError,
} from './transactions/transaction-errors.js';
export type { TransactionEvent } from './transactions/transaction-event.js';
export { TransactionManager } from './transactions/transaction-manager.js';
export type { TransactionManagerOptions } from './transactions/transaction-options.js';

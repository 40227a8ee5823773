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
export {
  type AuditFailedEvent,
  createHoldfast,
  type Holdfast,
  type HoldfastEvent,
  type HoldfastOptions,
  type WiredOption,
} from './holdfast.js';
export type { Attempt, AttemptFailure, Call, RunContext } from './policies/attempt.js';
export { BulkheadFullError } from './policies/bulkhead.js';
export { CircuitBreaker } from './policies/circuit-breaker.js';
export type { CircuitEvent, CircuitState, CircuitStats } from './policies/circuit-event.js';
export { CircuitOpenError } from './policies/circuit-open-error.js';
export type { CircuitBreakerOptions } from './policies/circuit-options.js';
export { CircuitRegistry, type CircuitRegistryOptions } from './policies/circuit-registry.js';
export {
  type Criticality,
  Degradation,
  type DegradationEvent,
  type DegradationOptions,
  DegradedError,
} from './policies/degradation.js';
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
export { guardedStorage, type WriteGuard } from './records/guarded-storage.js';
export { BusyError, FencedError } from './records/lease.js';
export {
  LeaseNode,
  type LeaseNodeOptions,
  type NodeEvent,
  type NodeNote,
  type NodeRecord,
  type Sighting,
  type Tenure,
} from './records/node.js';
export { runHeart } from './records/run-heart.js';
export type { SchemaIssue, SchemaResult, StandardSchema } from './records/standard-schema.js';
export {
  type AuditEntry,
  type AuditFilter,
  type AuditHead,
  AuditLog,
  type AuditLogOptions,
  type AuditReport,
} from './recovery/audit-log.js';
export type { RecoveryBudget } from './recovery/budget.js';
export { type Confidence, type ConfidenceInput, confidence } from './recovery/confidence.js';
export { defaultLadder, type LadderSource, type LadderSources } from './recovery/default-ladder.js';
export type { Signals } from './recovery/diagnosis.js';
export type { Cause, Diagnosis, Failure, FailureRule, RuleAnswer, Severity } from './recovery/failure.js';
export { defaultRules } from './recovery/failure-rules.js';
export { fingerprintOf } from './recovery/fingerprint.js';
export {
  type CircuitPersistence,
  type CircuitPersistenceEvent,
  type PersistCircuitsOptions,
  persistCircuits,
} from './recovery/persist-circuits.js';
export { RecoveryStateError } from './recovery/recovery-errors.js';
export type { RecoveryEvent } from './recovery/recovery-event.js';
export { RecoveryManager } from './recovery/recovery-manager.js';
export type {
  RecoverFailureOptions,
  RecoveryFilter,
  RecoveryManagerOptions,
  ResolveRecoveryOptions,
} from './recovery/recovery-options.js';
export type { RecoveryPlan, RungPlan } from './recovery/recovery-plan.js';
export type { EndedRecovery, RecoveryOutcome, RecoveryRecord, RecoveryResolution } from './recovery/recovery-record.js';
export type { RecoveryStats } from './recovery/recovery-stats.js';
export type { RequirementAnswer, Requirements } from './recovery/requirements.js';
export type { RescueOptions, RescueReport } from './recovery/rescue.js';
export type {
  Check,
  CheckAnswer,
  NamedCheck,
  RecoveryCase,
  Rung,
  RungContext,
  RungReport,
  TriedRung,
} from './recovery/rung.js';
export type {
  CheckpointedSession,
  SessionRecoveryOptions,
  SessionRecoveryReport,
  SessionRung,
} from './recovery/session-recovery.js';
export { RecoveryFailedError } from './recovery/session-recovery-error.js';
export type { ProbeAnswer } from './sessions/classify.js';
export type { ForSession, Session } from './sessions/session.js';
export { QuarantinedError, SessionEndedError, UnknownSessionError } from './sessions/session-errors.js';
export type { SessionEvent } from './sessions/session-event.js';
export type {
  InterruptedSession,
  SessionFailure,
  SessionInfo,
  SessionPriority,
  SessionStatus,
  Takeover,
} from './sessions/session-info.js';
export type {
  ListSessionsOptions,
  OpenSessionOptions,
  RecoverSessionOptions,
  SessionRegistryOptions,
  SessionRetention,
} from './sessions/session-options.js';
export { SessionRegistry } from './sessions/session-registry.js';
export type { SessionStep, SessionStepAttempt, SessionStepOptions, SessionSteps } from './sessions/session-steps.js';
export type { StateKeeper } from './sessions/state-keeper.js';
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
export { type CompressedStorageOptions, compressed } from './storage/compressed.js';
export { type EncryptedStorage, type EncryptedStorageOptions, encrypted } from './storage/encrypted/encrypted.js';
export type { Keyring } from './storage/encrypted/keyring.js';
export type { RekeyOptions, RekeyReport, UnreadableValue } from './storage/encrypted/rekey.js';
export { UnknownEncryptionKeyError } from './storage/encrypted/sealed-value.js';
export type { ProcessIdentity } from './storage/host-process.js';
export { type FileStorage, type FileStorageOptions, fileStorage } from './storage/log/file-storage.js';
export type { StorageEvent, StorageRepair } from './storage/log/storage-event.js';
export { memoryStorage } from './storage/memory.js';
export { type ObservedOptions, observed, type StorageCallEvent } from './storage/observed.js';
export { prefixed } from './storage/prefixed.js';
export type { DifferenceKind } from './storage/replicated/key-state.js';
export type { BroughtBack, ReplicaRepair, ReplicaRepairOptions } from './storage/replicated/repair.js';
export {
  type BackupDivergence,
  type ReplicatedOptions,
  type ReplicatedStorage,
  replicated,
} from './storage/replicated/replicated.js';
export type { ReplicationEvent } from './storage/replicated/replication-event.js';
export {
  type RestoredFromBackups,
  type RestoreFromBackupsOptions,
  restoreFromBackups,
} from './storage/replicated/restore-from-backups.js';
export type { Difference, ReplicaComparison } from './storage/replicated/survey.js';
export { EventBus, type EventOf } from './telemetry/event-bus.js';
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

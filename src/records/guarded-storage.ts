import {
  type BatchOperation,
  ConflictError,
  OutcomeUnknownError,
  type ReadOptions,
  type StorageAdapter,
  type StoredEntry,
  type Version,
} from '../storage/adapter.js';
import { checked } from '../storage/checked.js';
import { asItIsNow } from '../storage/unchanging.js';

/** Says whether this process may still write in the name of something that it holds. */
export interface WriteGuard {
  /** Where the record stands that names the holder. Taking over changes that record. */
  readonly storage: StorageAdapter;
  readonly key: string;
  /** Version which that record has as far as this process knows. @throws FencedError when it is known to be held no more */
  version(): Version;
  /** Asks the storage. Resolves, with `version()` up to date, if it is held. @throws FencedError if it is not */
  confirm(): Promise<void>;
  /** Told when a storage is guarded whose writes the check cannot be part of: it comes behind them. */
  checkedBehind?(): void;
}

/**
 * The same store for one holder: a write is acknowledged only if the guard held when it became durable. Whoever lost what
 * it held gets `FencedError`, however long it was stopped before.
 *
 * In the very store that has the guard's own record, and with `atomicBatch`, the check is part of the write: nothing is
 * written after a takeover. Elsewhere the write comes first and is acknowledged if the guard still holds behind it; one that
 * was overtaken in between stays in the store unacknowledged. So whoever takes over must then write the next number of
 * every sequence of create-only keys before it relies on what it read. (Checked exhaustively elsewhere: publish, then look,
 * then acknowledge is the one safe order.)
 */
export function guardedStorage(storage: StorageAdapter, guard: WriteGuard): StorageAdapter {
  const { capabilities, watch } = storage;
  const isTogether = checked(guard.storage) === checked(storage) && capabilities.atomicBatch;
  if (!isTogether) guard.checkedBehind?.();
  const guarded: StorageAdapter = {
    name: storage.name,
    get capabilities() {
      return storage.capabilities;
    },
    get: (key, options) => storage.get(key, options),
    list: (prefix, options) => storage.list(prefix, options),
    ...(isTogether ? checkedWithin(storage, guard) : checkedBehind(storage, guard)),
  };
  if (watch) guarded.watch = (prefix, onChange) => watch.call(storage, prefix, onChange);
  return guarded;
}

type Guarded = Pick<StorageAdapter, 'put' | 'delete'> & Partial<Pick<StorageAdapter, 'get' | 'batch'>>;

/** The check is one operation of each write. It comes first, so that being overtaken is told before anything else is. */
function checkedWithin(storage: StorageAdapter, guard: WriteGuard): Guarded {
  const batch = async (operations: readonly BatchOperation[]): Promise<Version> => {
    const taken = operations.map(copied); // It may be written twice, and the caller have its buffers back before.
    for (;;) {
      const check: BatchOperation = { type: 'check', key: guard.key, ifVersion: guard.version() };
      try {
        return await (storage as Required<StorageAdapter>).batch([check, ...taken]);
      } catch (error) {
        if (!(error instanceof ConflictError) || error.key !== guard.key) throw error;
        await guard.confirm(); // Its own holder wrote to it meanwhile: again, with the version it has now.
      }
    }
  };
  return {
    batch,
    put: (key, value, options) => {
      const ifVersion = options?.ifVersion;
      return batch([{ type: 'put', key, value, ...(ifVersion !== undefined && { ifVersion }) }]);
    },
    async delete(key, options) {
      const ifVersion = options?.ifVersion;
      if (ifVersion === undefined && (await storage.get(key)) === undefined) return false;
      await batch([{ type: 'delete', key, ...(ifVersion !== undefined && { ifVersion }) }]);
      return true;
    },
  };
}

function copied(operation: BatchOperation): BatchOperation {
  return operation.type === 'put' ? { ...operation, value: asItIsNow(operation.value) } : operation;
}

/** The check comes after each write and before its acknowledgement. */
function checkedBehind(storage: StorageAdapter, guard: WriteGuard): Guarded {
  const { batch } = storage;
  /** A write was sent and nobody knows whether it came through, or will: what is read may be that. */
  let isUndecided = false;
  const guarded = async <Answer>(key: string, write: () => Promise<Answer>): Promise<Answer> => {
    guard.version(); // What is known to be lost writes nothing.
    const [outcome] = await Promise.allSettled([write()]);
    isUndecided ||= outcome.status === 'rejected' && outcome.reason instanceof OutcomeUnknownError;
    try {
      await guard.confirm(); // Also behind a conflict: whoever was overtaken is told that, and not that it lost a race.
    } catch (cause) {
      guard.version(); // It is lost: that is what is told.
      if (outcome.status === 'rejected') throw outcome.reason;
      isUndecided = true;
      throw new OutcomeUnknownError(key, { cause });
    }
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  };
  return {
    async get(key: string, options?: ReadOptions): Promise<StoredEntry | undefined> {
      const entry = await storage.get(key, options);
      if (isUndecided) await guard.confirm(); // Who finds its own write here acknowledges it.
      return entry;
    },
    put: (key, value, options) => guarded(key, () => storage.put(key, value, options)),
    delete: (key, options) => guarded(key, () => storage.delete(key, options)),
    ...(batch && {
      batch: (operations) => guarded(operations[0]?.key ?? '', () => batch.call(storage, operations)),
    }),
  };
}

import { HoldfastError } from '../base/errors.js';

/**
 * Names one write. Opaque: compare for equality only, unless `capabilities.monotonicVersions` says that later writes
 * to the store have versions that sort after earlier ones as strings (then it serves as a fencing token).
 * Equal only for the very same write; never used again for a key, also not after a delete.
 */
export type Version = string;

/** A key with its bytes. */
export interface StoredEntry {
  readonly key: string;
  readonly value: Uint8Array;
  readonly version: Version;
  /**
   * Something later in the store is damaged and it cannot be told which keys it held: this value is intact, yet it may
   * not be the newest one written. Set until the store is repaired.
   */
  readonly suspect?: true;
}

/** A key as `list` shows it: without its bytes. */
export interface ListedEntry {
  readonly key: string;
  readonly version: Version;
  readonly sizeBytes: number;
}

/** One page of `list`. `next` is there when more may follow: pass it as `after` to go on. */
export interface ListPage {
  readonly entries: readonly ListedEntry[];
  readonly next?: string;
  /**
   * The store is damaged and it cannot be told which keys that held: what is listed is there, yet keys may be missing
   * from any page. Set until the store is repaired.
   */
  readonly suspect?: true;
}

/** For every call that only reads. */
export interface ReadOptions {
  /** Aborting rejects the call with the signal's reason. */
  readonly signal?: AbortSignal;
  /**
   * Default false. True: the caller proves what it uses of the value by sums of its own. A store that keeps sums, too, may
   * then leave its own alone, and give a value that is damaged instead of an error.
   */
  readonly callerProves?: boolean;
}

/** For `put`. */
export interface WriteOptions {
  /**
   * The compare of compare-and-swap. Left out: write always. `null`: only if the key is absent.
   * A version: only if the key's current version is this one.
   */
  readonly ifVersion?: Version | null;
  /** Aborting before the write has started rejects with the signal's reason; afterwards the write is finished. */
  readonly signal?: AbortSignal;
}

/** For `delete`. */
export interface DeleteOptions {
  /** Delete only if the key's current version is this one; else `ConflictError`. */
  readonly ifVersion?: Version;
  /** As for `put`. */
  readonly signal?: AbortSignal;
}

/** For `list`. */
export interface ListOptions {
  /** Start behind this key (in the direction of the listing). It need not exist. */
  readonly after?: string;
  /** Entries per page at most. Default 1,000. */
  readonly limit?: number;
  /** Descending order. Default false: ascending, in byte order of UTF-8. */
  readonly reverse?: boolean;
  /** Aborting rejects the call with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** One part of a `batch`. `check` writes nothing: it makes the batch depend on another key (fenced writes). */
export type BatchOperation =
  | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array; readonly ifVersion?: Version | null }
  | { readonly type: 'delete'; readonly key: string; readonly ifVersion?: Version }
  | { readonly type: 'check'; readonly key: string; readonly ifVersion: Version | null };

/** What a store can do and what it promises; declared, so that hosts and the library can refuse what does not fit. */
export interface StorageCapabilities {
  /** What an acknowledged write survives: nothing, the process, the machine losing power, the machine being lost. */
  readonly durability: 'none' | 'process' | 'disk' | 'replicated';
  /** Who may share the store: one process, all processes of a host, any machine. */
  readonly scope: 'process' | 'host' | 'network';
  /** `batch` is there and is all or nothing. */
  readonly atomicBatch: boolean;
  /** Later writes have versions that sort after earlier ones as strings, across all keys. */
  readonly monotonicVersions: boolean;
  /** `watch` is there. */
  readonly watch: boolean;
  /** The largest value it takes, in bytes; left out when there is no limit that matters. */
  readonly maxValueBytes?: number;
}

/**
 * Bytes under keys, in key order, changed by compare-and-swap. Four methods are all a host writes to bring its own
 * persistence; `storageContract` from `holdfast/testing` proves them.
 *
 * The library checks keys, values and options once, above the adapter: an adapter sees keys of 1 to 512 characters from
 * `A-Z a-z 0-9 . _ = / -` only, and never has to check them again.
 *
 * Every method may reject with `StorageError` (with `cause`), `NoSpaceError` or, for a write whose outcome cannot be
 * known, `OutcomeUnknownError`. What cannot be read is an error, never a missing key.
 */
export interface StorageAdapter {
  /** For messages and logs. */
  readonly name: string;
  readonly capabilities: StorageCapabilities;
  /** The entry, or `undefined` if the key is truly absent. The bytes are the caller's own to keep. */
  get(key: string, options?: ReadOptions): Promise<StoredEntry | undefined>;
  /**
   * Stores `value` and returns the version of this write, durable as `capabilities.durability` says when it resolves.
   * The bytes are taken before the call returns its promise: the caller may reuse the buffer at once.
   * @throws ConflictError when `ifVersion` does not hold; nothing was written.
   */
  put(key: string, value: Uint8Array, options?: WriteOptions): Promise<Version>;
  /**
   * Removes the key; true if it was there. Deleting an absent key is no error unless `ifVersion` is given.
   * @throws ConflictError when `ifVersion` does not hold; nothing was removed.
   */
  delete(key: string, options?: DeleteOptions): Promise<boolean>;
  /**
   * Keys that begin with `prefix`, in byte order, a page at a time. Sees every write acknowledged before the call: a key
   * that is lost to damage is listed all the same, or the page is `suspect`, or the call rejects.
   */
  list(prefix: string, options?: ListOptions): Promise<ListPage>;
  /**
   * All operations or none, as one write; each key at most once. Returns the version all its puts share.
   * @throws ConflictError naming the first key whose condition does not hold; nothing was written.
   */
  batch?(operations: readonly BatchOperation[]): Promise<Version>;
  /** Calls `onChange` some time after a key under `prefix` changed: a hint, correctness never depends on it. */
  watch?(prefix: string, onChange: (key: string) => void): Promise<() => Promise<void>>;
  /** Makes ready and reports what is wrong early. Optional to call: the first operation opens by itself. */
  open?(): Promise<void>;
  /** Waits for writes under way, then lets go of files and connections. Later calls reject with `ClosedError`. */
  close?(): Promise<void>;
}

/** Someone else changed the key first: the condition of the write does not hold. Nothing was written. Read and decide anew. */
export class ConflictError extends HoldfastError {
  readonly code = 'HOLDFAST_CONFLICT';
  constructor(
    readonly key: string,
    /** The version the key has now; `undefined` if it is absent. */
    readonly currentVersion: Version | undefined,
    options?: { readonly cause?: unknown; readonly message?: string },
  ) {
    super(
      options?.message ??
        `"${key}" was changed by another writer (it is now ${currentVersion === undefined ? 'absent' : `at version ${currentVersion}`}). Read it again and decide anew.`,
      options,
    );
  }
}

/** The write may or may not have happened. Retrying it with the same `ifVersion` is safe: it cannot happen twice. */
export class OutcomeUnknownError extends HoldfastError {
  readonly code = 'HOLDFAST_OUTCOME_UNKNOWN';
  constructor(
    readonly key: string,
    options?: { readonly cause?: unknown },
  ) {
    super(
      `It is not known whether the write of "${key}" happened. Read it, or retry with the same ifVersion.`,
      options,
    );
  }
}

/** The store has no room. Nothing was acknowledged and what was stored before is intact. Make space and try again. */
export class NoSpaceError extends HoldfastError {
  readonly code = 'HOLDFAST_NO_SPACE';
  constructor(
    /** The directory, database or server that is full. */
    readonly store: string,
    options?: { readonly cause?: unknown },
  ) {
    super(`No space left in ${store}. What was stored before is intact; make space and try again.`, options);
  }
}

/** The store failed in a way that has no class of its own; `cause` is what it said. */
export class StorageError extends HoldfastError {
  readonly code = 'HOLDFAST_STORAGE';
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
  }
}

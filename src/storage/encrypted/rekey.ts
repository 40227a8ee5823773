import * as z from 'zod';
import { CorruptionError, isHoldfastError } from '../../base/errors.js';
import { parseOptions } from '../../base/options.js';
import type { ReadOptions, StorageAdapter } from '../adapter.js';
import { listedEntries } from '../listed-entries.js';
import type { OpenedValue, UnknownEncryptionKeyError } from './sealed-value.js';

/** For `rekey`. */
export interface RekeyOptions {
  /** Only keys that begin with this. Default `''`: all. Give one to leave alone what is in use. */
  readonly prefix?: string;
  /** Aborting ends it between two values, with the signal's reason. What was done stays done; run it again to go on. */
  readonly signal?: AbortSignal;
}

/** What `rekey` did and could not do. */
export interface RekeyReport {
  /** Values that were written again under the current key. */
  readonly rekeyed: number;
  /** Values that were under it already, and intact. */
  readonly upToDate: number;
  /** Values that somebody else wrote while they were being encrypted; theirs stand. Run it again to see under which key. */
  readonly changedMeanwhile: number;
  /** Values that were left as they are because they cannot be read, in key order. */
  readonly damaged: readonly UnreadableValue[];
  /**
   * The store is damaged where it cannot tell which keys were there: there may be more values, under any key. Repair it,
   * and run this again before an old key is thrown away.
   */
  readonly isSuspect: boolean;
}

/** A value that cannot be read. */
export interface UnreadableValue {
  readonly key: string;
  /** Damaged; not known to be the newest (`suspect`); or encrypted under a key that the keyring does not have. */
  readonly error: CorruptionError | UnknownEncryptionKeyError;
}

/** The store that holds the values, and what is done to each. */
export interface RekeyedStore {
  readonly storage: StorageAdapter;
  readonly currentKeyId: string;
  /** The value, and the id of its key; `undefined` if it is not encrypted. */
  open(key: string, stored: Uint8Array): Omit<OpenedValue, 'keyId'> & { readonly keyId: string | undefined };
  /** The value under the current key. */
  seal(key: string, value: Uint8Array): Uint8Array;
}

type Outcome = 'rekeyed' | 'upToDate' | 'changedMeanwhile' | 'removed';

const optionsSchema = z.strictObject({ prefix: z.string().default(''), signal: z.instanceof(AbortSignal).optional() });

/** One value after the other, each by compare-and-swap: nothing is lost or undone, wherever it ends. */
export async function rekeyValues(store: RekeyedStore, options: RekeyOptions | undefined): Promise<RekeyReport> {
  const { prefix, signal } = parseOptions(optionsSchema, options);
  const reading = signal ? { signal } : {};
  const counts = { rekeyed: 0, upToDate: 0, changedMeanwhile: 0, removed: 0 };
  const damaged: UnreadableValue[] = [];
  let isSuspect = false;
  const onSuspect = () => {
    isSuspect = true;
  };
  for await (const { key } of listedEntries(store.storage, prefix, { ...reading, onSuspect })) {
    try {
      counts[await rekeyValue(store, key, reading)]++;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      damaged.push({ key, error });
    }
  }
  const { rekeyed, upToDate, changedMeanwhile } = counts;
  return { rekeyed, upToDate, changedMeanwhile, damaged, isSuspect };
}

async function rekeyValue(store: RekeyedStore, key: string, options: ReadOptions): Promise<Outcome> {
  const { storage, currentKeyId } = store;
  const entry = await storage.get(key, options);
  if (entry === undefined) return 'removed';
  // Written again it would pass for the newest, and nobody would be warned any more.
  if (entry.suspect) throw new CorruptionError(`"${key}" may have a newer value in a damaged part of the store.`, key);
  const { value, keyId } = store.open(key, entry.value);
  if (keyId === currentKeyId) return 'upToDate';
  try {
    await storage.put(key, store.seal(key, value), { ...options, ifVersion: entry.version });
    return 'rekeyed';
  } catch (error) {
    if (isHoldfastError(error) && error.code === 'HOLDFAST_CONFLICT') return 'changedMeanwhile';
    throw error;
  }
}

function isUnreadable(error: unknown): error is UnreadableValue['error'] {
  const code = isHoldfastError(error) ? error.code : undefined;
  return code === 'HOLDFAST_CORRUPTION' || code === 'HOLDFAST_UNKNOWN_ENCRYPTION_KEY';
}

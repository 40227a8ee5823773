import * as z from 'zod';
import { InvalidInputError } from '../../base/errors.js';
import { parseOptions } from '../../base/options.js';
import type { StorageAdapter } from '../adapter.js';
import { checked } from '../checked.js';
import { isCompressed } from '../compressed.js';
import { layersOf } from '../layers.js';
import { storedAs } from '../value-form.js';
import { type Keyring, openKeyring } from './keyring.js';
import { type RekeyOptions, type RekeyReport, rekeyValues } from './rekey.js';
import { isSealed, MAX_VALUE_BYTES, OVERHEAD_BYTES, openValue, sealValue } from './sealed-value.js';

/** How an encrypted store reads. */
export interface EncryptedStorageOptions {
  /**
   * Values that are not encrypted are read as they are. Default false: they are a `CorruptionError`. True while a store
   * becomes an encrypted one: start every process with it, run `rekey()`, switch it off again. Until then whoever can
   * write to the store can plant values. A plain value that begins with `HFE` and a digit counts as encrypted.
   */
  readonly allowPlaintext?: boolean;
}

/** An encrypted store: an adapter with the means to change its key. */
export interface EncryptedStorage extends StorageAdapter {
  /**
   * Writes every value that is not under the current key again, under it. The values stay as they are, but each one
   * written gets a **new version**, and whoever holds the old one is overtaken: leases are lost, journals and checkpoints
   * that are being written conflict. Run it while no work runs on these keys, or give the `prefix` of what is at rest.
   *
   * To change the key: give every process the new key; then make it `current` everywhere; then run this; remove the old
   * key once a run reports neither `rekeyed` nor `changedMeanwhile` nor `damaged`, and is not `isSuspect`.
   *
   * A crash or an error half-way leaves some values under the old key and some under the new one, all of them readable:
   * run it again. A conflict is counted, not raised; values that cannot be read are named and left as they are.
   * @throws StorageError and what else the store rejects with, when it cannot go on.
   */
  readonly rekey: (options?: RekeyOptions) => Promise<RekeyReport>;
}

const optionsSchema = z.strictObject({ allowPlaintext: z.boolean().default(false) });

/**
 * The same store with its values encrypted: AES-256-GCM with a random nonce for every write. What is read is proved first:
 * a changed byte, a cut end, a value that was copied from another key is a `CorruptionError`, and a value whose key is
 * not in the keyring an `UnknownEncryptionKeyError` that names it.
 *
 * Not hidden are the storage keys, the size of each value, the id of its key, and when what was written. Not noticed is
 * an older value of the same key that somebody puts back, nor a key that somebody removes.
 *
 * A value takes 100 bytes more in the store; `list` shows the size without them. A key serves for 2^32 writes: change it
 * before (NIST SP 800-38D, section 8.3: beyond that two random nonces may be the same). Nobody counts them here. Work is
 * done on the calling thread, some 2 GB per second.
 *
 * To compress as well, compress first: `compressed(encrypted(storage, keyring))`. Keep the encrypted store at hand for its
 * `rekey`.
 *
 * @throws InvalidInputError for a keyring or option that is not as it must be, and for a store made by `compressed`, also
 * below `prefixed`, `observed` and `replicated`: encrypted bytes do not get smaller. Below a wrapper of the host's own it
 * is not noticed, and costs time and 13 bytes a value.
 */
export function encrypted(
  storage: StorageAdapter,
  keyring: Keyring,
  options?: EncryptedStorageOptions,
): EncryptedStorage {
  const { allowPlaintext } = parseOptions(optionsSchema, options);
  const ring = openKeyring(keyring);
  if ([...layersOf(storage)].some(isCompressed)) {
    const message =
      'storage: encrypted bytes do not get smaller. Nest them as compressed(encrypted(storage, keyring)).';
    throw new InvalidInputError(message, 'storage');
  }
  const seal = (key: string, value: Uint8Array) => sealValue(key, value, ring);
  const open = (key: string, stored: Uint8Array) =>
    allowPlaintext && !isSealed(stored) ? { value: stored, keyId: undefined } : openValue(key, stored, ring);
  const inner = checked(storage);
  const form = { name: 'encrypted', overheadBytes: OVERHEAD_BYTES, maxValueBytes: MAX_VALUE_BYTES };
  const adapter = storedAs({ ...form, seal, open: (key, stored) => open(key, stored).value }, inner);
  return Object.assign(adapter, {
    rekey: (options?: RekeyOptions) => rekeyValues({ storage: inner, currentKeyId: ring.current, open, seal }, options),
  });
}

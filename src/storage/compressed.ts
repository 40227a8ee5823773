import * as z from 'zod';
import { parseOptions } from '../base/options.js';
import type { StorageAdapter } from './adapter.js';
import { compressValue, OVERHEAD_BYTES, openCompressed } from './compressed-value.js';
import { storedAs } from './value-form.js';

/** What is compressed, and how. Values that were written with other options are read all the same. */
export interface CompressedStorageOptions {
  /**
   * How new values are compressed. Default `'brotli'`, at its fastest: JSON text shrinks to a third or a quarter, at some
   * 200 MB per second. `'gzip'` makes it a tenth smaller at an eighth of that speed.
   */
  readonly algorithm?: 'brotli' | 'gzip';
  /** Values of fewer bytes are kept as they are. Default 1,024: below, some 30 microseconds are spent to save little. */
  readonly minBytes?: number;
  /**
   * The largest value, in bytes. Default 256 MiB. A larger one is refused when it is put, and also when it is got: before
   * it takes any memory, so whoever can write to the store cannot fill yours.
   */
  readonly maxBytes?: number;
}

const optionsSchema = z.strictObject({
  algorithm: z.enum(['brotli', 'gzip']).default('brotli'),
  minBytes: z.int().min(0).default(1024),
  maxBytes: z
    .int()
    .min(1)
    .max(2 ** 31 - 1)
    .default(256 * 1024 * 1024),
});

const compressedStores = new WeakSet<StorageAdapter>();

/**
 * The same store with its values compressed, where that makes them smaller. A CRC-32 tells whether the bytes are those
 * that were stored, before they are decompressed; a value that is damaged, or was not written through `compressed`, is a
 * `CorruptionError`, and one that says it is larger than `maxBytes` a `LimitError`.
 *
 * A value takes 13 bytes more in the store. `list` shows the size without them: of a value that is kept as it is, its
 * size; of one that is compressed, what is left of it.
 *
 * Values of more than 32 KiB are compressed and decompressed on other threads. Writes of one key are still done in the
 * order in which they were called.
 *
 * To encrypt as well, compress first: `compressed(encrypted(storage, keyring))`. Then sizes tell something of the content:
 * do not compress values that mix a secret with what a stranger may choose (the CRIME attack).
 *
 * @throws InvalidInputError for an unknown option or one out of range.
 */
export function compressed(storage: StorageAdapter, options?: CompressedStorageOptions): StorageAdapter {
  const { algorithm, minBytes, maxBytes } = parseOptions(optionsSchema, options);
  const adapter = storedAs(
    {
      name: 'compressed',
      overheadBytes: OVERHEAD_BYTES,
      maxValueBytes: maxBytes,
      seal: (_key, value) => compressValue(value, algorithm, minBytes),
      open: (key, stored) => openCompressed(key, stored, maxBytes),
    },
    storage,
  );
  compressedStores.add(adapter);
  return adapter;
}

/** Was this store made by `compressed`? */
export function isCompressed(storage: StorageAdapter): boolean {
  return compressedStores.has(storage);
}

import * as z from 'zod';
import { InvalidInputError, isHoldfastError, LimitError } from '../base/errors.js';
import { parseOptions } from '../base/options.js';
import {
  type BatchOperation,
  type DeleteOptions,
  type ListOptions,
  type ReadOptions,
  type StorageAdapter,
  StorageError,
  type WriteOptions,
} from './adapter.js';

/** Longest key in characters, which are bytes: keys are ASCII. */
const MAX_KEY_LENGTH = 512;

const KEY_RULE = `1 to ${MAX_KEY_LENGTH} characters of A-Z a-z 0-9 . _ = / -`;
const KEY = /^[A-Za-z0-9._=/-]{1,512}$/;
const PREFIX = /^[A-Za-z0-9._=/-]{0,512}$/;
const version = z.string().min(1);
const signal = z.instanceof(AbortSignal).optional();
const readOptions = z.strictObject({ signal, callerProves: z.boolean().optional() });
const writeOptions = z.strictObject({ ifVersion: version.nullable().optional(), signal });
const deleteOptions = z.strictObject({ ifVersion: version.optional(), signal });
const listOptions = z.strictObject({
  after: z.string().optional(),
  limit: z.int().min(1).max(10_000).optional(),
  reverse: z.boolean().optional(),
  signal,
});

const key = z.string().regex(KEY, `a key has ${KEY_RULE}`);
const batchSchema = z
  .array(
    z.discriminatedUnion('type', [
      z.strictObject({
        type: z.literal('put'),
        key,
        value: z.instanceof(Uint8Array),
        ifVersion: version.nullable().optional(),
      }),
      z.strictObject({ type: z.literal('delete'), key, ifVersion: version.optional() }),
      z.strictObject({ type: z.literal('check'), key, ifVersion: version.nullable() }),
    ]),
  )
  .min(1);

/** What each adapter was wrapped as: one wrapper each, so that whoever compares two of them compares the stores. */
const wrappers = new WeakMap<StorageAdapter, StorageAdapter>();

/**
 * The same store with every call checked, once, above the adapter: keys, values, conditions and options; an abort that
 * came before the call; errors of the adapter's own turned into `StorageError` with their cause. Every part of the
 * library passes the host's adapter through here, so an adapter may rely on what it is given.
 */
export function checked(adapter: StorageAdapter): StorageAdapter {
  const known = typeof adapter === 'object' && adapter !== null ? wrappers.get(adapter) : undefined;
  if (known) return known;
  const { batch, watch } = requireAdapter(adapter);
  const call = callsOf(adapter);
  const wrapped: StorageAdapter = {
    name: adapter.name,
    get capabilities() {
      return adapter.capabilities; // What a server promises is known once it has been asked.
    },
    async get(key, options?: ReadOptions) {
      requireKey(key);
      requireOptions(readOptions, options);
      return call(`get "${key}"`, () => adapter.get(key, options), options?.signal);
    },
    async put(key, value, options?: WriteOptions) {
      requireKey(key);
      requireValue(key, value, adapter);
      if (!isConditionOnly(options)) requireOptions(writeOptions, options);
      return call(`put "${key}"`, () => adapter.put(key, value, options), options?.signal);
    },
    async delete(key, options?: DeleteOptions) {
      requireKey(key);
      requireOptions(deleteOptions, options);
      return call(`delete "${key}"`, () => adapter.delete(key, options), options?.signal);
    },
    async list(prefix, options?: ListOptions) {
      requirePrefix(prefix);
      if (!isNewestOnly(options)) requireOptions(listOptions, options);
      return call(`list "${prefix}"`, () => adapter.list(prefix, options), options?.signal);
    },
  };
  const { open, close } = adapter;
  if (open) wrapped.open = async () => call('open', () => open.call(adapter));
  if (close) wrapped.close = async () => call('close', () => close.call(adapter));
  if (batch)
    wrapped.batch = async (operations) => {
      requireBatch(operations, adapter);
      return call('batch', () => batch.call(adapter, operations));
    };
  if (watch)
    wrapped.watch = async (prefix, onChange) => {
      requirePrefix(prefix);
      return call('watch', () => watch.call(adapter, prefix, onChange));
    };
  wrappers.set(adapter, wrapped);
  wrappers.set(wrapped, wrapped);
  return wrapped;
}

/** How the adapter is called: what it throws is named after what was being done. */
function callsOf({ name }: StorageAdapter) {
  return async <Result>(act: string, run: () => Promise<Result>, signal?: AbortSignal): Promise<Result> => {
    try {
      return await run(); // In here, so that a method that throws at once fails its call like any other.
    } catch (error) {
      throw asHoldfastError(error, `${name} could not ${act}`, signal);
    }
  };
}

function requireAdapter(adapter: StorageAdapter): StorageAdapter {
  for (const method of ['get', 'put', 'delete', 'list'] as const) {
    if (typeof adapter?.[method] !== 'function') {
      throw new InvalidInputError(`storage: a StorageAdapter needs the method "${method}".`, `storage.${method}`);
    }
  }
  if (typeof adapter.name !== 'string' || typeof adapter.capabilities?.durability !== 'string') {
    throw new InvalidInputError('storage: a StorageAdapter needs a `name` and its `capabilities`.', 'storage');
  }
  return adapter;
}

/** @throws InvalidInputError unless `key` is what every store can keep. */
function requireKey(key: unknown): void {
  if (typeof key !== 'string' || !KEY.test(key)) throw badKey(key, 'key');
}

function requirePrefix(prefix: unknown): void {
  if (typeof prefix !== 'string' || !PREFIX.test(prefix)) throw badKey(prefix, 'prefix');
}

function badKey(key: unknown, path: string): InvalidInputError {
  const shown = typeof key === 'string' ? JSON.stringify(key.slice(0, 80)) : String(key);
  return new InvalidInputError(`${path}: ${shown} is not a storage key, which has ${KEY_RULE}.`, path);
}

function requireValue(key: string, value: unknown, adapter: StorageAdapter): void {
  if (!(value instanceof Uint8Array)) {
    throw new InvalidInputError(`value: the value of "${key}" must be a Uint8Array.`, 'value');
  }
  const allowed = adapter.capabilities.maxValueBytes;
  if (allowed !== undefined && value.byteLength > allowed) {
    const message = `The value of "${key}" has ${value.byteLength} bytes; ${adapter.name} takes ${allowed} at most.`;
    throw new LimitError(message, 'maxValueBytes', allowed);
  }
}

function requireBatch(operations: readonly BatchOperation[], adapter: StorageAdapter): void {
  parseOptions(batchSchema, operations, 'operations');
  const seen = new Set<string>();
  for (const [at, operation] of operations.entries()) {
    const { key } = operation;
    if (seen.has(key)) {
      const path = `operations.${at}.key`;
      throw new InvalidInputError(`${path}: "${key}" is in this batch twice; what should hold in the end?`, path);
    }
    seen.add(key);
    if (operation.type === 'put') requireValue(key, operation.value, adapter);
  }
}

/** Checks options that are there, and an abort that came before the call. */
function requireOptions(schema: z.ZodType<{ signal?: AbortSignal | undefined }>, options: unknown): void {
  if (options !== undefined) parseOptions(schema, options).signal?.throwIfAborted();
}

/** The shapes that every save has. A schema would cost more than the index look-up behind it. */
function isConditionOnly(options: WriteOptions | undefined): boolean {
  const ifVersion = options?.ifVersion;
  const isCondition = ifVersion === null || (typeof ifVersion === 'string' && ifVersion !== '');
  return isCondition && Object.keys(options as WriteOptions).length === 1;
}

function isNewestOnly(options: ListOptions | undefined): boolean {
  return (
    (options?.limit === 1 || options?.limit === 2) && options.reverse === true && Object.keys(options).length === 2
  );
}

/** Errors of the library and the host's own abort reason stay as they are; anything else is named after what was being done. */
function asHoldfastError(error: unknown, what: string, signal: AbortSignal | undefined): unknown {
  if (isHoldfastError(error) || (signal?.aborted && error === signal.reason)) return error;
  return new StorageError(`${what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}

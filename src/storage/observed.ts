import * as z from 'zod';
import { type Clock, systemClock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { type HoldfastError, InvalidInputError } from '../base/errors.js';
import { clockOption, parseOptions } from '../base/options.js';
import type { BatchOperation, StorageAdapter, StoredEntry } from './adapter.js';
import { checked } from './checked.js';
import { layerOver } from './layers.js';

/** A call that reached a store and came back. Keys are in it, values are not. */
export interface StorageCallEvent {
  readonly type: 'storage.called';
  /** The store's name. */
  readonly store: string;
  readonly operation: 'get' | 'put' | 'delete' | 'list' | 'batch';
  /** The key; the prefix of a `list`, the first key of a `batch`. */
  readonly key: string;
  /** From the call to its answer, in milliseconds with a fraction. */
  readonly durationMs: number;
  /**
   * `conflict`: the condition of a write did not hold. `aborted`: rejected with the reason of the call's signal. `error`:
   * anything else that was thrown.
   */
  readonly outcome: 'ok' | 'conflict' | 'error' | 'aborted';
  /** Bytes of the values read, or given to be written. Left out for `delete`, `list` and an absent key. */
  readonly sizeBytes?: number;
  /** The error's `code`, for `conflict` and `error`. */
  readonly code?: string;
}

/** For `observed`. */
export interface ObservedOptions {
  /** By which calls are timed. Default the machine's clock. Give the one of your tests. */
  readonly clock?: Clock;
}

const optionsSchema = z.strictObject({ clock: clockOption.optional() });

/**
 * The same store, every call of which is reported once it has settled: for metrics, traces and slow-call logs. Answers
 * and errors pass unchanged, and a sink that throws fails no call. `open`, `close` and `watch` are not reported, nor is a
 * call that was refused before it reached the store: for a bad key, or a signal that had aborted.
 *
 * Put it outside to see what the library waits for, and below `encrypted` or `replicated` to see what the store itself
 * takes.
 * @throws InvalidInputError for a sink that is no function or an unknown option.
 */
export function observed(
  storage: StorageAdapter,
  sink: Sink<StorageCallEvent>,
  options?: ObservedOptions,
): StorageAdapter {
  if (typeof sink !== 'function') throw new InvalidInputError('sink: must be a function that takes events.', 'sink');
  const { clock = systemClock } = parseOptions(optionsSchema, options);
  const inner = checked(storage);
  const { open, close, batch, watch } = inner;
  const call = reportedCalls(inner.name, sink, clock);
  const reporting = checked({
    name: inner.name,
    get capabilities() {
      return inner.capabilities;
    },
    get: (key, options) =>
      call({ operation: 'get', key, signal: options?.signal, sizeOf: valueSize }, () => inner.get(key, options)),
    put: (key, value, options) => {
      const sizeBytes = value.byteLength; // Now: whoever owns the buffer may hand it on meanwhile.
      const facts = { operation: 'put', key, sizeBytes, signal: options?.signal } as const;
      return call(facts, () => inner.put(key, value, options));
    },
    delete: (key, options) =>
      call({ operation: 'delete', key, signal: options?.signal }, () => inner.delete(key, options)),
    list: (prefix, options) =>
      call({ operation: 'list', key: prefix, signal: options?.signal }, () => inner.list(prefix, options)),
    ...(batch && {
      batch: (operations: readonly BatchOperation[]) => {
        const key = operations[0]?.key ?? '';
        return call({ operation: 'batch', key, sizeBytes: putBytes(operations) }, () => batch(operations));
      },
    }),
    ...(watch && { watch }),
    ...(open && { open }),
    ...(close && { close }),
  });
  return layerOver(storage, reporting);
}

interface CallFacts<Result> {
  readonly operation: StorageCallEvent['operation'];
  readonly key: string;
  readonly signal?: AbortSignal | undefined;
  readonly sizeBytes?: number;
  readonly sizeOf?: (result: Result) => number | undefined;
}

/** How calls are made: timed, reported when they have settled, and otherwise as they are. */
function reportedCalls(store: string, sink: Sink<StorageCallEvent>, clock: Clock) {
  return async <Result>(facts: CallFacts<Result>, run: () => Promise<Result>): Promise<Result> => {
    const { operation, key, signal, sizeOf } = facts;
    const startMs = clock.monotonicMs();
    const report = (sizeBytes: number | undefined, ending: Pick<StorageCallEvent, 'outcome' | 'code'>) => {
      const durationMs = clock.monotonicMs() - startMs;
      const size = sizeBytes === undefined ? {} : { sizeBytes };
      emit(sink, { type: 'storage.called', store, operation, key, durationMs, ...ending, ...size });
    };
    try {
      const result = await run();
      report(sizeOf ? sizeOf(result) : facts.sizeBytes, { outcome: 'ok' });
      return result;
    } catch (error) {
      report(facts.sizeBytes, endingOf(error, signal));
      throw error;
    }
  };
}

function endingOf(error: unknown, signal: AbortSignal | undefined): Pick<StorageCallEvent, 'outcome' | 'code'> {
  if (signal?.aborted && error === signal.reason) return { outcome: 'aborted' };
  const { code } = error as HoldfastError; // The store is checked: it throws nothing else.
  return { outcome: code === 'HOLDFAST_CONFLICT' ? 'conflict' : 'error', code };
}

function valueSize(entry: StoredEntry | undefined): number | undefined {
  return entry?.value.byteLength;
}

function putBytes(operations: readonly BatchOperation[]): number {
  return operations.reduce((sum, operation) => sum + (operation.type === 'put' ? operation.value.byteLength : 0), 0);
}

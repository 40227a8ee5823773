import { parseOptions } from '../base/options.js';
import type { BatchOperation, StorageAdapter } from '../storage/adapter.js';
import { checked } from '../storage/checked.js';
import { type ChaosFault, type ChaosOptions, chaosOptionsSchema } from './chaos/chaos-options.js';
import { Weather } from './chaos/weather.js';

/** A store in bad weather. */
export interface ChaosStorage extends StorageAdapter {
  /** Everything done so far, in order of the calls. */
  readonly faults: readonly ChaosFault[];
  /** From now on nothing goes wrong. Calls made meanwhile do not change what happens in the next storm. */
  calm(): void;
  /** Things go wrong again. This is how it begins. */
  storm(): void;
}

/**
 * The same store, where things go wrong: for tests of what your code does then. The same seed and the same calls in the
 * same order give the same faults; each call has dice of its own, thrown at the moment it is made.
 *
 * Except for `tear`, all that it does is what any store may do, so code that is right stays right on it. Keys, values
 * and options are checked first; `open`, `close` and `watch` are left in peace.
 * @throws InvalidInputError for an unknown option or a probability outside 0 to 1.
 */
export function chaosStorage(inner: StorageAdapter, seed: number | string, options?: ChaosOptions): ChaosStorage {
  const weather = new Weather(inner.name, seed, parseOptions(chaosOptionsSchema, options));
  const adapter = checked(underWeather(inner, weather));
  return Object.assign(adapter, {
    faults: weather.faults,
    calm: () => weather.calm(),
    storm: () => weather.storm(),
  });
}

function underWeather(inner: StorageAdapter, weather: Weather): StorageAdapter {
  const send = inner.batch?.bind(inner);
  const watch = inner.watch?.bind(inner);
  return {
    name: `chaos over ${inner.name}`,
    capabilities: inner.capabilities,
    get: (key, options) =>
      weather.read({ operation: 'get', key, signal: options?.signal }, () => inner.get(key, options)),
    list: (key, options) =>
      weather.read({ operation: 'list', key, signal: options?.signal }, () => inner.list(key, options)),
    put: (key, value, options) =>
      weather.write({
        operation: 'put',
        key,
        signal: options?.signal,
        operations: [{ type: 'put', key, value, ...condition(options) }],
        send: ([put]) => inner.put(key, put?.type === 'put' ? put.value : value, options),
      }),
    delete: (key, options) =>
      weather.write({
        operation: 'delete',
        key,
        signal: options?.signal,
        operations: [{ type: 'delete', key, ...condition(options) }],
        send: () => inner.delete(key, options),
      }),
    ...(send && {
      batch: (operations: readonly BatchOperation[]) =>
        weather.write({ operation: 'batch', key: operations[0]?.key ?? '', operations, send }),
    }),
    ...(watch && { watch }),
    open: async () => inner.open?.(),
    close: async () => inner.close?.(),
  };
}

function condition<Demand extends string | null>(options: { ifVersion?: Demand } | undefined): { ifVersion?: Demand } {
  return options?.ifVersion === undefined ? {} : { ifVersion: options.ifVersion };
}

import type { BatchOperation, StorageAdapter, Version } from '../../storage/adapter.js';
import type { MortalProcess } from './mortal-process.js';

/**
 * How long a write is under way, in milliseconds of the process's clock. Longer than an effect takes unless it is said
 * otherwise, so that whoever does not wait for a write is ahead of it when the process dies.
 */
const WRITE_MS = 2;

/** `inner` as one process reaches it: while it lives. Closing is left to whoever opened `inner`. */
export function mortalStorage(inner: StorageAdapter, process: MortalProcess): StorageAdapter {
  const send = inner.batch?.bind(inner);
  const write = async <Result>(what: string, apply: () => Promise<Result>): Promise<Result> => {
    await process.clock.sleep(WRITE_MS);
    return process.change(what, apply);
  };
  return {
    name: inner.name,
    capabilities: { ...inner.capabilities, watch: false },
    get: (key, options) => process.ask(() => inner.get(key, options)),
    list: (prefix, options) => process.ask(() => inner.list(prefix, options)),
    put: (key, value, options): Promise<Version> => {
      const bytes = new Uint8Array(value);
      return write(`put of ${key}`, () => inner.put(key, bytes, options));
    },
    delete: (key, options) => write(`delete of ${key}`, () => inner.delete(key, options)),
    ...(send && {
      batch: (operations: readonly BatchOperation[]): Promise<Version> => {
        const taken = operations.map(withOwnBytes);
        return write(`batch on ${taken.map(({ key }) => key).join(', ')}`, () => send(taken));
      },
    }),
  };
}

function withOwnBytes(operation: BatchOperation): BatchOperation {
  return operation.type === 'put' ? { ...operation, value: new Uint8Array(operation.value) } : operation;
}

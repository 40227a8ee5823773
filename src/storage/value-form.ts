import { InvalidInputError } from '../base/errors.js';
import type { BatchOperation, StorageAdapter, StorageCapabilities } from './adapter.js';
import { CallOrder } from './call-order.js';
import { checked } from './checked.js';

/** Another form in which values are kept: how it is made of a value, and how the value is had back. */
export interface ValueForm {
  /** What the store then is: `encrypted`. Stands before the store's name in messages. */
  readonly name: string;
  /** Bytes that a stored value has beyond what the form makes of the value itself; the same for all values. */
  readonly overheadBytes: number;
  /** The largest value it takes, in bytes. */
  readonly maxValueBytes: number;
  /** The bytes to store. Those of `value` are taken before this returns; it is never larger than they and the overhead. */
  seal(key: string, value: Uint8Array): Uint8Array | Promise<Uint8Array>;
  /**
   * The value that was sealed under this key. `stored` is the form's to keep.
   * @throws CorruptionError when the bytes are not those that were stored.
   */
  open(key: string, stored: Uint8Array): Uint8Array | Promise<Uint8Array>;
}

/**
 * The same store with its values in another form. Keys, versions, conditions, order, `batch`, `watch`, `open` and `close`
 * are those of the store, and so are its errors.
 */
export function storedAs(form: ValueForm, storage: StorageAdapter): StorageAdapter {
  const inner = checked(storage);
  requireRoom(form, inner);
  const { batch, watch, open, close } = inner;
  const order = new CallOrder();
  return checked({
    name: `${form.name} ${inner.name}`,
    get capabilities() {
      return capabilitiesOf(form, inner); // Anew: what a server promises is known once it has been asked.
    },
    async get(key, { signal } = {}) {
      // The caller proves what it gets, not the bytes that this is made from.
      const entry = await inner.get(key, signal && { signal });
      return entry && { ...entry, value: await form.open(key, entry.value) };
    },
    put: async (key, value, options) => {
      const own = options && { ...options }; // The caller's may change while the value is made ready.
      return order.run([key], form.seal(key, value), (sealed) => inner.put(key, sealed, own));
    },
    delete: async (key, options) => {
      const own = options && { ...options };
      return order.run([key], undefined, () => inner.delete(key, own));
    },
    async list(prefix, options) {
      const page = await inner.list(prefix, options);
      const entries = page.entries.map((entry) => ({
        ...entry,
        sizeBytes: Math.max(0, entry.sizeBytes - form.overheadBytes), // Less only if it is not one of ours.
      }));
      return { ...page, entries };
    },
    ...(batch && {
      batch: async (operations: readonly BatchOperation[]) => {
        const keys = operations.map(({ key }) => key);
        return order.run(keys, sealedOperations(form, operations), batch);
      },
    }),
    ...(watch && { watch }),
    ...(open && { open }),
    ...(close && {
      close: async () => {
        await order.allSent(); // The store waits for its writes, but it has not seen these yet.
        await close();
      },
    }),
  });
}

function capabilitiesOf(form: ValueForm, { capabilities }: StorageAdapter): StorageCapabilities {
  const left = (capabilities.maxValueBytes ?? Number.POSITIVE_INFINITY) - form.overheadBytes;
  return { ...capabilities, maxValueBytes: Math.min(left, form.maxValueBytes) };
}

function requireRoom({ name, overheadBytes }: ValueForm, { name: store, capabilities }: StorageAdapter): void {
  const { maxValueBytes } = capabilities;
  if (maxValueBytes === undefined || maxValueBytes > overheadBytes) return;
  const message = `${store} takes values of ${maxValueBytes} bytes at most; one that is ${name} needs ${overheadBytes} more`;
  throw new InvalidInputError(`storage: ${message}. Use a store for larger values.`, 'storage');
}

/** All at once, so that everything is taken before the call returns. A promise only if one of the values takes longer. */
function sealedOperations(
  form: ValueForm,
  operations: readonly BatchOperation[],
): readonly BatchOperation[] | Promise<readonly BatchOperation[]> {
  const sealed = operations.map((operation) => sealedOperation(form, operation));
  return sealed.some((operation) => operation instanceof Promise)
    ? Promise.all(sealed)
    : (sealed as readonly BatchOperation[]);
}

function sealedOperation(form: ValueForm, operation: BatchOperation): BatchOperation | Promise<BatchOperation> {
  const own = { ...operation };
  if (own.type !== 'put') return own;
  const sealed = form.seal(own.key, own.value);
  return sealed instanceof Promise ? sealed.then((value) => ({ ...own, value })) : { ...own, value: sealed };
}

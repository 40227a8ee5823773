import { CorruptionError, type HoldfastError, InvalidInputError, isHoldfastError, LimitError } from '../base/errors.js';
import {
  type BatchOperation,
  ConflictError,
  type ListedEntry,
  type ListOptions,
  type ListPage,
  OutcomeUnknownError,
  type StorageAdapter,
} from './adapter.js';
import { checked } from './checked.js';
import { Gate } from './gate.js';
import { layerOver } from './layers.js';

/** Longest key of any store, in characters. */
const MAX_KEY_LENGTH = 512;

/** Longest prefix: leaves 312 characters, more than any key of the library's needs. */
const MAX_PREFIX_LENGTH = 200;

const PREFIX = /^[A-Za-z0-9._=/-]+$/;

/**
 * A room of its own in a store that others share: for tenants, environments, or several programs in one database. Every
 * key is kept as `prefix/key`, and nothing outside is seen or touched; keys in pages, hints and errors are without the
 * prefix. What the store promises, the room promises too.
 *
 * The slash is part of it: `'a'` and `'a/'` name the same room, which shares nothing with the room `'ab'`. A room inside
 * a room (`'a'` and `'a/b'`) is seen from the outer one, as keys that begin with `b/`.
 *
 * A room does not own its store. `close()` waits for this room's calls, ends its watches and makes later ones reject with
 * `ClosedError`; the store stays open for the others, and whoever made it closes it, after the rooms.
 *
 * Prefix and key together have 512 characters at most: a longer key rejects with `LimitError`. Keys of the library's own
 * always fit.
 *
 * @throws InvalidInputError unless `prefix` has 1 to 200 characters of `A-Z a-z 0-9 . _ = / -`, its final slash included.
 */
export function prefixed(storage: StorageAdapter, prefix: string): StorageAdapter {
  const inner = checked(storage);
  const room = requirePrefix(prefix);
  const gate = new Gate(`The room "${room}" of ${inner.name}`);
  const call = callsInto(room, gate);
  const { open, batch, watch } = inner;
  const adapter: StorageAdapter = {
    name: `${inner.name}, room ${room}`,
    get capabilities() {
      return inner.capabilities;
    },
    get: (key, options) =>
      call(async () => {
        const entry = await inner.get(within(room, key), options);
        return entry && { ...entry, key };
      }, options?.signal),
    put: (key, value, options) => call(() => inner.put(within(room, key), value, options), options?.signal),
    delete: (key, options) => call(() => inner.delete(within(room, key), options), options?.signal),
    list: (start, options) => call(() => listWithin(inner, room, { ...options, start }), options?.signal),
    close: () => gate.shut(),
  };
  if (open) adapter.open = () => call(() => open());
  if (batch) adapter.batch = (operations) => call(() => batch(operations.map((one) => operationWithin(room, one))));
  if (watch)
    adapter.watch = (start, onChange) =>
      call(async () => {
        const onInner = (key: string) => {
          if (key.length > room.length) onChange(key.slice(room.length));
        };
        return gate.endLater(await watch(`${room}${start}`, onInner));
      });
  return layerOver(storage, checked(adapter));
}

function requirePrefix(prefix: unknown): string {
  const room = typeof prefix === 'string' && !prefix.endsWith('/') ? `${prefix}/` : prefix;
  if (typeof room === 'string' && prefix !== '' && room.length <= MAX_PREFIX_LENGTH && PREFIX.test(room)) return room;
  const shown = typeof prefix === 'string' ? JSON.stringify(prefix.slice(0, 80)) : String(prefix);
  const rule = `1 to ${MAX_PREFIX_LENGTH} characters of A-Z a-z 0-9 . _ = / -, the slash at its end included`;
  throw new InvalidInputError(`prefix: ${shown} cannot begin storage keys. Give ${rule}.`, 'prefix');
}

/** How calls go in, and how their errors come out: about keys as the caller knows them. */
function callsInto(room: string, gate: Gate) {
  return async <Result>(run: () => Promise<Result>, signal?: AbortSignal): Promise<Result> => {
    try {
      return await gate.pass(async () => run());
    } catch (error) {
      throw signal?.aborted && error === signal.reason ? error : withoutPrefix(room, error);
    }
  };
}

function within(room: string, key: string): string {
  const whole = `${room}${key}`;
  if (whole.length <= MAX_KEY_LENGTH) return whole;
  const allowed = MAX_KEY_LENGTH - room.length;
  const message = `The key "${key}" has ${key.length} characters; behind the prefix "${room}" ${allowed} are left. Use a shorter prefix.`;
  throw new LimitError(message, 'keyLength', allowed);
}

function operationWithin(room: string, operation: BatchOperation): BatchOperation {
  return { ...operation, key: within(room, operation.key) };
}

async function listWithin(
  inner: StorageAdapter,
  room: string,
  { start, after, ...options }: ListOptions & { readonly start: string },
): Promise<ListPage> {
  const prefix = `${room}${start}`;
  if (prefix.length > MAX_KEY_LENGTH) return { entries: [] }; // No key can be that long.
  // Going up, begin behind the key that is the prefix itself: it is outside, somebody else's.
  const behind = after !== undefined ? `${room}${after}` : start === '' && !options.reverse ? room : undefined;
  const page = await inner.list(prefix, { ...options, ...(behind !== undefined && { after: behind }) });
  const entries = page.entries.filter(({ key }) => key !== room).map((entry) => entryOf(room, entry));
  return { ...page, entries, ...(page.next !== undefined && { next: page.next.slice(room.length) }) };
}

function entryOf(room: string, entry: ListedEntry): ListedEntry {
  return { ...entry, key: entry.key.slice(room.length) };
}

/** The same error about the key without the prefix. One that is about a file or another thing stays as it is. */
function withoutPrefix(room: string, error: unknown): unknown {
  const key = isHoldfastError(error) ? (error as { key?: unknown }).key : undefined;
  if (typeof key !== 'string' || !key.startsWith(room)) return error;
  const own = key.slice(room.length);
  const { code, message } = error as HoldfastError;
  if (code === 'HOLDFAST_CONFLICT')
    return new ConflictError(own, (error as ConflictError).currentVersion, { cause: error });
  if (code === 'HOLDFAST_OUTCOME_UNKNOWN') return new OutcomeUnknownError(own, { cause: error });
  return code === 'HOLDFAST_CORRUPTION' ? new CorruptionError(message, own, { cause: error }) : error;
}

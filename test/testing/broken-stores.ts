import { ClosedError, CorruptionError } from '../../src/base/errors.js';
import {
  type BatchOperation,
  OutcomeUnknownError,
  type StorageAdapter,
  StorageError,
  type Version,
} from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import type { ContractRule } from '../../src/testing/contract/rule.js';
import {
  type StorageFactory,
  type StorageUnderTest,
  storageContractRules,
  tryRule,
} from '../../src/testing/storage-contract.js';

/** Tries the rule of that name. Rejects if the store does not meet its needs: then nothing was tried. */
export async function tryNamed(name: string, factory: StorageFactory, rules: readonly ContractRule[] = []) {
  const rule = [...rules, ...storageContractRules].find((candidate) => candidate.name === name);
  if (rule === undefined) throw new Error(`no rule is called "${name}"`);
  const unmet = await tryRule(rule, factory);
  if (unmet !== undefined) throw new Error(`"${name}" was not tried: the store has no ${unmet}`);
}

/** An honest memory store with some methods replaced. */
export function altered(change: (honest: StorageAdapter) => Partial<StorageAdapter>): StorageAdapter {
  const honest = memoryStorage();
  return { ...honest, ...change(honest) };
}

export const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Somebody who wants to hear of changes under a prefix. */
interface Watcher {
  readonly prefix: string;
  readonly instance: object;
  onChange(key: string): void;
}

/** The parts of a watched store, each of which a test may replace by a broken one. */
interface WatchParts {
  readonly watchers: Set<Watcher>;
  isUnder(key: string, prefix: string): boolean;
  /** The changed keys that are hinted at. */
  hintedAt(operations: readonly BatchOperation[]): readonly string[];
  tell(watcher: Watcher, key: string): void;
  stop(watcher: Watcher): void;
  closeOf(instance: object): void;
}

function watchParts(): WatchParts {
  const watchers = new Set<Watcher>();
  return {
    watchers,
    isUnder: (key, prefix) => key.startsWith(prefix),
    hintedAt: (operations) => operations.filter(({ type }) => type !== 'check').map(({ key }) => key),
    tell(watcher, key) {
      try {
        watcher.onChange(key);
      } catch {
        // Its own affair.
      }
    },
    stop: (watcher) => void watchers.delete(watcher),
    closeOf(instance) {
      for (const watcher of watchers) if (watcher.instance === instance) watchers.delete(watcher);
    },
  };
}

/** Instances over shared entries that hint at changes. */
export function watchedUnderTest(broken: (parts: WatchParts) => Partial<WatchParts> = () => ({})): StorageUnderTest {
  const shared = memoryStorage();
  const parts = watchParts();
  Object.assign(parts, broken({ ...parts }));
  const hint = (operations: readonly BatchOperation[]) => {
    for (const key of parts.hintedAt(operations)) {
      for (const watcher of [...parts.watchers]) if (parts.isUnder(key, watcher.prefix)) parts.tell(watcher, key);
    }
  };
  const open = (): StorageAdapter => {
    const instance = {};
    let isClosed = false;
    const send = async <Result>(act: () => Promise<Result>, operations: readonly BatchOperation[] = []) => {
      if (isClosed) throw new ClosedError('The watched store');
      const result = await act();
      hint(operations);
      return result;
    };
    return {
      name: 'watched',
      capabilities: { ...shared.capabilities, watch: true },
      get: (key) => send(() => shared.get(key)),
      put: (key, value, options) =>
        send(() => shared.put(key, new Uint8Array(value), options), [{ type: 'put', key, value }]),
      delete: (key, options) => send(() => shared.delete(key, options), [{ type: 'delete', key }]),
      list: (prefix, options) => send(() => shared.list(prefix, options)),
      batch: (operations) => send(async () => shared.batch?.(operations) ?? 'none', operations),
      async watch(prefix, onChange) {
        const watcher = { prefix, onChange, instance };
        parts.watchers.add(watcher);
        return async () => parts.stop(watcher);
      },
      async close() {
        isClosed = true;
        parts.closeOf(instance);
      },
    };
  };
  return { open };
}

/** What a store at the end of a wire does when the answer does not come. */
interface WireParts {
  /** Whether the wire was cut since then. */
  isCutSince(moment: number): boolean;
  /** The request did not arrive. */
  lostRequest(key: string): unknown;
  /** The request was done, its answer was lost; `again` repeats it, without its condition if told so. */
  lostAnswer(key: string, again: (isUnconditional?: boolean) => Promise<unknown>): unknown;
  /** The answer of a read was lost. */
  lostRead(what: 'get' | 'list'): unknown;
  /** How the far end does a batch. */
  batch(far: StorageAdapter, operations: readonly BatchOperation[]): Promise<unknown>;
}

const failure = () => new StorageError('The connection was lost.');

/** Instances at the end of a wire that can be cut: by default they say what a store may say then. */
export function wiredUnderTest(broken: Partial<WireParts> = {}): StorageUnderTest {
  const shared = memoryStorage();
  let cuts = 0;
  const parts: WireParts = {
    isCutSince: (moment) => cuts !== moment,
    lostRequest: () => Promise.reject(failure()),
    lostAnswer: (key) => Promise.reject(new OutcomeUnknownError(key)),
    lostRead: () => Promise.reject(failure()),
    batch: async (far, operations) => far.batch?.(operations),
    ...broken,
  };
  const write = async <Result>(key: string, act: (isUnconditional?: boolean) => Promise<unknown>): Promise<Result> => {
    const moment = cuts;
    await turn();
    if (parts.isCutSince(moment)) return parts.lostRequest(key) as Result;
    const result = await act();
    await turn();
    return (parts.isCutSince(moment) ? parts.lostAnswer(key, act) : result) as Result;
  };
  const read = async <Result>(what: 'get' | 'list', act: () => Promise<Result>): Promise<Result> => {
    const moment = cuts;
    await turn();
    const result = await act();
    return parts.isCutSince(moment) ? (parts.lostRead(what) as Result) : result;
  };
  const open = (): StorageAdapter => ({
    name: 'wired',
    capabilities: shared.capabilities,
    get: (key) => read('get', () => shared.get(key)),
    list: (prefix, options) => read('list', () => shared.list(prefix, options)),
    put(key, value, options) {
      const bytes = new Uint8Array(value);
      return write(key, (isUnconditional) =>
        shared.put(key, bytes, isUnconditional ? undefined : conditionOf(options)),
      );
    },
    delete: (key, options) => write(key, () => shared.delete(key, conditionOf(options))),
    batch(operations) {
      const taken = operations.map((each) => (each.type === 'put' ? { ...each, value: each.value.slice() } : each));
      return write(operations[0]?.key ?? '', () => parts.batch(shared, taken));
    },
  });
  return {
    open,
    async interrupt() {
      cuts++;
    },
  };
}

/** A request that is on the wire is not called back. */
function conditionOf<Condition extends Version | null>(options: { ifVersion?: Condition } | undefined) {
  return options?.ifVersion === undefined ? {} : { ifVersion: options.ifVersion };
}

/** A store that knows damaged bytes; `get` and `list` may be broken. */
export function damagedUnderTest(
  broken: (honest: StorageAdapter, damaged: ReadonlySet<string>) => Partial<StorageAdapter> = () => ({}),
): StorageUnderTest {
  const damaged = new Set<string>();
  const store = altered((honest) => ({
    async get(key, options) {
      if (damaged.has(key)) throw new CorruptionError(`The bytes of "${key}" are not what was written.`, key);
      return honest.get(key, options);
    },
    ...broken(honest, damaged),
  }));
  return { open: () => store, damage: async (key) => void damaged.add(key) };
}

import type { FencedError } from '../../src/records/lease.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { checked } from '../../src/storage/checked.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import type { JournalHolder, LiveJournal } from '../../src/transactions/live-journal.js';
import type { TransactionMeta } from '../../src/transactions/transaction-records.js';
import { type StoredTransaction, TransactionStore } from '../../src/transactions/transaction-store.js';
import { plainStore } from '../testing/plain-store.js';

/** Both kinds of store: with a batch, and four methods only. */
export const stores: readonly (readonly [string, () => StorageAdapter])[] = [
  ['a store with batch', memoryStorage],
  ['a store of four methods', () => checked(plainStore())],
];

export const metaOf = (id: string, change: Partial<TransactionMeta> = {}): TransactionMeta => ({
  id,
  name: 'place-order',
  status: 'running',
  owner: 'node-1',
  fence: 1,
  takeovers: 0,
  startedAtMs: 1,
  updatedAtMs: 1,
  ...change,
});

export const line = (text: string): Buffer => Buffer.from(text);

/** A line of `sizeBytes` that begins with `text`. */
export const longLine = (text: string, sizeBytes: number): Buffer => Buffer.from(text.padEnd(sizeBytes, '.'));

export async function textsOf(stored: StoredTransaction | undefined): Promise<string[]> {
  const lines = (await stored?.lines()) ?? [];
  return lines.map((bytes) => bytes.toString().replace(/\.+$/, ''));
}

/** A node whose right to write a test takes away. */
export class TestHolder implements JournalHolder {
  #isValid = true;
  readonly #listeners = new Set<(error: FencedError) => void>();

  /** How many listen. */
  get listening(): number {
    return this.#listeners.size;
  }

  isValid(): boolean {
    return this.#isValid;
  }

  onLost(listener: (error: FencedError) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Its lease is over; nobody has noticed yet. */
  expire(): void {
    this.#isValid = false;
  }

  lose(error: FencedError): void {
    this.expire();
    for (const listener of this.#listeners) listener(error);
  }
}

export async function begin(store: TransactionStore, meta: TransactionMeta, holder = new TestHolder()) {
  const answer = await store.begin(meta, line('begun'), holder);
  if ('existing' in answer) throw new Error(`"${meta.id}" was there already.`);
  return answer.begun;
}

export async function found(store: TransactionStore, id: string): Promise<StoredTransaction> {
  const stored = await store.read(id);
  if (stored === undefined) throw new Error(`"${id}" is not there.`);
  return stored;
}

type Call = 'get' | 'put' | 'delete' | 'list' | 'batch';
type Act = <Result>(call: Call, key: string, send: () => Promise<Result>) => Promise<Result>;

/** The same store with `act` around every call. */
export function around(inner: StorageAdapter, act: Act): StorageAdapter {
  const { batch } = inner;
  return checked({
    name: inner.name,
    capabilities: inner.capabilities,
    get: (key, options) => act('get', key, () => inner.get(key, options)),
    put: (key, value, options) => act('put', key, () => inner.put(key, value, options)),
    delete: (key, options) => act('delete', key, () => inner.delete(key, options)),
    list: (prefix, options) => act('list', prefix, () => inner.list(prefix, options)),
    ...(batch && {
      batch: (operations) => act('batch', operations[0]?.key ?? '', () => batch(operations)),
    }),
  });
}

/** The store as a process sees it that dies at its call number `at`, before or after the call was done. */
export function dying(inner: StorageAdapter, at: number, when: 'before' | 'after'): StorageAdapter {
  let calls = 0;
  const never = new Promise<never>(() => {});
  return around(inner, async (_call, _key, send) => {
    calls += 1;
    if (calls > at || (calls === at && when === 'before')) return never;
    const answer = await send();
    return calls === at ? never : answer;
  });
}

/** A store whose calls fail as the test says: the error that `failure` returns, before or after the call was done. */
export function failing(
  inner: StorageAdapter,
  failure: (call: Call, key: string) => { readonly before?: Error; readonly after?: Error } | undefined,
): StorageAdapter {
  return around(inner, async (call, key, send) => {
    const fails = failure(call, key);
    if (fails?.before) throw fails.before;
    const answer = await send();
    if (fails?.after) throw fails.after;
    return answer;
  });
}

/** The same calls, counted and, once it is shut, held. */
export function gated(inner: StorageAdapter) {
  const puts: number[] = [];
  const gate = { held: undefined as Promise<void> | undefined };
  const storage = around(inner, async (call, _key, send) => {
    if (call === 'put') puts.push(puts.length);
    await gate.held;
    return send();
  });
  return { storage, puts, gate };
}

/** A journal on a store whose writes of the head fail as `errors` say, one after the other. */
export async function unlucky(errors: readonly { before?: Error; after?: Error }[], inner = memoryStorage()) {
  const clock = new VirtualClock();
  const left = [...errors];
  let isBegun = false;
  const storage = failing(inner, (call) => (isBegun && call === 'put' ? left.shift() : undefined));
  const holder = new TestHolder();
  const journal = await begin(new TransactionStore(storage, clock), metaOf('order-42'), holder);
  isBegun = true;
  return { clock, holder, journal, heard: listen(journal), store: new TransactionStore(inner, clock) };
}

/** What `journal` tells besides the answers to its calls. */
export function listen(journal: LiveJournal) {
  const heard = { cancels: [] as string[], delays: [] as unknown[], losses: [] as FencedError[] };
  journal.onCancel = (reason) => heard.cancels.push(reason);
  journal.onDelayed = (error) => heard.delays.push(error);
  journal.onLost((error) => heard.losses.push(error));
  return heard;
}

import type { StorageAdapter } from '../../src/storage/adapter.js';
import { checked } from '../../src/storage/checked.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import type { DefineOptions, TransactionView, Tx } from '../../src/transactions/transaction.js';
import type { TransactionEvent } from '../../src/transactions/transaction-event.js';
import { TransactionManager } from '../../src/transactions/transaction-manager.js';
import type { TransactionManagerOptions } from '../../src/transactions/transaction-options.js';
import { type Deferred, deferred, rejectionOf } from './deferred.js';
import { settledOn } from './settled-on.js';

export const LEASE_MS = 15_000;

type WriteCall = 'put' | 'delete' | 'batch';
/** What a test does to a write of a journal before it reaches the store: hold it by waiting, or fail it by throwing. */
export type Obstacle = (call: WriteCall, key: string) => unknown;

/** A body, and the process it runs in. */
export type WorldBody = (tx: Tx, process: WorldProcess) => unknown;

/** One store and one clock, and the processes that share them, one after the other or at once. */
export class TransactionWorld {
  readonly clock = new VirtualClock();
  /** What the steps did to the outside, in order. */
  readonly did: string[] = [];
  readonly inner: StorageAdapter;

  constructor(inner: StorageAdapter = memoryStorage()) {
    this.inner = inner;
  }

  /** A process with a manager of its own. */
  process(options: Partial<TransactionManagerOptions> = {}): WorldProcess {
    return new WorldProcess(this, options);
  }

  /** Notes that `what` was done, and gives it. */
  effect<What>(what: What): What {
    this.did.push(String(what));
    return what;
  }

  /** A compensation that notes what it takes back. */
  readonly undo = (what: unknown): void => {
    this.did.push(`undo ${String(what)}`);
  };

  /** The outcome of `work`, letting as much time pass as it needs. */
  settled<Result>(work: Promise<Result>): Promise<Result> {
    return settledOn(this.clock, work);
  }

  /** A process that runs the transaction `1` as far as it goes by itself, and dies. What hangs then was in flight. */
  async firstLife(body: WorldBody, options?: DefineOptions<undefined>): Promise<WorldProcess> {
    const process = this.process();
    const run = process.transactions.define<undefined, unknown>('trip', (tx) => body(tx, process), options);
    void rejectionOf(run('1'));
    await this.clock.advance(0);
    process.die();
    return process;
  }

  /** Another process, which recovers what was left to it. */
  async nextLife(body: WorldBody, options?: DefineOptions<undefined>) {
    const process = this.process();
    process.transactions.define<undefined, unknown>('trip', (tx) => body(tx, process), options);
    const report = await this.recoverBy(process);
    return { process, report };
  }

  /** Recovers when those that died have been silent for long enough. */
  async recoverBy(process: WorldProcess) {
    return this.settled(process.transactions.recover({ waitMs: 2 * LEASE_MS }));
  }

  /** The journal of `id`, a line each: its type and step. */
  async journal(id = '1'): Promise<string[]> {
    const lines = await this.process().transactions.history(id);
    return lines.map(({ type, step }) => (step === undefined ? type : `${type} ${step}`));
  }

  /** The transaction `id` as recorded. */
  async view(id = '1'): Promise<TransactionView> {
    const view = await this.process().transactions.get(id);
    if (view === undefined) throw new Error(`There is no transaction "${id}".`);
    return view;
  }
}

/** A manager that can die: from then on its store never answers it. */
export class WorldProcess {
  readonly transactions: TransactionManager;
  readonly events: TransactionEvent[] = [];
  /** Keys of journal records it wrote, in order. */
  readonly writes: string[] = [];
  obstacle: Obstacle | undefined;
  #isDead = false;
  #isBeating = true;

  constructor(world: TransactionWorld, options: Partial<TransactionManagerOptions>) {
    const emit = (event: unknown) => this.events.push(event as TransactionEvent);
    const storage = this.#mortal(world.inner);
    const own = options.node === undefined ? { leaseMs: LEASE_MS } : {};
    this.transactions = new TransactionManager({ storage, clock: world.clock, emit, ...own, ...options });
  }

  /** From now on its store never answers it. */
  die(): void {
    this.#isDead = true;
  }

  /** Dies in the midst of a step: what that awaits never comes. */
  crash(): Promise<never> {
    this.die();
    return never();
  }

  /** Its heartbeats are lost; all else it does reaches the store. */
  stopBeating(): void {
    this.#isBeating = false;
  }

  /** Types of its events about transactions and steps. */
  get types(): string[] {
    return this.events.map(({ type }) => type).filter((type) => !type.startsWith('node.'));
  }

  /** Holds the next writes of journals until the deferred is resolved; `began` resolves when the first one comes. */
  hold(): { readonly release: () => void; readonly began: Promise<void> } {
    const gate: Deferred<void> = deferred();
    const began: Deferred<void> = deferred();
    this.obstacle = () => {
      began.resolve();
      return gate.promise;
    };
    const release = () => {
      this.obstacle = undefined;
      gate.resolve();
    };
    return { release, began: began.promise };
  }

  #mortal(inner: StorageAdapter): StorageAdapter {
    const { batch } = inner;
    const alive = async <Result>(send: () => Promise<Result>): Promise<Result> => {
      if (this.#isDead) return never();
      const answer = await send();
      return this.#isDead ? never() : answer;
    };
    const write = <Result>(call: WriteCall, key: string, send: () => Promise<Result>) =>
      alive(async () => {
        const isJournal = key.startsWith('transactions/');
        if (isJournal) await this.obstacle?.(call, key);
        if (this.#isDead || (!isJournal && !this.#isBeating)) return never<Result>();
        const answer = await send();
        if (isJournal) this.writes.push(key);
        return answer;
      });
    return checked({
      name: inner.name,
      capabilities: inner.capabilities,
      get: (key, options) => alive(() => inner.get(key, options)),
      list: (prefix, options) => alive(() => inner.list(prefix, options)),
      put: (key, value, options) => write('put', key, () => inner.put(key, value, options)),
      delete: (key, options) => write('delete', key, () => inner.delete(key, options)),
      ...(batch && {
        batch: (operations) => write('batch', operations[0]?.key ?? '', () => batch(operations)),
      }),
    });
  }
}

/** Hangs for ever; `_after` is done before. */
export function never<Result>(_after?: unknown): Promise<Result> {
  return new Promise(() => undefined);
}

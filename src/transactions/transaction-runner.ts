import { emit } from '../base/emit.js';
import { ClosedError, isClosed } from '../base/errors.js';
import { BusyError, FencedError } from '../records/lease.js';
import type { LeaseNode } from '../records/node.js';
import { ConflictError } from '../storage/adapter.js';
import { encodeEntry, type JournalFact } from './journal-entry.js';
import { LiveTransaction, type TransactionHome } from './live-transaction.js';
import { misfit } from './resolve.js';
import { ifConflict, outcomeOf, readState, requireSame } from './stored-state.js';
import { CancelledError, StuckError } from './transaction-errors.js';
import { type Definition, TransactionLife } from './transaction-life.js';
import { TransactionState } from './transaction-state.js';
import type { StoredTransaction, TransactionStore } from './transaction-store.js';

/** A definition and what it is called; `null` if it has no name to find it by again. */
export interface NamedDefinition extends Definition {
  readonly name: string | null;
  readonly maxTakeovers: number;
}

/** One call of a transaction. */
export interface RunRequest {
  readonly id: string;
  readonly definition: NamedDefinition;
  /** Encoded. */
  readonly input: Buffer;
  readonly waitMs: number;
}

/** A transaction of this process, from the moment it is asked for. */
interface Running {
  readonly name: string | null;
  readonly input: Buffer | undefined;
  outcome: Promise<unknown>;
  /** Settles when its record is there, whoever wrote it. */
  creating?: Promise<LiveTransaction | StoredTransaction>;
  live?: LiveTransaction;
  life?: TransactionLife;
}

/** A transaction that somebody else holds is looked at again this often, in milliseconds at least and at most. */
const MIN_POLL_MS = 20;
const MAX_POLL_MS = 1_000;

const heldOn = new WeakMap<LeaseNode, Set<string>>();

/** Runs transactions in this process: begins them, joins them, takes them over, and lets go of them. */
export class TransactionRunner {
  readonly #home: TransactionHome;
  readonly #store: TransactionStore;
  readonly #node: LeaseNode;
  readonly #running = new Map<string, Running>();
  readonly #leaveBeat: () => void;
  /** What runs on the node, in this manager or another. */
  readonly #held: Set<string>;
  #closed: ClosedError | undefined;

  constructor(home: TransactionHome, store: TransactionStore, node: LeaseNode) {
    this.#home = home;
    this.#store = store;
    this.#node = node;
    this.#held = heldOn.get(node) ?? new Set();
    heldOn.set(node, this.#held);
    this.#leaveBeat = node.onBeat(() => this.#refreshAll());
  }

  /** @throws ClosedError after `close` */
  requireOpen(): void {
    if (this.#closed !== undefined) throw this.#closed;
  }

  isRunning(id: string): boolean {
    return this.#running.has(id);
  }

  /** Begins it, or joins it, or goes on with it, or gives what it gave. */
  run(request: RunRequest): Promise<unknown> {
    const { id, definition, input } = request;
    this.requireOpen();
    const running = this.#running.get(id);
    if (running !== undefined) {
      requireSame(id, running, { name: definition.name, input });
      return running.outcome;
    }
    return this.#register(id, { name: definition.name, input }, (entry) => this.#begin(request, entry));
  }

  /**
   * Goes on with one that nobody holds.
   * @throws BusyError if somebody does, or may.
   */
  takeUp(found: StoredTransaction, definition: NamedDefinition, waitMs: number): Promise<unknown> {
    const { id, name } = found.meta;
    this.requireOpen();
    if (this.#running.has(id)) throw new BusyError(`transaction "${id}"`, found.meta.owner ?? 'this one');
    return this.#register(id, { name, input: undefined }, async (entry) => {
      const untilMs = this.#home.clock.monotonicMs() + waitMs;
      for (let stored: StoredTransaction | undefined = found; ; ) {
        const live = await this.#tryTakeOver(stored, definition);
        if (live !== undefined) return this.#live(live, definition, entry);
        stored = await this.#later(stored, untilMs);
        if (stored === undefined || stored.hasEnded)
          throw new BusyError(`transaction "${id}"`, 'another one, until now');
      }
    });
  }

  /**
   * Cancels one that runs here and waits for its end; false if none does.
   * @throws TransactionStateError if it is past its pivot
   */
  async cancel(id: string, reason: string): Promise<boolean> {
    const running = this.#running.get(id);
    await running?.creating?.catch(() => {}); // Its caller is told.
    if (running?.live === undefined) return false;
    const { live, life, outcome } = running;
    const pivot = live.state.pivot('');
    if (pivot !== undefined) throw misfit(live.meta, `it is past its pivot "${pivot.step}"`, 'It can only go forward');
    try {
      await live.write({ type: 'cancel-requested', reason }, undefined, { cancel: reason });
    } catch (error) {
      if (!isClosed(error) && !(error instanceof FencedError)) throw error;
      await outcome.catch(() => {}); // It ended meanwhile, here or elsewhere: what may be done now is read.
      return false;
    }
    live.report({ type: 'transaction.cancelled', reason });
    life?.cancel(reason);
    await outcome.catch(() => {}); // Its caller is told; who cancels asks how it ended.
    return true;
  }

  /** Is nobody holding it, for certain? */
  async isFree({ meta: { id, owner } }: StoredTransaction): Promise<boolean> {
    if (owner === null) return true;
    const { id: own } = await this.#node.tenure();
    // Ours, and nobody runs it: it was begun, and the answer of the storage got lost.
    return owner === own ? !this.#held.has(id) : this.#node.isGone(owner);
  }

  /** Lets go of everything, when the steps under way have ended. */
  async close(): Promise<void> {
    const closed = new ClosedError('The TransactionManager');
    this.#closed ??= closed;
    this.#leaveBeat();
    const outcomes: Promise<unknown>[] = [];
    for (const { live, life, outcome } of this.#running.values()) {
      live?.interrupt({ kind: 'closing', error: closed });
      life?.close();
      outcomes.push(outcome);
    }
    await Promise.allSettled(outcomes);
  }

  #register(
    id: string,
    about: Omit<Running, 'outcome'>,
    start: (entry: Running) => Promise<unknown>,
  ): Promise<unknown> {
    const entry: Running = { ...about, outcome: Promise.resolve() };
    this.#running.set(id, entry); // Before anything is awaited: a second call joins this one.
    entry.outcome = start(entry).finally(() => this.#running.delete(id));
    entry.outcome.catch(() => {}); // Told to everyone who asked; nobody may have.
    return entry.outcome;
  }

  async #begin(request: RunRequest, entry: Running): Promise<unknown> {
    const { definition, waitMs } = request;
    const untilMs = this.#home.clock.monotonicMs() + waitMs;
    for (let found: LiveTransaction | StoredTransaction | undefined; ; ) {
      if (found === undefined) {
        entry.creating = this.#create(request);
        found = await entry.creating;
      }
      if (found instanceof LiveTransaction) return this.#live(found, definition, entry);
      const read = await readState(found).catch(ifConflict);
      if (read === undefined) {
        found = await this.#store.read(request.id);
        continue;
      }
      const { state } = read;
      requireSame(
        request.id,
        { name: found.meta.name, input: state.input },
        { name: definition.name, input: request.input },
      );
      if (found.hasEnded || found.meta.status === 'stuck') return outcomeOf(found.meta, state, this.#home.codec);
      const live = await this.#tryTakeOver(found, definition);
      if (live !== undefined) return this.#live(live, definition, entry);
      found = await this.#later(found, untilMs);
    }
  }

  async #create({ id, definition, input }: RunRequest): Promise<LiveTransaction | StoredTransaction> {
    const tenure = await this.#node.tenure();
    const nowMs = this.#home.clock.now();
    const line = { type: 'begun', value: input, atMs: nowMs } as const;
    const meta = { id, name: definition.name, status: 'running', owner: tenure.id, fence: 1, takeovers: 0 } as const;
    const labels = { startedAtMs: nowMs, updatedAtMs: nowMs };
    const result = await this.#store.begin({ ...meta, ...labels }, encodeEntry(line), tenure);
    if ('existing' in result) return result.existing;
    const state = new TransactionState();
    state.apply(line);
    const live = new LiveTransaction(this.#home, { journal: result.begun, holder: tenure, state });
    live.report({ type: 'transaction.started' });
    return live;
  }

  /** `undefined` if somebody holds it, or was faster. */
  async #tryTakeOver(stored: StoredTransaction, definition: NamedDefinition): Promise<LiveTransaction | undefined> {
    if (!(await this.isFree(stored))) return undefined;
    const { meta } = stored;
    const read = await readState(stored).catch(ifConflict); // First: what cannot be read is left to its owner.
    if (read === undefined) return undefined;
    const { state, append } = read;
    const tenure = await this.#node.tenure();
    const takeovers = meta.takeovers + (meta.owner === null ? 0 : 1);
    try {
      if (takeovers > definition.maxTakeovers) return await this.#endCrashLoop(stored);
      const fact: JournalFact = { type: 'taken-over', fence: meta.fence + 1, owner: tenure.id, from: meta.owner };
      const line = append(fact, this.#home.clock.now());
      const change = { owner: tenure.id, fence: meta.fence + 1, takeovers };
      const journal = await this.#store.takeOver(stored, { line, change, holder: tenure });
      const parts = { journal, holder: tenure, state, from: meta.owner ?? undefined };
      const live = new LiveTransaction(this.#home, parts);
      live.report({
        type: 'transaction.taken-over',
        fence: meta.fence + 1,
        ...(meta.owner !== null && { from: meta.owner }),
      });
      return live;
    } catch (error) {
      if (error instanceof ConflictError) return undefined;
      throw error;
    }
  }

  async #endCrashLoop(stored: StoredTransaction): Promise<never> {
    const { id, name } = stored.meta;
    const stuck = { reason: 'crash-loop' } as const;
    const line = encodeEntry({ type: 'stuck', ...stuck, atMs: this.#home.clock.now() });
    await this.#store.amend(stored, line, { status: 'stuck', stuck, owner: null });
    emit(this.#home.emit, { type: 'transaction.stuck', transaction: id, ...(name !== null && { name }), ...stuck });
    throw new StuckError(id, stuck);
  }

  #live(live: LiveTransaction, definition: NamedDefinition, entry: Running): Promise<unknown> {
    const life = new TransactionLife(live, definition, reasonToGoBack(live, definition));
    live.onCancel((reason) => life.cancel(reason));
    entry.live = live;
    entry.life = life;
    this.#held.add(live.id);
    if (this.#closed !== undefined) {
      live.interrupt({ kind: 'closing', error: this.#closed });
      life.close();
    }
    return life.run().finally(() => this.#held.delete(live.id));
  }

  /** As it stands a while later. @throws BusyError if there is no time left. */
  async #later(stored: StoredTransaction, untilMs: number): Promise<StoredTransaction | undefined> {
    const { clock } = this.#home;
    const { id, owner } = stored.meta;
    const leftMs = untilMs - clock.monotonicMs();
    const fresh = await this.#store.read(id);
    if (fresh === undefined || fresh.version !== stored.version) return fresh;
    if (leftMs <= 0) throw new BusyError(`transaction "${id}"`, owner ?? 'another one');
    this.requireOpen();
    const pollMs = Math.min(MAX_POLL_MS, Math.max(MIN_POLL_MS, this.#node.leaseMs / 30));
    await clock.sleep(Math.min(leftMs, pollMs));
    return this.#store.read(id);
  }

  #refreshAll(): void {
    for (const { live } of this.#running.values()) live?.refresh();
  }
}

/** Must it go back although nothing failed in this life? */
function reasonToGoBack(
  { id, meta, state, from }: LiveTransaction,
  { onCrash }: Definition,
): CancelledError | undefined {
  if (state.cause !== undefined || state.pivot('') !== undefined) return undefined;
  if (meta.cancel !== undefined) return new CancelledError(id, meta.cancel);
  if (onCrash === 'rollback' && from !== undefined)
    return new CancelledError(id, "its process died, and it is defined with onCrash: 'rollback'");
  return undefined;
}

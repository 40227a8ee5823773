import { ClosedError, isClosed } from '../base/errors.js';
import { Bulkhead } from '../policies/bulkhead.js';
import { HeldOnNode } from '../records/held-on-node.js';
import { BusyError, FencedError } from '../records/lease.js';
import type { LeaseNode } from '../records/node.js';
import { Closing } from './closing.js';
import { LiveTransaction, type TransactionHome } from './live-transaction.js';
import { misfit } from './resolve.js';
import { RunningTransaction } from './running-transaction.js';
import { ifConflict, outcomeOf, readState, requireSame } from './stored-state.js';
import { type Refused, TransactionAcquirer } from './transaction-acquirer.js';
import type { Definition } from './transaction-life.js';
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

/** A transaction that somebody else holds is looked at again this often, in milliseconds at least and at most. */
const MIN_POLL_MS = 20;
const MAX_POLL_MS = 1_000;
/** So often somebody may be faster, each time with a write, before the caller waits as for one that is held. */
const MAX_OUTRUN = 3;
/** Recoveries that read or write at once. Lives are not counted: one may last for days. */
const MAX_CLAIMS = 64;

/** What a look at a transaction has shown: it is ours, or has an outcome, or neither. */
type Seen = LiveTransaction | { readonly outcome: unknown } | Refused;

/** A caller who wants a transaction, and for how long. */
interface Wanted {
  readonly id: string;
  readonly definition: NamedDefinition;
  readonly waitMs: number;
  /** Looks, and acts if it may. What the caller knows of it counts for the first look. */
  look(isFirst: boolean): Promise<Seen>;
}

/** Runs transactions in this process: begins them, joins them, takes them over, and lets go of them. */
export class TransactionRunner {
  readonly #home: TransactionHome;
  readonly #store: TransactionStore;
  readonly #node: LeaseNode;
  readonly #acquirer: TransactionAcquirer;
  readonly #held: HeldOnNode;
  readonly #closing = new Closing();
  readonly #claims: Bulkhead;
  readonly #running = new Map<string, RunningTransaction>();
  readonly #leaveBeat: () => void;

  constructor(home: TransactionHome, store: TransactionStore, node: LeaseNode) {
    this.#home = home;
    this.#store = store;
    this.#node = node;
    this.#held = new HeldOnNode(node, 'transaction');
    this.#acquirer = new TransactionAcquirer({ home, store, node, held: this.#held, closing: this.#closing });
    this.#claims = new Bulkhead({ clock: home.clock, maxRunning: MAX_CLAIMS, maxWaiting: Number.POSITIVE_INFINITY });
    this.#leaveBeat = node.onBeat(() => this.#refreshAll());
  }

  /** @throws ClosedError after `close` */
  requireOpen(): void {
    this.#closing.requireOpen();
  }

  isRunning(id: string): boolean {
    return this.#running.has(id);
  }

  /** Begins it, or joins it, or goes on with it, or gives what it gave. */
  run(request: RunRequest): Promise<unknown> {
    this.requireOpen();
    const { id, definition, input, waitMs } = request;
    const running = this.#running.get(id);
    if (running !== undefined) return this.#join(running, request);
    const entry = new RunningTransaction(definition.name, input);
    const look = (isFirst: boolean) => this.#lookToRun(request, entry, isFirst);
    return this.#start(entry, { id, definition, waitMs, look });
  }

  /**
   * Goes on with one that nobody holds.
   * @throws BusyError if somebody does, or may, or did until now; StuckError if it waits for a person.
   */
  async takeUp(found: StoredTransaction, definition: NamedDefinition, waitMs: number): Promise<unknown> {
    this.requireOpen();
    const { id, name } = found.meta;
    const { maxTakeovers } = definition;
    const running = this.#running.get(id);
    if (running !== undefined) throw busy(id, running);
    const entry = new RunningTransaction(name, undefined);
    const look = (isFirst: boolean) =>
      this.#claims.run(async () => {
        const stored = isFirst ? found : await this.#read(id);
        return this.#lookToTakeUp(entry, { id, maxTakeovers }, stored);
      });
    return this.#start(entry, { id, definition, waitMs, look });
  }

  /**
   * Cancels one that runs here and waits for its end; false if none does.
   * @throws TransactionStateError if it is past its pivot
   */
  async cancel(id: string, reason: string): Promise<boolean> {
    const running = this.#running.get(id);
    await running?.looked;
    if (running?.live === undefined) return false;
    const { live, outcome } = running;
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
    running.cancel(reason);
    await outcome.catch(() => {}); // Its caller is told; who cancels asks how it ended.
    return true;
  }

  /** Is nobody holding it, for certain? */
  isFree(stored: StoredTransaction): Promise<boolean> {
    return this.#acquirer.isFree(stored);
  }

  /** Lets go of everything, when the steps under way have ended. Who only waits is told at once. */
  async close(): Promise<void> {
    const closed = new ClosedError('The TransactionManager');
    this.#closing.close(closed);
    this.#leaveBeat();
    const outcomes: Promise<unknown>[] = [];
    for (const entry of this.#running.values()) {
      entry.close(closed);
      outcomes.push(entry.outcome);
    }
    await Promise.allSettled(outcomes);
  }

  #start(entry: RunningTransaction, wanted: Wanted): Promise<unknown> {
    const { id } = wanted;
    this.#running.set(id, entry); // Before anything is awaited: a second call joins this one.
    entry.outcome = this.#untilKnown(entry, wanted);
    entry.outcome.catch(ignore); // Told to everyone who asked; nobody may have.
    return entry.outcome;
  }

  /** Looks until it is ours, then runs it; or until it is known what it gave. */
  async #untilKnown(entry: RunningTransaction, { id, definition, waitMs, look }: Wanted): Promise<unknown> {
    const untilMs = this.#home.clock.monotonicMs() + waitMs;
    try {
      for (let looks = 1, outrun = 0; ; looks++) {
        const seen = await look(looks === 1);
        if (seen instanceof LiveTransaction) return await entry.run(seen, definition, this.#closing.error);
        if (typeof seen === 'object') return seen.outcome;
        if (seen === 'outrun' && ++outrun < MAX_OUTRUN) continue;
        outrun = 0;
        entry.hasLooked();
        await this.#wait(id, entry, untilMs);
      }
    } finally {
      this.#running.delete(id);
      this.#held.release(id, entry);
      entry.hasLooked();
    }
  }

  async #lookToRun(request: RunRequest, entry: RunningTransaction, isFirst: boolean): Promise<Seen> {
    const { id, input, definition } = request;
    const { name, maxTakeovers } = definition;
    let stored = isFirst ? undefined : await this.#read(id);
    if (stored === undefined) {
      // Before anything is awaited. While another manager of the node is about to begin it, this one must not: the node
      // would own the record, and either would take it for one that nobody runs.
      const begun = this.#held.take(id, entry) ? await this.#acquirer.begin(id, name, input) : await this.#read(id);
      if (begun === undefined) return 'held';
      if (begun instanceof LiveTransaction) return begun;
      stored = begun;
    }
    const known = await this.#known(request, stored);
    if (known !== undefined) return known;
    entry.holder = stored.meta.owner ?? entry.holder;
    return this.#acquirer.takeOver(stored, { hold: entry, maxTakeovers });
  }

  async #lookToTakeUp(
    entry: RunningTransaction,
    { id, maxTakeovers }: { readonly id: string; readonly maxTakeovers: number },
    stored: StoredTransaction | undefined,
  ): Promise<Seen> {
    // Ended, deleted or begun anew, by whoever held it until now.
    if (stored === undefined || stored.hasEnded || stored.meta.name !== entry.name) throw busy(id, entry);
    entry.holder = stored.meta.owner ?? entry.holder;
    if (stored.meta.status === 'stuck') {
      const read = await this.#closing.unlessClosed(() => readState(stored).catch(ifConflict));
      return read === undefined ? 'outrun' : { outcome: outcomeOf(stored.meta, read.state, this.#home.codec) };
    }
    return this.#acquirer.takeOver(stored, { hold: entry, maxTakeovers });
  }

  /** Its outcome, if it has one; `undefined` if it is open. @throws InvalidInputError if it is not what was asked for. */
  async #known(request: RunRequest, stored: StoredTransaction): Promise<{ outcome: unknown } | 'outrun' | undefined> {
    const { id, definition, input } = request;
    const { meta, hasEnded } = stored;
    const read = await this.#closing.unlessClosed(() => readState(stored).catch(ifConflict));
    if (read === undefined) return 'outrun';
    requireSame(id, { name: meta.name, input: read.state.input }, { name: definition.name, input });
    const isOpen = !hasEnded && meta.status !== 'stuck';
    return isOpen ? undefined : { outcome: outcomeOf(meta, read.state, this.#home.codec) };
  }

  /** Joins one that this process runs. While that only waits itself, the caller waits as long as it wants to, no longer. */
  async #join(running: RunningTransaction, request: RunRequest): Promise<unknown> {
    const { id, definition, input } = request;
    const given = { name: definition.name, input };
    requireSame(id, running, given);
    const untilMs = this.#home.clock.monotonicMs() + request.waitMs;
    await running.looked;
    while (running.live === undefined && this.#running.get(id) === running) {
      // A recovery does not know what the caller asks for, and does not ask for the outcome.
      const stored = running.input === undefined ? await this.#read(id) : undefined;
      const known = stored && (await this.#known(request, stored));
      if (typeof known === 'object') return known.outcome;
      if (running.live === undefined) await this.#wait(id, running, untilMs);
    }
    if (running.live !== undefined) {
      requireSame(id, { name: running.name, input: running.live.state.input }, given);
      return running.outcome;
    }
    const leftMs = Math.max(0, untilMs - this.#home.clock.monotonicMs());
    return running.outcome.catch((error: unknown) => {
      const isForAll = running.input !== undefined && !(error instanceof BusyError && leftMs > 0);
      if (isForAll) throw error;
      return this.run({ ...request, waitMs: leftMs });
    });
  }

  /** Until the next look. @throws BusyError if there is no time left; ClosedError */
  async #wait(id: string, entry: RunningTransaction, untilMs: number): Promise<void> {
    const { clock } = this.#home;
    const leftMs = untilMs - clock.monotonicMs();
    if (leftMs <= 0) throw busy(id, entry);
    const pollMs = Math.min(MAX_POLL_MS, Math.max(MIN_POLL_MS, this.#node.leaseMs / 30));
    await this.#closing.pause(clock, Math.min(leftMs, pollMs));
  }

  #read(id: string): Promise<StoredTransaction | undefined> {
    return this.#closing.unlessClosed(() => this.#store.read(id));
  }

  #refreshAll(): void {
    for (const { live } of this.#running.values()) live?.refresh();
  }
}

function ignore(): void {}

function busy(id: string, { holder }: RunningTransaction): BusyError {
  return new BusyError(`transaction "${id}"`, holder);
}

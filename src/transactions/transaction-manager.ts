import { systemClock } from '../base/clock.js';
import { InvalidInputError } from '../base/errors.js';
import { parseOptions } from '../base/options.js';
import { RetryManager } from '../policies/retry-manager.js';
import { type CodecSettings, prepareCodecs } from '../records/codec.js';
import { encodeValue } from '../records/encode.js';
import { LeaseNode } from '../records/node.js';
import { parseWith } from '../records/standard-schema.js';
import { checked } from '../storage/checked.js';
import { type AnyListedStep, bodyOfList, type ListedStep } from './list-form.js';
import { type RecoverOptions, type RecoveryParts, recoverAll } from './recover.js';
import { requireName } from './step-code.js';
import type {
  DefinedTransaction,
  DefineOptions,
  HistoryEntry,
  RecoverReport,
  Resolution,
  TransactionBody,
  TransactionFilter,
  TransactionRunOptions,
  TransactionStatus,
  TransactionSummary,
  TransactionView,
  Tx,
} from './transaction.js';
import { TransactionDesk } from './transaction-desk.js';
import {
  defineSchema,
  filterSchema,
  managerSchema,
  reasonSchema,
  recoverSchema,
  resolutionSchema,
  runSchema,
  type TransactionManagerOptions,
} from './transaction-options.js';
import { type NamedDefinition, TransactionRunner } from './transaction-runner.js';
import { TransactionStore } from './transaction-store.js';

const DEFAULT_TAKEOVERS = 5;

/**
 * Runs transactions: named steps that all finish, or are all taken back, whatever dies on the way. What a step gave is
 * durable before the next one sees it; `recover` goes on with what a process that died has left.
 *
 * Effects happen at least once, with a key that stays the same; at most once with `effect: 'once'`; and effectively once
 * where `verify` can tell, or the receiver knows the key.
 */
export class TransactionManager implements AsyncDisposable {
  readonly #codec: CodecSettings;
  readonly #parts: RecoveryParts;
  readonly #desk: TransactionDesk;
  /** The node, if nobody else uses it. */
  readonly #ownNode: LeaseNode | undefined;
  readonly #definitions = new Map<string, NamedDefinition>();
  #closing: Promise<void> | undefined;

  /** @throws InvalidInputError for options that cannot be used. */
  constructor(options: TransactionManagerOptions) {
    const given = parseOptions(managerSchema, options);
    const { clock = systemClock, leaseMs, emit, codecs = [] } = given;
    const storage = checked(given.storage);
    const node = given.node ?? new LeaseNode({ storage, clock, leaseMs, emit });
    this.#ownNode = given.node === undefined ? node : undefined;
    if (given.node !== undefined && leaseMs !== undefined) {
      const message = 'options.leaseMs: the node that was given has its own. Set it there.';
      throw new InvalidInputError(message, 'options.leaseMs');
    }
    this.#codec = prepareCodecs({ codecs });
    const home = { clock, codec: this.#codec, retries: given.policies ?? new RetryManager({ clock }), emit };
    const store = new TransactionStore(storage, clock);
    const runner = new TransactionRunner(home, store, node);
    this.#parts = { store, runner, node, definitions: this.#definitions };
    this.#desk = new TransactionDesk(home, this.#parts);
  }

  /**
   * Names a transaction's code, so that `recover` finds it after a restart: define all before calling that. Returns the
   * function that runs it.
   * @throws InvalidInputError for a name that is defined already, or options that cannot be used.
   */
  define<Input = undefined, Result = unknown>(
    name: string,
    body: TransactionBody<Input, Result>,
    options?: DefineOptions<Input>,
  ): DefinedTransaction<Input, Result> {
    requireName(name, 'definition');
    if (this.#definitions.has(name)) {
      throw new InvalidInputError(
        `name: "${name}" is defined already. Give each definition a name of its own.`,
        'name',
      );
    }
    const definition = { ...definitionOf(body, options), name };
    this.#definitions.set(name, definition);
    const start = (id: string, input?: Input, runOptions?: TransactionRunOptions) =>
      this.#start(id, definition, { input, options: runOptions });
    return start as DefinedTransaction<Input, Result>;
  }

  /**
   * Runs a body that has no definition. After a crash only a call with the same id can go on with it: `recover` reports it
   * as `unknown`.
   * @throws as a defined transaction
   */
  async run<Result>(
    id: string,
    body: (tx: Tx) => Result | Promise<Result>,
    options?: TransactionRunOptions,
  ): Promise<Result> {
    const definition = { ...definitionOf(body as TransactionBody<unknown, unknown>, undefined), name: null };
    return (await this.#start(id, definition, { input: undefined, options })) as Result;
  }

  /**
   * Runs a list of steps, one after the other; each is given the results of those before it. Resolves to all results. As
   * for `run`, after a crash a call with the same id goes on with it.
   * @throws as a defined transaction
   */
  execute<A>(id: string, steps: readonly [ListedStep<[], A>], options?: TransactionRunOptions): Promise<[A]>;
  execute<A, B>(
    id: string,
    steps: readonly [ListedStep<[], A>, ListedStep<[A], B>],
    options?: TransactionRunOptions,
  ): Promise<[A, B]>;
  execute<A, B, C>(
    id: string,
    steps: readonly [ListedStep<[], A>, ListedStep<[A], B>, ListedStep<[A, B], C>],
    options?: TransactionRunOptions,
  ): Promise<[A, B, C]>;
  execute<A, B, C, D>(
    id: string,
    steps: readonly [ListedStep<[], A>, ListedStep<[A], B>, ListedStep<[A, B], C>, ListedStep<[A, B, C], D>],
    options?: TransactionRunOptions,
  ): Promise<[A, B, C, D]>;
  execute<A, B, C, D, E>(
    id: string,
    steps: readonly [
      ListedStep<[], A>,
      ListedStep<[A], B>,
      ListedStep<[A, B], C>,
      ListedStep<[A, B, C], D>,
      ListedStep<[A, B, C, D], E>,
    ],
    options?: TransactionRunOptions,
  ): Promise<[A, B, C, D, E]>;
  execute(id: string, steps: readonly AnyListedStep[], options?: TransactionRunOptions): Promise<unknown[]>;
  async execute(id: string, steps: readonly AnyListedStep[], options?: TransactionRunOptions): Promise<unknown[]> {
    if (!Array.isArray(steps)) throw new InvalidInputError('steps: must be an array of { run, compensate? }.', 'steps');
    const body = bodyOfList(steps); // Now: nothing is begun for a list that cannot be used.
    return this.run(id, (tx) => body(tx, undefined) as Promise<unknown[]>, options);
  }

  /**
   * Goes on, forward or back, with every transaction that nobody holds any more, and waits for their ends. Call it after
   * a restart, and now and then where several processes share a storage: several may do so at once. It does not wait for what a
   * live process may still hold, unless `waitMs` says so; what it could not recover this time it tries again the next.
   * @throws what listing the storage throws
   */
  async recover(options?: RecoverOptions): Promise<RecoverReport> {
    const { waitMs = 0 } = parseOptions(recoverSchema, options);
    this.#parts.runner.requireOpen();
    return recoverAll(this.#parts, waitMs);
  }

  /** The transaction with its steps, as recorded; `undefined` if there is none. @throws CorruptionError */
  get(id: string): Promise<TransactionView | undefined> {
    return this.#desk.get(id);
  }

  /**
   * Transactions without their steps, in no promised order.
   * @throws CorruptionError, after all others, if one cannot be read
   */
  list(filter?: TransactionFilter): AsyncGenerator<TransactionSummary> {
    return this.#desk.list(parseOptions(filterSchema, filter, 'filter') as TransactionFilter);
  }

  /** Everything that is recorded of a transaction, in order; empty if there is none. @throws CorruptionError */
  history(id: string): Promise<readonly HistoryEntry[]> {
    return this.#desk.history(id);
  }

  /**
   * Asks for a transaction to be rolled back; gives the status it has then. Durable when it resolves. One that runs here, or
   * that nobody holds, is rolled back by then; another process notices within a third of its lease. Not to be awaited in
   * that transaction itself, whose way back waits for its steps: it would wait for ever. To go back from inside, throw.
   * @throws TransactionStateError if there is none, or it is done, stuck, or past its pivot.
   */
  async cancel(id: string, reason: string): Promise<TransactionStatus> {
    const why = parseOptions(reasonSchema, reason, 'reason');
    this.#parts.runner.requireOpen();
    return this.#desk.cancel(id, why);
  }

  /**
   * Decides about a transaction that is stuck, and goes on with it, if its definition is known here; gives the status it
   * has then. The decision is durable first; a crash afterwards leaves the rest to `recover`. `abandon` also ends one that nobody
   * holds and whose definition is gone.
   * @throws TransactionStateError if the decision does not fit: nothing was changed, and the message says what would fit.
   * @throws BusyError if it is not stuck and may be held by somebody.
   */
  async resolve(id: string, resolution: Resolution): Promise<TransactionStatus> {
    const decision = parseOptions(resolutionSchema, resolution, 'resolution') as Resolution;
    this.#parts.runner.requireOpen();
    return this.#desk.resolve(id, decision);
  }

  /**
   * Forgets a transaction that has ended: its id may be used again. True if there was one. A crash half-way leaves it whole
   * or gone.
   * @throws TransactionStateError if it has not ended.
   */
  delete(id: string): Promise<boolean> {
    return this.#desk.delete(id);
  }

  /**
   * Lets go of everything: no more steps start, those under way are waited for and recorded, and other processes can go on at
   * once. Callers of transactions that had not ended get ClosedError. The storage stays open.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** As `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.#parts.runner.close();
    await this.#ownNode?.leave();
  }

  async #start(
    id: string,
    definition: NamedDefinition,
    given: { readonly input: unknown; readonly options: TransactionRunOptions | undefined },
  ): Promise<unknown> {
    const { waitMs = 0 } = given.options === undefined ? {} : parseOptions(runSchema, given.options);
    const input = encodeValue(given.input, this.#codec); // Before anything is awaited: the caller may change it at once.
    this.#parts.runner.requireOpen();
    if (definition.parse !== undefined && !this.#parts.runner.isRunning(id))
      await parseWith(definition.parse, given.input, 'input');
    return await this.#parts.runner.run({ id, definition, input, waitMs });
  }
}

function definitionOf<Input, Result>(
  body: TransactionBody<Input, Result>,
  options: DefineOptions<Input> | undefined,
): Omit<NamedDefinition, 'name'> {
  if (typeof body !== 'function') throw new InvalidInputError('body: must be a function of (tx, input).', 'body');
  const { onCrash = 'resume', parse, maxTakeovers = DEFAULT_TAKEOVERS } = parseOptions(defineSchema, options);
  return { body: body as TransactionBody<unknown, unknown>, onCrash, parse, maxTakeovers };
}

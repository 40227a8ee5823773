import type { HoldfastError } from '../base/errors.js';
import { inWords } from '../policies/in-words.js';
import { parseWith, type StandardSchema } from '../records/standard-schema.js';
import { ifTooLarge, type LiveTransaction, type Refusal } from './live-transaction.js';
import { type BodyOutcome, runBody, Steps } from './steps.js';
import type { TransactionBody } from './transaction.js';
import { CancelledError, RolledBackError, type StuckError } from './transaction-errors.js';
import { goBack } from './way-back.js';

/** What is run, and how. */
export interface Definition {
  readonly body: TransactionBody<unknown, unknown>;
  readonly onCrash: 'resume' | 'rollback';
  readonly parse: StandardSchema | undefined;
}

const NOT_BEGUN: Promise<BodyOutcome> = new Promise(() => {});

/** One life of a transaction: from the moment it becomes ours until it ends, or is ours no longer. */
export class TransactionLife {
  readonly #live: LiveTransaction;
  readonly #definition: Definition;
  readonly #steps: Steps;
  /** It goes back although nothing failed in this life. */
  readonly #reason: HoldfastError | undefined;
  /** How its body ends; never rejects. */
  #body: Promise<BodyOutcome> = NOT_BEGUN;

  /** `reason` is why it has to go back, if that is known before it begins. */
  constructor(live: LiveTransaction, definition: Definition, reason: HoldfastError | undefined) {
    this.#live = live;
    this.#definition = definition;
    this.#steps = new Steps(live);
    this.#reason = reason;
    live.lost.catch((error: unknown) => this.#steps.root.fail(error));
  }

  /**
   * To its end. Gives the result of one that is done.
   * @throws RolledBackError, StuckError; FencedError, ClosedError if it is ours no longer.
   */
  async run(): Promise<unknown> {
    const live = this.#live;
    try {
      return await this.#toItsEnd();
    } catch (error) {
      if (error instanceof RolledBackError) throw error;
      const { interruption } = live;
      if (interruption?.kind === 'stuck') await this.#recordStuck(interruption.error);
      else if (interruption?.kind !== 'lost') await this.#release();
      else live.report({ type: 'transaction.fenced', error: inWords(interruption.error) });
      throw interruption === undefined || interruption.kind === 'cancelled' ? error : interruption.error;
    } finally {
      this.#steps.isOver = true;
    }
  }

  /** Ends it in this process: no more steps start, those running are waited for, and others may go on with it. */
  close(): void {
    const { interruption } = this.#live;
    if (interruption?.kind !== 'closing') return;
    this.#steps.root.letGo(interruption.error);
  }

  /** Makes it go back, unless it is past its pivot. */
  cancel(reason: string): void {
    const live = this.#live;
    if (live.state.pivot('') === undefined)
      live.interrupt({ kind: 'cancelled', error: new CancelledError(live.id, reason) });
  }

  async #toItsEnd(): Promise<unknown> {
    const { state } = this.#live;
    if (state.cause !== undefined) return this.#resumeWayBack(this.#live.decode(state.cause));
    if (this.#reason !== undefined) {
      await this.#writeCause(this.#reason, !state.hasCrashed);
      return this.#resumeWayBack(this.#reason);
    }
    const outcome = await this.#forward();
    if ('error' in outcome) return this.#turnBack(outcome.error);
    const unkept = await this.#finish(outcome.result);
    if (unkept !== undefined) return this.#turnBack(unkept.error); // It could not be given again.
    this.#live.report({ type: 'transaction.done' });
    return outcome.result;
  }

  /** The last write of one that is done; the error if its result cannot be kept. */
  async #finish(result: unknown): Promise<Refusal | undefined> {
    const value = this.#live.tryEncode(result);
    if ('error' in value) return value;
    const written = this.#live.finish({ type: 'finished' }, value, { status: 'done' });
    return written.then(() => undefined, ifTooLarge);
  }

  /** Runs the body until it, and everything it started, has ended. */
  async #forward(): Promise<BodyOutcome> {
    const live = this.#live;
    const { root } = this.#steps;
    const body = this.#runBody(await this.#input());
    const outcome = await Promise.race([body, live.interrupted.then(() => ({ error: live.interruption?.error }))]);
    const isFailure = 'error' in outcome;
    if (live.hasEnded) root.letGo(live.interruption?.error);
    else if (isFailure) root.fail(outcome.error);
    else root.end(`transaction "${live.id}"`);
    await this.#quiet();
    if (isFailure) return outcome;
    if (root.lateFailure !== undefined) {
      root.fail(root.lateFailure.error);
      return root.lateFailure;
    }
    await this.#steps.claims.allRecorded(root, body);
    return outcome;
  }

  #runBody(input: unknown): Promise<BodyOutcome> {
    this.#body = runBody(() => this.#definition.body(this.#steps.handle(), input));
    return this.#body;
  }

  /** May give a promise. */
  #input(): unknown {
    const live = this.#live;
    const given = live.recall(live.state.input);
    const { parse } = this.#definition;
    if (parse === undefined) return given;
    return parseWith(parse, given, 'input').catch((error: unknown) => {
      throw live.stuck('input-refused', undefined, error);
    });
  }

  /** Something failed, and everything that ran has come to rest. In a first life nothing else was ever begun. */
  async #turnBack(error: unknown): Promise<never> {
    const live = this.#live;
    this.#steps.root.fail(error);
    await this.#quiet();
    if (live.state.pivot('') !== undefined) throw live.stuck('past-pivot', this.#steps.whoThrew(error), error);
    await this.#writeCause(error, !live.state.hasCrashed);
    if (live.state.hasCrashed) await this.#seal();
    return this.#toTheBeginning(error);
  }

  /** An earlier life failed, or died: the body runs again, only to say how its steps are taken back. */
  async #resumeWayBack(cause: unknown): Promise<never> {
    const live = this.#live;
    const { root } = this.#steps;
    root.fail(cause);
    const body = this.#runBody(await this.#input());
    if (!live.state.isSealed) await this.#seal();
    else await this.#steps.claims.allRecorded(root, body);
    return this.#toTheBeginning(cause);
  }

  /** What a process may have begun is found on the body's way, and settled. */
  async #seal(): Promise<void> {
    const { claims, root } = this.#steps;
    await claims.allBegun(root, this.#body);
    await this.#quiet();
    await claims.allRecorded(root, this.#body);
    await this.#quiet(); // What was asked for in the meantime is settled, too.
    await this.#live.write({ type: 'sealed' });
  }

  async #toTheBeginning(cause: unknown): Promise<never> {
    const live = this.#live;
    await Promise.race([goBack(live, { prefix: '', cause, calls: this.#steps.claims.calls }), live.lost]);
    const { compensated } = live.state;
    const leftBehind = live.state.leftBehind();
    await live.finish({ type: 'rolled-back', compensated, leftBehind }, undefined, { status: 'rolled-back' });
    live.report({ type: 'transaction.rolled-back', compensated: compensated.length, leftBehind });
    throw new RolledBackError(live.id, { cause, compensated, leftBehind });
  }

  async #writeCause(cause: unknown, isSealed: boolean): Promise<void> {
    const live = this.#live;
    await live.write({ type: 'compensating', isSealed }, live.encodeError(cause), { status: 'compensating' });
    live.report({ type: 'transaction.compensating', error: inWords(cause) });
  }

  /** Waits for what runs. What ends this life meanwhile is thrown. */
  async #quiet(): Promise<void> {
    const live = this.#live;
    const { root } = this.#steps;
    if (!root.isQuiet) await Promise.race([root.quiet(), live.lost]);
    live.requireGoingOn();
  }

  async #recordStuck({ reason, step, cause }: StuckError): Promise<void> {
    const live = this.#live;
    const at = { reason, ...(step !== undefined && { step }) };
    const value = cause === undefined ? undefined : live.encodeError(cause);
    const fact = { type: 'stuck', ...at, ...(live.isUnclean && { isUnclean: true as const }) } as const;
    await live.finish(fact, value, { status: 'stuck', stuck: at });
    live.report({ type: 'transaction.stuck', ...at, ...(cause !== undefined && { error: inWords(cause) }) });
  }

  async #release(): Promise<void> {
    const { isUnclean } = this.#live;
    await this.#live.finish({ type: 'released', ...(isUnclean && { isUnclean: true }) }, undefined, {});
    this.#live.report({ type: 'transaction.released' });
  }
}

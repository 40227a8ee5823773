import { InvalidInputError } from '../base/errors.js';
import { inWords } from '../policies/in-words.js';
import { UnserializableError } from '../records/codec.js';
import { parseWith, type StandardSchema } from '../records/standard-schema.js';
import type { LiveTransaction } from './live-transaction.js';
import { settleStep, writeDone } from './settle.js';
import { StepClaims } from './step-claims.js';
import { readStep, requireName } from './step-code.js';
import { type FailedOutcome, runStep, type StepCall, type StepOutcome, verifyStep } from './step-runner.js';
import { endOf, StepScope } from './step-scope.js';
import type { Tx } from './transaction.js';
import { TransactionHandle } from './transaction-handle.js';
import { isSettled, type NestRecord, type StepRecord } from './transaction-state.js';
import { wasInterrupted } from './unknown-outcome.js';
import { goBack } from './way-back.js';

/** Refusals that one life gives an answer to. */
const MAX_REFUSALS = 1_000;

/** How a body, or the body of a nest, ended. */
export type BodyOutcome = { readonly result: unknown } | { readonly error: unknown };

/** Runs a body; never rejects. */
export async function runBody(body: () => unknown): Promise<BodyOutcome> {
  try {
    return { result: await body() };
  } catch (error) {
    return { error };
  }
}

/**
 * The steps that the body of one life asks for: those recorded are given back what they gave, others run and are recorded.
 */
export class Steps {
  readonly claims: StepClaims;
  readonly root = new StepScope();
  /** The transaction has ended here: whoever still asks for steps is a branch that nobody waited for. */
  isOver = false;
  #refusals = 0;
  readonly #live: LiveTransaction;
  /** Which step threw what: to say at which one the transaction is stuck. */
  readonly #thrownBy = new Map<unknown, string>();

  constructor(live: LiveTransaction) {
    this.#live = live;
    this.claims = new StepClaims(live);
  }

  /** What the body is given. */
  handle(scope: StepScope = this.root): Tx {
    return new TransactionHandle(this.#live, scope, {
      step: (name, given) => this.#step(scope, name, given),
      nest: (name, body) => this.#nest(scope, name, body),
    });
  }

  /** The step that threw `error`, or what `error` was made of. */
  whoThrew(error: unknown): string | undefined {
    for (
      let at = error, depth = 0;
      at !== undefined && depth < 5;
      at = (at as { cause?: unknown } | null)?.cause, depth++
    ) {
      const path = this.#thrownBy.get(at);
      if (path !== undefined) return path;
    }
    return undefined;
  }

  async #step(scope: StepScope, name: string, given: readonly unknown[]): Promise<unknown> {
    const code = readStep(name, given);
    const path = scope.path(name);
    const live = this.#live;
    if (this.isOver) return this.#refuse(path, this.#refusalOf(scope));
    const identity = { transaction: live.id, step: path, fence: live.meta.fence };
    const { cancellation, waits } = scope;
    const call: StepCall = { identity, code, scope: cancellation, waits, holder: live };
    this.claims.addStep(scope, call);
    const record = live.state.steps.get(path);
    if (record !== undefined && isSettled(record)) return this.#replay(scope, call, record);
    scope.enter();
    try {
      if (scope.refusal !== undefined) return await this.#tooLate(scope, call, record);
      return await this.#keep(scope, call, await this.#outcome(scope, call, record));
    } finally {
      scope.leave();
    }
  }

  /** What it gave before. */
  async #replay(scope: StepScope, { code }: StepCall, record: StepRecord): Promise<unknown> {
    const { step, status, isLost } = record;
    const value = this.#live.recall(record.value);
    // The body has never seen it: the transaction was stuck, perhaps at another step.
    const isUntold = status === 'unknown' && (code.effect === 'once' || code.verify !== undefined);
    if (isUntold && !scope.isFailing) throw this.#live.stuck('unknown-outcome', step, value);
    if (status === 'failed' || status === 'unknown')
      throw this.#threw(step, record.value === undefined ? new Error(`Step "${step}" did not happen.`) : value);
    if (isLost)
      throw this.#threw(step, new UnserializableError('$', `could not be kept (the result of step "${step}").`));
    return status === 'skipped' || code.parse === undefined ? value : parsed(code.parse, value, step);
  }

  /** Most steps were never begun before, and may be begun again: they just run. */
  #outcome(scope: StepScope, call: StepCall, record: StepRecord | undefined): Promise<StepOutcome> {
    const { state, home } = this.#live;
    const needsCare = call.code.effect === 'once' || state.mayHaveBegun(call.identity.step);
    return needsCare ? this.#outcomeWithCare(scope, call, record) : runStep(home.retries, call);
  }

  async #outcomeWithCare(scope: StepScope, call: StepCall, record: StepRecord | undefined): Promise<StepOutcome> {
    const live = this.#live;
    if (live.state.mayHaveBegun(call.identity.step)) {
      const earlier = await this.#fromEarlierLife(call, record);
      if (earlier !== undefined) return earlier;
    }
    if (call.code.effect === 'once' && record === undefined) {
      await live.write({ type: 'announced', ...markOf(call) });
      // One that goes back says that it never ran. One that only ends here runs: else nobody could tell any more.
      if (scope.isFailing) return { kind: 'failed', error: scope.refusal?.error };
    } else if (scope.refusal !== undefined) throw scope.refusal.error;
    return runStep(live.home.retries, call);
  }

  /** A process that died may have run it: what is known of that; `undefined` if it may run. */
  async #fromEarlierLife(call: StepCall, record: StepRecord | undefined): Promise<StepOutcome | undefined> {
    const { code, identity } = call;
    if (code.effect === 'none') return undefined;
    const error = new Error('Its process died while it ran.');
    if (code.verify === undefined)
      return code.effect === 'once' && record !== undefined ? { kind: 'untellable', error } : undefined;
    try {
      const result = await verifyStep(this.#live.home.retries, call);
      if (result === undefined) return undefined;
      this.#live.report({ type: 'step.settled', step: identity.step, happened: true });
      return { kind: 'done', result };
    } catch (thrown) {
      return { kind: wasInterrupted(thrown) ? 'interrupted' : 'untellable', error: thrown };
    }
  }

  /** Writes down how a step ended, then lets the body know. */
  #keep(scope: StepScope, call: StepCall, outcome: StepOutcome): Promise<unknown> {
    return outcome.kind === 'done'
      ? this.#keepResult(scope, call, outcome.result)
      : this.#keepFailure(scope, call, outcome);
  }

  async #keepResult(scope: StepScope, call: StepCall, result: unknown): Promise<unknown> {
    const { step } = call.identity;
    const unkept = await writeDone(this.#live, call, result);
    this.#live.report({ type: 'step.done', step });
    if (unkept !== undefined) throw this.#threw(step, unkept, scope);
    if (call.code.parse === undefined) return result;
    return parsed(call.code.parse, result, step).catch((error: unknown) => {
      throw this.#threw(step, error, scope);
    });
  }

  async #keepFailure(scope: StepScope, call: StepCall, { kind, error }: FailedOutcome): Promise<never> {
    const live = this.#live;
    const { step } = call.identity;
    if (kind === 'interrupted' && live.hasEnded) {
      live.isUnclean = true; // No record: the next life finds out, as after a crash.
      throw error;
    }
    const status = kind === 'failed' ? 'failed' : 'unknown';
    await live.write({ type: status, ...markOf(call) }, live.encodeError(error));
    live.report({ type: `step.${status}`, step, error: inWords(error) });
    // Of one that goes back already, what is unknown is settled on the way.
    const isOnce = call.code.effect === 'once' && call.code.verify === undefined;
    const isStuck = kind === 'untellable' || (kind === 'interrupted' && isOnce);
    if (isStuck && !scope.isFailing) throw live.stuck('unknown-outcome', step, error);
    throw this.#threw(step, error, scope);
  }

  /** Asked for after the end: it does not start. A process that died may have begun it, though. */
  async #tooLate(scope: StepScope, call: StepCall, record: StepRecord | undefined): Promise<never> {
    const live = this.#live;
    const refusal = scope.refusal as { readonly error: unknown };
    const { step } = call.identity;
    if (scope.isFailing && !live.hasEnded && !this.#isSealed(step)) await settleStep(live, call, record);
    return this.#refuse(step, refusal.error);
  }

  #refusalOf({ refusal }: StepScope): unknown {
    return refusal === undefined ? endOf(`transaction "${this.#live.id}"`) : refusal.error;
  }

  /**
   * A turn of the event loop later: a body that catches this and asks again, for ever, must not keep everything else from
   * running. One that goes on all the same is answered no more.
   */
  async #refuse(step: string, error: unknown): Promise<never> {
    this.#live.report({ type: 'step.refused', step, error: inWords(error) });
    await new Promise<void>((resolve) => {
      if (++this.#refusals <= MAX_REFUSALS) setImmediate(resolve);
    });
    throw error;
  }

  #isSealed(path: string): boolean {
    const { state } = this.#live;
    if (!state.hasCrashed || state.isSealed) return true;
    return [...state.nests].some(([nest, record]) => record.isSealed && path.startsWith(`${nest}/`));
  }

  async #nest(scope: StepScope, name: string, body: (tx: Tx) => Promise<unknown>): Promise<unknown> {
    requireName(name, 'nest');
    if (typeof body !== 'function')
      throw new InvalidInputError(`nest "${name}": its second argument must be a function.`, `nest "${name}"`);
    const path = scope.path(name);
    if (this.isOver) return this.#refuse(path, this.#refusalOf(scope));
    this.claims.addNest(scope, path);
    const record = this.#live.state.nests.get(path);
    if (record?.isRolledBack) throw this.#live.decode(record.cause);
    scope.enter();
    try {
      return await this.#runNest(scope, path, { body, record });
    } finally {
      scope.leave();
    }
  }

  async #runNest(
    outer: StepScope,
    path: string,
    { body, record }: { body: (tx: Tx) => Promise<unknown>; record: NestRecord | undefined },
  ): Promise<unknown> {
    const live = this.#live;
    const scope = outer.inside(path);
    const cause = record && { error: live.decode(record.cause) };
    if (cause !== undefined) scope.fail(cause.error);
    const running = runBody(() => body(this.handle(scope)));
    const cut = new Promise<BodyOutcome>((resolve) => {
      if (!scope.isFailing) scope.cancellation.onAbort((error) => resolve({ error }));
    });
    const outcome = await Promise.race([running, cut]);
    if (cause === undefined && 'result' in outcome) {
      scope.end(`nest "${path}"`);
      await scope.quiet();
      live.requireGoingOn();
      if (scope.lateFailure === undefined) return outcome.result;
    }
    const error = cause === undefined ? errorOf(outcome, scope) : cause.error;
    scope.fail(error);
    await scope.quiet();
    // What goes back as a whole takes the nest with it.
    if (!outer.isFailing && live.interruption === undefined) await this.#rollBackNest(scope, path, { error, running });
    if (outer.isClosed && !outer.isFailing) outer.lateFailure ??= { error };
    throw error;
  }

  async #rollBackNest(
    scope: StepScope,
    path: string,
    { error, running }: { readonly error: unknown; readonly running: Promise<unknown> },
  ): Promise<void> {
    const live = this.#live;
    const { prefix } = scope;
    if (!live.state.nests.has(path)) {
      if (live.state.hasCrashed) await this.claims.allBegun(scope, running);
      if (live.state.pivot(prefix) !== undefined) throw live.stuck('past-pivot', this.whoThrew(error), error);
      await live.write({ type: 'compensating', nest: path, isSealed: true }, live.encodeError(error));
    }
    await this.claims.allRecorded(scope, running);
    await scope.quiet(); // What was asked for in the meantime is settled, too.
    await goBack(live, { prefix, cause: error, calls: this.claims.calls });
    await live.write({ type: 'nest-rolled-back', nest: path });
    live.report({ type: 'nest.rolled-back', nest: path, error: inWords(error) });
  }

  #threw(path: string, error: unknown, scope?: StepScope): unknown {
    this.#thrownBy.set(error, path);
    if (scope?.isClosed && !scope.isFailing) scope.lateFailure ??= { error };
    return error;
  }
}

function errorOf(outcome: BodyOutcome, { lateFailure }: StepScope): unknown {
  return 'error' in outcome ? outcome.error : lateFailure?.error;
}

/** Which step a fact is about. Whether it is a pivot counts also when a person says later that it happened. */
function markOf({ identity: { step }, code }: StepCall): { readonly step: string; readonly isPivot?: true } {
  return { step, ...(code.isPivot && { isPivot: true }) };
}

/** The result as its schema reads it. */
function parsed(schema: StandardSchema, result: unknown, step: string): Promise<unknown> {
  return parseWith(schema, result, `step "${step}"`);
}

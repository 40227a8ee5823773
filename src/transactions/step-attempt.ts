import { sha256Base64Url } from '../base/digest.js';
import type { Attempt, AttemptFailure } from '../policies/attempt.js';
import { CallScope } from '../policies/call-scope.js';
import { askedDeadline } from './step-policies.js';
import type { CompensationContext } from './transaction.js';

/** Whose step it is. */
export interface StepIdentity {
  readonly transaction: string;
  /** Path of the step. */
  readonly step: string;
  readonly fence: number;
}

/** What is done with a step: each has a key of its own. */
type StepAct = 'run' | 'compensate';

/**
 * The idempotency key of an act. Made of what the act is and of nothing that differs between processes or in time.
 * Digest: SHA-256 of the JSON of the three parts, in base64url.
 */
function idempotencyKey({ transaction, step }: StepIdentity, act: StepAct): string {
  return sha256Base64Url(Buffer.from(JSON.stringify([transaction, step, act])));
}

/** Where an attempt comes from. */
export interface AttemptOrigin {
  readonly act: StepAct;
  /** Aborted with the transaction. */
  readonly around: CallScope;
  /** If policies run the step: aborted when its time is over. */
  readonly attempt?: Attempt | undefined;
  readonly cause?: unknown;
}

/**
 * One attempt, as the functions of a step see it. Its signal, its deadline and its key are made when they are first read:
 * most steps read one of them at most.
 */
export class StepAttempt implements CompensationContext {
  readonly transaction: string;
  readonly step: string;
  readonly fence: number;
  readonly attempt: number;
  readonly cause: unknown;
  readonly #origin: AttemptOrigin;
  #madeScope: CallScope | undefined;
  #stop: (() => void) | undefined;
  #key: string | undefined;

  constructor(identity: StepIdentity, origin: AttemptOrigin) {
    this.transaction = identity.transaction;
    this.step = identity.step;
    this.fence = identity.fence;
    this.attempt = origin.attempt?.attempt ?? 1;
    this.cause = origin.cause;
    this.#origin = origin;
  }

  get key(): string {
    this.#key ??= idempotencyKey(this, this.#origin.act);
    return this.#key;
  }

  get operationId(): string {
    return this.key;
  }

  get signal(): AbortSignal {
    return this.#scope.signal;
  }

  get deadlineAtMs(): number | undefined {
    return askedDeadline(this.#scope.deadlineAtMs);
  }

  get previous(): AttemptFailure | undefined {
    return this.#origin.attempt?.previous;
  }

  /** The attempt is over: its signal is not aborted any more. */
  end(): void {
    this.#stop?.();
    this.#madeScope?.end();
  }

  get #scope(): CallScope {
    if (this.#madeScope !== undefined) return this.#madeScope;
    const { around, attempt } = this.#origin;
    const isOurs = attempt instanceof CallScope;
    const scope = new CallScope(this.attempt, isOurs ? attempt : around).attach();
    if (isOurs) this.#stop = around.onAbort((reason) => scope.abort(reason));
    this.#madeScope = scope;
    return scope;
  }
}

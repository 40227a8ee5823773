import type { LiveTransaction } from './live-transaction.js';
import type { StepScope } from './step-scope.js';
import type { Tx } from './transaction.js';

/** What a body may ask for. */
export interface Requests {
  /** `given` is what `tx.step` got behind the name. */
  step(name: string, given: readonly unknown[]): Promise<unknown>;
  nest(name: string, body: (tx: Tx) => Promise<unknown>): Promise<unknown>;
}

/** What a body is given. Its functions are its own: a body may take them out of it. Its signal is made when it is read. */
export class TransactionHandle implements Tx {
  readonly id: string;
  readonly fence: number;
  readonly step: Tx['step'];
  readonly nest: Tx['nest'];
  readonly #scope: StepScope;

  constructor({ id, meta }: LiveTransaction, scope: StepScope, requests: Requests) {
    this.id = id;
    this.fence = meta.fence;
    this.#scope = scope;
    this.step = <Result>(name: string, ...given: readonly unknown[]) =>
      handled(requests.step(name, given)) as Promise<Result>;
    this.nest = <Result>(name: string, body: (tx: Tx) => Promise<Result>) =>
      handled(requests.nest(name, body)) as Promise<Result>;
  }

  get signal(): AbortSignal {
    return this.#scope.cancellation.signal;
  }
}

/** A step that nobody waits for must not end the process: its failure is recorded, and fails a body that has returned by then. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(ignore);
  return promise;
}

function ignore(): void {}

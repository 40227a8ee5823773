import type { ClosedError } from '../base/errors.js';
import type { Hold } from '../records/held-on-node.js';
import type { LiveTransaction } from './live-transaction.js';
import { CancelledError } from './transaction-errors.js';
import { type Definition, TransactionLife } from './transaction-life.js';

const NOT_KNOWN: Promise<unknown> = new Promise(() => {});

/** A transaction that a manager was asked for, from that moment on until its outcome is known. */
export class RunningTransaction implements Hold {
  outcome: Promise<unknown> = NOT_KNOWN;
  /** Who holds it, as last seen, while it is not ours. */
  holder = 'another one';
  /** Resolves when it is ours, or a first look has shown that it is not. */
  readonly looked: Promise<void>;
  #onLooked: () => void = () => {};
  #live: LiveTransaction | undefined;
  #life: TransactionLife | undefined;

  /** `input` is encoded; `undefined` for a recovery, which has not read it yet. */
  constructor(
    readonly name: string | null,
    readonly input: Buffer | undefined,
  ) {
    this.looked = new Promise((resolve) => {
      this.#onLooked = resolve;
    });
  }

  /** Once it is ours. */
  get live(): LiveTransaction | undefined {
    return this.#live;
  }

  get isLost(): boolean {
    return this.#live?.interruption?.kind === 'lost';
  }

  hasLooked(): void {
    this.#onLooked();
  }

  /** Runs one that has become ours to its end. Interrupted at once if `closed` says so. */
  run(live: LiveTransaction, definition: Definition, closed: ClosedError | undefined): Promise<unknown> {
    const life = new TransactionLife(live, definition, reasonToGoBack(live, definition));
    live.onCancel((reason) => life.cancel(reason));
    this.#live = live;
    this.#life = life;
    this.hasLooked();
    if (closed !== undefined) this.close(closed);
    return life.run();
  }

  cancel(reason: string): void {
    this.#life?.cancel(reason);
  }

  close(error: ClosedError): void {
    this.#live?.interrupt({ kind: 'closing', error });
    this.#life?.close();
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

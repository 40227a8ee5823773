import { InvalidInputError } from '../base/errors.js';
import { CallScope } from '../policies/call-scope.js';

/** The transaction, or a nest in it: which steps run there, whether more may start, and how those running are told. */
export class StepScope {
  /** In front of the names of its steps. */
  readonly prefix: string;
  /** Aborted when it fails. */
  readonly cancellation: CallScope;
  /** Aborted when steps must not wait for another attempt any more: when it fails, and when this process lets go of it. */
  readonly waits: CallScope;
  /** A step that nobody waited for failed after the body here had returned. */
  lateFailure: { readonly error: unknown } | undefined;
  readonly #outer: StepScope | undefined;
  #running = 0;
  /** Who waits for the last of them to end. */
  #waiting: (() => void)[] = [];
  #refusal: { readonly error: unknown } | undefined;
  #isFailing = false;

  constructor(prefix = '', outer?: StepScope) {
    this.prefix = prefix;
    this.#outer = outer;
    this.cancellation = new CallScope(1, outer?.cancellation).attach();
    this.waits = new CallScope(1, outer?.waits).attach();
  }

  /** The scope of a nest. */
  inside(path: string): StepScope {
    return new StepScope(`${path}/`, this);
  }

  path(name: string): string {
    return this.prefix + name;
  }

  /** Set when no more steps may start here: what they are refused with. */
  get refusal(): { readonly error: unknown } | undefined {
    return this.#refusal ?? this.#outer?.refusal;
  }

  /** Have steps been refused here already, for a reason of its own? */
  get isClosed(): boolean {
    return this.#refusal !== undefined;
  }

  /** Does it, or one around it, go back? */
  get isFailing(): boolean {
    return this.#isFailing || this.#outer?.isFailing === true;
  }

  /** No more steps start here. Those running go on. */
  close(error: unknown): void {
    this.#refusal ??= { error };
  }

  /** The body here has returned. Steps that it did not wait for go on. */
  end(what: string): void {
    // An error costs more than all else here, and few ends are followed by a step.
    this.#refusal ??= {
      get error() {
        return endOf(what);
      },
    };
  }

  /** No more steps start here, and those that wait for another attempt end. Those running go on. */
  letGo(error: unknown): void {
    this.close(error);
    this.waits.abort(error);
  }

  /** No more steps start here, and those running are told. */
  fail(error: unknown): void {
    this.close(error);
    this.#isFailing = true;
    this.cancellation.abort(error);
    this.waits.abort(error);
  }

  /** Something runs here, and so in the scopes around, until `leave`. */
  enter(): void {
    for (let scope: StepScope | undefined = this; scope !== undefined; scope = scope.#outer) scope.#running++;
  }

  /** Call it once for each `enter`, before whoever waits for what ran goes on. */
  leave(): void {
    for (let scope: StepScope | undefined = this; scope !== undefined; scope = scope.#outer) scope.#oneLess();
  }

  /** Does nothing run here? */
  get isQuiet(): boolean {
    return this.#running === 0;
  }

  /** Resolves when nothing runs here. */
  async quiet(): Promise<void> {
    while (this.#running > 0) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
      await undefined; // Whoever waited for what ended goes on first, and may ask for more.
    }
  }

  #oneLess(): void {
    if (--this.#running > 0) return;
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

/** What a step or a nest that was asked for too late is told. */
export function endOf(what: string): InvalidInputError {
  return new InvalidInputError(`${what} has ended: await its steps inside it.`, what);
}

import { sha256Hex } from '../../base/digest.js';
import type { CompensationContext, StepContext } from '../../transactions/transaction.js';
import type { MortalProcess } from './mortal-process.js';

/** How the world takes what a step does to it. */
export interface EffectOptions {
  /** How long it takes, in milliseconds of the process's clock. Default 1. Make siblings slow to let them overlap. */
  readonly takesMs?: number;
  /** Doing it twice is a violation, also with the same key. Default false. For steps that are `once` or have a `verify`. */
  readonly once?: boolean;
  /** What is asked for. The same key with another request is a violation: the code around it is not repeatable. */
  readonly request?: unknown;
  /** It is called off when the step's signal aborts; nothing happens then. Default false: the world goes on with it. */
  readonly hearsAbort?: boolean;
}

/**
 * The outside world, which outlives every process: what steps do to it, once for each key, and what takes it back. It
 * remembers everything; by that a run is judged. Its members are made to be handed to a step as they are:
 * `tx.step('pay', world.act, { compensate: world.undo, verify: world.find })`.
 */
export interface CrashWorld {
  /**
   * Does the effect of the step. Resolves with its receipt, which is the same whenever the key is: a key that it knows
   * changes nothing. One effect a step.
   */
  readonly act: (step: StepContext, options?: EffectOptions) => Promise<string>;
  /**
   * Takes back the effect whose receipt this is; anything else is a violation. A key that it knows changes nothing.
   */
  readonly undo: (
    receipt: unknown,
    step: CompensationContext,
    options?: Pick<EffectOptions, 'takesMs'>,
  ) => Promise<void>;
  /** The receipt, if the effect of the step was done. */
  readonly find: (step: StepContext) => Promise<string | undefined>;
  /** Does nothing and rejects: how a step fails here. */
  readonly refuse: (step: StepContext, options?: Pick<EffectOptions, 'takesMs'>) => Promise<never>;
}

/** One thing that reached the world. */
export interface WorldEvent {
  readonly kind: 'act' | 'undo' | 'find' | 'refuse';
  /** Name of the step. */
  readonly step: string;
  readonly key: string;
  /** Of the effect that was done, taken back or found. */
  readonly receipt?: string | undefined;
  readonly fence: number;
  /** Which process of the run did it: 1 is the first. */
  readonly process: number;
  /** The key was known: nothing happened that had not happened before. */
  readonly isRepeat: boolean;
}

/** When something was, on the world's own count of all that happened and on the clock of the processes. */
export interface Moment {
  readonly order: number;
  readonly atMs: number;
}

/** A call of the world with everything that a judge asks for. It reached the world if it has `done`. */
export interface WorldCall extends WorldEvent {
  readonly attempt: number;
  readonly once: boolean;
  /** JSON of the request. */
  readonly request: string | undefined;
  readonly begun: Moment;
  readonly done?: Moment;
  /** When its caller heard how it went. */
  readonly ended?: Moment;
}

type Draft = { -readonly [Part in keyof WorldCall]: WorldCall[Part] };

/** What the world remembers of a run, in the order in which calls began. */
export class WorldLedger {
  readonly calls: readonly WorldCall[];
  readonly #calls: Draft[] = [];
  readonly #known = new Set<string>();
  #order = 0;

  constructor() {
    this.calls = this.#calls;
  }

  /** What reached the world, in the order in which it did. */
  get events(): readonly WorldCall[] {
    const order = (call: WorldCall): number => call.done?.order ?? 0;
    return this.calls.filter(({ done }) => done !== undefined).sort((one, other) => order(one) - order(other));
  }

  /** The world as this process reaches it, while it lives. */
  seenBy(process: MortalProcess): CrashWorld {
    return {
      act: async (step, options = {}) => {
        const receipt = receiptOf(step.key);
        const call = this.#begin(process, 'act', step, { ...options, receipt });
        await this.#change(process, call, { signal: options.hearsAbort ? step.signal : undefined, ...options });
        return receipt;
      },
      undo: async (receipt, step, options = {}) => {
        const call = this.#begin(process, 'undo', step, { receipt: String(receipt) });
        await this.#change(process, call, options);
      },
      find: async (step) => {
        const call = this.#begin(process, 'find', step, {});
        await process.clock.sleep(1);
        await process.ask(() => {
          call.receipt = this.#known.has(step.key) ? receiptOf(step.key) : undefined;
          call.done = this.#moment(process);
        });
        call.ended = this.#moment(process);
        return call.receipt;
      },
      refuse: async (step, { takesMs = 1 } = {}) => {
        const call = this.#begin(process, 'refuse', step, {});
        await process.clock.sleep(takesMs);
        call.done = this.#moment(process);
        call.ended = call.done;
        throw new Error(refusalOf(step.step));
      },
    };
  }

  #begin(
    process: MortalProcess,
    kind: WorldEvent['kind'],
    { step, key, fence, attempt }: StepContext,
    options: EffectOptions & { readonly receipt?: string },
  ): Draft {
    const { receipt, once = false, request } = options;
    const asked = request === undefined ? undefined : JSON.stringify(request);
    const begun = this.#moment(process);
    const told = { kind, step, key, receipt, fence, process: process.number, attempt, once, request: asked, begun };
    const call: Draft = { ...told, isRepeat: false };
    if (!process.isDead) this.#calls.push(call);
    return call;
  }

  async #change(
    process: MortalProcess,
    call: Draft,
    { takesMs = 1, signal }: { readonly takesMs?: number; readonly signal?: AbortSignal | undefined },
  ): Promise<void> {
    try {
      await process.clock.sleep(takesMs, signal === undefined ? {} : { signal });
      await process.change(`${call.kind} of ${call.step}`, () => {
        call.isRepeat = this.#known.has(call.key);
        this.#known.add(call.key);
        call.done = this.#moment(process);
      });
    } finally {
      call.ended = this.#moment(process);
    }
  }

  #moment(process: MortalProcess): Moment {
    return { order: ++this.#order, atMs: process.clock.now() };
  }
}

/** What `refuse` says. */
export function refusalOf(step: string): string {
  return `${step} was refused`;
}

function receiptOf(key: string): string {
  return `receipt-${sha256Hex(Buffer.from(key)).slice(0, 12)}`;
}

import { type BatchOperation, NoSpaceError, OutcomeUnknownError, StorageError } from '../../storage/adapter.js';
import { type SeededRandom, seededRandom } from '../seeded-random.js';
import type { ChaosFault, ChaosFaultKind, ChaosSettings } from './chaos-options.js';
import { isTearable, tear } from './tear.js';

/** One call to the store. */
export interface Call {
  readonly operation: ChaosFault['operation'];
  readonly key: string;
  readonly signal?: AbortSignal | undefined;
}

/** A call that changes the store, told as operations, so that all three kinds of write suffer alike. */
export interface WriteCall<Result> extends Call {
  readonly operations: readonly BatchOperation[];
  readonly send: (operations: readonly BatchOperation[]) => Promise<Result>;
}

type Wait = () => Promise<void>;

/** Decides what happens to each call, does it and keeps the log. */
export class Weather {
  readonly faults: ChaosFault[] = [];
  readonly #store: string;
  readonly #seed: number | string;
  readonly #settings: ChaosSettings;
  #isStormy = true;
  #calls = 0;

  constructor(store: string, seed: number | string, settings: ChaosSettings) {
    this.#store = store;
    this.#seed = seed;
    this.#settings = settings;
  }

  calm(): void {
    this.#isStormy = false;
  }

  storm(): void {
    this.#isStormy = true;
  }

  async read<Result>(call: Call, send: () => Promise<Result>): Promise<Result> {
    if (!this.#isStormy) return send();
    const dice = this.#nextDice();
    const [beforehand, afterwards] = this.#drawDelay(dice, call);
    const isFailing = this.#strikes(dice, 'failBefore', call);
    await beforehand();
    if (isFailing) throw this.#unavailable(call);
    const result = await send();
    await afterwards();
    return result;
  }

  async write<Result>(call: WriteCall<Result>): Promise<Result> {
    if (!this.#isStormy) return call.send(call.operations);
    const dice = this.#nextDice();
    const [beforehand, afterwards] = this.#drawDelay(dice, call);
    const refusal = this.#drawRefusal(dice, call);
    const operations = this.#drawTear(dice, call);
    const isLost = refusal === undefined && this.#strikes(dice, 'failAfter', call);
    const isTwice = refusal === undefined && isHarmlessTwice(operations) && this.#strikes(dice, 'duplicate', call);
    await beforehand();
    call.signal?.throwIfAborted();
    if (refusal !== undefined) throw refusal;
    const [answer] = await Promise.allSettled([call.send(operations)]);
    if (isTwice && answer.status === 'fulfilled') await requireRefused(call, operations);
    await afterwards();
    if (isLost) throw new OutcomeUnknownError(call.key, answer.status === 'rejected' ? { cause: answer.reason } : {});
    if (answer.status === 'rejected') throw answer.reason;
    return answer.value;
  }

  /** Dice for one call: of its own, so that what one call draws does not shift what the others get. */
  #nextDice(): SeededRandom {
    return seededRandom(`${this.#seed} call ${++this.#calls}`);
  }

  #strikes(dice: SeededRandom, fault: ChaosFaultKind, { operation, key }: Call): boolean {
    const strikes = dice.chance(this.#settings[fault]);
    if (strikes) this.faults.push({ operation, key, fault });
    return strikes;
  }

  /** What to wait for before the call is sent and before its answer is given. */
  #drawDelay(dice: SeededRandom, call: Call): readonly [Wait, Wait] {
    const size = dice();
    const isAnswerLate = dice.chance(0.5);
    if (!this.#strikes(dice, 'delay', call)) return [noWait, noWait];
    const { clock, maxDelayMs } = this.#settings;
    // A write that was sent gets finished: only the way there can be aborted.
    const options = call.signal && !isAnswerLate ? { signal: call.signal } : {};
    const wait = clock ? () => clock.sleep(size * maxDelayMs, options) : () => passTurns(1 + Math.floor(size * 8));
    return isAnswerLate ? [noWait, wait] : [wait, noWait];
  }

  /** The error of a write that never reaches the store. */
  #drawRefusal(dice: SeededRandom, call: WriteCall<unknown>): Error | undefined {
    if (this.#strikes(dice, 'failBefore', call)) return this.#unavailable(call);
    const needsRoom = call.operations.some(({ type }) => type === 'put');
    if (needsRoom && this.#strikes(dice, 'noSpace', call)) return new NoSpaceError(this.#store);
    return this.#strikes(dice, 'failUnknown', call) ? new OutcomeUnknownError(call.key) : undefined;
  }

  #drawTear(dice: SeededRandom, call: WriteCall<unknown>): readonly BatchOperation[] {
    const operations = call.operations.map(copied);
    return isTearable(operations) && this.#strikes(dice, 'tear', call) ? tear(operations, dice) : operations;
  }

  #unavailable({ operation, key }: Call): StorageError {
    return new StorageError(`Chaos: the ${operation} of "${key}" failed before it reached ${this.#store}.`);
  }
}

/** A delayed write must not see what its caller does to the buffer meanwhile. */
function copied(operation: BatchOperation): BatchOperation {
  return operation.type === 'put' ? { ...operation, value: new Uint8Array(operation.value) } : operation;
}

/** Versions never come back, so a write that replaces the very version it demands can happen once at most. */
function isHarmlessTwice(operations: readonly BatchOperation[]): boolean {
  return operations.some(({ type, ifVersion }) => type !== 'check' && typeof ifVersion === 'string');
}

async function requireRefused(call: WriteCall<unknown>, operations: readonly BatchOperation[]): Promise<void> {
  // Whatever it fails with is nobody's answer: the caller was promised the first one.
  const isDone = await call.send(operations).then(
    () => true,
    () => false,
  );
  if (isDone) throw new StorageError(`The store did the ${call.operation} of "${call.key}" twice under one ifVersion.`);
}

const noWait: Wait = async () => undefined;

async function passTurns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}

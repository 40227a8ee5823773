import { type MessagePort, parentPort } from 'node:worker_threads';
import { startTimer, systemClock, threadsClock } from '../base/clock.js';
import { ClosedError, InvalidInputError } from '../base/errors.js';
import { inWords } from '../policies/in-words.js';
import type { StorageAdapter } from '../storage/adapter.js';
import { checked } from '../storage/checked.js';
import { type FromHeart, type HeartTask, isHeartTask, SharedMoment, type ToHeart } from './heart-line.js';
import type { NodeNote, NodeSays } from './node-record.js';
import { HeldTenure, type TenureGround } from './node-tenure.js';

/** Of a lease, for the event loop to answer: then the heart beats without its answer. */
const ANSWER_SHARE = 1 / 10;

/**
 * Makes this worker thread the heart of the node that it was given to (`heart` of `createHoldfast` or `LeaseNode`): it
 * beats through `storage` from here on. Open that anew in the thread: the same place as the node's own.
 * ```ts
 * // heart.js
 * import { fileStorage, runHeart } from 'holdfast';
 * runHeart(fileStorage('./state'));
 * ```
 * @throws InvalidInputError outside of a worker thread; what `checked` finds wrong with the storage.
 */
export function runHeart(storage: StorageAdapter): void {
  if (parentPort === null) {
    const message = 'runHeart is for a worker thread: call it in the module that new Worker(…) is given.';
    throw new InvalidInputError(message, 'storage');
  }
  const own = checked(storage);
  parentPort.on('message', (message: unknown) => {
    if (isHeartTask(message)) void new KeptNode(own, message).keep();
  });
}

/** A tenure of a node in the main thread, as its heart thread keeps it. */
class KeptNode {
  readonly #storage: StorageAdapter;
  readonly #task: HeartTask;
  readonly #port: MessagePort;
  readonly #confirmed: SharedMoment;
  #tenure: HeldTenure | undefined;
  #isLeft = false;
  #notes: readonly NodeNote[] = [];
  #answeredMs = threadsClock.monotonicMs();
  /** When the event loop of the main thread was first asked without an answer so far. */
  #askedMs: number | undefined;
  #onAnswer = () => {};

  constructor(storage: StorageAdapter, task: HeartTask) {
    this.#storage = storage;
    this.#task = task;
    this.#port = task.port;
    this.#confirmed = new SharedMoment(task.confirmed);
  }

  async keep(): Promise<void> {
    this.#port.on('message', (answer: ToHeart) => this.#hear(answer));
    this.#port.on('close', () => this.#leave());
    try {
      this.#tenure = await HeldTenure.begin(this.#ground(), this.#task.id);
      this.#confirmed.set(this.#tenure.confirmedAt());
      this.#tenure.onLost((error) => this.#lose(error.cause ?? error));
      this.#say({ says: 'begun' });
      if (this.#isLeft) this.#leave();
    } catch (error) {
      this.#say({ says: 'not-begun', error: inWords(error) });
      this.#port.close();
    }
  }

  #ground(): TenureGround {
    return {
      storage: this.#storage,
      clock: threadsClock,
      leaseMs: this.#task.leaseMs,
      emit: (event) => event.type === 'node.heartbeat-failed' && this.#say({ says: 'failed', error: event.error }),
      onBeat: (confirmedAt) => {
        this.#confirmed.set(confirmedAt);
        this.#say({ says: 'beat' });
      },
      says: () => this.#ask(),
    };
  }

  /** The moment first: the main thread may ask before it gets round to its messages. */
  #lose(cause: unknown): void {
    this.#confirmed.clear();
    this.#say({ says: 'lost', error: inWords(cause) });
    this.#port.close();
  }

  #leave(): void {
    this.#isLeft = true;
    this.#tenure?.end(new ClosedError('The node'));
  }

  async #ask(): Promise<NodeSays> {
    this.#askedMs ??= threadsClock.monotonicMs();
    this.#say({ says: 'ask' });
    await new Promise<void>((resolve) => {
      const timer = startTimer(systemClock, this.#task.leaseMs * ANSWER_SHARE, resolve);
      this.#onAnswer = () => {
        timer.cancel();
        resolve();
      };
    });
    const nowMs = threadsClock.monotonicMs();
    const olderMs = nowMs - this.#answeredMs;
    const notes = this.#notes.map((note) => ({ ...note, quietMs: note.quietMs + olderMs }));
    const silentMs = this.#askedMs === undefined ? 0 : nowMs - this.#askedMs;
    return silentMs < this.#task.frozenAfterMs ? { notes } : { notes, frozenMs: silentMs };
  }

  #hear({ notes }: ToHeart): void {
    this.#notes = notes;
    this.#answeredMs = threadsClock.monotonicMs();
    this.#askedMs = undefined;
    this.#onAnswer();
  }

  #say(message: FromHeart): void {
    this.#port.postMessage(message);
  }
}

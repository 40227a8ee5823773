import { randomUUID } from 'node:crypto';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import * as z from 'zod';
import { threadsClock } from '../base/clock.js';
import { emit } from '../base/emit.js';
import { InvalidInputError } from '../base/errors.js';
import { StorageError } from '../storage/adapter.js';
import { answerWithin } from '../storage/answer-within.js';
import { type FromHeart, heartTask, SharedMoment, type ToHeart } from './heart-line.js';
import type { Moment } from './node-beat.js';
import { type NodeSays, nodeKey } from './node-record.js';
import type { TenureGround } from './node-tenure.js';
import { TimedTenure } from './timed-tenure.js';

/** The thread that beats for a node, and when it shall give up. */
export interface Heart {
  readonly thread: Worker;
  readonly frozenAfterMs: number;
}

/** A heart among options. It keeps no process alive from now on, also if something else is wrong with them. */
export const heartOption = z
  .custom<Worker>((given) => given instanceof Worker, 'must be a Worker of node:worker_threads')
  .refine((heart) => {
    heart.unref();
    return heart.threadId !== ENDED;
  }, 'has ended already: make a new Worker');

/** What a thread that has ended says for its id. */
const ENDED = -1;

/** For a thread to come up, load its modules and join; longer where the lease is longer. */
const START_MS = 10_000;

/** The thread is no more. A node that has lost its heart beats for itself. */
export class HeartEnded extends Error {}

/** Where a tenure is held: the notes are there when the thread asks. */
export interface HeartGround extends TenureGround {
  readonly says: () => NodeSays;
}

/** A tenure of this process that its heart thread keeps, even while the event loop here is blocked. */
export class HeartTenure extends TimedTenure {
  readonly #ground: HeartGround;
  readonly #port: MessagePort;
  readonly #confirmed = new SharedMoment();
  #lastFailure: unknown;
  #isBegun = false;

  private constructor(ground: HeartGround, port: MessagePort) {
    super(randomUUID(), { ...ground, clock: threadsClock });
    this.#ground = ground;
    this.#port = port;
  }

  /**
   * Has the thread write the first record. A failure or a crash halfway leaves at most a record whose node nobody ever hears
   * of.
   * @throws HeartEnded. StorageError with what the thread says, or because it says nothing for ten seconds (one lease if
   * that is longer). InvalidInputError if it writes to another storage; what the storage here throws.
   */
  static async begin(ground: HeartGround, { thread, frozenAfterMs }: Heart): Promise<HeartTenure> {
    const { port1, port2 } = new MessageChannel();
    const tenure = new HeartTenure(ground, port1);
    const begun = tenure.#listen();
    const confirmed = tenure.#confirmed.buffer;
    const { id } = tenure;
    thread.postMessage(heartTask({ id, leaseMs: ground.leaseMs, frozenAfterMs, confirmed, port: port2 }), [port2]);
    try {
      await tenure.#awaitBegun(begun);
    } catch (error) {
      port1.close();
      throw error;
    }
    port1.unref();
    tenure.#isBegun = true;
    tenure.join();
    return tenure;
  }

  confirmedAt(): Moment {
    return this.#confirmed.get();
  }

  override end(cause: unknown): void {
    super.end(cause);
    this.#port.close();
  }

  protected lastFailure(): unknown {
    return this.#lastFailure;
  }

  async #awaitBegun(begun: Promise<void>): Promise<void> {
    const { storage, clock, leaseMs } = this.#ground;
    const ms = Math.max(leaseMs, START_MS);
    const late = () => {
      const why = 'it is still starting, or its module does not call runHeart(storage)';
      return new StorageError(`The heart thread said nothing for ${ms} ms: ${why}.`);
    };
    await answerWithin({ clock, ms, late }, begun);
    if ((await storage.get(nodeKey(this.id))) !== undefined) return;
    const message = 'The heart thread writes to another storage than its node. Open the same place in both.';
    throw new InvalidInputError(message, 'options.heart');
  }

  /** Resolves when the thread has begun. */
  #listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#port.on('message', (message: FromHeart) => {
        if (message.says === 'begun') resolve();
        else if (message.says === 'not-begun') reject(new StorageError(`The heart thread: ${message.error}`));
        else this.#hear(message);
      });
      this.#port.on('close', () => {
        const error = new HeartEnded('The heart thread has ended.');
        reject(error); // Of no effect if it had begun.
        if (this.#isBegun) this.lose(error); // Of no effect if the tenure is over: then it was closed here.
      });
    });
  }

  #hear(message: FromHeart): void {
    const { says, onBeat, emit: sink } = this.#ground;
    switch (message.says) {
      case 'ask':
        this.#port.postMessage(says() satisfies ToHeart);
        break;
      case 'beat':
        this.#lastFailure = undefined;
        onBeat(this.confirmedAt());
        break;
      case 'failed':
        this.#lastFailure = message.error;
        emit(sink, { type: 'node.heartbeat-failed', node: this.id, error: message.error });
        break;
      case 'lost':
        this.lose(new Error(message.error));
        break;
    }
  }
}

import type { Worker } from 'node:worker_threads';
import * as z from 'zod';
import { type Clock, systemClock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { ClosedError } from '../base/errors.js';
import { clockOption, functionOption, parseOptions } from '../base/options.js';
import { inWords } from '../policies/in-words.js';
import type { StorageAdapter } from '../storage/adapter.js';
import { answerWithin, unansweredWrite } from '../storage/answer-within.js';
import { checked } from '../storage/checked.js';
import { type Heart, HeartEnded, type HeartGround, HeartTenure, heartOption } from './heart-tenure.js';
import type { NodeEvent } from './node-event.js';
import { type NodeNote, type NodeSays, nodeKey } from './node-record.js';
import { HeldTenure } from './node-tenure.js';
import { NodeWatch, type Sighting } from './node-watch.js';
import type { Tenure, TimedTenure } from './timed-tenure.js';

export type { NodeEvent } from './node-event.js';
export type { NodeNote, NodeRecord } from './node-record.js';
export type { Sighting } from './node-watch.js';
export type { Tenure } from './timed-tenure.js';

/** How a process takes part. */
export interface LeaseNodeOptions {
  /** Shared by all who hold things from each other. */
  readonly storage: StorageAdapter;
  /**
   * Milliseconds without a heartbeat after which this process stands down, and others may take over what it holds. Default
   * 15,000, at least 100. Shorter: a crash is noticed sooner, for more writes (three per lease) and more false alarms,
   * when the event loop is blocked or the storage slow for that long.
   */
  readonly leaseMs?: number | undefined;
  /**
   * A worker thread that beats instead of the event loop, its module calls `runHeart(storage)`: so that a long computation
   * does not pass for a death. It does not keep the process alive, and is yours to terminate after `leave`. Should it end
   * before, a tenure that it keeps ends with it and the event loop keeps the next: `node.heart-ended` and a warning of the
   * process tell. Default: none.
   */
  readonly heart?: Worker | undefined;
  /**
   * With a `heart`: milliseconds without an answer from the event loop after which it gives the node up, and others may take
   * over what that holds. Noticed half a lease later at most. At least `leaseMs`. Default 60,000, or `leaseMs` if that is
   * more.
   */
  readonly frozenAfterMs?: number | undefined;
  /** Time and waits. Default the machine's clock, and always that with a `heart`. */
  readonly clock?: Clock | undefined;
  /** Hears of joining, losing and leaving, and of heartbeats that fail. */
  readonly emit?: Sink<NodeEvent> | undefined;
}

const DEFAULT_LEASE_MS = 15_000;

const nodeOptionsSchema = z
  .strictObject({
    storage: z.custom<StorageAdapter>(
      (storage) => typeof storage === 'object' && storage !== null,
      'a StorageAdapter is needed',
    ),
    leaseMs: z.number().min(100).optional(),
    heart: heartOption.optional(),
    frozenAfterMs: z.number().min(1).optional(),
    clock: clockOption.optional(),
    emit: functionOption<Sink<NodeEvent>>().optional(),
  })
  .refine(({ heart, frozenAfterMs }) => heart !== undefined || frozenAfterMs === undefined, {
    path: ['frozenAfterMs'],
    message: 'is for a node with a heart, not for one without',
  })
  .refine(({ frozenAfterMs, leaseMs = DEFAULT_LEASE_MS }) => frozenAfterMs === undefined || frozenAfterMs >= leaseMs, {
    path: ['frozenAfterMs'],
    message: 'must be one lease at least: that long even a node without a heart may be silent',
  })
  .refine(({ heart, clock = systemClock }) => heart === undefined || clock === systemClock, {
    path: ['clock'],
    message: 'must be left out with a heart: a thread has only the clock of the machine',
  });

/** Notes that one heartbeat carries. */
const MAX_NOTES = 1_000;

/**
 * This process among those that share a storage: one heartbeat for everything it holds, and the judge of whether others
 * are alive. Holders are told apart by the id of their tenure. No two who ask are ever both right to act: a tenure is no
 * longer valid by the time `isGone` says so elsewhere, under any pause, delay or jump of wall time, as long as no clock
 * runs more than 5 % fast or slow. (A machine that is suspended while its wall clock is set back may be late to notice;
 * compare-and-swap keeps the records right even then.)
 *
 * Nothing is written before the first `tenure()`, and the heartbeat does not keep the process alive.
 */
export class LeaseNode implements AsyncDisposable {
  readonly leaseMs: number;
  readonly #ground: HeartGround;
  /** Until it ends. */
  #heart: Heart | undefined;
  readonly #watch: NodeWatch;
  readonly #beatListeners = new Set<() => void>();
  readonly #noteSources = new Set<() => readonly NodeNote[]>();
  /** The last one that was begun, over or not. */
  #tenure: TimedTenure | undefined;
  #beginning: Promise<TimedTenure> | undefined;
  #leaving: Promise<void> | undefined;

  /** @throws InvalidInputError for options that cannot be used. */
  constructor(options: LeaseNodeOptions) {
    const given = parseOptions(nodeOptionsSchema, options);
    const {
      storage,
      leaseMs = DEFAULT_LEASE_MS,
      heart,
      frozenAfterMs = Math.max(60_000, leaseMs),
      clock = systemClock,
      emit: sink,
    } = given;
    this.leaseMs = leaseMs;
    const onBeat = () => {
      for (const listener of this.#beatListeners) emit(listener, undefined);
    };
    this.#ground = { storage: checked(storage), clock, leaseMs, emit: sink, onBeat, says: () => this.#says() };
    this.#watch = new NodeWatch(this.#ground.storage, clock);
    if (heart === undefined) return;
    this.#heart = { thread: heart, frozenAfterMs };
    heart.on('error', this.#onHeartError).on('exit', this.#onHeartEnd);
  }

  /**
   * The present tenure. Begins one, a single small write, if there is none or the last one was lost; callers at the same
   * time share it. Like any tenure it may be over at any moment: ask `isValid()`.
   * @throws ClosedError after `leave()`; what the storage throws if the tenure cannot be begun, then call again.
   */
  async tenure(): Promise<Tenure> {
    this.#requireOpen();
    if (this.#tenure?.isValid()) return this.#tenure;
    this.#beginning ??= this.#begin();
    const tenure = await this.#beginning;
    this.#requireOpen();
    return tenure;
  }

  /** Is the holder this very node, in its present tenure? Costs no I/O and begins none. */
  isOwn(holder: string): boolean {
    return holder === this.#tenure?.id && this.#tenure.isValid();
  }

  /**
   * Is the holder certain to be gone? True when its record is deleted, when its process is proved dead on this host, or when
   * this very object saw the record stand unchanged for 1.05 of its lease: so ask twice, that far apart. False when it
   * may be alive.
   * @throws CorruptionError if its record is damaged; what the storage throws. Neither says that it is gone.
   */
  async isGone(holder: string): Promise<boolean> {
    return !this.isOwn(holder) && this.#watch.isGone(holder);
  }

  /** As `isGone`, with what says so, and what the holder said of itself last. Same errors. */
  async look(holder: string): Promise<Sighting> {
    const sighting = await this.#watch.look(holder);
    return this.isOwn(holder) ? { ...sighting, isGone: false, proof: 'alive' } : sighting;
  }

  /**
   * Deletes the record of a holder that is gone; true if this call did. False if it may be alive or the record is deleted
   * already.
   * @throws as `isGone`
   */
  async sweep(holder: string): Promise<boolean> {
    return !this.isOwn(holder) && this.#watch.sweep(holder);
  }

  /**
   * Looks at every node and sweeps those that are gone, leaving out those for which `isKept` says true. Gives the ids that
   * were swept. As with `isGone`, a dead node of another host is swept by the second call at the earliest.
   * @throws CorruptionError, after all others were swept, if a record is damaged; what the storage throws.
   */
  async sweepGone(isKept: (holder: string) => boolean = () => false): Promise<readonly string[]> {
    return this.#watch.sweepGone((holder) => this.isOwn(holder) || isKept(holder));
  }

  /** Calls `listener` after every heartbeat that was confirmed. Returns how to stop. */
  onBeat(listener: () => void): () => void {
    this.#beatListeners.add(listener);
    return () => void this.#beatListeners.delete(listener);
  }

  /**
   * From now on every heartbeat carries what `notes` says of things that are held; 1,000 notes at most, those before are
   * left out. Returns how to stop.
   */
  addNotes(notes: () => readonly NodeNote[]): () => void {
    this.#noteSources.add(notes);
    return () => void this.#noteSources.delete(notes);
  }

  /**
   * Ends the tenure, for those who rely on it first, then stops the heartbeat and deletes the record, so that others need
   * not wait. Release what is held before. Calling it again gives the same promise.
   * @throws what the storage throws, or OutcomeUnknownError if it gives no answer for one lease. The node has left all the
   * same; others notice when the lease is over.
   */
  leave(): Promise<void> {
    this.#leaving ??= this.#leave();
    return this.#leaving;
  }

  /** As `leave`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.leave();
  }

  async #begin(): Promise<TimedTenure> {
    try {
      this.#tenure = await this.#beginWithHeart();
      return this.#tenure;
    } finally {
      this.#beginning = undefined;
    }
  }

  /** By itself if the heart has ended: that is told, and no reason to hold nothing. */
  async #beginWithHeart(): Promise<TimedTenure> {
    try {
      if (this.#heart) return await HeartTenure.begin(this.#ground, this.#heart);
    } catch (error) {
      if (!(error instanceof HeartEnded)) throw error;
    }
    return HeldTenure.begin(this.#ground);
  }

  async #leave(): Promise<void> {
    await this.#beginning?.catch(() => undefined); // Whoever asked for it hears of its failure.
    this.#heart?.thread.off('error', this.#onHeartError).off('exit', this.#onHeartEnd);
    const tenure = this.#tenure;
    if (tenure === undefined) return;
    tenure.end(new ClosedError('The node'));
    const { storage, clock } = this.#ground;
    const key = nodeKey(tenure.id);
    const limit = { clock, ms: this.leaseMs, late: () => unansweredWrite(key, this.leaseMs) };
    const isDeleted = await answerWithin(limit, storage.delete(key));
    if (isDeleted) emit(this.#ground.emit, { type: 'node.left', node: tenure.id });
  }

  #says(): NodeSays {
    return { notes: [...this.#noteSources].flatMap((notes) => notes()).slice(-MAX_NOTES) };
  }

  /** An error that nobody hears would end the process. */
  readonly #onHeartError = (error: unknown): void => this.#endHeart(inWords(error));

  readonly #onHeartEnd = (exitCode: number): void => this.#endHeart(`it exited with code ${exitCode}`);

  /** The tenure hears of it by itself. Told to the process, too: without a sink nobody would know. */
  #endHeart(error: string): void {
    if (this.#heart === undefined) return;
    this.#heart = undefined;
    emit(this.#ground.emit, { type: 'node.heart-ended', error });
    const meaning = 'From now on an event loop that is blocked for a lease passes for a death.';
    process.emitWarning(`The heart thread has ended: ${error}. ${meaning}`, { code: 'HOLDFAST_HEART_ENDED' });
  }

  #requireOpen(): void {
    if (this.#leaving !== undefined) throw new ClosedError('The node');
  }
}

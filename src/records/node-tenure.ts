import { randomUUID } from 'node:crypto';
import type { Clock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { inWords } from '../policies/in-words.js';
import type { StorageAdapter, Version } from '../storage/adapter.js';
import { answerWithin, unansweredWrite } from '../storage/answer-within.js';
import { ownProcess } from '../storage/host-process.js';
import { FencedError } from './lease.js';
import { type Moment, writeBeat } from './node-beat.js';
import type { NodeEvent } from './node-event.js';
import { type NodeNote, nodeKey } from './node-record.js';

/**
 * How much of its lease a holder counts on. Watchers wait for 1.05 leases, so neither outlives the other's patience as long
 * as no clock runs more than 5 % fast or slow.
 */
const HOLDER_SHARE = 0.95;
/** A heartbeat comes three times per lease, and may take as long: one that fails or hangs leaves time for others. */
const BEAT_SHARE = 1 / 3;
/** After a heartbeat that failed. */
const RETRY_SHARE = 1 / 10;

/** The time for which a process is known to be alive. What it holds, it holds in the name of its tenure. */
export interface Tenure {
  /** Random, one for each tenure. It is what records of things that are held say as their holder. */
  readonly id: string;
  /** May this process still act in its name? Costs no I/O: ask before every act. Once false it stays false. */
  isValid(): boolean;
  /** Calls `listener` when the tenure ends: once, and at once if it ended already. Returns how to stop listening. */
  onLost(listener: (error: FencedError) => void): () => void;
}

/** Where a tenure is held. */
export interface TenureGround {
  readonly storage: StorageAdapter;
  readonly clock: Clock;
  readonly leaseMs: number;
  readonly emit: Sink<NodeEvent> | undefined;
  /** Called after each heartbeat that was confirmed. */
  readonly onBeat: () => void;
  /** What the next heartbeat says of the things that are held. */
  readonly notes: () => readonly NodeNote[];
}

/** A tenure of this process, with the heartbeat that keeps it. */
export class HeldTenure implements Tenure {
  readonly id = randomUUID();
  readonly #ground: TenureGround;
  readonly #process = ownProcess();
  readonly #listeners = new Set<(error: FencedError) => void>();
  readonly #over = new AbortController();
  /** When the last confirmed write was sent: others cannot have seen it, and begun to wait, before. */
  #confirmedAt: Moment;
  /** Version of the last confirmed write; `null` before the first. */
  #version: Version | null = null;
  #beat = 0;
  /** When the beat that comes next was first sent, if it was. */
  #firstSentAt: Moment | undefined;
  #lastFailure: unknown;
  #lost: FencedError | undefined;

  private constructor(ground: TenureGround) {
    this.#ground = ground;
    this.#confirmedAt = this.#now();
  }

  /**
   * Writes the first record and starts the heartbeat. If that fails, or a crash comes halfway, at most a record is left
   * whose node nobody ever hears of.
   * @throws OutcomeUnknownError if the storage gives no answer while the tenure would last; what the storage throws.
   */
  static async begin(ground: TenureGround): Promise<HeldTenure> {
    const tenure = new HeldTenure(ground);
    await tenure.#send(HOLDER_SHARE);
    emit(ground.emit, { type: 'node.joined', node: tenure.id });
    tenure.#run(tenure.#keepBeating());
    tenure.#run(tenure.#watchTime());
    return tenure;
  }

  isValid(): boolean {
    if (this.#lost === undefined && this.#leftMs() <= 0) this.#lose(this.#lastFailure);
    return this.#lost === undefined;
  }

  onLost(listener: (error: FencedError) => void): () => void {
    if (this.#lost !== undefined) emit(listener, this.#lost);
    else this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Ends the tenure and the heartbeat, and tells whoever relies on them. Does nothing if it is over. */
  end(cause: unknown): void {
    if (this.#lost !== undefined) return;
    const error = new FencedError(`node ${this.id}`, cause === undefined ? undefined : { cause });
    this.#lost = error;
    this.#over.abort(error);
    for (const listener of this.#listeners) emit(listener, error);
    this.#listeners.clear();
  }

  #lose(cause: unknown): void {
    this.end(cause);
    if (this.#version === null) return; // It never joined, and whoever wanted it is told by `begin`.
    emit(this.#ground.emit, { type: 'node.lost', node: this.id, error: inWords(this.#lost) });
  }

  /** Whatever stops a loop while the tenure lasts (a clock that throws) ends the tenure: it would not be kept any more. */
  #run(loop: Promise<void>): void {
    loop.catch((error: unknown) => {
      if (this.#lost === undefined) this.#lose(error);
    });
  }

  async #keepBeating(): Promise<void> {
    const { clock, leaseMs } = this.#ground;
    let waitMs = leaseMs * BEAT_SHARE;
    for (;;) {
      await clock.sleep(waitMs, { signal: this.#over.signal, unref: true });
      if (!this.isValid()) return; // The process was stopped, or the machine asleep, beyond the lease.
      const isConfirmed = await this.#tryBeat();
      waitMs = leaseMs * (isConfirmed ? BEAT_SHARE : RETRY_SHARE);
    }
  }

  /** Ends the tenure on time even while a heartbeat hangs and nobody asks. */
  async #watchTime(): Promise<void> {
    const { clock } = this.#ground;
    while (this.isValid()) await clock.sleep(Math.max(1, this.#leftMs()), { signal: this.#over.signal, unref: true });
  }

  async #tryBeat(): Promise<boolean> {
    try {
      await this.#send(BEAT_SHARE);
    } catch (error) {
      this.#onFailure(error);
      return false;
    }
    this.#ground.onBeat();
    return true;
  }

  #onFailure(error: unknown): void {
    if (this.#lost !== undefined) return;
    if (error instanceof FencedError) {
      this.#lose(error.cause);
      return;
    }
    this.#lastFailure = error;
    emit(this.#ground.emit, { type: 'node.heartbeat-failed', node: this.id, error: inWords(error) });
  }

  /** Writes the next beat. What is confirmed too late counts for nothing: others may have judged by the one before. */
  async #send(share: number): Promise<void> {
    const { storage, clock, leaseMs } = this.#ground;
    const sentAt = this.#now();
    this.#firstSentAt ??= sentAt;
    const notes = this.#ground.notes();
    const record = {
      node: this.id,
      beat: this.#beat,
      leaseMs,
      process: this.#process,
      ...(notes.length > 0 && { notes }),
    };
    const attempt = { record, ifVersion: this.#version, sentAt, firstSentAt: this.#firstSentAt };
    const ms = leaseMs * share;
    const limit = { clock, ms, signal: this.#over.signal, late: () => unansweredWrite(nodeKey(this.id), ms) };
    const confirmed = await answerWithin(limit, writeBeat(storage, attempt));
    if (!this.isValid()) throw this.#lost;
    this.#version = confirmed.version;
    this.#confirmedAt = confirmed.sentAt;
    this.#firstSentAt = undefined;
    this.#lastFailure = undefined;
    this.#beat++;
  }

  #now(): Moment {
    const { clock } = this.#ground;
    return { monotonicMs: clock.monotonicMs(), wallMs: clock.now() };
  }

  /**
   * What is left of the tenure. Wall time counts, too, because the monotonic clock stands still while a machine is
   * suspended; it can only shorten what is left.
   */
  #leftMs(): number {
    const { monotonicMs, wallMs } = this.#now();
    const passedMs = Math.max(monotonicMs - this.#confirmedAt.monotonicMs, wallMs - this.#confirmedAt.wallMs);
    return this.#ground.leaseMs * HOLDER_SHARE - passedMs;
  }
}

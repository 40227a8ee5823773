import { randomUUID } from 'node:crypto';
import { emit } from '../base/emit.js';
import { inWords } from '../policies/in-words.js';
import type { StorageAdapter, Version } from '../storage/adapter.js';
import { answerWithin, unansweredWrite } from '../storage/answer-within.js';
import { ownProcess } from '../storage/host-process.js';
import { FencedError } from './lease.js';
import { type Moment, writeBeat } from './node-beat.js';
import { type NodeRecord, type NodeSays, nodeKey } from './node-record.js';
import { HOLDER_SHARE, type TimedGround, TimedTenure } from './timed-tenure.js';

/** A heartbeat comes three times per lease, and may take as long: one that fails or hangs leaves time for others. */
const BEAT_SHARE = 1 / 3;
/** After a heartbeat that failed. */
const RETRY_SHARE = 1 / 10;

/** Where a tenure is held. */
export interface TenureGround extends TimedGround {
  readonly storage: StorageAdapter;
  /** Called after each heartbeat that was confirmed, with the moment that counts from now on. */
  readonly onBeat: (confirmedAt: Moment) => void;
  /** What the next heartbeat says. If it says that the node is frozen, it is the last: the tenure is over before it is sent. */
  readonly says: () => NodeSays | Promise<NodeSays>;
}

/** A tenure of this process, with the heartbeat that keeps it. */
export class HeldTenure extends TimedTenure {
  readonly #ground: TenureGround;
  readonly #process = ownProcess();
  #confirmedAt: Moment;
  /** Version of the last confirmed write; `null` before the first. */
  #version: Version | null = null;
  #beat = 0;
  /** When the beat that comes next was first sent, if it was. */
  #firstSentAt: Moment | undefined;
  #lastFailure: unknown;

  private constructor(id: string, ground: TenureGround) {
    super(id, ground);
    this.#ground = ground;
    this.#confirmedAt = this.now();
  }

  /**
   * Writes the first record and starts the heartbeat. If that fails, or a crash comes halfway, at most a record is left
   * whose node nobody ever hears of.
   * @throws OutcomeUnknownError if the storage gives no answer while the tenure would last; what the storage throws.
   */
  static async begin(ground: TenureGround, id: string = randomUUID()): Promise<HeldTenure> {
    const tenure = new HeldTenure(id, ground);
    await tenure.#send(await ground.says(), HOLDER_SHARE);
    tenure.join();
    tenure.keep(tenure.#keepBeating());
    return tenure;
  }

  confirmedAt(): Moment {
    return this.#confirmedAt;
  }

  protected lastFailure(): unknown {
    return this.#lastFailure;
  }

  protected override lose(cause: unknown): void {
    if (this.#version === null)
      this.end(cause); // It never joined, and whoever wanted it is told by `begin`.
    else super.lose(cause);
  }

  async #keepBeating(): Promise<void> {
    const { clock, leaseMs } = this.#ground;
    let waitMs = leaseMs * BEAT_SHARE;
    for (;;) {
      await clock.sleep(waitMs, { signal: this.over, unref: true });
      if (!this.isValid()) return; // The process was stopped, or the machine asleep, beyond the lease.
      const isConfirmed = await this.#tryBeat();
      waitMs = leaseMs * (isConfirmed ? BEAT_SHARE : RETRY_SHARE);
    }
  }

  async #tryBeat(): Promise<boolean> {
    try {
      const says = await this.#ground.says();
      if (says.frozenMs !== undefined) await this.#giveUp(says, says.frozenMs);
      else await this.#send(says, BEAT_SHARE);
    } catch (error) {
      this.#onFailure(error);
      return false;
    }
    this.#ground.onBeat(this.#confirmedAt);
    return true;
  }

  #onFailure(error: unknown): void {
    if (this.lost !== undefined) return;
    if (error instanceof FencedError) {
      this.lose(error.cause);
      return;
    }
    this.#lastFailure = error;
    emit(this.#ground.emit, { type: 'node.heartbeat-failed', node: this.id, error: inWords(error) });
  }

  /** Writes the next beat. What is confirmed too late counts for nothing: others may have judged by the one before. */
  async #send(says: NodeSays, share: number): Promise<void> {
    const { storage, clock, leaseMs } = this.#ground;
    const sentAt = this.now();
    this.#firstSentAt ??= sentAt;
    const attempt = { record: this.#record(says), ifVersion: this.#version, sentAt, firstSentAt: this.#firstSentAt };
    const ms = leaseMs * share;
    const limit = { clock, ms, signal: this.over, late: () => unansweredWrite(nodeKey(this.id), ms) };
    const confirmed = await answerWithin(limit, writeBeat(storage, attempt));
    if (!this.isValid()) throw this.lost;
    this.#version = confirmed.version;
    this.#confirmedAt = confirmed.sentAt;
    this.#firstSentAt = undefined;
    this.#lastFailure = undefined;
    this.#beat++;
  }

  /** The tenure is over first: who reads the record may act on it at once. If it cannot be written, silence says it later. */
  async #giveUp(says: NodeSays, frozenMs: number): Promise<never> {
    const seconds = (frozenMs / 1_000).toFixed(1);
    this.lose(new Error(`The event loop did not answer its heart thread for ${seconds} s, so the thread gave up.`));
    const sentAt = this.now();
    await writeBeat(this.#ground.storage, {
      record: this.#record(says),
      ifVersion: this.#version,
      sentAt,
      firstSentAt: sentAt,
    });
    throw this.lost;
  }

  #record({ notes, frozenMs }: NodeSays): NodeRecord {
    return {
      node: this.id,
      beat: this.#beat,
      leaseMs: this.#ground.leaseMs,
      process: this.#process,
      ...(notes.length > 0 && { notes }),
      ...(frozenMs !== undefined && { frozenMs }),
    };
  }
}

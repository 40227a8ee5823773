import { EventEmitter } from 'node:events';
import Opossum from 'opossum';
import { type Clock, systemClock } from '../base/clock.js';
import { emit } from '../base/emit.js';
import type { CircuitVerdict } from './circuit-options.js';
import { propertyOf } from './http-failure.js';

/** The longest wait one timer can hold. Longer ones are made of several: the owner opens again with the rest. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** opossum's window: ten buckets of a second each. */
const BUCKETS = 10;
const BUCKET_MS = 1_000;

/** What a monitor of opossum's can hear about calls. */
export type ReplayedEvent = 'fire' | 'success' | 'failure' | 'reject' | 'timeout';

/**
 * opossum at work: it wakes its owner when the open time is over, and dashboards made for it find their events here. It
 * decides nothing: the owner's state is the truth, and every state of this engine was ordered by it. It exists from the
 * first trip on, because it costs 3 kB.
 *
 * opossum's timers know only the machine's clock. On any other clock an alarm of ours waits in their place.
 */
export class CircuitEngine {
  readonly #clock: Clock;
  readonly #onDue: () => void;
  /** An object of its own: opossum keeps and changes what it is given. */
  readonly #options: Opossum.Options;
  readonly #turner = new EventEmitter();
  readonly #opossum: OrderedOpossum;
  #alarm: AbortController | undefined;
  #turnedMs: number;

  /** `onDue` is called when the open time may be over: perhaps a little early, so look at the clock. */
  constructor(name: string, clock: Clock, onDue: () => void) {
    this.#clock = clock;
    this.#onDue = onDue;
    this.#turnedMs = clock.monotonicMs();
    this.#options = {
      name,
      timeout: false,
      errorThresholdPercentage: 100,
      enableSnapshots: false,
      rollingPercentilesEnabled: false,
      rotateBucketController: this.#turner, // Else it would turn its buckets with a timer.
    };
    this.#opossum = new OrderedOpossum(this.#options, onDue);
  }

  /** The opossum instance, for those who know what to do with it. */
  get monitor(): unknown {
    return this.#opossum;
  }

  /** Open for this long; Infinity: until told otherwise. If it is open, the time starts anew and monitors hear nothing. */
  open(forMs: number): void {
    this.#stopAlarm();
    const isForeign = this.#clock !== systemClock;
    this.#options.resetTimeout = isForeign ? MAX_TIMER_MS : Math.min(MAX_TIMER_MS, Math.ceil(forMs));
    this.#guarded(() => this.#opossum.orderOpen());
    if (isForeign && forMs !== Number.POSITIVE_INFINITY) this.#startAlarm(forMs);
  }

  /** The open time is over by the owner's clock, whatever opossum's timer says. */
  halfOpen(): void {
    this.#stopAlarm();
    this.#guarded(() => this.#opossum.announceHalfOpen(this.#options.resetTimeout ?? 0));
  }

  close(): void {
    this.#stopAlarm();
    this.#guarded(() => this.#opossum.orderClose());
  }

  /** Says to monitors what happened to a call. */
  replay(event: ReplayedEvent, ...details: readonly unknown[]): void {
    this.#turnBuckets();
    this.#guarded(() => this.#opossum.emit(event, ...details));
  }

  /** Says how a call ended. One that was ignored ended in no way that opossum knows. */
  replayEnd(verdict: CircuitVerdict, result: unknown, durationMs: number): void {
    if (verdict === 'success') this.replay('success', result, durationMs);
    if (verdict !== 'failure') return;
    if (propertyOf(result, 'name') === 'TimeoutError') this.replay('timeout', result, durationMs, []);
    this.replay('failure', result, durationMs, []);
  }

  /** No timer and no listener is left. */
  shutdown(): void {
    this.#stopAlarm();
    this.#opossum.shutdown();
  }

  #startAlarm(ms: number): void {
    const alarm = new AbortController();
    this.#alarm = alarm;
    this.#clock.sleep(ms, { signal: alarm.signal, unref: true }).then(
      () => alarm.signal.aborted || this.#onDue(),
      (error: unknown) => {
        if (!alarm.signal.aborted) throw error; // Called off; anything else is a broken clock and must be seen.
      },
    );
  }

  #stopAlarm(): void {
    this.#alarm?.abort('called off'); // Without a reason an error with a stack would be made.
    this.#alarm = undefined;
  }

  /** Buckets that nobody turns would grow for ever: opossum notes the latency of every call. */
  #turnBuckets(): void {
    const turns = Math.floor((this.#clock.monotonicMs() - this.#turnedMs) / BUCKET_MS);
    this.#turnedMs += turns * BUCKET_MS;
    for (let left = Math.min(BUCKETS, turns); left > 0; left--) this.#turner.emit('rotate');
  }

  /** Listeners of the host's on the monitor cannot harm the call that they hear of. */
  #guarded(act: () => void): void {
    emit<undefined>(act, undefined);
  }
}

/** opossum that moves only when it is ordered to. By itself it closes at any success it hears of while half-open. */
class OrderedOpossum extends Opossum {
  readonly #onDue: () => void;
  /** opossum's own listeners; those that come later are the host's. */
  readonly #timerStarters = this.listeners('open');
  /** Where monitors believe it stands. */
  #told: 'closed' | 'open' | 'half-open' = 'closed';
  #hears: 'everybody' | 'itself' | 'nobody' = 'everybody';
  #mayClose = false;

  constructor(options: Opossum.Options, onDue: () => void) {
    super(async () => undefined, options);
    this.#onDue = onDue;
  }

  orderOpen(): void {
    if (this.opened) this.#quietly('nobody', () => this.#close()); // Else it would not start its timer again.
    const isNews = this.#told !== 'open';
    this.#told = 'open';
    this.#quietly(isNews ? 'everybody' : 'itself', () => this.open());
  }

  orderClose(): void {
    this.#told = 'closed';
    this.#close();
  }

  announceHalfOpen(resetTimeoutMs: number): void {
    this.#told = 'half-open';
    super.emit('halfOpen', resetTimeoutMs);
  }

  override close(): void {
    if (this.#mayClose) super.close();
  }

  override emit(event: string | symbol, ...details: unknown[]): boolean {
    if (event === 'halfOpen') {
      this.#onDue(); // The owner announces it, once and not too early, or orders more waiting.
      return true;
    }
    if (this.#hears === 'everybody') return super.emit(event, ...details);
    if (this.#hears === 'itself') for (const startTimer of this.#timerStarters) startTimer.apply(this, details);
    return false;
  }

  #close(): void {
    this.#mayClose = true;
    try {
      this.close();
    } finally {
      this.#mayClose = false;
    }
  }

  #quietly(hears: 'everybody' | 'itself' | 'nobody', move: () => void): void {
    this.#hears = hears;
    try {
      move();
    } finally {
      this.#hears = 'everybody';
    }
  }
}
